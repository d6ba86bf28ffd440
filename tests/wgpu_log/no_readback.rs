//! A step maps no buffer.

use fallline::{AdamW, DynamicScale, Group, LossScaler, Optimizer, Options, Step, TensorId, wgpu};

use crate::{
    Log,
    common::{gpu, specs},
};

#[test]
fn a_whole_mixed_precision_step_maps_nothing() {
    let log = Log::listen();
    let gpu = gpu();
    let scaler = LossScaler::dynamic(&gpu, DynamicScale::default()).unwrap();
    let options = Options { max_norm: Some(1.0), loss_scaler: Some(scaler), ..Options::default() };
    let groups = [Group::new("all", AdamW::default())];
    let mut optimizer = Optimizer::arena_with(&gpu, &groups, &specs(&[5000, 3]), &options).unwrap();
    let grads = [vec![1.0; 5000], vec![f32::INFINITY; 3]];
    let maps = || log.with(&["Buffer::map_async"]).len();
    log.forget();

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
    assert_eq!(maps(), 0);

    // The count is one that counts.
    assert_eq!(optimizer.wait_reports().unwrap().len(), 64);
    assert_eq!(maps(), 1);
}
