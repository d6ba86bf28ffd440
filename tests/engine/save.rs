//! A run that is saved and loaded goes on as if nothing had been.

#![allow(clippy::cast_possible_truncation, reason = "indices of test tensors are small")]

use std::{io, sync::Arc};

use fallline::{
    AdamW, BorrowedTensor, BufferRange, Dtype, DynamicScale, Encoding, Error, Gpu, Group, IntoRule,
    Lion, LoadOptions, LoadSource, LossScaler, Optimizer, Options, Precision, Rule, SaveSink,
    Saved, SavedEntry, Sgd, StateFormat, Step, TensorId, TensorSpec, wgpu::BufferUsages,
};

use crate::common::{self, Rng, bits, buffer, cases, gpu, write_grads};

const LENGTHS: [usize; 4] = [5001, 4096, 3, 300];
const KEPT: [(Dtype, Precision); 7] = [
    (Dtype::F32, Precision::Nearest),
    (Dtype::F16, Precision::Nearest),
    (Dtype::F16, Precision::Master),
    (Dtype::Bf16, Precision::Stochastic),
    (Dtype::Bf16, Precision::Master),
    (Dtype::Bf16, Precision::Remainder),
    (Dtype::Bf16, Precision::Remainder8),
];

fn specs(dtype: Dtype, precision: Precision) -> Vec<TensorSpec> {
    let spec = |spec: TensorSpec| spec.dtype(dtype).precision(precision).grad_dtype(Dtype::F32);
    common::specs(&LENGTHS).into_iter().map(spec).collect()
}

/// Over buffers of the caller's, each tensor in its own.
fn borrowed(gpu: &Gpu, group: &Group, specs: &[TensorSpec], options: &Options) -> Optimizer {
    let tensor = |spec: &TensorSpec| {
        let len = spec.len_elems().unwrap();
        let lend = || {
            let zeros = vec![0.0; (len as usize).next_multiple_of(4)];
            BufferRange::new(&buffer(gpu, &zeros, BufferUsages::STORAGE), 0, len)
        };
        BorrowedTensor { spec: spec.clone(), param: lend(), grad: Some(lend()) }
    };
    let tensors: Vec<_> = specs.iter().map(tensor).collect();
    Optimizer::borrowed_with(gpu, std::slice::from_ref(group), &tensors, options).unwrap()
}

fn arena(gpu: &Gpu, group: &Group, specs: &[TensorSpec], options: &Options) -> Optimizer {
    Optimizer::arena_with(gpu, std::slice::from_ref(group), specs, options).unwrap()
}

/// The gradients of a step, of either sign.
fn grads(step: u64) -> Vec<Vec<f32>> {
    let mut rng = Rng(step);
    LENGTHS.iter().map(|len| rng.values(*len, 1.0)).collect()
}

fn begin(optimizer: &Optimizer) {
    let mut rng = Rng(99);
    for (index, len) in LENGTHS.into_iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &rng.values(len, 1.0)).unwrap();
    }
}

fn run(optimizer: &mut Optimizer, steps: std::ops::Range<u64>) {
    for step in steps {
        write_grads(optimizer, &grads(step));
        // Own step counters.
        let absent = [TensorId::new(3)];
        let step = if step % 3 == 1 { Step::new().without_grad(&absent) } else { Step::new() };
        optimizer.step(&step).unwrap();
    }
}

fn saved(optimizer: &Optimizer) -> Saved {
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    saved
}

/// What differs between two saves: names of entries.
fn differ(a: &Saved, b: &Saved) -> Vec<String> {
    assert_eq!(a.entries, b.entries);
    let entries = a.entries.iter().zip(a.bytes.iter().zip(&b.bytes));
    entries.filter(|(_, (a, b))| a != b).map(|(entry, _)| entry.to_string()).collect()
}

/// Straight, and saved and loaded twice: from the arena over borrowed buffers and back.
fn check(gpu: &Gpu, group: &Group, (dtype, precision): (Dtype, Precision)) {
    let specs = specs(dtype, precision);
    let options = Options { seed: 17, ..Options::default() };
    let mut straight = arena(gpu, group, &specs, &options);
    begin(&straight);
    run(&mut straight, 0..9);
    let expected = saved(&straight);

    let mut first = arena(gpu, group, &specs, &options);
    begin(&first);
    run(&mut first, 0..3);
    // Another seed, and another order of tensors: both are as they were saved.
    let other = Options { seed: 5, ..Options::default() };
    let mut second = borrowed(gpu, group, &specs, &other);
    second.load(&mut saved(&first)).unwrap();
    let name = format!("{group:?} {dtype} {precision}");
    assert_eq!(differ(&saved(&first), &saved(&second)), [""; 0], "{name}");
    run(&mut second, 3..6);
    let mut third = arena(gpu, group, &specs, &other);
    third.load(&mut saved(&second)).unwrap();
    run(&mut third, 6..9);
    assert_eq!(differ(&expected, &saved(&third)), [""; 0], "{name}");
    for index in 0..LENGTHS.len() {
        let id = TensorId::new(index);
        let (a, b) = (straight.read_master(id).unwrap(), third.read_master(id).unwrap());
        assert_eq!(bits(&a), bits(&b), "{name}");
    }
}

#[test]
fn every_rule_resumes_to_the_bit() {
    let gpu = gpu();
    let others = StateFormat::ALL.iter().filter(|format| **format != StateFormat::F32).cycle();
    // Formats take turns: all of them with each precision are below.
    for (case, &other) in cases().iter().zip(others) {
        for state in [StateFormat::F32, other] {
            let group = Group::new("all", case.rule.clone()).state(state);
            check(&gpu, &group, KEPT[0]);
        }
    }
}

#[test]
fn every_precision_resumes_in_every_format_to_the_bit() {
    let gpu = gpu();
    for &state in StateFormat::ALL {
        let group = Group::new("all", AdamW::new().lr(1e-2)).state(state);
        for kept in KEPT {
            check(&gpu, &group, kept);
        }
    }
}

#[test]
fn the_order_of_tensors_does_not_matter_and_neither_does_their_number_in_it() {
    let gpu = gpu();
    let spec = |name: &str| {
        TensorSpec::new(name, [1000]).dtype(Dtype::Bf16).precision(Precision::Stochastic)
    };
    let group = Group::new("all", AdamW::default());
    let build = |names: [&str; 3]| {
        arena(&gpu, &group, &names.map(spec), &Options { seed: 3, ..Options::default() })
    };
    let step = |optimizer: &mut Optimizer, seed: u64| {
        for name in ["a", "b", "c"] {
            let id = optimizer.id(name).unwrap();
            let values = Rng(seed + u64::from(name.as_bytes()[0])).values(1000, 1.0);
            optimizer.write_grad(id, &values).unwrap();
        }
        optimizer.step(&Step::lr(1e-4)).unwrap();
    };
    let mut straight = build(["a", "b", "c"]);
    step(&mut straight, 1);
    let mut turned = build(["c", "a", "b"]);
    turned.load(&mut saved(&straight)).unwrap();
    for seed in 2..5 {
        step(&mut straight, seed);
        step(&mut turned, seed);
    }
    for name in ["a", "b", "c"] {
        let [a, b] = [&straight, &turned].map(|o| o.read_param(o.id(name).unwrap()).unwrap());
        assert_eq!(bits(&a), bits(&b), "{name}");
    }
}

#[test]
fn loss_scale_skipped_steps_and_reports_go_on() {
    let gpu = gpu();
    let rule = DynamicScale { init_scale: 64.0, growth_interval: 3, ..DynamicScale::default() };
    let group = Group::new("all", AdamW::default());
    let build = || {
        let scaler = LossScaler::dynamic(&gpu, rule).unwrap();
        let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
        (arena(&gpu, &group, &specs(Dtype::F32, Precision::Nearest), &options), scaler)
    };
    let step = |optimizer: &mut Optimizer, number: u64| {
        let mut grads = grads(number);
        if number.is_multiple_of(4) {
            grads[1][7] = f32::NAN;
        }
        write_grads(optimizer, &grads);
        // Pending: whether an earlier optimizer of the pass overflowed.
        let keep = number == 4;
        let step = if keep { Step::new().keep_loss_scale() } else { Step::new() };
        common::step(optimizer, &step)
    };
    let (mut straight, scale) = build();
    let (mut first, first_scale) = build();
    for number in 0..5 {
        step(&mut straight, number);
        step(&mut first, number);
    }
    drop(first_scale);
    let (mut second, second_scale) = build();
    // It has taken steps of its own, which count no more.
    for number in 20..32 {
        step(&mut second, number);
    }
    second.load(&mut saved(&first)).unwrap();
    for number in 5..14 {
        let (expected, found) = (step(&mut straight, number), step(&mut second, number));
        // Norms may be NaN.
        assert_eq!(format!("{expected:?}"), format!("{found:?}"), "{number}");
    }
    assert_eq!(scale.read().unwrap(), second_scale.read().unwrap());
    assert_eq!(differ(&saved(&straight), &saved(&second)), [""; 0]);
}

#[test]
fn defaults_stand_for_what_was_not_saved() {
    let gpu = gpu();
    let group = Group::new("all", AdamW::default());
    let build = |max_norm| {
        let options = Options { max_norm, ..Options::default() };
        arena(&gpu, &group, &specs(Dtype::F32, Precision::Nearest), &options)
    };
    // An infinite limit measures gradients, and changes nothing.
    let (plain, measured) = (None, Some(f64::INFINITY));
    for (before, after) in [(plain, measured), (measured, plain), (measured, measured)] {
        let mut straight = build(after);
        begin(&straight);
        run(&mut straight, 0..9);
        let mut first = build(before);
        begin(&first);
        run(&mut first, 0..5);
        let mut saved = saved(&first);
        let has = |saved: &Saved, what| saved.entries.iter().position(|entry| entry.what == what);
        assert_eq!(has(&saved, "reports").is_some(), before.is_some());
        // As of a release that knew no modes.
        let mode = has(&saved, "mode").unwrap();
        saved.entries.remove(mode);
        saved.bytes.remove(mode);

        let mut second = build(after);
        run(&mut second, 20..23);
        second.load(&mut saved).unwrap();
        run(&mut second, 5..9);
        assert_eq!(differ(&self::saved(&straight), &self::saved(&second)), [""; 0]);
        if after.is_some() {
            let reports = second.wait_reports().unwrap();
            let told: Vec<_> = reports.iter().map(|it| (it.step, it.skipped_total)).collect();
            assert_eq!(told, [(6, 0), (7, 0), (8, 0), (9, 0)]);
        }
    }
}

/// Counts chunks, and keeps the largest.
#[derive(Default)]
struct Chunks {
    entries: Vec<SavedEntry>,
    lengths: Vec<u64>,
    largest: usize,
    calls: usize,
}

impl SaveSink for Chunks {
    fn table(&mut self, entries: &[SavedEntry]) -> io::Result<()> {
        assert!(self.entries.is_empty());
        (self.entries, self.lengths) = (entries.to_vec(), vec![0; entries.len()]);
        Ok(())
    }

    fn chunk(&mut self, entry: usize, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert_eq!(self.lengths[entry], offset);
        self.lengths[entry] += bytes.len() as u64;
        self.largest = self.largest.max(bytes.len());
        self.calls += 1;
        Ok(())
    }
}

#[test]
fn chunks_are_bounded_and_complete() {
    let gpu = gpu();
    let group = Group::new("all", AdamW::default()).state(StateFormat::Int8);
    let tensors = [TensorSpec::new("large", [9_000_001]), TensorSpec::new("small", [7])];
    let optimizer = arena(&gpu, &group, &tensors, &Options::default());
    let mut chunks = Chunks::default();
    optimizer.save(&mut chunks).unwrap();
    assert!(chunks.largest <= 16 << 20, "{}", chunks.largest);
    let sizes: Vec<u64> = chunks.entries.iter().map(|entry| entry.size_bytes).collect();
    assert_eq!(chunks.lengths, sizes);
    assert!(chunks.calls < 30, "{}", chunks.calls);
    let large = &chunks.entries[6];
    let format = StateFormat::Int8;
    assert_eq!(large.to_string(), "state/exp_avg of tensor 'large'");
    assert_eq!(large.encoding, Encoding::Blocks { format, signed: true });
    assert_eq!(large.size_bytes, format.blocks_size_bytes(9_000_001));
}

#[test]
fn what_does_not_fit_is_named_before_anything_is_written() {
    let gpu = gpu();
    let build = |rule: Arc<dyn Rule>, state: StateFormat, tensors: &[TensorSpec]| {
        arena(&gpu, &Group::new("all", rule).state(state), tensors, &Options::default())
    };
    let plain = [TensorSpec::new("w", [64, 100]), TensorSpec::new("b", [5])];
    let adamw = || AdamW::new().into_rule();
    let mut source = {
        let mut optimizer = build(adamw(), StateFormat::F32, &plain);
        optimizer.write_grad(TensorId::new(0), &[1.0; 6400]).unwrap();
        optimizer.step(&Step::new()).unwrap();
        saved(&optimizer)
    };
    let mut refuses = |optimizer: &mut Optimizer, expected: &str| {
        let before = saved(optimizer);
        assert_eq!(optimizer.load(&mut source).unwrap_err().to_string(), expected);
        assert_eq!(saved(optimizer), before);
    };
    let more = [plain.as_slice(), &[TensorSpec::new("more", [1])]].concat();
    refuses(&mut build(adamw(), StateFormat::F32, &more), "tensor 'more' was not saved");
    refuses(
        &mut build(adamw(), StateFormat::F32, &plain[..1]),
        "tensor 'b' was saved, and the optimizer has no such thing",
    );
    // Everything at once.
    let renamed = [TensorSpec::new("w", [100, 64]), TensorSpec::new("c", [5])];
    let turned = "of tensor 'w' must be f32 [100, 64], but was saved as f32 [64, 100]";
    refuses(
        &mut build(adamw(), StateFormat::F32, &renamed),
        &format!(
            "param {turned}; state/exp_avg {turned}; state/exp_avg_sq {turned}; tensor 'c' was not \
             saved; tensor 'b' was saved, and the optimizer has no such thing"
        ),
    );
    let coded = "of tensor 'w' must be int8 [64, 100], but was saved as f32 [64, 100]";
    refuses(
        &mut build(adamw(), StateFormat::Int8, &plain),
        &format!(
            "state/exp_avg {coded}; state/exp_avg_sq of tensor 'w' must be int8, never negative \
             [64, 100], but was saved as f32 [64, 100]"
        ),
    );
    refuses(
        &mut build(fallline::Adam::default().into_rule(), StateFormat::F32, &plain),
        "rule of tensor 'w' must be adam, but was saved as adamw",
    );
    refuses(
        &mut build(AdamW::new().amsgrad(true).into_rule(), StateFormat::F32, &plain),
        "state/max_exp_avg_sq of tensor 'w' was not saved; state/max_exp_avg_sq of tensor 'b' was \
         not saved",
    );
    refuses(
        &mut build(Lion::default().into_rule(), StateFormat::F32, &plain),
        "state/exp_avg_sq of tensor 'w' was saved, and the optimizer has no such thing; \
         state/exp_avg_sq of tensor 'b' was saved, and the optimizer has no such thing",
    );
    let scaler = LossScaler::fixed(&gpu, 2.0).unwrap();
    let options = Options { loss_scaler: Some(scaler), ..Options::default() };
    let mut scaled = arena(&gpu, &Group::new("all", adamw()), &plain, &options);
    refuses(&mut scaled, "loss_scale was not saved");
    // A table that is at odds with itself.
    source.entries[5].size_bytes += 1;
    let error = build(adamw(), StateFormat::F32, &plain).load(&mut source).unwrap_err();
    assert!(matches!(error, Error::SavedDiffers { .. }), "{error}");
    source.entries[5].size_bytes -= 1;
    source.entries.push(source.entries[0].clone());
    let error = build(adamw(), StateFormat::F32, &plain).load(&mut source).unwrap_err();
    assert_eq!(error.to_string(), "a second seed was saved, and the optimizer has no such thing");
}

#[test]
fn other_formats_are_converted_when_that_is_asked_for() {
    let gpu = gpu();
    let group = |state| Group::new("all", AdamW::new().lr(1e-2)).state(state);
    let mut exact = arena(
        &gpu,
        &group(StateFormat::F32),
        &specs(Dtype::F32, Precision::Nearest),
        &Options::default(),
    );
    begin(&exact);
    run(&mut exact, 0..3);
    let convert = LoadOptions::new().convert();
    for (state, kept) in [
        (StateFormat::Int8, (Dtype::Bf16, Precision::Remainder)),
        (StateFormat::Bf16, (Dtype::F16, Precision::Master)),
        (StateFormat::F32, (Dtype::Bf16, Precision::Remainder8)),
        (StateFormat::Companded, (Dtype::F32, Precision::Nearest)),
    ] {
        let mut other = borrowed(&gpu, &group(state), &specs(kept.0, kept.1), &Options::default());
        assert!(other.load(&mut saved(&exact)).is_err());
        other.load_with(&mut saved(&exact), convert).unwrap();
        let mut back = arena(
            &gpu,
            &group(StateFormat::F32),
            &specs(Dtype::F32, Precision::Nearest),
            &Options::default(),
        );
        back.load_with(&mut saved(&other), convert).unwrap();
        assert_eq!(other.read_steps().unwrap(), exact.read_steps().unwrap());
        for index in 0..LENGTHS.len() {
            let id = TensorId::new(index);
            let (a, b) = (exact.read_param(id).unwrap(), other.read_master(id).unwrap());
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() * 1e-4;
            assert!(a.iter().zip(&b).all(close), "{state} {kept:?}");
            assert_eq!(bits(&b), bits(&back.read_param(id).unwrap()), "{state} {kept:?}");
            for slot in ["exp_avg", "exp_avg_sq"] {
                let (a, b) =
                    (other.read_state(id, slot).unwrap(), back.read_state(id, slot).unwrap());
                assert_eq!(bits(&a), bits(&b), "{state} {slot}");
                let a = exact.read_state(id, slot).unwrap();
                let most = a.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                assert!(
                    a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 0.05 * most),
                    "{state} {slot}"
                );
            }
        }
    }
}

/// A sink or source that fails.
struct Broken(usize);

impl SaveSink for Broken {
    fn table(&mut self, _: &[SavedEntry]) -> io::Result<()> {
        Ok(())
    }

    fn chunk(&mut self, _: usize, _: u64, _: &[u8]) -> io::Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

impl LoadSource for Broken {
    fn table(&mut self) -> io::Result<Vec<SavedEntry>> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn read(&mut self, _: usize, _: u64, _: &mut [u8]) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_sink_or_source_that_fails_is_an_error_that_names_the_entry() {
    let gpu = gpu();
    let group = Group::new("all", Sgd::default());
    let mut optimizer = arena(&gpu, &group, &[TensorSpec::new("w", [4])], &Options::default());
    let error = optimizer.save(&mut Broken(5)).unwrap_err();
    assert_eq!(error.to_string(), "cannot save param of tensor 'w'");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no storage space");
    let error = optimizer.load(&mut Broken(0)).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the table of what was saved");
    // A table without its bytes.
    let mut short = saved(&optimizer);
    short.bytes[5].pop();
    let error = optimizer.load(&mut short).unwrap_err();
    assert_eq!(error.to_string(), "cannot read param of tensor 'w' of what was saved");
}

#[test]
fn recorded_steps_that_are_not_submitted_are_not_in_it() {
    let gpu = gpu();
    let group = Group::new("all", Sgd::new().lr(1.0));
    let mut optimizer = arena(&gpu, &group, &[TensorSpec::new("w", [4])], &Options::default());
    optimizer.write_grad(TensorId::new(0), &[1.0; 4]).unwrap();
    let before = saved(&optimizer);
    let mut encoder = gpu.device().create_command_encoder(&<_>::default());
    optimizer.encode_step(&mut encoder, &Step::new()).unwrap();
    assert_eq!(saved(&optimizer), before);
    gpu.queue().submit([encoder.finish()]);
    assert_ne!(saved(&optimizer), before);
}
