//! What rules want summed over whole tensors: as exact as f32 can be, wherever tensors lie.

use fallline::{
    BorrowedTensor, BufferRange, Gpu, Group, Lamb, Optimizer, StateFormat, Step, TensorId,
    TensorSpec, wgpu,
};
use fallline_reference as reference;

use crate::common::{Rng, bits, buffer, gpu, tiny_gpu};

const LEN: usize = 1_500_003;

fn numbers(len: usize) -> (Vec<f32>, Vec<f32>) {
    let mut rng = Rng(5);
    (rng.values(len, 0.02), rng.values(len, 1e-3))
}

fn group(state: StateFormat) -> [Group; 1] {
    [Group::new("all", Lamb::new().lr(0.01).weight_decay(0.1)).state(state)]
}

/// Parameters after three steps; tensors around the large one, which is the second.
fn trained(gpu: &Gpu, len: usize, state: StateFormat, borrowed: bool) -> Vec<Vec<f32>> {
    let lens = [5, len, 300];
    let specs = lens.map(|len| TensorSpec::new(format!("t{len}"), [len]));
    let usage = wgpu::BufferUsages::STORAGE;
    let mut optimizer = if borrowed {
        let lent = |spec: &TensorSpec| {
            let len = spec.shape[0];
            let buffers = [0, 1].map(|_| buffer(gpu, &vec![0.0; len.next_multiple_of(4)], usage));
            let [param, grad] = buffers.map(|b| BufferRange::new(&b, 0, len as u64));
            BorrowedTensor { spec: spec.clone(), param, grad: Some(grad) }
        };
        Optimizer::borrowed(gpu, &group(state), &specs.each_ref().map(lent)).unwrap()
    } else {
        Optimizer::arena(gpu, &group(state), &specs).unwrap()
    };
    let (params, grads) = numbers(len);
    for (index, len) in lens.into_iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &params[..len]).unwrap();
        optimizer.write_grad(TensorId::new(index), &grads[..len]).unwrap();
    }
    for _ in 0..3 {
        optimizer.step(&Step::new()).unwrap();
    }
    (0..3).map(|index| optimizer.read_param(TensorId::new(index)).unwrap()).collect()
}

#[test]
fn a_trust_ratio_of_a_million_elements_is_within_a_millionth() {
    let found = trained(&gpu(), LEN, StateFormat::F32, false);
    let (params, grads) = numbers(LEN);
    let options = serde_json::json!({ "weight_decay": 0.1 });
    let lamb = reference::rule("lamb", &options);
    let widened = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let mut oracle = reference::Tensor::<f64>::new(&*lamb, widened(&params));
    for _ in 0..3 {
        oracle.step(&*lamb, 0.01, &widened(&grads));
    }
    // The whole way, projected on the exact one: what single elements round cancels out.
    let (mut along, mut exact) = (0.0, 0.0);
    for ((found, oracle), start) in found[1].iter().zip(&oracle.param).zip(&params) {
        let way = oracle - f64::from(*start);
        along += (f64::from(*found) - f64::from(*start)) * way;
        exact += way * way;
    }
    assert!((along / exact - 1.0).abs() < 1e-6, "{:e}", along / exact - 1.0);
}

#[test]
fn sums_do_not_depend_on_where_tensors_lie() {
    for state in [StateFormat::F32, StateFormat::Int8] {
        let expected = trained(&gpu(), 100_003, state, false);
        for (name, found) in [
            ("borrowed", trained(&gpu(), 100_003, state, true)),
            ("small windows", trained(&tiny_gpu(), 100_003, state, true)),
        ] {
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(bits(found), bits(expected), "{state} {name}");
            }
        }
    }
}
