//! Places as an argument of the step: gradients that move, come and go, in the places that each step was
//! recorded with.

#![allow(clippy::cast_possible_truncation, reason = "indices of test tensors are small")]

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Error, Gpu, Group, Optimizer, Options, Places,
    Precision, Sgd, StateFormat, Step, TensorId, TensorSpec,
    wgpu::{self, Buffer, BufferUsages},
};

use crate::common::{self, Rng, bits, buffer, gpu, read, tiny_gpu};

const USAGE: BufferUsages = BufferUsages::STORAGE;
const LENGTHS: [usize; 7] = [1, 255, 256, 1021, 4096, 20_001, 40_009];

/// The tensors' gradients of one step, somewhere in some buffers: every other byte is NaN.
fn somewhere(gpu: &Gpu, grads: &[Vec<f32>], rng: &mut Rng) -> Vec<Option<BufferRange>> {
    let buffers = 1 + rng.next_u64() as usize % 4;
    let mut contents = vec![vec![f32::NAN; 4 * (rng.next_u64() as usize % 50)]; buffers];
    let mut at = Vec::new();
    for grad in grads {
        let number = rng.next_u64() as usize % buffers;
        let into = &mut contents[number];
        at.push((number, into.len(), grad.len()));
        into.extend(grad);
        into.resize((into.len() + rng.next_u64() as usize % 30).next_multiple_of(4), f32::NAN);
    }
    let buffers: Vec<Buffer> = contents
        .iter()
        .map(|c| buffer(gpu, if c.is_empty() { &[0.0; 4] } else { c }, USAGE))
        .collect();
    let range = |(number, at, len): (usize, usize, usize)| {
        Some(BufferRange::new(&buffers[number], at as u64 * 4, len as u64))
    };
    at.into_iter().map(range).collect()
}

fn lent(
    gpu: &Gpu,
    grads: &[Option<BufferRange>],
    spec: impl Fn(TensorSpec) -> TensorSpec,
) -> Vec<BorrowedTensor> {
    let tensor = |(index, grad): (usize, &Option<BufferRange>)| {
        let len = LENGTHS[index];
        let param = buffer(gpu, &vec![1.0; len], USAGE);
        BorrowedTensor {
            spec: spec(TensorSpec::new(format!("t{index}"), [len])),
            param: BufferRange::new(&param, 0, len as u64),
            grad: grad.clone(),
        }
    };
    grads.iter().enumerate().map(tensor).collect()
}

/// Parameters and norms after some steps, in the arena or wherever gradients lie.
fn trained(gpu: &Gpu, group: &Group, moving: bool) -> (Vec<Vec<u32>>, Vec<u32>) {
    let (mut rng, mut chance) = (Rng(7), Rng(8));
    let options = Options { max_norm: Some(1.0), ..Options::default() };
    let groups = [group.clone()];
    let specs: Vec<_> = common::specs(&LENGTHS);
    let mut grads = || LENGTHS.map(|len| rng.values(len, 0.1)).to_vec();
    let mut norms = Vec::new();
    let mut optimizer = if moving {
        let places = somewhere(gpu, &grads(), &mut chance);
        Optimizer::borrowed_with(gpu, &groups, &lent(gpu, &places, |s| s), &options).unwrap()
    } else {
        grads();
        Optimizer::arena_with(gpu, &groups, &specs, &options).unwrap()
    };
    for (index, len) in LENGTHS.into_iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &vec![1.0; len]).unwrap();
    }
    for _ in 0..6 {
        let grads = grads();
        if moving {
            let places = somewhere(gpu, &grads, &mut chance);
            let mut encoder = gpu.device().create_command_encoder(&<_>::default());
            let at = Places::of_grads(&places);
            optimizer.encode_step_at(&mut encoder, &Step::new(), &at).unwrap();
            gpu.queue().submit([encoder.finish()]);
        } else {
            common::write_grads(&optimizer, &grads);
            optimizer.step(&Step::new()).unwrap();
        }
        norms.extend(optimizer.wait_reports().unwrap().iter().map(|report| report.norm.to_bits()));
    }
    let params = (0..LENGTHS.len()).map(|i| bits(&optimizer.read_param(TensorId::new(i)).unwrap()));
    (params.collect(), norms)
}

#[test]
fn gradients_that_move_in_every_step_give_the_bits_of_the_arena() {
    for gpu in [gpu(), tiny_gpu()] {
        for state in [StateFormat::F32, StateFormat::Int8, StateFormat::Companded] {
            let group = Group::new("all", AdamW::new().lr(1e-2)).state(state);
            let (params, norms) = trained(&gpu, &group, true);
            let (expected, expected_norms) = trained(&gpu, &group, false);
            // Rows are cut by tensor, and so norms do not depend on where gradients lie.
            assert_eq!(norms, expected_norms, "{state}");
            // Two kernels: WGSL lets each contract its arithmetic in its own way; the drivers tried do not.
            assert!(params == expected, "{state}");
        }
    }
}

fn sgd() -> [Group; 1] {
    [Group::new("all", Sgd::new().lr(1.0))]
}

#[test]
fn a_gradient_may_be_absent_and_come_back() {
    let gpu = gpu();
    let grads = LENGTHS.map(|len| vec![1.0; len]).to_vec();
    let mut places = somewhere(&gpu, &grads, &mut Rng(1));
    let first = places.clone();
    places[3] = None;
    let options = Options { max_norm: Some(f64::INFINITY), ..Options::default() };
    let tensors = lent(&gpu, &places, |spec| spec);
    let mut optimizer = Optimizer::borrowed_with(&gpu, &sgd(), &tensors, &options).unwrap();
    let elems = |without: usize| LENGTHS.iter().sum::<usize>() - LENGTHS[without];
    let mut step_at = |places: &[Option<BufferRange>]| {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(places)).unwrap();
        gpu.queue().submit([encoder.finish()]);
        let norm = optimizer.wait_reports().unwrap()[0].norm;
        (norm, optimizer.read_steps().unwrap())
    };
    let close = |found: f32, elems: usize| {
        let expected = (elems as f64).sqrt();
        assert!((f64::from(found) - expected).abs() < 1e-6 * expected, "{found} {expected}");
    };
    let (norm, steps) = step_at(&places);
    close(norm, elems(3));
    assert_eq!(steps, [1, 1, 1, 0, 1, 1, 1]);
    let (norm, steps) = step_at(&first);
    close(norm, LENGTHS.iter().sum());
    assert_eq!(steps, [2, 2, 2, 1, 2, 2, 2]);
    places[3].clone_from(&first[3]);
    places[6] = None;
    let (norm, steps) = step_at(&places);
    close(norm, elems(6));
    assert_eq!(steps, [3, 3, 3, 2, 3, 3, 2]);
    let param = read(&gpu, &tensors[3].param.buffer);
    assert!(param.iter().all(|value| *value == -1.0));
}

/// What tiles are is written anew only where it changed.
#[test]
fn tensors_that_move_together_take_no_dispatch_more() {
    let gpu = gpu();
    let grads = LENGTHS.map(|len| vec![1.0; len]).to_vec();
    let in_one = |behind: u64| -> Vec<_> {
        let len = LENGTHS.iter().map(|len| len.next_multiple_of(4)).sum::<usize>() as u64;
        let all = buffer(&gpu, &vec![1.0; (len + behind) as usize], USAGE);
        let mut offset = 4 * behind;
        let place = |len: &usize| {
            let range = BufferRange::new(&all, offset, *len as u64);
            offset += 4 * len.next_multiple_of(4) as u64;
            Some(range)
        };
        LENGTHS.iter().map(place).collect()
    };
    let places = in_one(0);
    let params: Vec<BufferRange> = in_one(0).into_iter().flatten().collect();
    let mut tensors = lent(&gpu, &places, |spec| spec);
    for (tensor, param) in tensors.iter_mut().zip(&params) {
        tensor.param = param.clone();
    }
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    let dispatches = optimizer.dispatches();
    let mut step_at = |grads: &[Option<BufferRange>]| {
        optimizer.place(&Places { params: Some(&params), grads }).unwrap();
        optimizer.step(&Step::new()).unwrap();
        optimizer.dispatches()
    };
    // Elsewhere in a buffer as large, in another one, and where it was.
    for places in [in_one(0), in_one(400), places.clone()] {
        assert_eq!(step_at(&places), dispatches);
    }
    // In an order that has other tensors in other dispatches.
    let mut apart = somewhere(&gpu, &grads, &mut Rng(3));
    apart[0].clone_from(&places[0]);
    assert!(step_at(&apart) > dispatches);
    // Gradients were 1 in each.
    for step in [in_one(40), apart, places] {
        step_at(&step);
    }
    for (index, len) in LENGTHS.into_iter().enumerate() {
        let param = optimizer.read_param(TensorId::new(index)).unwrap();
        assert_eq!(param, vec![-6.0; len], "{index}");
    }
}

#[test]
fn parameters_move_too_and_steps_keep_the_places_they_were_recorded_with() {
    let gpu = gpu();
    let tensors = [BorrowedTensor {
        spec: TensorSpec::new("t", [4]),
        param: BufferRange::new(&buffer(&gpu, &[0.0; 4], USAGE), 0, 4),
        grad: None,
    }];
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    let params: Vec<Buffer> = (0..12).map(|n| buffer(&gpu, &[n as f32; 8], USAGE)).collect();
    let grads = buffer(&gpu, &(0..48).map(|n| (1 << (n / 4)) as f32).collect::<Vec<_>>(), USAGE);
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    for (n, param) in params.iter().enumerate() {
        let at = [BufferRange::new(param, 16 * (n as u64 % 2), 4)];
        let grad = [Some(BufferRange::new(&grads, 16 * n as u64, 4))];
        let places = Places { params: Some(&at), grads: &grad };
        optimizer.encode_step_at(&mut encoder, &Step::new(), &places).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    for (n, param) in params.iter().enumerate() {
        let (moved, kept) = (n as f32 - (1 << n) as f32, n as f32);
        let expected = if n % 2 == 0 { [moved, kept] } else { [kept, moved] };
        assert_eq!(read(&gpu, param), [[expected[0]; 4], [expected[1]; 4]].concat(), "{n}");
    }
}

/// A runtime that hands out the memory of a gradient for a new parameter.
#[test]
fn tensors_may_be_added_where_a_gradient_lay() {
    let gpu = gpu();
    let memory = buffer(&gpu, &[1.0; 12], USAGE);
    let at = |vec4: u64| BufferRange::new(&memory, 16 * vec4, 4);
    let lent = |name: &str, param, grad| BorrowedTensor {
        spec: TensorSpec::new(name, [4]),
        param: at(param),
        grad: Some(at(grad)),
    };
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &[lent("first", 0, 1)]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    let second = lent("second", 1, 2);
    let refused = optimizer.add_borrowed(std::slice::from_ref(&second)).unwrap_err();
    assert!(matches!(refused, Error::Overlap { .. }), "{refused}");

    optimizer.place(&Places::of_grads(&[None])).unwrap();
    optimizer.add_borrowed(&[second]).unwrap();
    optimizer.step(&Step::new()).unwrap();
    // The first has no gradient, until a step says where it lies.
    assert_eq!(read(&gpu, &memory), [[0.0; 4], [0.0; 4], [1.0; 4]].concat());
    assert_eq!(optimizer.read_steps().unwrap(), [1, 1]);
}

#[test]
fn a_step_that_is_dropped_leaves_no_table_behind() {
    let gpu = gpu();
    let grads = LENGTHS.map(|len| vec![1.0; len]).to_vec();
    let mut chance = Rng(4);
    let (a, b) = (somewhere(&gpu, &grads, &mut chance), somewhere(&gpu, &grads, &mut chance));
    let tensors = lent(&gpu, &a, |spec| spec);
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    let mut encode = |places: &[Option<BufferRange>]| {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(places)).unwrap();
        encoder.finish()
    };
    // Recorded as b, a, b; submitted as the third, the second.
    let (_, second, third) = (encode(&b), encode(&a), encode(&b));
    gpu.queue().submit([third]);
    gpu.queue().submit([second]);
    for tensor in &tensors {
        let param = read(&gpu, &tensor.param.buffer);
        assert!(param.iter().all(|value| *value == -1.0), "{}", tensor.spec.name);
    }
}

#[test]
fn bind_groups_and_buffers_are_given_up_when_no_step_uses_them() {
    let gpu = gpu();
    let pools: Vec<Buffer> = (0..50).map(|_| buffer(&gpu, &[0.5; 600], USAGE)).collect();
    let at = |pool: &Buffer| -> Vec<Option<BufferRange>> {
        (0..2).map(|i| Some(BufferRange::new(pool, i * 1200, 300))).collect()
    };
    let params = buffer(&gpu, &[0.0; 600], USAGE);
    let options = Options { max_norm: Some(1.0), ..Options::default() };
    let tensor = |(i, grad): (u64, &Option<BufferRange>)| BorrowedTensor {
        spec: TensorSpec::new(format!("t{i}"), [300]),
        param: BufferRange::new(&params, i * 1200, 300),
        grad: grad.clone(),
    };
    let tensors: Vec<_> = (0..).zip(&at(&pools[0])).map(tensor).collect();
    let mut optimizer = Optimizer::borrowed_with(&gpu, &sgd(), &tensors, &options).unwrap();
    let mut kept = Vec::new();
    let step_at = |optimizer: &mut Optimizer, pool: &Buffer| {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(&at(pool))).unwrap();
        gpu.queue().submit([encoder.finish()]);
    };
    for step in 0..1000 {
        step_at(&mut optimizer, &pools[step % 50]);
        kept.push(optimizer.kept_for_places());
    }
    assert!(kept[20..].iter().all(|now| *now == kept[20]), "{:?} {:?}", kept[20], kept[999]);
    // Updates and rows of nine steps; parameters and nine pools.
    assert!(kept[999].0 <= 20 && kept[999].1 <= 10, "{:?}", kept[999]);
    // Nine steps elsewhere, moving or not, and the optimizer holds no other pool.
    for moves in [true, false] {
        for step in 0..9 {
            step_at(&mut optimizer, &pools[if moves { 10 + step % 2 } else { 3 }]);
        }
        assert!(optimizer.kept_for_places().1 <= 3, "{:?}", optimizer.kept_for_places());
    }
}

/// Gradients of one buffer in the beginning, and each in a buffer of its own: one dispatch first, then one
/// for each gradient.
struct Crowd {
    params: Buffer,
    optimizer: Optimizer,
    together: Vec<Option<BufferRange>>,
    own: Vec<Option<BufferRange>>,
}

fn crowd(gpu: &Gpu, max_norm: f64) -> Crowd {
    let count = 300u64;
    let pool = buffer(gpu, &vec![1.0; 4 * count as usize], USAGE);
    let params = buffer(gpu, &vec![0.0; 4 * count as usize], USAGE);
    let tensors: Vec<_> = (0..count)
        .map(|i| BorrowedTensor {
            spec: TensorSpec::new(format!("t{i}"), [4]),
            param: BufferRange::new(&params, i * 16, 4),
            grad: Some(BufferRange::new(&pool, i * 16, 4)),
        })
        .collect();
    let options = Options { max_norm: Some(max_norm), ..Options::default() };
    let optimizer = Optimizer::borrowed_with(gpu, &sgd(), &tensors, &options).unwrap();
    let own =
        (0..count).map(|_| Some(BufferRange::new(&buffer(gpu, &[2.0; 4], USAGE), 0, 4))).collect();
    let together = tensors.iter().map(|tensor| tensor.grad.clone()).collect();
    Crowd { params, optimizer, together, own }
}

#[test]
fn places_that_need_more_room_than_those_of_the_beginning_get_it() {
    let gpu = gpu();
    let Crowd { params, mut optimizer, together, own } = crowd(&gpu, f64::INFINITY);
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    for places in [&together, &own, &together, &own] {
        optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(places)).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    assert!(read(&gpu, &params).iter().all(|value| *value == -6.0));
}

#[test]
fn a_second_half_is_that_of_its_first_though_a_step_between_needed_more_room() {
    let gpu = gpu();
    // 1200 ones have a norm of 34.6; the sums that are given say 4 times that much, twice what is permitted.
    let Crowd { params, mut optimizer, own, .. } = crowd(&gpu, 2.0 * 1200f64.sqrt());
    // The first place in the ring begins where it began, whatever the room; so it is taken.
    let mut dropped = gpu.device().create_command_encoder(&<_>::default());
    optimizer.encode_step(&mut dropped, &Step::new()).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    let measured = optimizer.encode_measure(&mut encoder, &Step::new()).unwrap();
    gpu.queue().submit([encoder.finish()]);
    let one = optimizer.read_sums().unwrap();
    let mut sums = one.clone();
    for _ in 1..16 {
        sums.add(&one).unwrap();
    }
    optimizer.encode_step_at(&mut dropped, &Step::new(), &Places::of_grads(&own)).unwrap();
    drop(dropped);
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    optimizer.encode_update(&mut encoder, measured, &sums).unwrap();
    gpu.queue().submit([encoder.finish()]);
    assert!(read(&gpu, &params).iter().all(|value| (value + 0.5).abs() < 1e-5));
}

#[test]
fn what_is_wrong_with_places_is_named_and_changes_nothing() {
    let gpu = gpu();
    let grads = LENGTHS.map(|len| vec![1.0; len]).to_vec();
    let places = somewhere(&gpu, &grads, &mut Rng(2));
    let tensors = lent(&gpu, &places, |spec| spec.dtype(Dtype::F32).precision(Precision::Nearest));
    let mut optimizer = Optimizer::borrowed(&gpu, &sgd(), &tensors).unwrap();
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    let mut says = |places: &Places<'_>, expected: &str| {
        let error = optimizer.encode_step_at(&mut encoder, &Step::new(), places).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    says(&Places::of_grads(&places[1..]), "7 gradients have places, one for each tensor, found 6");
    says(
        &Places { params: Some(&[]), grads: &places },
        "7 parameters have places, one for each tensor, found 0",
    );
    let mut wrong = places.clone();
    wrong[2].as_mut().unwrap().len_elems = 3;
    says(&Places::of_grads(&wrong), "tensor 't2': the gradient must have 256 elements, found 3");
    wrong[2] = Some(tensors[4].param.clone());
    wrong[2].as_mut().unwrap().len_elems = 256;
    says(
        &Places::of_grads(&wrong),
        "the parameter of tensor 't4' overlaps the gradient of tensor 't2'",
    );
    wrong[2] = Some(BufferRange::new(&buffer(&gpu, &[0.0; 256], BufferUsages::VERTEX), 0, 256));
    let error = optimizer
        .encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(&wrong))
        .unwrap_err();
    assert!(matches!(error, Error::BufferUsage { .. }), "{error}");
    drop(encoder);
    optimizer.step(&Step::new()).unwrap();
    for tensor in &tensors {
        assert!(read(&gpu, &tensor.param.buffer).iter().all(|value| *value == 0.0));
    }
    let mut arena = Optimizer::arena(&gpu, &sgd(), &[]).unwrap();
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let error = arena.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(&[]));
    assert!(matches!(error.unwrap_err(), Error::NotBorrowed));
}

#[test]
fn rates_may_be_given_for_each_tensor() {
    let gpu = gpu();
    let mut optimizer = Optimizer::arena(&gpu, &sgd(), &common::specs(&[3, 2, 1])).unwrap();
    common::write_grads(&optimizer, &[vec![1.0; 3], vec![1.0; 2], vec![1.0]]);
    optimizer.step(&Step::lr_per_tensor(&[0.5, 0.0, 4.0])).unwrap();
    let params: Vec<f32> =
        (0..3).map(|i| optimizer.read_param(TensorId::new(i)).unwrap()[0]).collect();
    assert_eq!(params, [-0.5, 0.0, -4.0]);
    let error = optimizer.step(&Step::lr_per_tensor(&[0.5])).unwrap_err();
    assert_eq!(error.to_string(), "3 learning rates are needed, one for each tensor, found 1");
}

#[test]
fn more_steps_than_the_ring_has_entries_may_be_under_way() {
    let gpu = gpu();
    let mut optimizer = Optimizer::arena(&gpu, &sgd(), &common::specs(&[1])).unwrap();
    common::write_grads(&optimizer, &[vec![1.0]]);
    // Held back in an encoder of the caller's: all entries but one.
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    for _ in 0..63 {
        optimizer.encode_step(&mut encoder, &Step::new()).unwrap();
    }
    for rate in 0..200 {
        optimizer.step(&Step::lr(f64::from(rate))).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);
    assert_eq!(optimizer.read_param(TensorId::new(0)).unwrap(), [-19_963.0]);
}
