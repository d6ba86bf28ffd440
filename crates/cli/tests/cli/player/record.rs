//! Steps of the engine, written down beside a plan.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fallline::{
    AdamW, Dtype, Gpu, Step, TensorId,
    plan::{Plan, Role},
};
use half::{bf16, f16};
use serde_json::{Value, json};

use super::{
    cases::{Case, SHAPES},
    export, folder_in,
};

/// Reproducible numbers of seven bits, which every format holds.
fn numbers(seed: usize, len: usize) -> Vec<f32> {
    let number = |i: usize| {
        let mixed = (i + 7 * seed + 1).wrapping_mul(2_654_435_761) >> 9;
        (f32::from(i16::try_from(mixed % 255).unwrap()) - 127.0) / 256.0
    };
    (0..len).map(number).collect()
}

/// These in a format, in whole words.
fn encoded(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    let code = |value: &f32| match dtype {
        Dtype::F16 => f16::from_f32(*value).to_le_bytes().to_vec(),
        Dtype::Bf16 => bf16::from_f32(*value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    };
    let mut bytes: Vec<u8> = values.iter().flat_map(code).collect();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// What the player gets: numbers, and bytes beside them.
#[derive(Default)]
struct Recording {
    bytes: Vec<u8>,
}

impl Recording {
    fn put(&mut self, mut what: Value, bytes: &[u8]) -> Value {
        (what["at"], what["size"]) = (self.bytes.len().into(), bytes.len().into());
        self.bytes.extend_from_slice(bytes);
        what
    }

    /// The contents of some buffers.
    fn buffers(&mut self, plan: &Plan, is_in: impl Fn(Role) -> bool) -> Vec<Value> {
        let buffers = plan.buffers.iter().enumerate().filter(|(_, buffer)| is_in(buffer.role));
        let put = |(number, buffer): (usize, &fallline::plan::Buffer)| match &buffer.contents {
            Some(c) => self.put(json!({ "buffer": number, "offset": c.offset }), &c.bytes),
            None => self.put(json!({ "buffer": number, "offset": 0 }), &[]),
        };
        buffers.map(put).collect()
    }
}

/// Steps the engine, and writes what it did beside a plan of `fallline export`.
pub(super) fn record(gpu: &Gpu, case: &Case, directory: &Path) -> PathBuf {
    let folder = folder_in(directory, &case.name);
    let config = folder.join("config.toml");
    let mut options: Vec<&str> = case.options.clone();
    if let Some(text) = case.config {
        fs::write(&config, text).unwrap();
        options.extend(["--config", config.to_str().unwrap()]);
    }
    export(&folder, &options).good();

    let mut recording = Recording::default();
    let mut optimizer = (case.build)(gpu);
    for (index, (_, shape)) in SHAPES.iter().enumerate() {
        let values = numbers(index, shape.iter().product());
        optimizer.write_param(TensorId::new(index), &values).unwrap();
    }
    let planned = optimizer.read_plan().unwrap();
    let start = recording.buffers(&planned, |role| matches!(role, Role::Param | Role::Master));
    let mut steps = Vec::new();
    for step in 1..=6u32 {
        let mut grads = Vec::new();
        for (index, (name, shape)) in SHAPES.iter().enumerate() {
            let mut values = numbers(10 * step as usize + index, shape.iter().product());
            if case.overflows && step == 3 && *name == "bias" {
                values[200] = f32::INFINITY;
            }
            let id = TensorId::new(index);
            optimizer.write_grad(id, &values).unwrap();
            let dtype = planned.tensors[index].grad_dtype;
            grads.push(recording.put(json!({ "tensor": name }), &encoded(dtype, &values)));
        }
        let is_fixed = optimizer.groups().iter().any(|group| group.rule.has_fixed_lr());
        let factor = if is_fixed { 1.0 } else { 1.0 / f64::from(step) };
        let absent = [TensorId::new(1)];
        let mut engines = Step::lr_factor(factor);
        let mut brings = json!({ "factor": factor, "grads": grads });
        match (step, case.weight_decay) {
            (2, _) => {
                engines = engines.without_grad(&absent).accumulated(2);
                brings["withoutGrad"] = json!(["bias"]);
                brings["accumulated"] = json!(2);
            }
            (4, Some(weight_decay)) => {
                let rule = AdamW::new().lr(0.01).weight_decay(weight_decay);
                optimizer.set_rule("all", rule).unwrap();
                brings["hyperparameters"] = json!({ "weight_decay": weight_decay });
            }
            (5, Some(_)) => optimizer.set_rule("all", AdamW::new().lr(0.01)).unwrap(),
            (6, _) => {
                engines = engines.zero_grads();
                brings["zeroGrads"] = json!(true);
            }
            _ => {}
        }
        optimizer.step(&engines).unwrap();
        steps.push(brings);
    }
    let taken = optimizer.read_steps().unwrap();
    assert_eq!(taken[0], 6 - u32::from(case.overflows), "{}: a step must be skipped", case.name);
    let ended = optimizer.read_plan().unwrap();
    let end = recording.buffers(&ended, |role| role != Role::StepInput);
    let index = json!({ "start": start, "steps": steps, "end": end });
    fs::write(folder.join("run.json"), index.to_string()).unwrap();
    fs::write(folder.join("run.bin"), recording.bytes).unwrap();
    folder
}
