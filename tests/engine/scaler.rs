//! Loss scaling, skipped steps and reports, decided on the GPU.

use fallline::{
    AdamW, Dtype, DynamicScale, Error, Gpu, Group, LossScaler, Optimizer, Options, Precision, Sgd,
    Step, TensorId, wgpu,
};

use crate::common::{AWKWARD, Rng, bits, cases, gpu, specs, step, write_grads};

fn adamw() -> Group {
    Group::new("all", AdamW::default())
}

fn scaled(scaler: &LossScaler) -> Options {
    Options { loss_scaler: Some(scaler.clone()), ..Options::default() }
}

/// Parameters, state and step counters, by their bits.
fn everything(optimizer: &Optimizer) -> Vec<Vec<u32>> {
    let mut all = vec![optimizer.read_steps().unwrap()];
    for (id, _) in optimizer.tensors() {
        all.push(bits(&optimizer.read_param(id).unwrap()));
        all.push(bits(&optimizer.read_master(id).unwrap()));
        for slot in optimizer.slots(id).unwrap().iter().map(|slot| slot.name) {
            all.push(bits(&optimizer.read_state(id, slot).unwrap()));
        }
    }
    all
}

/// torch's rule, with a smallest scale.
struct Twin {
    rule: DynamicScale,
    scale: f32,
    tracker: u32,
}

impl Twin {
    fn update(&mut self, overflow: bool) {
        #[allow(clippy::cast_possible_truncation, reason = "the GPU's are f32")]
        let narrow = |value: f64| value as f32;
        if overflow {
            let backed_off = self.scale * narrow(self.rule.backoff_factor);
            self.scale = backed_off.max(narrow(self.rule.min_scale));
            self.tracker = 0;
            return;
        }
        self.tracker += 1;
        if self.tracker >= self.rule.growth_interval {
            let growth = narrow(self.rule.growth_factor);
            if f64::from(self.scale) <= 2f64.powi(126) / self.rule.growth_factor {
                self.scale *= growth;
            }
            self.tracker = 0;
        }
    }
}

#[test]
fn the_scale_follows_grad_scalers_rule() {
    let gpu = gpu();
    let plain = DynamicScale { init_scale: 1024.0, growth_interval: 3, ..DynamicScale::default() };
    let odd = DynamicScale { growth_factor: 1.5, backoff_factor: 0.25, min_scale: 100.0, ..plain };
    let huge = DynamicScale { init_scale: 2f64.powi(125), growth_interval: 1, ..plain };
    for rule in [plain, odd, huge] {
        let scaler = LossScaler::dynamic(&gpu, rule).unwrap();
        let specs = specs(&[5]);
        let mut optimizer =
            Optimizer::arena_with(&gpu, &[adamw()], &specs, &scaled(&scaler)).unwrap();
        #[allow(clippy::cast_possible_truncation, reason = "the GPU's are f32")]
        let mut twin = Twin { rule, scale: rule.init_scale as f32, tracker: 0 };
        let mut rng = Rng(1);
        let mut skipped_total = 0;
        for number in 1..=60 {
            // Often enough to meet the smallest scale, seldom enough to grow.
            let overflow = if number < 30 { rng.next_u64().is_multiple_of(2) } else { false };
            let last = if overflow { f32::INFINITY } else { 1.0 };
            write_grads(&optimizer, &[vec![1.0, 1.0, 1.0, 1.0, last]]);
            let report = step(&mut optimizer, &Step::new());
            skipped_total += u32::from(overflow);
            assert_eq!((report.step, report.skipped), (number, overflow));
            assert_eq!(report.skipped_total, skipped_total);
            assert_eq!(report.loss_scale, twin.scale, "step {number} of {rule:?}");
            twin.update(overflow);
        }
        assert_eq!(scaler.read().unwrap(), (twin.scale, twin.tracker));
        assert_eq!(optimizer.read_steps().unwrap(), [60 - skipped_total]);
    }
}

#[test]
fn a_skipped_step_leaves_everything_to_the_bit() {
    let gpu = gpu();
    let mut rng = Rng(2);
    let grads: Vec<Vec<f32>> = AWKWARD.iter().map(|len| rng.values(*len, 1.0)).collect();
    let scaler = LossScaler::fixed(&gpu, 8.0).unwrap();
    let others = [
        (Dtype::F16, Precision::Master),
        (Dtype::Bf16, Precision::Stochastic),
        (Dtype::Bf16, Precision::Remainder),
    ];
    // Every rule in f32, and in one of the others in turn.
    for (case, other) in cases().iter().zip(others.iter().cycle()) {
        for (dtype, precision) in [(Dtype::F32, Precision::Nearest), *other] {
            let specs: Vec<_> = specs(&AWKWARD)
                .into_iter()
                .map(|spec| spec.dtype(dtype).precision(precision))
                .collect();
            let group = Group::new("all", case.rule.clone());
            let mut optimizer =
                Optimizer::arena_with(&gpu, &[group], &specs, &scaled(&scaler)).unwrap();
            for (id, grad) in (0..).map(TensorId::new).zip(&grads) {
                optimizer.write_param(id, grad).unwrap();
            }
            // In the very first step, and later.
            for number in 0..4 {
                let mut planted = grads.clone();
                // The last element of one tensor is enough, and so is the only one of another.
                let (tensor, value) = [(13, f32::NAN), (1, f32::INFINITY)][number % 2];
                *planted[tensor].last_mut().unwrap() = value;
                let before = everything(&optimizer);
                write_grads(&optimizer, &planted);
                let report = step(&mut optimizer, &Step::new().zero_grads());
                assert!(report.skipped);
                assert_eq!(everything(&optimizer), before, "{:?} {dtype}", case.rule);
                let left = optimizer.read_grad(TensorId::new(tensor)).unwrap();
                assert!(left.iter().all(|g| *g == 0.0), "zeroed all the same");
                write_grads(&optimizer, &grads);
                assert!(!step(&mut optimizer, &Step::new()).skipped);
                assert_ne!(everything(&optimizer), before);
            }
        }
    }
}

#[test]
fn an_overflow_is_found_wherever_it_is_in_every_format() {
    let gpu = gpu();
    let len = 1030;
    for &dtype in Dtype::ALL {
        let specs: Vec<_> =
            specs(&[3, len]).into_iter().map(|spec| spec.grad_dtype(dtype)).collect();
        let options = Options { skip_non_finite: true, ..Options::default() };
        // A rule that squares nothing, so that the largest numbers are none too many.
        let sgd = Group::new("all", Sgd::default());
        let mut optimizer = Optimizer::arena_with(&gpu, &[sgd], &specs, &options).unwrap();
        for place in [0, 1, 2, 3, 255, 256, 257, 500, 1023, 1024, 1027, 1028, 1029] {
            for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let mut grad = vec![60_000.0; len];
                grad[place] = value;
                write_grads(&optimizer, &[vec![0.0; 3], grad]);
                let report = step(&mut optimizer, &Step::new());
                assert!(report.skipped, "{dtype} {place} {value}");
                assert_eq!(report.norm.is_nan(), value.is_nan());
            }
        }
        // The largest finite gradients are none.
        let largest = match dtype {
            Dtype::F16 => 65504.0,
            Dtype::Bf16 => f32::from_bits(0x7f7f_0000),
            _ => f32::MAX,
        };
        let mut grad = vec![0.0; len];
        grad[500] = largest;
        write_grads(&optimizer, &[vec![0.0; 3], grad]);
        assert!(!step(&mut optimizer, &Step::new()).skipped, "{dtype}");
        // But a norm that f32 does not hold is infinite, and counts as an overflow.
        if dtype != Dtype::F16 {
            write_grads(&optimizer, &[vec![0.0; 3], vec![largest; len]]);
            let report = step(&mut optimizer, &Step::new());
            assert!(report.skipped && report.norm == f32::INFINITY, "{dtype}");
        }
    }
}

#[test]
fn any_power_of_two_gives_the_same_bits() {
    let gpu = gpu();
    let mut rng = Rng(3);
    let grads: Vec<Vec<f32>> = [257, 33].map(|len| rng.values(len, 0.1)).to_vec();
    for case in cases() {
        for max_norm in [0.1, 1e3] {
            let run = |exponent: i32| {
                let scale = 2f64.powi(exponent);
                let scaler = LossScaler::fixed(&gpu, scale).unwrap();
                let options = Options { max_norm: Some(max_norm), ..scaled(&scaler) };
                let group = Group::new("all", case.rule.clone());
                let mut optimizer =
                    Optimizer::arena_with(&gpu, &[group], &specs(&[257, 33]), &options).unwrap();
                #[allow(clippy::cast_possible_truncation, reason = "a power of two that fits")]
                let times = |g: &f32| g * scale as f32;
                let scaled: Vec<Vec<f32>> =
                    grads.iter().map(|grad| grad.iter().map(times).collect()).collect();
                for _ in 0..3 {
                    write_grads(&optimizer, &scaled);
                    optimizer.step(&Step::new()).unwrap();
                }
                let norms: Vec<u32> =
                    optimizer.wait_reports().unwrap().iter().map(|r| r.norm.to_bits()).collect();
                (norms, everything(&optimizer))
            };
            let expected = run(0);
            for exponent in [-100, -63, -3, 1, 16, 17, 64, 126] {
                assert_eq!(run(exponent), expected, "2^{exponent} {:?}", case.rule);
            }
        }
    }
}

#[test]
fn optimizers_share_a_scaler() {
    let gpu = gpu();
    let rule = DynamicScale { init_scale: 64.0, growth_interval: 2, ..DynamicScale::default() };
    let scaler = LossScaler::dynamic(&gpu, rule).unwrap();
    let build =
        || Optimizer::arena_with(&gpu, &[adamw()], &specs(&[10]), &scaled(&scaler)).unwrap();
    let (mut a, mut b) = (build(), build());
    // The first of two overflows: it alone is skipped, and the last one updates the scale for both.
    write_grads(&a, &[vec![f32::INFINITY; 10]]);
    write_grads(&b, &[vec![64.0; 10]]);
    let first = step(&mut a, &Step::new().keep_loss_scale());
    let last = step(&mut b, &Step::new());
    assert_eq!((first.skipped, first.loss_scale), (true, 64.0));
    assert_eq!((last.skipped, last.loss_scale), (false, 64.0));
    assert_eq!(scaler.read().unwrap(), (32.0, 0));
    // Two good iterations are one growth, not two.
    for _ in 0..2 {
        write_grads(&a, &[vec![1.0; 10]]);
        step(&mut a, &Step::new().keep_loss_scale());
        step(&mut b, &Step::new());
    }
    assert_eq!(scaler.read().unwrap(), (64.0, 0));
}

#[test]
fn a_scaler_continues_where_a_checkpoint_left_it() {
    let gpu = gpu();
    let rule = DynamicScale { growth_interval: 5, ..DynamicScale::default() };
    let scaler = LossScaler::dynamic(&gpu, rule).unwrap();
    let mut optimizer =
        Optimizer::arena_with(&gpu, &[adamw()], &specs(&[10]), &scaled(&scaler)).unwrap();
    scaler.write(100.0, 4).unwrap();
    assert_eq!(step(&mut optimizer, &Step::new()).loss_scale, 100.0);
    assert_eq!(scaler.read().unwrap(), (200.0, 0));
}

/// Gradients of one, accumulated over several micro-batches: see `accumulate.rs`. Here only the count.
#[test]
fn the_step_divides_by_the_count_of_micro_batches() {
    let gpu = gpu();
    let scaler = LossScaler::fixed(&gpu, 4.0).unwrap();
    let options = Options { max_norm: Some(f64::INFINITY), ..scaled(&scaler) };
    let group = Group::new("all", Sgd::new().lr(1.0));
    let mut optimizer = Optimizer::arena_with(&gpu, &[group], &specs(&[4]), &options).unwrap();
    write_grads(&optimizer, &[vec![24.0; 4]]);
    let report = step(&mut optimizer, &Step::new().accumulated(3));
    assert_eq!(report.norm, 4.0);
    assert_eq!(optimizer.read_param(TensorId::new(0)).unwrap(), [-2.0; 4]);
}

#[test]
fn reports_arrive_without_a_wait() {
    let gpu = gpu();
    let options = Options { max_norm: Some(f64::INFINITY), ..Options::default() };
    let mut optimizer = Optimizer::arena_with(&gpu, &[adamw()], &specs(&[100]), &options).unwrap();
    assert_eq!(optimizer.poll_reports().unwrap(), []);
    write_grads(&optimizer, &[vec![0.5; 100]]);
    let mut arrived = Vec::new();
    for _ in 0..50 {
        optimizer.step(&Step::new()).unwrap();
        arrived.extend(optimizer.poll_reports().unwrap());
    }
    // Whatever is missing is under way: it comes by polling alone.
    for _ in 0..10_000 {
        if arrived.len() == 50 {
            break;
        }
        arrived.extend(optimizer.poll_reports().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let numbers: Vec<u32> = arrived.iter().map(|report| report.step).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<u32>>());
    assert!(arrived.iter().all(|report| report.norm == 5.0 && !report.skipped));
    // Two copies that arrive at once hold the same steps: each is handed out once.
    optimizer.step(&Step::new()).unwrap();
    let mut twice = optimizer.poll_reports().unwrap();
    twice.extend(optimizer.poll_reports().unwrap());
    gpu.wait().unwrap();
    twice.extend(optimizer.poll_reports().unwrap());
    assert_eq!(twice.iter().map(|report| report.step).collect::<Vec<_>>(), [51]);
    // Who does not ask for long has the last 64.
    for _ in 0..100 {
        optimizer.step(&Step::new()).unwrap();
    }
    let late: Vec<u32> = optimizer.wait_reports().unwrap().iter().map(|r| r.step).collect();
    assert_eq!(late, (88..=151).collect::<Vec<u32>>());
    assert_eq!(optimizer.wait_reports().unwrap(), []);

    let mut plain = Optimizer::arena(&gpu, &[adamw()], &specs(&[100])).unwrap();
    assert!(matches!(plain.poll_reports(), Err(Error::NothingToReport)));
}

#[test]
fn a_dropped_step_never_happened() {
    let gpu = gpu();
    let scaler = LossScaler::dynamic(&gpu, DynamicScale::default()).unwrap();
    let mut optimizer =
        Optimizer::arena_with(&gpu, &[adamw()], &specs(&[10]), &scaled(&scaler)).unwrap();
    write_grads(&optimizer, &[vec![f32::NAN; 10]]);
    let mut encoder = encoder(&gpu);
    optimizer.encode_step(&mut encoder, &Step::new()).unwrap();
    drop(encoder);
    assert_eq!(scaler.read().unwrap(), (65536.0, 0));
    assert_eq!(optimizer.wait_reports().unwrap(), []);
}

fn encoder(gpu: &Gpu) -> wgpu::CommandEncoder {
    gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
}

#[test]
fn everything_is_one_pass_of_few_dispatches() {
    let gpu = gpu();
    let scaler = LossScaler::dynamic(&gpu, DynamicScale::default()).unwrap();
    let options = Options { max_norm: Some(1.0), ..scaled(&scaler) };
    for len in [1, 500] {
        let specs = specs(&vec![33; len]);
        let optimizer = Optimizer::arena_with(&gpu, &[adamw()], &specs, &options).unwrap();
        let what = "measure, total, decide, advance, update";
        assert_eq!(optimizer.dispatches(), 5, "{what}");
    }
}
