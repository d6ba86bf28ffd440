//! `fallline info`, as a user runs it.

mod common;

use std::fs;

use common::{fallline, scratch};
use serde_json::Value;

#[test]
fn info_lists_the_adapters() {
    let path = scratch("info.json");
    let ran = fallline(&["info", "--json", path.to_str().unwrap()]).good();
    let adapters: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(!adapters.is_empty());
    for adapter in &adapters {
        assert!(ran.out.contains(adapter["adapter"]["name"].as_str().unwrap()), "{}", ran.out);
        assert!(adapter["limits"]["max_storage_buffer_binding_size"].is_u64());
        assert!(adapter["features"]["timestamp_query"].is_boolean());
        assert!(adapter["copy_gb_per_s"].is_f64() || adapter["unusable"].is_string());
    }
    for property in ["backend", "driver", "max_buffer_size", "SHADER_F16", "largest arena window"] {
        assert!(ran.out.contains(&format!("\n  {property}  ")), "{property}: {}", ran.out);
    }
    assert!(ran.out.contains("copy bandwidth"), "{}", ran.out);
}

#[test]
fn what_is_not_there_is_said() {
    fallline(&["info", "--adapter", "no such adapter"]).says("apt-get install");
    fallline(&["info", "--json", "/no/such/folder/info.json"]).says("cannot write /no/such/");
}
