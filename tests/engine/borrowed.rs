//! Parameters and gradients in buffers of the caller's: one or many, shared or not, of any size.
//! (That borrowed buffers give the arena's bits, and that nothing else is written, is in `twin.rs`.)

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Gpu, Group, Lion, Optimizer, Sgd, Step, TensorSpec,
    wgpu::{self, BufferUsages},
};
use fallline_reference::ulp;

use crate::common::{Rng, bits, buffer, gpu, read, tiny_gpu, webgpu_default_gpu};

const STORAGE: BufferUsages = BufferUsages::STORAGE;

fn tensor(name: &str, param: BufferRange, grad: BufferRange) -> BorrowedTensor {
    let len = usize::try_from(param.len_elems).unwrap();
    BorrowedTensor { spec: TensorSpec::new(name, [len]), param, grad: Some(grad) }
}

fn sgd() -> [Group; 1] {
    [Group::new("all", Sgd::new().lr(1.0))]
}

#[test]
fn every_tensor_in_buffers_of_its_own_even_of_four_bytes() {
    let gpu = gpu();
    let lengths = [1usize, 2, 3, 4, 5, 10, 257];
    let lent: Vec<_> = lengths
        .iter()
        .map(|n| {
            (buffer(&gpu, &vec![1.0; *n], STORAGE), buffer(&gpu, &vec![0.25; *n], STORAGE), *n)
        })
        .collect();
    let tensors: Vec<_> = lent
        .iter()
        .map(|(param, grad, n)| {
            let range = |buffer| BufferRange::new(buffer, 0, *n as u64);
            tensor(&format!("t{n}"), range(param), range(grad))
        })
        .collect();
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    optimizer.step(&Step::new()).unwrap();
    for (param, grad, n) in &lent {
        assert_eq!(read(&gpu, param), vec![0.75; *n]);
        assert_eq!(read(&gpu, grad), vec![0.25; *n]);
    }
}

#[test]
fn dispatches_depend_on_the_buffers_and_not_on_the_tensors() {
    let gpu = gpu();
    let (params, grads) =
        (buffer(&gpu, &[1.0; 4096], STORAGE), buffer(&gpu, &[0.5; 4096], STORAGE));
    let dispatches = |tensors: u64| {
        let len = 4096 / tensors;
        let lent: Vec<_> = (0..tensors)
            .map(|i| {
                let range = |buffer| BufferRange::new(buffer, i * len * 4, len);
                tensor(&format!("t{i}"), range(&params), range(&grads))
            })
            .collect();
        Optimizer::borrowed(&gpu, &sgd(), &lent).unwrap().dispatches()
    };
    assert_eq!([dispatches(1), dispatches(4), dispatches(256)], [2; 3]);
}

/// A parameter and a gradient far apart in one buffer, beyond one binding: bound apart.
fn far_apart(gpu: &Gpu, len: usize, gap: usize) -> Vec<f32> {
    let mut rng = Rng(5);
    let mut contents = rng.values(len, 1.0);
    contents.resize(len + gap, 9.0);
    contents.extend(rng.values(len, 0.1));
    let lent = buffer(gpu, &contents, STORAGE);
    let range = |at: usize| BufferRange::new(&lent, at as u64 * 4, len as u64);
    let tensors = [tensor("t", range(0), range(len + gap))];
    let groups = [Group::new("all", AdamW::default())];
    let mut optimizer = Optimizer::borrowed(gpu, &groups, &tensors).unwrap();
    optimizer.step(&Step::new()).unwrap();
    optimizer.step(&Step::new()).unwrap();
    read(gpu, &lent)
}

#[test]
fn windows_of_one_buffer_change_no_value() {
    // In the tiny device a binding has 64 KiB: the tensor alone needs several windows, and the
    // gradient lies beyond the parameter's.
    let (whole, cut) = (far_apart(&gpu(), 40_009, 3), far_apart(&tiny_gpu(), 40_009, 3));
    // One kernel reads the gradient through the parameter's binding and the other does not; WGSL
    // lets each contract its arithmetic in its own way.
    let farthest = whole.iter().zip(&cut).map(|(a, b)| ulp::distance(*a, *b)).max();
    assert!(farthest <= Some(2), "{farthest:?} ulp apart");
    assert_eq!(whole[40_009..40_012], [9.0; 3]);
}

#[test]
fn a_gradient_that_moves_is_found_and_the_state_stays() {
    let gpu = gpu();
    let grad = Rng(2).values(1000, 0.1);
    let run = |moving: bool| {
        let param = buffer(&gpu, &[1.0; 1000], STORAGE);
        let lend = |padding: usize| {
            let contents: Vec<f32> = vec![0.0; padding].into_iter().chain(grad.clone()).collect();
            let lent = buffer(&gpu, &contents, STORAGE);
            let range = BufferRange::new(&lent, padding as u64 * 4, 1000);
            [tensor("t", BufferRange::new(&param, 0, 1000), range)]
        };
        let groups = [Group::new("all", Lion::default())];
        let mut optimizer = Optimizer::borrowed(&gpu, &groups, &lend(0)).unwrap();
        for step in 0..4 {
            if moving {
                optimizer.rebind(&lend(step * 4)).unwrap();
            }
            optimizer.step(&Step::new()).unwrap();
        }
        assert_eq!(optimizer.read_steps().unwrap(), [4]);
        read(&gpu, &param)
    };
    assert_eq!(bits(&run(false)), bits(&run(true)));
}

#[test]
fn recorded_steps_keep_the_places_that_they_were_recorded_with() {
    let gpu = gpu();
    let (param, first, second) = (
        buffer(&gpu, &[0.0; 4], STORAGE),
        buffer(&gpu, &[1.0; 4], STORAGE),
        buffer(&gpu, &[9.0, 9.0, 9.0, 9.0, 16.0, 16.0, 16.0, 16.0], STORAGE),
    );
    let lend = |grad: &wgpu::Buffer, offset| {
        [tensor("t", BufferRange::new(&param, 0, 4), BufferRange::new(grad, offset, 4))]
    };
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &lend(&first, 0)).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    optimizer.encode_step(&mut encoder, &Step::new()).unwrap();
    optimizer.rebind(&lend(&second, 16)).unwrap();
    optimizer.encode_step(&mut encoder, &Step::new()).unwrap();
    gpu.queue().submit([encoder.finish()]);
    assert_eq!(read(&gpu, &param), [-17.0; 4]);
}

#[test]
fn a_first_step_without_gradient_reads_and_writes_nothing_elsewhere() {
    let gpu = tiny_gpu();
    let lent = buffer(&gpu, &vec![2.0; 100_000], STORAGE);
    let at = |elems: u64| BufferRange::new(&lent, elems * 4, 1000);
    // Far into the buffer, so that the windows of the dispatch do not begin at its beginning.
    let tensors = [tensor("t", at(80_000), at(90_000))];
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    let all = [optimizer.id("t").unwrap()];
    optimizer.step(&Step::new().without_grad(&all)).unwrap();
    assert!(read(&gpu, &lent) == vec![2.0; 100_000]);
    assert_eq!(optimizer.read_steps().unwrap(), [0]);
    optimizer.step(&Step::new()).unwrap();
    let changed = read(&gpu, &lent).iter().filter(|value| **value == 0.0).count();
    assert_eq!(changed, 1000);
}

#[test]
fn webgpus_default_limits_suffice() {
    // 256-byte alignment of bindings; parameters and gradients of 40 MiB each in one buffer.
    let gpu = webgpu_default_gpu();
    let limits = gpu.device().limits();
    assert_eq!(limits.min_storage_buffer_offset_alignment, 256);
    assert!(limits.max_storage_buffer_binding_size <= 128 << 20);
    let len = 10 << 20;
    let mut contents = vec![1.0; 2 * len];
    contents[len..].fill(0.25);
    let lent = buffer(&gpu, &contents, STORAGE);
    let range = |at: usize| BufferRange::new(&lent, at as u64 * 4, len as u64 - 5);
    let tensors = [tensor("t", range(4), range(len + 4))];
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let after = read(&gpu, &lent);
    assert!(after[4..len - 1].iter().all(|value| *value == 0.75));
    assert!(after[..4].iter().chain(&after[len - 1..len]).all(|value| *value == 1.0));
    assert!(after[len..].iter().all(|value| *value == 0.25));
}

#[test]
fn two_tensors_may_have_the_same_gradient() {
    let gpu = gpu();
    let (params, grad) = (buffer(&gpu, &[1.0; 16], STORAGE), buffer(&gpu, &[0.5; 8], STORAGE));
    let at = |offset| BufferRange::new(&params, offset, 8);
    let shared = BufferRange::new(&grad, 0, 8);
    let tensors = [tensor("a", at(0), shared.clone()), tensor("b", at(32), shared)];
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(read(&gpu, &params), [0.5; 16]);
}
