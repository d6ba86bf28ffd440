//! A step creates no GPU object, and brings its input by one write: counted in wgpu's own log.

mod common;

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use common::{buffer, gpu};
use fallline::{
    AdamW, BorrowedTensor, BufferRange, Group, Optimizer, Options, Places, Step, TensorSpec, wgpu,
};

static CREATED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Keeps what wgpu reports of objects that are created, and counts writes.
struct Creations;

impl log::Log for Creations {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        // The encoder is the caller's.
        if text.contains("Device::create_") && !text.contains("create_command_encoder") {
            CREATED.lock().unwrap().push(text);
        } else if text.contains("Queue::write_buffer") || text.contains("create_staging_buffer") {
            WRITTEN.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_step_creates_nothing_wherever_gradients_have_been_before() {
    log::set_logger(&Creations).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
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
    for step in 0..100 {
        if step == 20 {
            assert!(!CREATED.lock().unwrap().is_empty(), "the list is one that lists");
            CREATED.lock().unwrap().clear();
            WRITTEN.store(0, Ordering::Relaxed);
        }
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        let mut encoder = gpu.device().create_command_encoder(&descriptor);
        let places = places(step);
        optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(&places)).unwrap();
        gpu.queue().submit([encoder.finish()]);
    }
    assert_eq!(*CREATED.lock().unwrap(), [""; 0]);
    assert_eq!(WRITTEN.load(Ordering::Relaxed), 80);
}
