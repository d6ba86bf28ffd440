//! Bad input gets a typed error that names the thing, what was expected and what was found, before
//! anything is written; a lost device is an error, not a panic.

use std::sync::Arc;

use fallline::{
    AdEmaMix, AdaBelief, Adam, AdamW, BorrowedTensor, BufferRange, Dtype, DynamicScale, Error, Gpu,
    GpuOptions, Group, IntoRule, Lion, LossScaler, Optimizer, Options, Precision, Rule, Sgd, Step,
    TensorId, TensorSpec,
    wgpu::{self, BufferUsages},
};

use crate::common::{buffer, gpu, tiny_gpu};

fn arena(group: Group, tensors: &[TensorSpec]) -> Result<Optimizer, Error> {
    Optimizer::arena(&gpu(), &[group], tensors)
}

fn adamw() -> Group {
    Group::new("all", AdamW::default())
}

/// The error, as a person reads it.
#[track_caller]
fn says(result: Result<impl std::fmt::Debug, Error>, expected: &str) {
    assert_eq!(result.expect_err(expected).to_string(), expected);
}

#[test]
fn hyperparameters_out_of_range_are_named() {
    let bad =
        |rule: Arc<dyn Rule>, expected: &str| says(arena(Group::new("head", rule), &[]), expected);
    let adamw = AdamW::default();
    bad(adamw.clone().lr(-1.0).into_rule(), "group 'head': lr must be finite and >= 0, found -1");
    bad(
        adamw.clone().lr(f64::NAN).into_rule(),
        "group 'head': lr must be finite and >= 0, found NaN",
    );
    bad(
        adamw.clone().betas((1.0, 0.9)).into_rule(),
        "group 'head': betas[0] must be in [0, 1), found 1",
    );
    bad(
        adamw.clone().betas((0.9, -0.1)).into_rule(),
        "group 'head': betas[1] must be in [0, 1), found -0.1",
    );
    bad(
        Adam::new().eps(f64::INFINITY).into_rule(),
        "group 'head': eps must be finite and >= 0, found inf",
    );
    bad(
        Lion::new().weight_decay(-0.5).into_rule(),
        "group 'head': weight_decay must be finite and >= 0, found -0.5",
    );
    // Finite in f64, infinite in the f32 that the GPU gets.
    bad(
        Sgd::new().lr(1e300).into_rule(),
        &format!("group 'head': lr must be finite and >= 0, found {}", 1e300),
    );
    bad(
        Sgd::new().nesterov(true).into_rule(),
        "group 'head': momentum must be > 0 with nesterov, found 0",
    );
    bad(
        Sgd::new().nesterov(true).momentum(0.9).dampening(0.1).into_rule(),
        "group 'head': dampening must be 0 with nesterov, found 0.1",
    );
    bad(
        AdaBelief::new().amsgrad(true).into_rule(),
        "group 'head': amsgrad must be off with rectify, found 1",
    );
    // Half-lives rise from that of beta1, which 0 does not have.
    let warmed = AdEmaMix::new().beta3_warmup(Some(10));
    bad(
        warmed.clone().betas((0.0, 0.9, 0.99)).into_rule(),
        "group 'head': betas[0] must be in (0, 1) with beta3_warmup, found 0",
    );
    bad(
        warmed.betas((0.9, 0.9, 0.0)).into_rule(),
        "group 'head': betas[2] must be in (0, 1) with beta3_warmup, found 0",
    );
}

#[test]
fn names_and_groups_are_checked() {
    let twice = [TensorSpec::new("w", [1]), TensorSpec::new("w", [2])];
    says(arena(adamw(), &twice), "tensor 'w' is given twice");
    let lost = [TensorSpec::new("w", [1]).in_group("none")];
    says(arena(adamw(), &lost), "tensor 'w' is in group 'none', but the groups are: all");
    says(Optimizer::arena(&gpu(), &[], &[]), "an optimizer needs at least one parameter group");
    says(Optimizer::arena(&gpu(), &[adamw(), adamw()], &[]), "group 'all' is given twice");
}

#[test]
fn tensors_beyond_the_device_are_named() {
    let big = [TensorSpec::new("embedding", [131_073])];
    says(
        Optimizer::arena(&tiny_gpu(), &[adamw()], &big),
        "tensor 'embedding' needs 1050624 bytes in one buffer, but the device's max_buffer_size is \
         1048576",
    );
    let endless = [TensorSpec::new("w", [usize::MAX, 2])];
    let error = arena(adamw(), &endless).unwrap_err();
    assert!(matches!(error, Error::ShapeOverflow { .. }), "{error}");
}

#[test]
fn borrowed_ranges_are_checked() {
    let gpu = gpu();
    let good = buffer(&gpu, &[1.0; 64], BufferUsages::STORAGE);
    let plain = buffer(&gpu, &[1.0; 64], BufferUsages::VERTEX);
    let lend = |param: BufferRange, grad: BufferRange| {
        let spec = TensorSpec::new("w", [8]);
        Optimizer::borrowed(&gpu, &[adamw()], &[BorrowedTensor { spec, param, grad: Some(grad) }])
    };
    let at = |offset| BufferRange::new(&good, offset, 8);
    says(
        lend(at(0), BufferRange::new(&good, 64, 9)),
        "tensor 'w': the gradient must have 8 elements, found 9",
    );
    says(
        lend(at(240), at(0)),
        "tensor 'w': the parameter needs bytes 240..272 of a buffer of 256 bytes",
    );
    says(
        lend(at(u64::MAX - 15), at(0)),
        &format!(
            "tensor 'w': the parameter needs bytes {}..{} of a buffer of 256 bytes",
            u64::MAX - 15,
            u64::MAX
        ),
    );
    says(
        lend(at(0), at(36)),
        "tensor 'w': the gradient begins at byte 36 of its buffer, which must be a multiple of 16",
    );
    let error = lend(at(0), BufferRange::new(&plain, 0, 8)).unwrap_err();
    assert!(
        matches!(&error, Error::BufferUsage { tensor, expected: BufferUsages::STORAGE, .. } if tensor == "w"),
        "{error}"
    );
    says(lend(at(0), at(16)), "the parameter of tensor 'w' overlaps the gradient of tensor 'w'");

    let pair = |offset| {
        let tensor = |name: &str, param, grad| BorrowedTensor {
            spec: TensorSpec::new(name, [8]),
            param,
            grad: Some(grad),
        };
        let tensors = [tensor("a", at(0), at(128)), tensor("b", at(offset), at(128))];
        Optimizer::borrowed(&gpu, &[adamw()], &tensors)
    };
    says(
        pair(16),
        "the parameter of tensor 'b' overlaps the parameter of tensor 'a': parameters that are tied \
         are one tensor, to be lent once",
    );
    pair(32).unwrap();
}

#[test]
fn rebinding_other_tensors_is_refused_and_changes_nothing() {
    let gpu = gpu();
    let lent = buffer(&gpu, &[1.0; 64], BufferUsages::STORAGE);
    let tensor = |name: &str| BorrowedTensor {
        spec: TensorSpec::new(name, [8]),
        param: BufferRange::new(&lent, 0, 8),
        grad: Some(BufferRange::new(&lent, 128, 8)),
    };
    let group = [Group::new("all", Sgd::new().lr(1.0))];
    let mut optimizer = Optimizer::borrowed(&gpu, &group, &[tensor("w")]).unwrap();
    says(optimizer.rebind(&[]), "tensor 0 to rebind must be 'w' [8], found none");
    says(optimizer.rebind(&[tensor("v")]), "tensor 0 to rebind must be 'w' [8], found 'v' [8]");
    let overlapping = BorrowedTensor { grad: Some(BufferRange::new(&lent, 16, 8)), ..tensor("w") };
    says(
        optimizer.rebind(&[overlapping]),
        "the parameter of tensor 'w' overlaps the gradient of tensor 'w'",
    );
    let mut owner = arena(adamw(), &[]).unwrap();
    says(
        owner.rebind(&[]),
        "the optimizer owns its parameters and gradients: there is nothing to rebind",
    );
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(optimizer.read_param(TensorId::new(0)).unwrap(), [0.0; 8]);
}

#[test]
fn a_bad_step_is_refused_whole() {
    let mut optimizer = arena(adamw(), &[TensorSpec::new("w", [8])]).unwrap();
    for lr in [-1e-3, f64::NAN, f64::INFINITY, 1e39] {
        let error = optimizer.step(&Step::lr(lr)).unwrap_err();
        assert!(matches!(&error, Error::LearningRate { group, .. } if group == "all"), "{error}");
    }
    says(
        optimizer.step(&Step::lr_per_group(&[0.1, 0.2])),
        "1 learning rates are needed, one for each group, found 2",
    );
    says(
        optimizer.step(&Step::new().without_grad(&[TensorId::new(1)])),
        "there is no tensor 1: the optimizer has 1 tensors",
    );
    assert_eq!(optimizer.read_steps().unwrap(), [0]);
    let w = TensorId::new(0);
    says(
        optimizer.write_param(w, &[0.0]),
        "tensor 'w': the parameter must have 8 elements, found 1",
    );
    says(
        optimizer.read_state(w, "momentum_buffer"),
        "tensor 'w' has no state 'momentum_buffer': its rule keeps exp_avg, exp_avg_sq",
    );
    assert!(optimizer.read_param(TensorId::new(7)).is_err());
}

#[test]
fn a_lost_device_is_an_error_everywhere() {
    let gpu = gpu();
    let mut optimizer = Optimizer::arena(&gpu, &[adamw()], &[TensorSpec::new("w", [8])]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    gpu.device().destroy();
    assert!(matches!(optimizer.step(&Step::new()), Err(Error::DeviceLost)));
    assert!(matches!(gpu.wait(), Err(Error::DeviceLost)));
    let id = TensorId::new(0);
    assert!(matches!(optimizer.read_param(id), Err(Error::DeviceLost)));
    assert!(matches!(optimizer.write_param(id, &[0.0; 8]), Err(Error::DeviceLost)));
    assert!(matches!(optimizer.read_steps(), Err(Error::DeviceLost)));
    // Recording needs no device; what is lost shows when somebody asks.
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    drop(optimizer.encode_step(&mut encoder, &Step::new()));
    assert!(matches!(gpu.check_lost(), Err(Error::DeviceLost)));
    let again = Optimizer::arena(&gpu, &[adamw()], &[TensorSpec::new("w", [8])]);
    assert!(matches!(again, Err(Error::DeviceLost)));
    let taken = Gpu::from_device(gpu.device().clone(), gpu.queue().clone());
    assert!(matches!(taken, Err(Error::DeviceLost)));
}

#[test]
fn an_unknown_adapter_is_named_and_so_are_those_that_exist() {
    let options = GpuOptions { adapter_name: Some("no such".into()), ..GpuOptions::default() };
    let error = Gpu::open(&options).unwrap_err().to_string();
    assert!(error.starts_with("no GPU adapter named 'no such' found (adapters here: "), "{error}");
    assert!(error.contains(&gpu().adapter_info().name), "{error}");
    assert!(error.contains("`apt-get install mesa-vulkan-drivers`"), "{error}");
}

#[test]
fn more_hyperparameters_than_a_kernel_can_hold_are_an_error() {
    let group = |i: u32| Group::new(format!("g{i}"), AdamW::new().eps(1e-8 * f64::from(i + 1)));
    let groups: Vec<_> = (0..513).map(group).collect();
    Optimizer::arena(&gpu(), &groups[..512], &[]).unwrap();
    says(
        Optimizer::arena(&gpu(), &groups, &[]),
        "the groups of one rule have more than 512 distinct sets of hyperparameters",
    );
}

#[test]
fn a_device_with_too_little_is_refused() {
    let limits =
        wgpu::Limits { max_storage_buffers_per_shader_stage: 4, ..wgpu::Limits::defaults() };
    says(
        Gpu::open(&GpuOptions { limits: Some(limits), ..GpuOptions::from_env().unwrap() }),
        "the device's limit max_storage_buffers_per_shader_stage is 4, but at least 8 is needed",
    );
}

#[test]
fn what_a_device_does_not_have_is_said_once() {
    let limits = wgpu::Limits { max_bind_groups: u32::MAX, ..wgpu::Limits::defaults() };
    let options = GpuOptions { limits: Some(limits), ..GpuOptions::from_env().unwrap() };
    let error = Gpu::open(&options).unwrap_err();
    assert!(matches!(error, Error::NoDevice { .. }), "{error:?}");
    let expected = format!("adapter '{}' gave no device: ", gpu().adapter_info().name);
    let text = error.to_string();
    assert!(text.starts_with(&expected) && text.contains("max_bind_groups"), "{text}");
    // Who prints all causes would print it again.
    assert!(std::error::Error::source(&error).is_none());
}

#[test]
fn limits_and_scales_out_of_range_are_named() {
    let gpu = gpu();
    let build = |group: Group, options: Options| {
        Optimizer::arena_with(&gpu, &[group], &[TensorSpec::new("w", [1])], &options)
    };
    let max_norm = |max_norm| Options { max_norm: Some(max_norm), ..Options::default() };
    says(build(adamw(), max_norm(0.0)), "max_norm must be >= 2^-126, found 0");
    says(build(adamw(), max_norm(f64::NAN)), "max_norm must be >= 2^-126, found NaN");
    says(build(adamw(), max_norm(-f64::INFINITY)), "max_norm must be >= 2^-126, found -inf");
    // Finite in f64, infinite or zero in the f32 that the GPU gets.
    says(build(adamw(), max_norm(1e300)), &format!("max_norm must be >= 2^-126, found {}", 1e300));
    says(build(adamw(), max_norm(1e-60)), &format!("max_norm must be >= 2^-126, found {}", 1e-60));
    says(
        build(adamw().max_norm(-1.0), Options::default()),
        "group 'all': max_norm must be >= 2^-126, found -1",
    );
    let clip_value = Options { clip_value: Some(f64::INFINITY), ..Options::default() };
    says(build(adamw(), clip_value), "clip_value must be finite and >= 2^-126, found inf");

    let rule = DynamicScale::default();
    let scaler = |rule, expected: &str| says(LossScaler::dynamic(&gpu, rule), expected);
    scaler(
        DynamicScale { init_scale: 0.0, ..rule },
        "the loss scaler's init_scale must be 2^-126 to 2^126, found 0",
    );
    scaler(
        DynamicScale { growth_factor: 0.5, ..rule },
        "the loss scaler's growth_factor must be finite and >= 1, found 0.5",
    );
    scaler(
        DynamicScale { backoff_factor: 1.5, ..rule },
        "the loss scaler's backoff_factor must be > 0 and <= 1, found 1.5",
    );
    scaler(
        DynamicScale { growth_interval: 0, ..rule },
        "the loss scaler's growth_interval must be >= 1, found 0",
    );
    scaler(
        DynamicScale { init_scale: 8.0, min_scale: 16.0, ..rule },
        "the loss scaler's min_scale must be >= 2^-126 and <= init_scale, found 16",
    );
    says(
        LossScaler::fixed(&gpu, f64::NAN),
        "the loss scaler's scale must be 2^-126 to 2^126, found NaN",
    );
}

#[test]
fn a_scaler_of_another_device_is_refused() {
    let scaler = LossScaler::fixed(&gpu(), 2.0).unwrap();
    let options = Options { loss_scaler: Some(scaler), ..Options::default() };
    let error = Optimizer::arena_with(&gpu(), &[adamw()], &[], &options).unwrap_err();
    assert!(matches!(error, Error::ForeignScaler), "{error}");
}

#[test]
fn formats_that_do_not_go_together_are_named() {
    let spec = TensorSpec::new("w", [1]);
    says(
        arena(adamw(), &[spec.clone().precision(Precision::Master)]),
        "tensor 'w': an f32 master copy needs a parameter in f16 or bf16, found f32",
    );
    says(
        arena(adamw(), &[spec.clone().dtype(Dtype::F16).precision(Precision::Remainder)]),
        "tensor 'w': a 16-bit remainder needs a parameter in bf16, found f16",
    );
    // In 16 bits tensors may begin at multiples of 8 bytes, no closer.
    let gpu = gpu();
    let lent = buffer(&gpu, &[1.0; 64], BufferUsages::STORAGE);
    let at = |offset, len| BufferRange::new(&lent, offset, len);
    let lend = |param, grad, len: usize| {
        let spec = TensorSpec::new("w", [len]).dtype(Dtype::Bf16);
        Optimizer::borrowed(&gpu, &[adamw()], &[BorrowedTensor { spec, param, grad: Some(grad) }])
    };
    assert!(lend(at(8, 3), at(24, 3), 3).is_ok());
    says(
        lend(at(8, 3), at(20, 3), 3),
        "tensor 'w': the gradient begins at byte 20 of its buffer, which must be a multiple of 8",
    );
    assert!(lend(at(240, 8), at(0, 8), 8).is_ok());
    says(
        lend(at(248, 5), at(0, 5), 5),
        "tensor 'w': the parameter needs bytes 248..260 of a buffer of 256 bytes",
    );
}

#[test]
fn a_count_of_no_micro_batches_is_refused() {
    let mut optimizer = arena(adamw(), &[TensorSpec::new("w", [1])]).unwrap();
    says(
        optimizer.step(&Step::new().accumulated(0)),
        "the number of accumulated gradients must be >= 1, found 0",
    );
}
