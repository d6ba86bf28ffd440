//! Plans, played by wgpu alone: from the same beginning, the engine's bits.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, DynamicScale, Error, Gpu, Group, Lion, LossScaler,
    Monitor, Optimizer, Options, Precision, StateFormat, Step, TensorId, TensorSpec,
    plan::{BindingType, Plan, Role},
    wgpu,
};

use crate::common::{Rng, buffer, cases, gpu, read_bytes, webgpu_default_gpu};

/// Everything that a plan says to create, and how many steps were played.
struct Player<'a> {
    gpu: &'a Gpu,
    plan: &'a Plan,
    buffers: Vec<wgpu::Buffer>,
    pipelines: Vec<wgpu::ComputePipeline>,
    bind_groups: Vec<wgpu::BindGroup>,
    steps: u32,
}

impl<'a> Player<'a> {
    fn new(gpu: &'a Gpu, plan: &'a Plan) -> Self {
        let device = gpu.device();
        let buffer = |planned: &fallline::plan::Buffer| {
            let buffer = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: planned.size,
                usage: wgpu::BufferUsages::from_bits(planned.usage).expect("WebGPU's bits"),
                mapped_at_creation: false,
            });
            if let Some(contents) = &planned.contents {
                gpu.queue().write_buffer(&buffer, contents.offset, &contents.bytes);
            }
            buffer
        };
        let buffers: Vec<_> = plan.buffers.iter().map(buffer).collect();
        let (pipelines, layouts): (Vec<_>, Vec<_>) =
            plan.kernels.iter().map(|kernel| pipeline(device, kernel)).unzip();
        let bind_group = |group: &fallline::plan::BindGroup| {
            let entry = |(binding, range): (u32, &fallline::plan::Range)| wgpu::BindGroupEntry {
                binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &buffers[range.buffer],
                    offset: range.offset,
                    size: wgpu::BufferSize::new(range.size),
                }),
            };
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &layouts[group.kernel],
                entries: &(0..).zip(&group.entries).map(entry).collect::<Vec<_>>(),
            })
        };
        let bind_groups = plan.bind_groups.iter().map(bind_group).collect();
        Self { gpu, plan, buffers, pipelines, bind_groups, steps: 0 }
    }

    /// Takes a step with this input.
    fn step(&mut self, bytes: &[u8]) {
        let input = &self.plan.step_input;
        let entry = self.steps % input.entries * input.entry_size;
        self.steps += 1;
        self.gpu.queue().write_buffer(&self.buffers[input.buffer], entry.into(), bytes);
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for dispatch in &self.plan.pass {
                let offset = |moved: &fallline::plan::DynamicOffset| {
                    moved.offset + if moved.in_entry { entry } else { 0 }
                };
                let offsets: Vec<u32> = dispatch.dynamic_offsets.iter().map(offset).collect();
                pass.set_pipeline(&self.pipelines[dispatch.kernel]);
                pass.set_bind_group(0, &self.bind_groups[dispatch.bind_group], &offsets);
                let [x, y, z] = dispatch.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        self.gpu.queue().submit([encoder.finish()]);
    }

    /// Copies the engine's gradients.
    fn copy_grads(&self, optimizer: &Optimizer) {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for tensor in self.plan.tensors.iter().filter(|tensor| tensor.grad.size > 0) {
            let grad = optimizer.grad(TensorId::new(tensor.number)).unwrap();
            let to = (&self.buffers[tensor.grad.buffer], tensor.grad.offset);
            encoder.copy_buffer_to_buffer(grad.buffer(), grad.offset(), to.0, to.1, grad.size());
        }
        self.gpu.queue().submit([encoder.finish()]);
    }

    /// Holds every buffer against the engine's.
    fn is_where(&self, optimizer: &Optimizer, what: &str) {
        let expected = optimizer.read_plan().unwrap().buffers;
        assert_eq!(expected.len(), self.buffers.len(), "{what}");
        for (number, (expected, buffer)) in expected.iter().zip(&self.buffers).enumerate() {
            if expected.role == Role::StepInput {
                continue;
            }
            let mut bytes = vec![0; usize::try_from(expected.size).unwrap()];
            if let Some(contents) = &expected.contents {
                let first = usize::try_from(contents.offset).unwrap();
                bytes[first..first + contents.bytes.len()].copy_from_slice(&contents.bytes);
            }
            let found = read_bytes(self.gpu, buffer);
            let differing =
                found.iter().zip(&bytes).position(|(found, expected)| found != expected);
            assert_eq!(differing, None, "{what}: buffer {number}, {:?}", expected.role);
        }
    }
}

fn pipeline(
    device: &wgpu::Device,
    kernel: &fallline::plan::Kernel,
) -> (wgpu::ComputePipeline, wgpu::BindGroupLayout) {
    let entry = |(binding, bound): (u32, &fallline::plan::Binding)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match bound.ty {
                BindingType::Uniform => wgpu::BufferBindingType::Uniform,
                BindingType::Storage => wgpu::BufferBindingType::Storage { read_only: false },
                BindingType::ReadOnlyStorage => {
                    wgpu::BufferBindingType::Storage { read_only: true }
                }
            },
            has_dynamic_offset: bound.has_dynamic_offset,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = (0..).zip(&kernel.bindings).map(entry).collect();
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: None,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(&kernel.label),
        source: wgpu::ShaderSource::Wgsl(kernel.wgsl.as_str().into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&kernel.label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &kernel.constants,
            ..Default::default()
        },
        cache: None,
    });
    (pipeline, layout)
}

/// Scalars, vectors, matrices, of awkward lengths.
fn specs() -> Vec<TensorSpec> {
    let shapes: [&[usize]; 6] = [&[], &[257], &[40, 30], &[0], &[5001], &[3, 18, 20]];
    let spec = |(index, shape): (usize, &&[usize])| TensorSpec::new(format!("t{index}"), *shape);
    shapes.iter().enumerate().map(spec).collect()
}

/// An optimizer with parameters.
fn build(gpu: &Gpu, groups: &[Group], specs: &[TensorSpec], options: &Options) -> Optimizer {
    let optimizer = Optimizer::arena_with(gpu, groups, specs, options).unwrap();
    let mut rng = Rng(7);
    for (id, spec) in optimizer.tensors() {
        let len = spec.shape.iter().product();
        optimizer.write_param(id, &rng.values(len, 1.0)).unwrap();
    }
    optimizer
}

/// Writes the gradients of a step; in the third an element may be infinite.
fn write_grads(optimizer: &Optimizer, step: u32, overflows: bool) {
    let mut rng = Rng(100 + u64::from(step));
    for (id, spec) in optimizer.tensors() {
        let mut grad = rng.values(spec.shape.iter().product(), 0.5);
        if step == 3 && overflows && grad.len() == 257 {
            grad[200] = f32::INFINITY;
        }
        optimizer.write_grad(id, &grad).unwrap();
    }
}

/// Steps an optimizer, and a plan of it beside it.
fn are_equal(gpu: &Gpu, mut optimizer: Optimizer, overflows: bool, what: &str) {
    let plan = optimizer.read_plan().unwrap();
    let mut player = Player::new(gpu, &plan);
    let input = &plan.step_input;
    for step in 1..=5 {
        write_grads(&optimizer, step, overflows);
        player.copy_grads(&optimizer);
        let fixed = optimizer.groups().iter().any(|group| group.rule.has_fixed_lr());
        let factor = if fixed { 1.0 } else { 1.0 / f64::from(step) };
        let absent = [TensorId::new(2)];
        let mut engines = Step::lr_factor(factor);
        let mut bytes = input.bytes.clone();
        let mut put = |offset: u32, word: [u8; 4]| {
            bytes[offset as usize..offset as usize + 4].copy_from_slice(&word);
        };
        for tensor in &plan.tensors {
            #[allow(clippy::cast_possible_truncation, reason = "as the engine does it")]
            let lr = (optimizer.groups()[tensor.group].lr() * factor) as f32;
            put(input.rates + 4 * u32::try_from(tensor.number).unwrap(), lr.to_le_bytes());
        }
        if step == 2 {
            engines = engines.without_grad(&absent).accumulated(4);
            put(input.without_grad, 0b100u32.to_le_bytes());
            put(input.grad_factor, 0.25f32.to_le_bytes());
        }
        if step == 5 {
            engines = engines.zero_grads();
            put(input.zero_grads, 1u32.to_le_bytes());
        }
        optimizer.step(&engines).unwrap();
        player.step(&bytes);
    }
    player.is_where(&optimizer, what);
    let steps = optimizer.read_steps().unwrap();
    let expected = 5 - u32::from(overflows);
    assert_eq!((steps[1], steps[2]), (expected, expected - 1), "{what}: a step was not skipped");
}

fn scaled(gpu: &Gpu) -> Options {
    let scale = DynamicScale { init_scale: 8.0, growth_interval: 2, ..DynamicScale::default() };
    let loss_scaler = Some(LossScaler::dynamic(gpu, scale).unwrap());
    Options {
        max_norm: Some(0.5),
        clip_value: Some(0.01),
        loss_scaler,
        seed: 3,
        ..Options::default()
    }
}

#[test]
fn every_rule_takes_the_engines_steps() {
    let gpu = webgpu_default_gpu();
    let cases = cases();
    // Of each rule the last, in which most is switched on.
    for case in cases.chunk_by(|a, b| a.rule.name() == b.rule.name()).filter_map(<[_]>::last) {
        let groups = [Group::new("all", case.rule.clone())];
        let optimizer = build(&gpu, &groups, &specs(), &scaled(&gpu));
        are_equal(&gpu, optimizer, true, &format!("{:?}", case.rule));
    }
}

#[test]
fn every_format_takes_the_engines_steps() {
    let gpu = webgpu_default_gpu();
    let formats = StateFormat::ALL.iter().zip([
        (Dtype::F32, Precision::Nearest),
        (Dtype::F16, Precision::Master),
        (Dtype::Bf16, Precision::Remainder),
        (Dtype::Bf16, Precision::Remainder8),
        (Dtype::Bf16, Precision::Stochastic),
        (Dtype::F16, Precision::Nearest),
    ]);
    for (state, (param, precision)) in formats {
        let around = |group: Group| group.state(*state).min_state_elems(100).ema_decay(0.9);
        let groups = [
            around(Group::new("first", AdamW::new().lr(0.01))),
            around(Group::new("second", AdamW::new().lr(0.02).eps(1e-6).weight_decay(0.0))),
            around(Group::new("third", Lion::new())),
        ];
        let spec = |(number, spec): (usize, TensorSpec)| {
            spec.in_group(["first", "second", "third"][number % 3])
                .dtype(param)
                .precision(precision)
        };
        let specs: Vec<_> = specs().into_iter().enumerate().map(spec).collect();
        let optimizer = build(&gpu, &groups, &specs, &Options::default());
        are_equal(&gpu, optimizer, false, &format!("{state} {param} {precision}"));
    }
}

#[test]
fn several_windows_and_segments_take_the_engines_steps() {
    let gpu = crate::common::tiny_gpu();
    let specs = [TensorSpec::new("t0", [70_000]), TensorSpec::new("t1", [257])];
    let specs = [&specs[..], &[TensorSpec::new("t2", [300, 300])]].concat();
    let groups = [Group::new("all", AdamW::new()).state(StateFormat::Int8)];
    let optimizer = build(&gpu, &groups, &specs, &scaled(&gpu));
    are_equal(&gpu, optimizer, true, "tiny limits");
}

/// A plan is of an optimizer as it stands: with its parameters, its state, and which tensors take part.
#[test]
fn a_plan_goes_on_where_the_optimizer_stands() {
    let gpu = gpu();
    let monitor = Some(Monitor { interval: 2, per_tensor: true });
    let options = Options { monitor, ..Options::default() };
    let groups = [Group::new("all", AdamW::new())];
    let mut optimizer = build(&gpu, &groups, &specs(), &options);
    for step in 1..=3 {
        write_grads(&optimizer, step, false);
        optimizer.step(&Step::new()).unwrap();
    }
    optimizer.freeze("t4").unwrap();
    let plan = optimizer.read_plan().unwrap();
    let word = plan.step_input.without_grad as usize;
    assert_eq!(plan.step_input.bytes[word], 1 << 4);
    let mut player = Player::new(&gpu, &plan);
    write_grads(&optimizer, 5, false);
    player.copy_grads(&optimizer);
    player.step(&plan.step_input.bytes);
    for tensor in &plan.tensors {
        let id = TensorId::new(tensor.number);
        let buffer = read_bytes(&gpu, &player.buffers[tensor.param.buffer]);
        let first = usize::try_from(tensor.param.offset).unwrap();
        let played = buffer[first..].chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
        let before = optimizer.read_param(id).unwrap();
        let moved =
            played.zip(&before).any(|(played, before)| f32::from_le_bytes(played) != *before);
        assert_eq!(moved, !before.is_empty() && tensor.name != "t4", "{}", tensor.name);
    }
    // The same step, which is monitored: that tells more and changes nothing.
    optimizer.step(&Step::new()).unwrap();
    for (number, planned) in optimizer.read_plan().unwrap().buffers.iter().enumerate() {
        if matches!(planned.role, Role::Param | Role::State | Role::Steps) {
            let contents = planned.contents.as_ref().unwrap();
            let first = usize::try_from(contents.offset).unwrap();
            let played = &read_bytes(&gpu, &player.buffers[number])[first..];
            assert_eq!(&played[..contents.bytes.len()], contents.bytes, "{:?}", planned.role);
        }
    }
}

/// Without a GPU, the plan is to the byte that of any device with the same limits.
#[test]
fn it_takes_no_gpu_to_make_a_plan() {
    let limits = wgpu::Limits::default();
    let plan = |gpu: Gpu| {
        let groups = [
            Group::new("all", AdamW::new()).state(StateFormat::Int8).max_norm(1.0),
            Group::new("rows", fallline::Adafactor::new()),
            Group::new("sums", fallline::Lamb::new()),
        ];
        let specs: Vec<_> =
            specs().into_iter().zip(["all", "sums", "rows"].iter().cycle()).collect();
        let specs: Vec<_> = specs.into_iter().map(|(spec, group)| spec.in_group(*group)).collect();
        build(&gpu, &groups, &specs, &scaled(&gpu)).read_plan().unwrap()
    };
    let (without, with) = (plan(Gpu::noop(&limits).unwrap()), plan(webgpu_default_gpu()));
    assert!(without.pass.len() > 10 && without.buffers.iter().any(|b| b.role == Role::Vectors));
    assert!(without == with, "the plans differ");
    let tiny = wgpu::Limits { max_buffer_size: 1, ..limits };
    let error = Gpu::noop(&tiny).unwrap_err();
    assert!(matches!(error, Error::DeviceLimit { limit: "max_buffer_size", .. }), "{error}");
}

#[test]
fn what_cannot_be_planned_is_an_error() {
    let gpu = gpu();
    let groups = [Group::new("all", AdamW::new()).ema_decay(0.5)];
    let memory = buffer(&gpu, &[0.0; 64], wgpu::BufferUsages::STORAGE);
    let borrowed = BorrowedTensor {
        spec: TensorSpec::new("t", [4]),
        param: BufferRange::new(&memory, 0, 4),
        grad: None,
    };
    let optimizer = Optimizer::borrowed(&gpu, &groups, &[borrowed]).unwrap();
    assert!(matches!(optimizer.read_plan(), Err(Error::PlanOfBorrowed)));
    let mut optimizer = Optimizer::arena(&gpu, &groups, &specs()).unwrap();
    optimizer.eval().unwrap();
    let error = optimizer.read_plan().unwrap_err();
    assert!(matches!(error, Error::Evaluating { what: "a plan" }), "{error}");
    // Without tensors there is nothing to do.
    let empty = Optimizer::arena(&gpu, &groups, &[]).unwrap().read_plan().unwrap();
    assert!(empty.pass.is_empty() && empty.tensors.is_empty());
}
