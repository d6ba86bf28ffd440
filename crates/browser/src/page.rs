//! What the page calls.

use std::panic;

use wasm_bindgen::prelude::*;

use crate::CHECKS;

/// A panic becomes an exception with its message; otherwise the page would only see that a trap was reached.
#[wasm_bindgen(start)]
pub fn start() {
    panic::set_hook(Box::new(|panicked| wasm_bindgen::throw_str(&panicked.to_string())));
}

/// What the checks are called, in order.
#[wasm_bindgen]
pub fn names() -> Vec<String> {
    CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// Runs a check; what fails is thrown as text.
#[wasm_bindgen]
pub async fn check(number: usize) -> Result<(), String> {
    let (_, run) = CHECKS.get(number).ok_or("there is no such check")?;
    run().await.map_err(|error| format!("{error:#}"))
}
