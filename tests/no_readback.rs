//! A step maps no buffer, counted in wgpu's own log.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use common::{gpu, specs};
use fallline::{AdamW, DynamicScale, Group, LossScaler, Optimizer, Options, Step, TensorId, wgpu};

static MAPS: AtomicUsize = AtomicUsize::new(0);

/// Counts the calls of `Buffer::map_async`, which wgpu tells of at the level of trace.
struct CountMaps;

impl log::Log for CountMaps {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.args().to_string().contains("Buffer::map_async") {
            MAPS.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[test]
fn a_whole_mixed_precision_step_maps_nothing() {
    log::set_logger(&CountMaps).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let gpu = gpu();
    let scaler = LossScaler::dynamic(&gpu, DynamicScale::default()).unwrap();
    let options = Options { max_norm: Some(1.0), loss_scaler: Some(scaler), ..Options::default() };
    let groups = [Group::new("all", AdamW::default())];
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &specs(&[5000, 3]), &options).unwrap();
    let grads = [vec![1.0; 5000], vec![f32::INFINITY; 3]];
    MAPS.store(0, Ordering::Relaxed);

    for number in 0..100 {
        optimizer.write_grad(TensorId::new(0), &grads[0]).unwrap();
        optimizer.write_grad(TensorId::new(1), &grads[number % 2][..3]).unwrap();
        // In an encoder of the caller's, and in one of its own.
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        optimizer.encode_step(&mut encoder, &Step::lr_factor(0.5).zero_grads()).unwrap();
        gpu.queue().submit([encoder.finish()]);
        optimizer.step(&Step::new()).unwrap();
    }
    assert_eq!(MAPS.load(Ordering::Relaxed), 0);

    // The count is one that counts.
    assert_eq!(optimizer.wait_reports().unwrap().len(), 64);
    assert_eq!(MAPS.load(Ordering::Relaxed), 1);
}
