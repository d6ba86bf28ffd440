//! A step creates no GPU object, and brings its input by one write.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Group, Optimizer, Options, Places, Step, TensorSpec, wgpu,
};

use crate::{
    Log,
    common::{buffer, gpu},
};

#[test]
fn a_step_creates_nothing_wherever_gradients_have_been_before() {
    let log = Log::listen();
    let gpu = gpu();
    let usage = wgpu::BufferUsages::STORAGE;
    let pools = [(); 4].map(|()| buffer(&gpu, &[0.5; 5000], usage));
    let params = buffer(&gpu, &[0.0; 2000], usage);
    // Three tensors: in one pool, moving within it and to the next.
    let places = |step: usize| -> Vec<Option<BufferRange>> {
        let range = |i: usize| {
            let pool = &pools[(step + i / 2) % 4];
            Some(BufferRange::new(pool, (i * 2048 + step % 7 * 256) as u64, 301))
        };
        (0..3).map(range).collect()
    };
    let tensor = |(i, grad): (usize, Option<BufferRange>)| BorrowedTensor {
        spec: TensorSpec::new(format!("t{i}"), [301]),
        param: BufferRange::new(&params, i as u64 * 2048, 301),
        grad,
    };
    let tensors: Vec<_> = places(0).into_iter().enumerate().map(tensor).collect();
    let options = Options { max_norm: Some(1.0), ..Options::default() };
    let groups = [Group::new("all", AdamW::default())];
    let mut optimizer = Optimizer::borrowed_with(&gpu, &groups, &tensors, &options).unwrap();
    let created = || {
        let mut lines = log.with(&["Device::create_"]);
        // The encoder is the caller's.
        lines.retain(|line| !line.contains("create_command_encoder"));
        lines
    };
    for step in 0..100 {
        if step == 20 {
            assert!(!created().is_empty(), "the list is one that lists");
            log.forget();
        }
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = gpu.device().create_command_encoder(&descriptor);
        let places = places(step);
        optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(&places)).unwrap();
        gpu.queue().submit([encoder.finish()]);
    }
    assert_eq!(created(), [""; 0]);
    assert_eq!(log.with(&["Queue::write_buffer", "create_staging_buffer"]).len(), 80);
}
