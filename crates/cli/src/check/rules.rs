//! Every rule in combinations of what goes around it, formats and places, against the f64 oracle.
//!
//! Before each step the oracle takes what the engine has, so that what is compared is one step, from whatever the steps
//! before have made. What is kept in f32 is measured in units in the last place of the larger of what was and what
//! should become; of the rest each value must be one that its format may give.

use anyhow::{Result, bail, ensure};
use fallline::{
    BorrowedTensor, BufferRange, Dtype, Gpu, Group, Optimizer, Options, Precision, Slot,
    StateFormat, Step, TensorId, TensorSpec, wgpu::BufferUsages,
};
use fallline_reference::{self as reference, Tensor};

use super::{
    books::Book,
    combination::{self, Combination, Site},
    numbers::{Rng, ulp},
    subject::{Finding, Measured, Subject, Worst},
};
use crate::compute;

/// A matrix, and a tensor that ends within a vec4, which has kernels of its own over borrowed buffers.
const SHAPES: [&[usize]; 2] = [&[33, 24], &[301]];
const STEPS: u64 = 2;

/// How far a number that is kept in f32 may be from the oracle's, in ULP.
///
/// Sums and products are rounded alike everywhere: four, as in the engine's own tests. WGSL lets a quotient be wrong by
/// 2.5 and a square root by 4.5, which a parameter sees as much less, by how short its way is: four more. Adadelta keeps
/// the square of a product of two roots' quotient: twice 11.5, and a rounding.
fn bound_ulp(rule: &str) -> f64 {
    if rule == "adadelta" { 24.0 } else { 8.0 }
}

/// All combinations of this rule that the effort asks for.
pub(super) fn check(subject: &Subject, name: &'static str) -> Result<Finding> {
    let combinations = combination::of_rule(name, subject.effort)?;
    let (mut worst, len) = (Worst::new("ULP"), combinations.len());
    for of_case in combinations.chunk_by(|a, b| a.case.to_string() == b.case.to_string()) {
        // With kernels of its own, which are given back behind it.
        let gpu = subject.gpu.clone().restrict_limits(subject.gpu.limits())?;
        for one in of_case {
            step(&gpu, one, &mut worst)?;
        }
    }
    // Rounded numbers and codes that are none of those that they may be have failed already.
    let Some(measured) = worst.measured() else {
        return Ok(Finding::Passed(Measured::seen("every number is one that its format may give")));
    };
    let tried = if len == 1 { "1 combination" } else { &format!("worst of {len} combinations") };
    let detail = format!("{tried}: {}", measured.detail);
    Ok(measured.with(detail).at_most(bound_ulp(name)))
}

fn step(gpu: &Gpu, combination: &Combination, worst: &mut Worst) -> Result<()> {
    let mut optimizer = build(gpu, combination)?;
    let oracle = &*combination.case.oracle;
    let mut rng = Rng(1);
    let mut tensors = Vec::new();
    for (index, shape) in SHAPES.iter().enumerate() {
        let param: Vec<f32> = rng.values(shape.iter().product(), 1.0);
        let param = representable(combination.param, &param);
        optimizer.write_param(TensorId::new(index), &param)?;
        let tensor = Tensor::<f64>::shaped(oracle, shape, widened(&param));
        tensors.push(combination.extra.of_oracle(tensor));
    }
    for t in 1..=STEPS {
        // Well scaled: gradient and weight decay, of 0.1 times the parameter, do not cancel.
        let grads: Vec<Vec<f32>> = SHAPES
            .iter()
            .map(|shape| representable(combination.grad, &rng.values(shape.iter().product(), 1.0)))
            .collect();
        for (index, grad) in grads.iter().enumerate() {
            optimizer.write_grad(TensorId::new(index), grad)?;
        }
        optimizer.step(&Step::new())?;
        let before = tensors.clone();
        let wide: Vec<Vec<f64>> = grads.iter().map(|grad| widened(grad)).collect();
        let wide: Vec<_> = wide.iter().map(|grad| Some(grad.as_slice())).collect();
        let rates = [combination.case.rule.lr(); SHAPES.len()];
        reference::step_all(oracle, &mut tensors, &rates, &wide);
        for (index, tensor) in tensors.iter_mut().enumerate() {
            let place = Place { combination, index, t };
            place.compare(&optimizer, (&before[index], tensor), worst)?;
        }
    }
    Ok(())
}

fn build(gpu: &Gpu, combination: &Combination) -> Result<Optimizer> {
    let Combination { case, extra, param, precision, grad, state, site } = combination;
    let group = Group::new("all", case.rule.clone()).state(*state).min_state_elems(0);
    let groups = [extra.of_group(group)];
    let options = Options { seed: 5, ..Options::default() };
    let spec = |(index, shape): (usize, &&[usize])| {
        let spec = TensorSpec::new(format!("t{index}"), *shape).dtype(*param);
        spec.grad_dtype(*grad).precision(*precision)
    };
    let specs: Vec<TensorSpec> = SHAPES.iter().enumerate().map(spec).collect();
    if *site == Site::Arena {
        return Ok(Optimizer::arena_with(gpu, &groups, &specs, &options)?);
    }
    let lend = |spec: &TensorSpec| -> Result<BorrowedTensor> {
        let len = spec.len_elems()?;
        // Room for both behind 16 bytes, each in f32 at most.
        let behind = (4 * len).next_multiple_of(16);
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let lent = || {
            gpu.checked("a lent buffer", || compute::buffer(gpu, "lent", 32 + 2 * behind, usage))
        };
        let own = lent()?;
        let other = if *site == Site::Together { own.clone() } else { lent()? };
        Ok(BorrowedTensor {
            spec: spec.clone(),
            param: BufferRange::new(&own, 16, len),
            grad: Some(BufferRange::new(&other, 16 + behind, len)),
        })
    };
    let tensors: Vec<_> = specs.iter().map(lend).collect::<Result<_>>()?;
    Ok(Optimizer::borrowed_with(gpu, &groups, &tensors, &options)?)
}

/// What is compared.
struct Place<'a> {
    combination: &'a Combination,
    index: usize,
    t: u64,
}

impl Place<'_> {
    /// In words: which element, and of which combination.
    fn of(&self, what: &str, element: usize) -> (String, String) {
        let Self { combination, index, t } = self;
        (format!("{what} of t{index}[{element}] in step {t}"), combination.to_string())
    }

    /// Holds a tensor against the oracle's, which then takes what was found.
    fn compare(
        &self,
        optimizer: &Optimizer,
        (before, oracle): (&Tensor<f64>, &mut Tensor<f64>),
        worst: &mut Worst,
    ) -> Result<()> {
        let id = TensorId::new(self.index);
        let rule = &*self.combination.case.oracle;
        let master = optimizer.read_master(id)?;
        let numbers = Numbers { found: &master, before: &before.param, exact: &oracle.param };
        numbers.judge(self.rounding_of_param(), worst, |at| self.of("param", at))?;
        if self.combination.precision == Precision::Master {
            let param = optimizer.read_param(id)?;
            let rounded = representable(self.combination.param, &master);
            let differs = param.iter().zip(&rounded).position(|(a, b)| a.to_bits() != b.to_bits());
            let (at, with) = self.of("rounded master", differs.unwrap_or(0));
            ensure!(differs.is_none(), "{at} is not the parameter ({with})");
        }
        oracle.param = widened(&master);
        for slot in optimizer.slots(id)? {
            let found = optimizer.read_state(id, slot.name)?;
            // (What the first part of a sum has not is its rounding.)
            if !slot.name.ends_with("_rest") {
                let (before, exact) = (before.get(rule, slot.name), oracle.get(rule, slot.name));
                self.compare_slot(*slot, &Numbers { found: &found, before, exact }, worst)?;
            }
            oracle.set(rule, slot.name, &widened(&found));
        }
        Ok(())
    }

    fn compare_slot(&self, slot: Slot, numbers: &Numbers<'_>, worst: &mut Worst) -> Result<()> {
        let format = slot.format(self.combination.state);
        let of = |at| self.of(slot.name, at);
        let Some(book) = Book::of(format) else {
            // State in bf16 is rounded stochastically.
            let rounding = if format == StateFormat::Bf16 { Some(2f64.powi(-7)) } else { None };
            return numbers.judge(rounding, worst, of);
        };
        numbers.judge_codes(book, slot.signed, of)
    }

    /// By which part of itself a parameter may be rounded, if it is not kept in f32.
    fn rounding_of_param(&self) -> Option<f64> {
        let unit = match self.combination.param {
            Dtype::F16 => 2f64.powi(-10),
            _ => 2f64.powi(-7),
        };
        match self.combination.precision {
            Precision::Nearest if self.combination.param == Dtype::F32 => None,
            Precision::Nearest => Some(unit / 2.0),
            Precision::Stochastic => Some(unit),
            // Eight bits more than bf16.
            Precision::Remainder8 => Some(2f64.powi(-15)),
            _ => None,
        }
    }
}

/// Of a slot or a parameter: found on the device, before the step, and right.
struct Numbers<'a> {
    found: &'a [f32],
    before: &'a [f64],
    exact: &'a [f64],
}

impl Numbers<'_> {
    /// Measures the error of what is kept in f32; of other numbers, it may be a part of them besides, and is not measured.
    fn judge(
        &self,
        rounding: Option<f64>,
        worst: &mut Worst,
        of: impl Fn(usize) -> (String, String),
    ) -> Result<()> {
        ensure!(self.found.len() == self.exact.len(), "{} has another length", of(0).0);
        for (at, (found, exact)) in self.found.iter().zip(self.exact).enumerate() {
            let error = (f64::from(*found) - exact).abs();
            let unit = ulp(exact.abs().max(self.before[at].abs()));
            match rounding {
                None => worst.take_with(error / unit, || of(at)),
                // The largest power of two that is no larger, times the part.
                Some(part) => {
                    let bound = ulp(*exact) * 2f64.powi(23) * part + 8.0 * unit;
                    let (at, with) = if error <= bound { continue } else { of(at) };
                    bail!("{at} is {found:e}, and should be {exact:e} ({with})");
                }
            }
        }
        Ok(())
    }

    /// Each must be a code of its block that the exact number may become.
    #[allow(clippy::cast_possible_truncation, reason = "what is coded is f32")]
    fn judge_codes(
        &self,
        book: Book,
        signed: bool,
        of: impl Fn(usize) -> (String, String),
    ) -> Result<()> {
        for (number, block) in self.exact.chunks(book.block).enumerate() {
            let absmax = block.iter().fold(0.0f32, |most, value| most.max(value.abs() as f32));
            for (at, exact) in (number * book.block..).zip(block) {
                let (value, found) = (*exact as f32, self.found[at]);
                // So near to a middle, or to where the scale becomes another, that an error of f32 decides: either will do.
                let near = |value: f32, off: f32| [value, value - off, value + off];
                let values = near(value, 1e-6 * absmax);
                let values = values.into_iter().filter(|value| signed || *value >= 0.0);
                let codes = |value: f32| {
                    let of_scale = move |absmax: f32| {
                        (book.rounded)(value, absmax.max(value.abs()), !signed, 50.0)
                    };
                    near(absmax, 1e-6 * absmax).into_iter().flat_map(of_scale)
                };
                let is_code = |code: f64| (f64::from(found) - code).abs() <= 1e-5 * code.abs();
                let is_one =
                    if absmax == 0.0 { found == 0.0 } else { values.flat_map(codes).any(is_code) };
                let (at, with) = if is_one { continue } else { of(at) };
                bail!(
                    "{at} is {found:e}, which {exact:e} in a block of {absmax:e} cannot be ({with})"
                );
            }
        }
        Ok(())
    }
}

fn representable(dtype: Dtype, values: &[f32]) -> Vec<f32> {
    dtype.decode(&dtype.encode(values))
}

pub(super) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(found: &[f32], rounding: Option<f64>) -> (f64, bool) {
        let numbers = Numbers { found, before: &[1.0, -2.0], exact: &[0.5, -1.5] };
        let mut worst = Worst::new("ULP");
        let passed =
            numbers.judge(rounding, &mut worst, |at| (format!("p[{at}]"), String::new())).is_ok();
        (worst.measured().and_then(|m| m.value).unwrap_or(0.0), passed)
    }

    #[test]
    fn errors_are_measured_by_the_larger_of_before_and_after() {
        assert_eq!(judged(&[0.5, -1.5], None), (0.0, true));
        // Half of a unit of 1, a unit of 0.5.
        assert_eq!(judged(&[0.5f32.next_up(), -1.5], None), (0.5, true));
        assert_eq!(judged(&[0.5, -1.25], None), (2f64.powi(20), true));
        assert!(judged(&[0.5, f32::NAN], None).0.is_nan());
    }

    #[test]
    fn a_rounded_number_may_be_its_neighbour_and_no_other() {
        let unit = Some(2f64.powi(-7));
        assert!(judged(&[0.5, -1.5 - 1.0 / 128.0], unit).1);
        assert!(!judged(&[0.5, -1.5 - 2.0 / 128.0], unit).1);
        assert!(!judged(&[0.5, f32::NAN], unit).1);
    }

    #[test]
    fn a_wrong_code_is_found() {
        let book = Book::of(StateFormat::Int4).expect("a book");
        let exact = [1.0, 0.4375, -0.2125, 0.0];
        let judge = |found: &[f32]| {
            let numbers = Numbers { found, before: &[0.0; 4], exact: &exact };
            numbers
                .judge_codes(book, true, |at| (format!("m[{at}]"), String::new()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(judge(&[1.0, 0.4375, -0.2125, 0.0]), Ok(()));
        for wrong in [
            [1.0, 0.6625, -0.2125, 0.0],
            [1.0, 0.4375, 0.2125, 0.0],
            [0.8875, 0.4375, -0.2125, 0.0],
        ] {
            assert!(judge(&wrong).is_err_and(|error| error.starts_with("m[")));
        }
    }
}
