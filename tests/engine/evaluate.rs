//! Averages in the place of parameters for an evaluation, and parameters back to the bit.

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, Error, Gpu, Group, Lookahead, Mode, Optimizer,
    OutOfRange, Precision, Rule, Saved, Sgd, Slot, Source, StateFormat, Step, Swa, TensorId,
    TensorSpec, wgpu::BufferUsages,
};

use crate::common::{Rng, bits, buffer, gpu, read_bytes, submit, tiny_gpu};

const LENS: [usize; 4] = [1, 4097, 0, 1022];

fn group(state: StateFormat) -> Group {
    let group = Group::new("all", AdamW::new().lr(0.02)).state(state).min_state_elems(0);
    group.ema_decay(0.7).lookahead(Lookahead::new(2, 0.5))
}

fn specs(dtype: Dtype, precision: Precision) -> Vec<TensorSpec> {
    let spec = |len: usize| TensorSpec::new(format!("t{len}"), [len]);
    LENS.map(|len| spec(len).dtype(dtype).grad_dtype(Dtype::F32).precision(precision)).to_vec()
}

fn ids() -> impl Iterator<Item = TensorId> {
    (0..LENS.len()).map(TensorId::new)
}

fn begin(optimizer: &Optimizer) {
    let mut rng = Rng(1);
    for (id, len) in ids().zip(LENS) {
        optimizer.write_param(id, &rng.values(len, 1.0)).unwrap();
    }
}

fn step(optimizer: &mut Optimizer, number: u64) {
    let mut rng = Rng(2 + number);
    for (id, len) in ids().zip(LENS) {
        optimizer.write_grad(id, &rng.values(len, 0.1)).unwrap();
    }
    optimizer.step(&Step::new()).unwrap();
}

/// Everything of every tensor: the parameter, with what is kept of it, state.
fn all(optimizer: &Optimizer) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    for id in ids() {
        all.push(bits(&optimizer.read_param(id).unwrap()));
        all.push(bits(&optimizer.read_master(id).unwrap()));
        for slot in optimizer.slots(id).unwrap() {
            all.push(bits(&optimizer.read_state(id, slot.name).unwrap()));
        }
    }
    all
}

/// Every format of parameters in every precision that it can have.
fn formats() -> Vec<(Dtype, Precision)> {
    let mut formats = Vec::new();
    for &precision in Precision::ALL {
        formats.extend(precision.dtypes().iter().map(|dtype| (*dtype, precision)));
    }
    formats
}

/// What averages are as parameters.
fn rounded(gpu: &Gpu, dtype: Dtype, optimizer: &Optimizer) -> Vec<Vec<u32>> {
    let plain = [Group::new("all", Sgd::new())];
    let other = Optimizer::arena(gpu, &plain, &specs(dtype, Precision::Nearest)).unwrap();
    let round = |id| {
        other.write_param(id, &optimizer.read_state(id, "average").unwrap()).unwrap();
        bits(&other.read_param(id).unwrap())
    };
    ids().map(round).collect()
}

/// The entries in which two saves differ.
fn differ(a: &Saved, b: &Saved) -> Vec<String> {
    let entries = a.entries.iter().zip(&b.entries).zip(a.bytes.iter().zip(&b.bytes));
    let differ = entries.filter(|((a, b), (bytes, others))| a != b || bytes != others);
    differ.map(|((entry, _), _)| entry.to_string()).collect()
}

/// Trains two alike, evaluates one of them between steps, and holds it against the other.
fn there_and_back(gpu: &Gpu, make: impl Fn() -> Optimizer, dtype: Dtype, what: &str) {
    let [mut plain, mut evaluated] = [make(), make()];
    begin(&plain);
    begin(&evaluated);
    for round in 0..3 {
        step(&mut plain, round);
        step(&mut evaluated, round);
        let before = all(&evaluated);
        assert_eq!(before, all(&plain), "{what}");

        // Master copies and remainders too, as they lie there.
        let mut saved = [Saved::default(), Saved::default()];
        evaluated.save(&mut saved[0]).unwrap();

        let read = |optimizer: &Optimizer| -> Vec<Vec<u32>> {
            ids().map(|id| bits(&optimizer.read_eval(id).unwrap())).collect()
        };
        let averages = read(&evaluated);
        assert_eq!(all(&evaluated), before, "{what}: reading puts nothing anywhere");
        evaluated.eval().unwrap();
        assert_eq!(read(&evaluated), averages, "{what}");
        let mut between = Saved::default();
        evaluated.save(&mut between).unwrap();
        assert_eq!(differ(&saved[0], &between), ["mode"], "{what}");
        assert_eq!(evaluated.mode(), Mode::Evaluate);
        assert_eq!(averages, rounded(gpu, dtype, &evaluated), "{what}");
        for (id, average) in ids().zip(&averages) {
            assert_eq!(bits(&evaluated.read_param(id).unwrap()), *average, "{what} {id:?}");
        }
        if round > 0 {
            assert_ne!(averages[1], before[5], "{what}: an average of itself");
        }
        // Once more is not once more.
        evaluated.eval().unwrap();
        evaluated.train().unwrap();
        assert_eq!(evaluated.mode(), Mode::Train);
        assert_eq!(all(&evaluated), before, "{what}");
        evaluated.train().unwrap();
        assert_eq!(all(&evaluated), before, "{what}");
        evaluated.save(&mut saved[1]).unwrap();
        assert!(saved[0] == saved[1], "{what}");
    }
    step(&mut plain, 9);
    step(&mut evaluated, 9);
    assert_eq!(all(&evaluated), all(&plain), "{what}");
}

#[test]
fn in_the_arena_in_every_format_and_precision() {
    for (dtype, precision) in formats() {
        for (gpu, state) in
            [(gpu(), StateFormat::F32), (gpu(), StateFormat::Int4), (tiny_gpu(), StateFormat::Int8)]
        {
            let make =
                || Optimizer::arena(&gpu, &[group(state)], &specs(dtype, precision)).unwrap();
            there_and_back(&gpu, make, dtype, &format!("{dtype} {precision} {state}"));
        }
    }
}

/// Parameters in one buffer, gradients among them or elsewhere; and what is between is not touched.
#[test]
fn in_borrowed_buffers_in_every_format_and_precision() {
    for (dtype, precision) in formats() {
        for (gpu, is_shared) in [(gpu(), false), (gpu(), true), (tiny_gpu(), false)] {
            let what = format!("{dtype} {precision} shared:{is_shared}");
            let make = || {
                let usage = BufferUsages::STORAGE;
                let params = buffer(&gpu, &[7.0; 16_384], usage);
                let grads =
                    if is_shared { params.clone() } else { buffer(&gpu, &[7.0; 16_384], usage) };
                let mut at = 0;
                let mut tensors = Vec::new();
                for (spec, len) in specs(dtype, precision).into_iter().zip(LENS) {
                    let param = BufferRange::new(&params, at, len as u64);
                    let grad = BufferRange::new(&grads, 32_768 + at, len as u64);
                    tensors.push(BorrowedTensor { spec, param, grad: Some(grad) });
                    at += (len as u64 * 4 + 64).next_multiple_of(16);
                }
                Optimizer::borrowed(&gpu, &[group(StateFormat::F32)], &tensors).unwrap()
            };
            there_and_back(&gpu, make, dtype, &what);

            let mut optimizer = make();
            begin(&optimizer);
            step(&mut optimizer, 0);
            step(&mut optimizer, 1);
            let param = optimizer.param(TensorId::new(1)).unwrap().buffer().clone();
            let before = read_bytes(&gpu, &param);
            for id in ids() {
                optimizer.read_eval(id).unwrap();
            }
            assert_eq!(read_bytes(&gpu, &param), before, "{what}");
            optimizer.eval().unwrap();
            let between = read_bytes(&gpu, &param);
            let is_outside = |at: &usize| {
                !ids().any(|id| {
                    let slice = optimizer.param(id).unwrap();
                    let bytes = LENS[id.index()] as u64 * dtype.size_bytes();
                    (slice.offset()..slice.offset() + bytes).contains(&(*at as u64))
                })
            };
            let outside: Vec<usize> = (0..before.len()).filter(is_outside).collect();
            assert!(outside.iter().all(|at| before[*at] == between[*at]), "{what}");
            assert!(before != between, "{what}");
            optimizer.train().unwrap();
            assert_eq!(read_bytes(&gpu, &param), before, "{what}");
        }
    }
}

#[test]
fn recorded_together_they_are_taken_in_turn() {
    let gpu = gpu();
    let dtype = Dtype::F32;
    let groups = [group(StateFormat::F32)];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &specs(dtype, Precision::Nearest)).unwrap();
    begin(&optimizer);
    step(&mut optimizer, 0);
    step(&mut optimizer, 1);
    let (id, before) = (TensorId::new(1), all(&optimizer));
    let averages = optimizer.read_state(id, "average").unwrap();
    let copy = buffer(&gpu, &vec![0.0; LENS[1]], BufferUsages::STORAGE);
    submit(&gpu, |encoder| {
        optimizer.encode_eval(encoder).unwrap();
        let param = optimizer.param(id).unwrap();
        let (buffer, offset) = (param.buffer().clone(), param.offset());
        encoder.copy_buffer_to_buffer(&buffer, offset, &copy, 0, copy.size());
        optimizer.encode_train(encoder).unwrap();
    });
    assert_eq!(bits(&crate::common::read(&gpu, &copy)), bits(&averages));
    assert_eq!(all(&optimizer), before);
}

#[test]
fn what_has_no_average_yet_stays() {
    let gpu = gpu();
    let groups = [
        Group::new("swa", Sgd::new().lr(1.0)).swa(Swa::new(2, 2)),
        Group::new("plain", Sgd::new().lr(1.0)),
    ];
    let spec = |name, group: &str| TensorSpec::new(name, [5]).in_group(group);
    let specs = [spec("early", "swa"), spec("late", "swa"), spec("plain", "plain")];
    let mut optimizer = Optimizer::arena(&gpu, &groups, &specs).unwrap();
    let ids = [0, 1, 2].map(TensorId::new);
    for id in ids {
        optimizer.write_grad(id, &[1.0; 5]).unwrap();
    }
    for number in 0..4 {
        let absent = if number < 3 { &ids[1..2] } else { &[] };
        optimizer.step(&Step::new().without_grad(absent)).unwrap();
    }
    let params = |optimizer: &Optimizer| ids.map(|id| optimizer.read_param(id).unwrap()[4]);
    assert_eq!(params(&optimizer), [-4.0, -1.0, -4.0]);
    assert_eq!(ids.map(|id| optimizer.read_eval(id).unwrap()[4]), [-3.0, -1.0, -4.0]);
    optimizer.eval().unwrap();
    assert_eq!(params(&optimizer), [-3.0, -1.0, -4.0]);
    optimizer.train().unwrap();
    assert_eq!(params(&optimizer), [-4.0, -1.0, -4.0]);
}

#[test]
fn meanwhile_what_needs_the_parameters_is_refused() {
    let gpu = gpu();
    let specs = specs(Dtype::F32, Precision::Nearest);
    let mut optimizer = Optimizer::arena(&gpu, &[group(StateFormat::F32)], &specs).unwrap();
    begin(&optimizer);
    step(&mut optimizer, 0);
    let id = TensorId::new(1);
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    optimizer.eval().unwrap();
    let mut encoder =
        gpu.device().create_command_encoder(&fallline::wgpu::CommandEncoderDescriptor::default());
    for refused in [
        optimizer.step(&Step::new()),
        optimizer.encode_step(&mut encoder, &Step::new()),
        optimizer.load(&mut saved),
        optimizer.write_param(id, &[0.0; LENS[1]]),
        optimizer.write_step(id, 0),
        optimizer.add_tensors(&[]).map(drop),
        optimizer.remove_tensors(&[id]),
    ] {
        assert!(matches!(refused, Err(Error::Evaluating { .. })), "{refused:?}");
    }
    optimizer.write_grad(id, &[0.0; LENS[1]]).unwrap();
    optimizer.train().unwrap();
    optimizer.load(&mut saved).unwrap();
    optimizer.remove_tensors(&[id]).unwrap();
    // One that left is left alone.
    optimizer.eval().unwrap();
    optimizer.train().unwrap();
    optimizer.step(&Step::new()).unwrap();
}

/// Saved while it is evaluated, in the arena or in borrowed buffers, and loaded in the other.
#[test]
fn what_is_saved_meanwhile_is_loaded_in_that_mode() {
    let gpu = gpu();
    for (number, (dtype, precision)) in formats().into_iter().enumerate() {
        let what = format!("{dtype} {precision}");
        let groups = [group(StateFormat::Int8)];
        let arena = || Optimizer::arena(&gpu, &groups, &specs(dtype, precision)).unwrap();
        let borrowed = || {
            let lend = |spec: TensorSpec| {
                let range = || {
                    let lent = buffer(&gpu, &[0.0; 4100], BufferUsages::STORAGE);
                    BufferRange::new(&lent, 0, spec.shape[0] as u64)
                };
                BorrowedTensor { param: range(), grad: Some(range()), spec: spec.clone() }
            };
            let tensors: Vec<_> = specs(dtype, precision).into_iter().map(lend).collect();
            Optimizer::borrowed(&gpu, &groups, &tensors).unwrap()
        };
        let is_even = number.is_multiple_of(2);
        let [from, to]: [&dyn Fn() -> Optimizer; 2] =
            if is_even { [&arena, &borrowed] } else { [&borrowed, &arena] };
        let (mut optimizer, mut loaded) = (from(), to());
        begin(&optimizer);
        for number in 0..3 {
            step(&mut optimizer, number);
        }
        let trained = all(&optimizer);
        optimizer.eval().unwrap();
        let mut saved = Saved::default();
        optimizer.save(&mut saved).unwrap();
        loaded.load(&mut saved).unwrap();
        assert_eq!(loaded.mode(), Mode::Evaluate);
        assert_eq!(all(&loaded), all(&optimizer), "{what}");
        let mut again = Saved::default();
        loaded.save(&mut again).unwrap();
        assert!(again == saved, "{what}");
        loaded.train().unwrap();
        assert_eq!(all(&loaded), trained, "{what}");
        optimizer.train().unwrap();
        step(&mut optimizer, 3);
        step(&mut loaded, 3);
        assert_eq!(all(&loaded), all(&optimizer), "{what}");
    }
}

/// Of tensors that have no average yet nothing is kept: what is saved of them lies in their place.
#[test]
fn what_stays_in_its_place_is_saved_from_there() {
    let gpu = gpu();
    let groups = [Group::new("swa", Sgd::new().lr(1.0)).swa(Swa::new(2, 1))];
    let specs = [TensorSpec::new("early", [5]), TensorSpec::new("late", [5])];
    let build = || Optimizer::arena(&gpu, &groups, &specs).unwrap();
    let mut optimizer = build();
    let ids = [0, 1].map(TensorId::new);
    for number in 0..3 {
        for id in ids {
            optimizer.write_grad(id, &[1.0; 5]).unwrap();
        }
        let absent = if number > 0 { &ids[1..] } else { &[] };
        optimizer.step(&Step::new().without_grad(absent)).unwrap();
    }
    optimizer.eval().unwrap();
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    let mut loaded = build();
    loaded.load(&mut saved).unwrap();
    let params = |optimizer: &Optimizer| ids.map(|id| optimizer.read_param(id).unwrap()[4]);
    assert_eq!(params(&loaded), [-2.5, -1.0]);
    loaded.train().unwrap();
    assert_eq!(params(&loaded), [-3.0, -1.0]);
}

#[test]
fn a_mode_goes_by_what_was_submitted() {
    let gpu = gpu();
    let specs = specs(Dtype::F32, Precision::Nearest);
    let mut optimizer = Optimizer::arena(&gpu, &[group(StateFormat::F32)], &specs).unwrap();
    begin(&optimizer);
    step(&mut optimizer, 0);
    step(&mut optimizer, 1);
    let save = |optimizer: &Optimizer| {
        let mut saved = Saved::default();
        optimizer.save(&mut saved).map(|()| saved)
    };
    let trained = save(&optimizer).unwrap();
    let encoder = || gpu.device().create_command_encoder(&<_>::default());
    let (mut there, mut back) = (encoder(), encoder());
    optimizer.encode_eval(&mut there).unwrap();
    assert!(save(&optimizer).unwrap() == trained, "recorded, and not submitted");
    gpu.queue().submit([there.finish()]);
    assert_eq!(differ(&save(&optimizer).unwrap(), &trained), ["mode"]);
    optimizer.encode_train(&mut back).unwrap();
    let error = save(&optimizer).unwrap_err();
    assert!(matches!(error, Error::NotSubmitted { .. }), "{error}");
    gpu.queue().submit([back.finish()]);
    assert!(save(&optimizer).unwrap() == trained);
    // Where nothing is evaluated elsewhere, the mode is the host's alone.
    let plain = [Group::new("all", Sgd::new())];
    let mut optimizer = Optimizer::arena(&gpu, &plain, &specs).unwrap();
    optimizer.eval().unwrap();
    let mut saved = save(&optimizer).unwrap();
    optimizer.train().unwrap();
    optimizer.load(&mut saved).unwrap();
    assert_eq!(optimizer.mode(), Mode::Evaluate);
    optimizer.train().unwrap();
    // And one that nobody knows.
    let mode = saved.entries.iter().position(|entry| entry.what == "mode").unwrap();
    saved.bytes[mode] = b"sometime".to_vec();
    let error = optimizer.load(&mut saved).unwrap_err().to_string();
    assert_eq!(error, "mode must be train or evaluate, but was saved as sometime");
    assert_eq!(optimizer.mode(), Mode::Train);
}

/// Gradient descent that is evaluated a gradient further: of the last one, which it keeps.
const WGSL: &str = "
struct Hyper { far: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
struct StepHyper { padding0: vec4<f32>, padding1: vec4<f32>, }
struct Scalars { lr: f32, padding0: f32, padding1: vec2<f32>, }
struct State { last: vec4<f32>, }
fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, 0.0, vec2<f32>());
}
fn propose(param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> Proposal {
    return Proposal(grad, State(grad));
}
fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.lr * direction;
}
fn evaluated(param: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - hyper.far * state.last;
}
fn state_of(slots: Slots) -> State { return State(slots.slot0); }
fn slots_of(state: State) -> Slots { var slots = Slots(); slots.slot0 = state.last; return slots; }";

#[derive(Debug)]
struct Further {
    text: &'static str,
}

impl Rule for Further {
    fn source(&self) -> Source {
        Source { path: "further", text: self.text }
    }
    fn lr(&self) -> f64 {
        0.25
    }
    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }
    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("last")]
    }
    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("far", 2.0)]
    }
    fn evaluates(&self) -> bool {
        true
    }
}

#[test]
fn a_rule_says_where_it_is_evaluated() {
    let gpu = gpu();
    for state in [StateFormat::F32, StateFormat::Int8] {
        for precision in [Precision::Nearest, Precision::Master] {
            let dtype = if precision == Precision::Master { Dtype::Bf16 } else { Dtype::F32 };
            let spec = TensorSpec::new("t", [777]).dtype(dtype).precision(precision);
            let group = Group::new("all", Further { text: WGSL }).state(state).min_state_elems(0);
            let mut optimizer = Optimizer::arena(&gpu, &[group], &[spec]).unwrap();
            let id = TensorId::new(0);
            optimizer.write_param(id, &[4.0; 777]).unwrap();
            optimizer.write_grad(id, &[1.0; 777]).unwrap();
            optimizer.eval().unwrap();
            assert_eq!(optimizer.read_param(id).unwrap(), [4.0; 777], "no step yet");
            optimizer.train().unwrap();
            optimizer.step(&Step::new()).unwrap();
            assert_eq!(optimizer.read_eval(id).unwrap(), [1.75; 777]);
            optimizer.eval().unwrap();
            assert_eq!(optimizer.read_param(id).unwrap(), [1.75; 777]);
            optimizer.train().unwrap();
            assert_eq!(optimizer.read_param(id).unwrap(), [3.75; 777]);
        }
    }
    let text: &'static str =
        Box::leak(WGSL.replace("fn evaluated(", "fn weighed(").into_boxed_str());
    let groups = [Group::new("all", Further { text })];
    let error = Optimizer::arena(&gpu, &groups, &[TensorSpec::new("t", [1])]).unwrap_err();
    assert_eq!(error.to_string(), "rule 'further': its WGSL does not declare `evaluated`");
}
