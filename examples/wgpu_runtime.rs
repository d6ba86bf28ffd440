//! A runtime written straight on wgpu: the device, the kernels and the memory are its own, the engine steps.
//!
//! It fits a plane to points. As allocators do, it takes memory for gradients from a pool: in every step they lie in
//! another buffer, or elsewhere in it. So every step says where.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Places, Step, TensorSpec,
    wgpu::{self, BufferUsages},
};

const INPUTS: usize = 64;
const STEPS: usize = 300;
/// Bytes of a place in the pool, of which a buffer has two.
const PLACE: u64 = 4 * INPUTS as u64;

/// The gradient of the mean squared error over 256 points, whose inputs each lane makes up anew.
const BACKWARD: &str = "
    @group(0) @binding(0) var<storage, read> weight: array<f32>;
    @group(0) @binding(1) var<storage, read_write> grad: array<f32>;
    fn input(point: u32, i: u32) -> f32 {
        return f32(((point * point + i * i * 7u + point * i) * 2654435761u) >> 24u) / 128.0 - 1.0;
    }

    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
        var sum = 0.0;
        for (var point = 0u; point < 256u; point++) {
            var error = 0.0;
            for (var i = 0u; i < 64u; i++) {
                error += (weight[i] - (f32(i % 5u) - 2.0)) * input(point, i);
            }
            sum += error * input(point, lane);
        }
        grad[lane] = sum / 128.0;
    }";

struct Runtime {
    device: wgpu::Device,
    queue: wgpu::Queue,
    backward: wgpu::ComputePipeline,
    weight: wgpu::Buffer,
    pool: [wgpu::Buffer; 2],
}

impl Runtime {
    async fn open() -> Self {
        let from_env = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
        let instance = wgpu::Instance::new(from_env);
        let adapter = wgpu::util::initialize_adapter_from_env_or_default(&instance, None);
        let adapter = adapter.await.expect("an adapter");
        let (device, queue) = adapter.request_device(&<_>::default()).await.expect("a device");
        let source = wgpu::ShaderSource::Wgsl(BACKWARD.into());
        let module = wgpu::ShaderModuleDescriptor { label: Some("backward"), source };
        let backward = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("backward"),
            layout: None,
            module: &device.create_shader_module(module),
            entry_point: None,
            compilation_options: <_>::default(),
            cache: None,
        });
        let buffer = |label| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: 2 * PLACE,
                usage: BufferUsages::STORAGE | BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            })
        };
        let (weight, pool) = (buffer("weight"), ["pool 0", "pool 1"].map(buffer));
        Self { device, queue, backward, weight, pool }
    }

    /// Records a backward pass, and tells in which place of the pool the gradient is.
    fn backward(&self, encoder: &mut wgpu::CommandEncoder, step: usize) -> BufferRange {
        let (buffer, offset) = (&self.pool[step % 2], PLACE * (step as u64 / 2 % 2));
        let size = wgpu::BufferSize::new(PLACE);
        let grad = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset, size });
        let resources = [self.weight.as_entire_binding(), grad];
        let entry = |(binding, resource)| wgpu::BindGroupEntry { binding, resource };
        let bind_group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("backward"),
            layout: &self.backward.get_bind_group_layout(0),
            entries: &(0..).zip(resources).map(entry).collect::<Vec<_>>(),
        });
        let mut pass = encoder.begin_compute_pass(&<_>::default());
        pass.set_pipeline(&self.backward);
        pass.set_bind_group(0, &bind_group, &[]);
        pass.dispatch_workgroups(1, 1, 1);
        BufferRange::new(buffer, offset, INPUTS as u64)
    }
}

fn main() -> fallline::Result<()> {
    let runtime = pollster::block_on(Runtime::open());
    let gpu = Gpu::from_device(runtime.device.clone(), runtime.queue.clone())?;
    let weight = BorrowedTensor {
        spec: TensorSpec::new("weight", [INPUTS]),
        param: BufferRange::new(&runtime.weight, 0, INPUTS as u64),
        grad: None, // not yet
    };
    let groups = [Group::new("all", AdamW::new().lr(0.05).weight_decay(0.0))];
    let mut optimizer = Optimizer::borrowed(&gpu, &groups, &[weight])?;

    for step in 0..STEPS {
        let mut encoder = runtime.device.create_command_encoder(&<_>::default());
        let grad = runtime.backward(&mut encoder, step);
        let places = Places { params: None, grads: &[Some(grad)] };
        let decay = Step::lr_factor(1.0 - step as f64 / STEPS as f64);
        optimizer.encode_step_at(&mut encoder, &decay, &places)?;
        runtime.queue.submit([encoder.finish()]);
    }

    let weight = optimizer.read_param(optimizer.id("weight").expect("it was given"))?;
    let error = |(i, w): (usize, &f32)| (w - ((i % 5) as f32 - 2.0)).abs();
    let farthest = weight.iter().enumerate().map(error).fold(0.0, f32::max);
    println!("after {STEPS} steps the weights are at most {farthest:.5} from those of the plane");
    assert!(farthest < 1e-2);
    Ok(())
}
