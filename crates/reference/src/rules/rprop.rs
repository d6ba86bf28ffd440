//! Twin of `shaders/rules/rprop.wgsl`.

use super::{Extent, Rule, Scalars, Slot};
use crate::functions::sign;

/// Options that tests step it with.
pub const CASES: &[&str] = &[
    r#"{"lr": 1e-2, "etas": [0.5, 1.2]}"#,
    r#"{"lr": 1e-3, "etas": [0.4, 1.5], "step_sizes": [5e-4, 0.1], "maximize": true}"#,
];

/// `torch.optim.Rprop`, but for products that vanish.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(default)]
pub struct Rprop {
    etas: (f64, f64),
    step_sizes: (f64, f64),
    maximize: bool,
}

impl Default for Rprop {
    fn default() -> Self {
        Self { etas: (0.5, 1.2), step_sizes: (1e-6, 50.0), maximize: false }
    }
}

impl Rule for Rprop {
    fn slots(&self, _: &[usize]) -> &'static [Slot] {
        &[("prev", Extent::Element), ("step_size", Extent::Element)]
    }

    fn maximize(&self) -> bool {
        self.maximize
    }

    fn scalars(&self, _: u32, lr: f32, _: &mut Scalars<f32>) -> Scalars<f32> {
        [lr, 0.0, 0.0, 0.0]
    }

    fn twin(&self, t: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]) {
        let [prev, step_size] = state else { panic!("two slots") };
        let factor = match sign(grad.into()) * sign((*prev).into()) {
            agreement if agreement > 0.0 => self.etas.1 as f32,
            agreement if agreement < 0.0 => self.etas.0 as f32,
            _ => 1.0,
        };
        let before = if t == 1 { scalars[0] } else { *step_size };
        let (least, most) = (self.step_sizes.0 as f32, self.step_sizes.1 as f32);
        *step_size = (before * factor).clamp(least, most);
        *prev = if factor < 1.0 { 0.0 } else { grad };
        *param -= sign((*prev).into()) as f32 * *step_size;
    }

    fn oracle(
        &self,
        t: u32,
        scalars: &Scalars<f64>,
        param: &mut f64,
        grad: f64,
        state: &mut [f64],
    ) {
        let [prev, step_size] = state else { panic!("two slots") };
        let (eta_minus, eta_plus) = self.etas;
        if t == 1 {
            *step_size = scalars[0];
        }
        let agreement = sign(grad * *prev);
        *step_size *= if agreement > 0.0 { eta_plus } else { 1.0 };
        *step_size *= if agreement < 0.0 { eta_minus } else { 1.0 };
        *step_size = step_size.clamp(self.step_sizes.0, self.step_sizes.1);
        *prev = if agreement < 0.0 { 0.0 } else { grad };
        *param -= sign(*prev) * *step_size;
    }
}
