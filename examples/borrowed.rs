//! A runtime that owns its tensors lends parameters and gradients; the engine owns the state only.
//!
//! Here both lie in one buffer, as a sub-allocating runtime has them: parameter, gradient, parameter,
//! gradient. Only the parameters are written.

use fallline::{BorrowedTensor, BufferRange, Gpu, Group, Lion, Optimizer, Step, TensorSpec, wgpu};

fn main() -> fallline::Result<()> {
    // The runtime's device and memory. `Gpu::from_device` takes any wgpu device and queue.
    let theirs = Gpu::from_env()?;
    let gpu = Gpu::from_device(theirs.device().clone(), theirs.queue().clone())?;
    let shapes = [("weight", vec![30, 7]), ("bias", vec![30])];
    let memory = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("the runtime's memory"),
        size: 4096,
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_DST
            | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });

    // Every range begins at a multiple of 16 bytes.
    let mut end = 0;
    let mut allocate = |len_elems: u64| {
        let range = BufferRange::new(&memory, end, len_elems);
        end = (end + len_elems * 4).next_multiple_of(16);
        range
    };
    let tensors = shapes.map(|(name, shape)| {
        let len = shape.iter().product::<usize>() as u64;
        let (param, grad) = (allocate(len), allocate(len));
        BorrowedTensor { spec: TensorSpec::new(name, shape), param, grad: Some(grad) }
    });

    let groups = [Group::new("all", Lion::new().lr(0.25))];
    let mut optimizer = Optimizer::borrowed(&gpu, &groups, &tensors)?;
    let ids: Vec<_> = optimizer.tensors().map(|(id, _)| id).collect();
    for (id, tensor) in ids.iter().zip(&tensors) {
        let len = tensor.spec.shape.iter().product();
        optimizer.write_grad(*id, &vec![3.0; len])?;
    }

    // The step goes into the runtime's encoder, between its own passes.
    let label = Some("the runtime's work");
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
    optimizer.encode_step(&mut encoder, &Step::new())?;
    gpu.queue().submit([encoder.finish()]);

    for (id, tensor) in ids.iter().zip(&tensors) {
        let values = optimizer.read_param(*id)?;
        println!("{:6} {:?} is now {}", tensor.spec.name, tensor.spec.shape, values[0]);
        assert!(values.iter().all(|value| *value == -0.25));
    }
    println!("{} bytes of state for {} of parameters", optimizer.state_size_bytes(), 240 * 4);
    Ok(())
}
