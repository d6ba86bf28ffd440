//! Gradients set to zero in the step's own pass.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Error, Group, Optimizer, Options, Sgd, Step, TensorId,
    TensorSpec, wgpu,
};

use crate::common::{buffer, gpu, read, specs};

fn sgd(name: &str) -> Group {
    Group::new(name, Sgd::new().lr(1.0))
}

#[test]
fn those_without_gradient_keep_what_lies_there() {
    let mut optimizer = Optimizer::arena(&gpu(), &[sgd("all")], &specs(&[4, 4])).unwrap();
    for index in 0..2 {
        optimizer.write_grad(TensorId::new(index), &[1.0; 4]).unwrap();
    }
    optimizer.step(&Step::new().zero_grads().without_grad(&[TensorId::new(0)])).unwrap();
    assert_eq!(optimizer.read_grad(TensorId::new(0)).unwrap(), [1.0; 4]);
    assert_eq!(optimizer.read_grad(TensorId::new(1)).unwrap(), [0.0; 4]);
    assert_eq!(optimizer.read_param(TensorId::new(1)).unwrap(), [-1.0; 4]);
}

#[test]
fn a_skipped_step_zeroes_borrowed_gradients_too() {
    let gpu = gpu();
    // 301 elements: whole vec4s, and an end that is none.
    let mut contents = vec![7.0; 700];
    contents[4..305].fill(1.0);
    contents[304] = f32::NAN;
    let lent = buffer(&gpu, &contents, wgpu::BufferUsages::STORAGE);
    let range = |at: u64| BufferRange::new(&lent, at * 4, 301);
    let spec = TensorSpec::new("t", [301]);
    let tensor = BorrowedTensor { spec, param: range(308), grad: Some(range(4)) };
    let options = Options { skip_non_finite: true, ..Options::default() };
    let mut optimizer = Optimizer::borrowed_with(&gpu, &[sgd("all")], &[tensor], &options).unwrap();
    optimizer.step(&Step::new().zero_grads()).unwrap();
    assert!(optimizer.wait_reports().unwrap()[0].skipped);
    contents[4..305].fill(0.0);
    assert_eq!(read(&gpu, &lent), contents);
}

#[test]
fn a_gradient_of_two_tensors_cannot_be_zeroed() {
    let gpu = gpu();
    let usage = wgpu::BufferUsages::STORAGE;
    let params = buffer(&gpu, &[0.0; 512], usage);
    let grads = buffer(&gpu, &[1.0; 256], usage);
    let tensor = |name: &str, at| BorrowedTensor {
        spec: TensorSpec::new(name, [128]).in_group(name),
        param: BufferRange::new(&params, at, 128),
        grad: Some(BufferRange::new(&grads, at / 4, 128)),
    };
    let groups = [sgd("a"), Group::new("b", AdamW::default())];
    let shared = [tensor("a", 0), tensor("b", 1024)];
    let mut optimizer = Optimizer::borrowed(&gpu, &groups, &shared).unwrap();
    let error = optimizer.step(&Step::new().zero_grads()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gradients cannot be set to zero in the step: tensors 'a' and 'b' share theirs"
    );
    assert_eq!(optimizer.read_steps().unwrap(), [0, 0]);
    optimizer.step(&Step::new()).unwrap();
    assert_eq!(optimizer.read_steps().unwrap(), [1, 1]);
    // Once they lie apart, they can.
    let mut apart = shared.clone();
    apart[1].grad.as_mut().unwrap().offset = 512;
    optimizer.rebind(&apart).unwrap();
    optimizer.step(&Step::new().zero_grads()).unwrap();
    assert_eq!(read(&gpu, &grads), [0.0; 256]);
    let error = {
        optimizer.rebind(&shared).unwrap();
        optimizer.step(&Step::new().zero_grads())
    };
    assert!(matches!(error, Err(Error::SharedGrad { .. })));
}
