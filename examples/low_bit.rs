//! State in eight bits, an embedding pinned to f32, and the blocks on their own: a gradient quantized to
//! four bits and back, without leaving the GPU.

use fallline::{
    AdamW, BlockRange, BlockSpec, BlockTensor, BufferRange, Dtype, Gpu, Group, Optimizer,
    Precision, Quantizer, StateFormat, Step, TensorSpec, wgpu,
};

const LEN: usize = 1 << 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::from_env()?;
    // Seven bytes for a parameter: bf16 and eight bits more of it, its gradient, and two moments.
    let seven = Group::new("weights", AdamW::default()).state(StateFormat::Companded);
    let groups = [seven, Group::new("embedding", AdamW::default()).state(StateFormat::Int8)];
    let bf16 = |name: &str| {
        TensorSpec::new(name, [LEN]).dtype(Dtype::Bf16).precision(Precision::Remainder8)
    };
    let tensors = [
        bf16("weight"),
        bf16("bias").in_group("weights"),
        TensorSpec::new("embedding", [LEN]).in_group("embedding").state(StateFormat::F32),
        TensorSpec::new("head", [LEN]).in_group("embedding"),
    ];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &tensors)?;
    let grad: Vec<f32> = (0..LEN).map(|i| (i as f32 / 1000.0).sin()).collect();
    let ids: Vec<_> = optimizer.tensors().map(|(id, _)| id).collect();
    for id in ids {
        optimizer.write_grad(id, &grad)?;
    }
    for _ in 0..10 {
        optimizer.step(&Step::lr(1e-3))?;
    }
    println!("state: {} bytes", optimizer.state_size_bytes());

    // The gradient of the head, where it lies in the optimizer's arena.
    let head = optimizer.id("head").ok_or("the tensor was just given")?;
    let lies = optimizer.grad(head)?;
    let spec = BlockSpec::new("head", LEN as u64, StateFormat::Int4);
    let blocks = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("blocks"),
        size: spec.format.blocks_size_bytes(spec.len_elems),
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    let tensor = BlockTensor {
        values: BufferRange::new(lies.buffer(), lies.offset(), spec.len_elems),
        blocks: BlockRange::new(&blocks, 0),
        spec,
    };
    let quantizer = Quantizer::borrowed(&gpu, &[tensor])?;
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    quantizer.encode_quantize(&mut encoder);
    quantizer.encode_dequantize(&mut encoder);
    gpu.queue().submit([encoder.finish()]);
    let rounded = optimizer.read_grad(head)?;
    let largest = grad.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{} bytes of blocks, largest error {largest:.2}", blocks.size());
    // Half of the distance between two of the sixteen codes.
    if largest < 0.12 { Ok(()) } else { Err("the gradient is lost".into()) }
}
