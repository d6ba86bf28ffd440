//! A tensor that a rule steps.

use crate::{
    number::Number,
    rules::{Extent, Rule, Scalars},
    steering::{Element, Steered, Steering},
};

/// A tensor that a rule steps: parameter, state and step counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    /// The parameter.
    pub param: Vec<T>,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many blocks the rule cuts it into.
    blocks: usize,
    /// The state slots in the order of the rule, each as long as its extent says.
    pub slots: Vec<Vec<T>>,
    /// What the rule keeps for the tensor, or for the optimizer, of which each of its tensors then has a copy.
    pub kept: Scalars<T>,
    /// Steps taken.
    pub step: u32,
    /// Lookahead, if it is on.
    pub slow: Option<Slow<T>>,
    /// The average, if there is one.
    pub average: Option<Average<T>>,
    /// What becomes of the rule's direction.
    pub steering: Steering,
}

/// Lookahead (Zhang et al. 2019): weights that follow every `k` steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Slow<T> {
    k: u32,
    alpha: f64,
    weights: Vec<T>,
}

/// An average of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Average<T> {
    kind: Averaging,
    weights: Vec<T>,
}

/// How a parameter is averaged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Averaging {
    /// Exponentially.
    Ema {
        /// What remains of the average in a step.
        decay: f64,
        /// Less remains at first: at most (1 + n) / (10 + n) after n averages.
        warmup: bool,
    },
    /// Equally: the parameter after every so many steps from one on.
    Swa {
        /// The first step.
        start: u32,
        /// Steps from one to the next.
        every: u32,
    },
}

impl Averaging {
    /// How far the average goes to the parameter in this step.
    fn weight(self, step: u32) -> f64 {
        match self {
            _ if step == 1 && matches!(self, Self::Ema { .. }) => 1.0,
            Self::Ema { decay, warmup: false } => 1.0 - decay,
            Self::Ema { decay, warmup: true } => {
                let n = f64::from(step - 1);
                1.0 - decay.min((1.0 + n) / (10.0 + n))
            }
            Self::Swa { start, every } if step >= start && (step - start).is_multiple_of(every) => {
                1.0 / (f64::from((step - start) / every) + 1.0)
            }
            Self::Swa { .. } => 0.0,
        }
    }
}

impl<T: Number> Tensor<T> {
    /// A tensor of one dimension whose state is zero.
    #[must_use]
    pub fn new(rule: &dyn Rule, param: Vec<T>) -> Self {
        Self::shaped(rule, &[param.len()], param)
    }

    /// A tensor of this shape whose state is zero.
    ///
    /// # Panics
    /// If the shape has another number of elements.
    #[must_use]
    pub fn shaped(rule: &dyn Rule, shape: &[usize], param: Vec<T>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), param.len(), "elements of {shape:?}");
        let blocks = rule.blocks(shape);
        let slot = |extent: Extent| vec![T::default(); extent.dims(shape, blocks).iter().product()];
        Self {
            slots: rule.slots(shape).iter().map(|(_, extent)| slot(*extent)).collect(),
            kept: rule.initial().map(T::nearest),
            param,
            shape: shape.to_vec(),
            blocks,
            step: 0,
            slow: None,
            average: None,
            steering: Steering::default(),
        }
    }

    /// With Lookahead: after every `k` steps `slow`, at first the parameter, moves `alpha` of the way to the
    /// parameter, which returns to it.
    ///
    /// # Panics
    /// If `k` is 0.
    #[must_use]
    pub fn lookahead(mut self, k: u32, alpha: f64) -> Self {
        assert!(k > 0, "no steps before the slow weights move");
        self.slow = Some(Slow { k, alpha, weights: vec![T::default(); self.param.len()] });
        self
    }

    /// With a moving average, `average`: a copy of the parameter after the first step; later ones add
    /// `1 - decay` of it. Lookahead comes first.
    #[must_use]
    pub fn ema(self, decay: f64) -> Self {
        self.averaged(Averaging::Ema { decay, warmup: false })
    }

    /// With an average, `average`, which comes after Lookahead.
    #[must_use]
    pub fn averaged(mut self, kind: Averaging) -> Self {
        self.average = Some(Average { kind, weights: vec![T::default(); self.param.len()] });
        self
    }

    /// With caution, a limit to the direction, or cautious weight decay. (The direction is then the oracle's, which is
    /// what the parameter moves but for decay.)
    #[must_use]
    pub fn steered(mut self, steering: Steering) -> Self {
        self.steering = steering;
        self
    }

    /// A slot or a kept scalar by name; `slow` and `average` too.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn get(&self, rule: &dyn Rule, name: &str) -> &[T] {
        match (self.place(rule, name), &self.slow, &self.average) {
            (Place::Slot(number), ..) => &self.slots[number],
            (Place::Kept(number), ..) => &self.kept[number..=number],
            (Place::Slow, Some(slow), _) => &slow.weights,
            (Place::Average, _, Some(average)) => &average.weights,
            _ => panic!("{name} is off"),
        }
    }

    /// Sets a slot or a kept scalar by name; `slow` and `average` too.
    ///
    /// # Panics
    /// If there is no such slot, or it has another length.
    pub fn set(&mut self, rule: &dyn Rule, name: &str, values: &[T]) {
        let slot = match (self.place(rule, name), &mut self.slow, &mut self.average) {
            (Place::Slot(number), ..) => &mut self.slots[number],
            (Place::Kept(number), ..) => &mut self.kept[number..=number],
            (Place::Slow, Some(slow), _) => &mut slow.weights,
            (Place::Average, _, Some(average)) => &mut average.weights,
            _ => panic!("{name} is off"),
        };
        slot.copy_from_slice(values);
    }

    fn place(&self, rule: &dyn Rule, name: &str) -> Place {
        if let Some(slot) = rule.slots(&self.shape).iter().position(|(known, _)| *known == name) {
            return Place::Slot(slot);
        }
        if let Some(kept) = rule.kept().iter().position(|known| *known == name) {
            return Place::Kept(kept);
        }
        match name {
            "slow" => Place::Slow,
            "average" => Place::Average,
            _ => panic!("{rule:?} has no {name} for {:?}", self.shape),
        }
    }

    /// One step; as [`step_all`](crate::step_all) of this tensor alone.
    pub fn step(&mut self, rule: &dyn Rule, lr: f64, grad: &[T]) {
        crate::step_all(rule, std::slice::from_mut(self), &[lr], &[Some(grad)]);
    }

    /// Where the parameter is evaluated.
    #[must_use]
    pub fn evaluated(&self, rule: &dyn Rule) -> Vec<T> {
        if self.step == 0 {
            return self.param.clone();
        }
        let (extents, row_means) = (rule.slots(&self.shape), self.row_means(rule));
        let at = |(index, param): (usize, &T)| {
            T::evaluated(rule, *param, &self.state(extents, &row_means, index))
        };
        self.param.iter().enumerate().map(at).collect()
    }

    /// Takes an estimate of the Hessian's diagonal, between steps.
    pub fn estimate(&mut self, rule: &dyn Rule, values: &[T]) {
        let (extents, row_means) = (rule.slots(&self.shape), self.row_means(rule));
        for (index, value) in values.iter().enumerate() {
            let mut state = self.state(extents, &row_means, index);
            T::estimate(rule, *value, &mut state);
            self.store(extents, index, &state);
        }
    }

    /// Sets what the slots have for an element alone.
    fn store(&mut self, extents: &[(&str, Extent)], index: usize, state: &[T]) {
        for ((slot, (_, extent)), value) in self.slots.iter_mut().zip(extents).zip(state) {
            if *extent == Extent::Element {
                slot[index] = *value;
            }
        }
    }

    /// What is known before anything is summed: the step is counted, rows, columns and blocks are folded.
    pub(crate) fn begin(&mut self, rule: &dyn Rule, lr: f64, grad: &[T]) -> Scalars<T> {
        self.step += 1;
        if self.step == 1
            && let Some(slow) = &mut self.slow
        {
            slow.weights.clone_from(&self.param);
        }
        let scalars = T::scalars(rule, self.step, lr, &mut self.kept);
        for (slot, (_, extent)) in rule.slots(&self.shape).iter().enumerate() {
            // Without elements nothing is averaged, and what is kept stays.
            if *extent == Extent::Element || grad.is_empty() {
                continue;
            }
            let values = self.slots[slot].len();
            let mut sums = vec![0.0; values];
            for (index, grad) in grad.iter().enumerate() {
                sums[extent.index(&self.shape, self.blocks, index)] += rule.margin((*grad).into());
            }
            let count = (grad.len() / values) as f64;
            for (value, sum) in self.slots[slot].iter_mut().zip(sums) {
                *value = T::fold(rule, &scalars, T::nearest(sum / count), *value);
            }
        }
        scalars
    }

    /// The means of each slot for rows over the matrices of the tensor.
    fn row_means(&self, rule: &dyn Rule) -> Vec<Vec<T>> {
        let of_rows = |(slot, (_, extent)): (&Vec<T>, &(&str, Extent))| {
            let rows = self.shape[self.shape.len().checked_sub(2)?];
            let mean = |rows: &[T]| {
                let sum: f64 = rows.iter().map(|value| (*value).into()).sum();
                T::nearest(sum / rows.len() as f64)
            };
            (*extent == Extent::Row).then(|| slot.chunks(rows.max(1)).map(mean).collect())
        };
        self.slots.iter().zip(rule.slots(&self.shape)).filter_map(of_rows).collect()
    }

    /// What a rule's functions are given of an element: each slot's value, and the means of rows.
    fn state(&self, extents: &[(&str, Extent)], row_means: &[Vec<T>], index: usize) -> Vec<T> {
        let slots = self.slots.iter().zip(extents);
        let of_element =
            slots.map(|(slot, (_, extent))| slot[extent.index(&self.shape, self.blocks, index)]);
        let matrix: usize = self.shape.iter().rev().take(2).product();
        let means = row_means.iter().map(|means| means[index / matrix.max(1)]);
        of_element.chain(means).collect()
    }

    /// What the rule wants summed over the tensor, in f64: the order of the shader's sums is its own.
    pub(crate) fn sums(&self, rule: &dyn Rule, scalars: &Scalars<T>, grad: &[T]) -> [f64; 2] {
        let (extents, row_means) = (rule.slots(&self.shape), self.row_means(rule));
        let scalars = scalars.map(Into::into);
        let mut sums = [0.0; 2];
        for (index, (param, grad)) in self.param.iter().zip(grad).enumerate() {
            let state: Vec<f64> =
                self.state(extents, &row_means, index).into_iter().map(Into::into).collect();
            let terms = rule.terms(self.step, &scalars, (*param).into(), (*grad).into(), &state);
            sums = [sums[0] + terms[0], sums[1] + terms[1]];
        }
        sums
    }

    /// What becomes of the directions of this step, whose scalars of the oracle these are, if anything does.
    pub(crate) fn steer(
        &self,
        rule: &dyn Rule,
        scalars: (f64, Scalars<f64>),
        grad: &[T],
    ) -> Option<Steered> {
        if self.steering == Steering::default() {
            return None;
        }
        let (extents, row_means) = (rule.slots(&self.shape), self.row_means(rule));
        let element = |(index, grad): (usize, &T)| {
            self.element(*grad, index, &self.state(extents, &row_means, index))
        };
        let elements = grad.iter().enumerate().map(element);
        Some(Steered::new(self.steering, rule, self.step, scalars, elements))
    }

    fn element(&self, grad: T, index: usize, state: &[T]) -> Element {
        let state = state.iter().map(|value| (*value).into()).collect();
        Element { param: self.param[index].into(), grad: grad.into(), state }
    }

    /// Updates every element by the scalars.
    pub(crate) fn apply(
        &mut self,
        rule: &dyn Rule,
        scalars: &Scalars<T>,
        grad: &[T],
        steered: Option<&Steered>,
    ) {
        let (extents, row_means) = (rule.slots(&self.shape), self.row_means(rule));
        for (index, grad) in grad.iter().enumerate() {
            let mut state = self.state(extents, &row_means, index);
            let followed = steered.map(|steered| {
                T::nearest(steered.param(rule, self.step, &self.element(*grad, index, &state)))
            });
            T::update(rule, self.step, scalars, &mut self.param[index], *grad, &mut state);
            self.param[index] = followed.unwrap_or(self.param[index]);
            self.store(extents, index, &state);
        }
        if let Some(slow) = &mut self.slow
            && self.step.is_multiple_of(slow.k)
        {
            for (weight, param) in slow.weights.iter_mut().zip(&self.param) {
                *weight = T::lerp(*weight, *param, slow.alpha);
            }
            self.param.clone_from(&slow.weights);
        }
        if let Some(average) = &mut self.average {
            let far = average.kind.weight(self.step);
            for (weight, param) in average.weights.iter_mut().zip(&self.param) {
                *weight = if far == 1.0 { *param } else { T::lerp(*weight, *param, far) };
            }
        }
    }
}

enum Place {
    Slot(usize),
    Kept(usize),
    Slow,
    Average,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Tensor;
    use crate::{NAMES, Number, cases, rule, step_all};

    /// Numbers of magnitude 0.5 to 1, of either sign.
    fn numbers<T: Number>(len: usize, seed: u32) -> Vec<T> {
        let counters = (0u32..).take(len);
        let words = counters.map(|index| crate::functions::noise([index, seed, 0, 0])[0]);
        let magnitude = |word: u32| 0.5 + f64::from(word >> 9) / f64::from(1u32 << 24);
        let value = |word: u32| if word & 1 == 0 { magnitude(word) } else { -magnitude(word) };
        words.map(|word| T::nearest((value(word) as f32).into())).collect()
    }

    /// Tensors of some shapes after three steps, in which one has no gradient at first.
    fn stepped<T: Number>(name: &str, options: &str) -> Vec<Tensor<T>> {
        let rule = rule(name, &serde_json::from_str(options).unwrap());
        let shapes: [&[usize]; 7] =
            [&[], &[5], &[3, 4], &[2, 3, 1, 5], &[0], &[2, 0, 3], &[2, 3, 0]];
        let mut seed = 0;
        let mut tensor = |shape: &&[usize]| {
            seed += 1;
            let param = numbers(shape.iter().product(), seed);
            Tensor::<T>::shaped(&*rule, shape, param).lookahead(2, 0.3).ema(0.8)
        };
        let mut tensors: Vec<_> = shapes.iter().map(&mut tensor).collect();
        for step in 0..3 {
            let grads: Vec<Vec<T>> = tensors
                .iter()
                .zip(0u32..)
                .map(|(tensor, number)| numbers(tensor.param.len(), 100 * (1 + step) + number))
                .collect();
            let has = |(number, grad)| (step > 0 || number != 1).then_some(grad);
            let grads: Vec<_> = grads.iter().map(Vec::as_slice).enumerate().map(has).collect();
            step_all(&*rule, &mut tensors, &[1e-2; 7], &grads);
        }
        tensors
    }

    #[test]
    fn twin_and_oracle_agree_for_every_case_and_shape() {
        for name in NAMES {
            for options in cases(name) {
                let (twins, oracles) =
                    (stepped::<f32>(name, options), stepped::<f64>(name, options));
                for (twin, oracle) in twins.iter().zip(&oracles) {
                    let what = format!("{name} {options} {:?}", twin.shape);
                    assert_eq!(
                        (twin.step, oracle.step),
                        [(3, 3), (2, 2)][usize::from(twin.shape == [5])]
                    );
                    let states = twin.slots.iter().zip(&oracle.slots);
                    for (found, expected) in states.chain([(&twin.param, &oracle.param)]) {
                        assert_eq!(found.len(), expected.len(), "{what}");
                        for (found, expected) in found.iter().zip(expected) {
                            let error = (f64::from(*found) - expected).abs();
                            assert!(
                                error <= 1e-5 * expected.abs().max(0.1),
                                "{what}: {found} {expected}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rows_and_columns_are_of_the_last_two_dimensions() {
        let adafactor = rule("adafactor", &json!({}));
        let mut tensor = Tensor::<f64>::shaped(&*adafactor, &[2, 2, 3], vec![0.0; 12]);
        let grad: Vec<f64> = (0u32..12).map(f64::from).collect();
        tensor.step(&*adafactor, 1e-2, &grad);
        // The first step takes the means as they are.
        let rows = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]];
        let columns = [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]];
        let mean = |of: &[u32]| {
            of.iter().map(|index| f64::from(index * index)).sum::<f64>() / of.len() as f64
        };
        assert_eq!(tensor.get(&*adafactor, "row_var"), rows.map(|row| mean(&row)));
        assert_eq!(tensor.get(&*adafactor, "col_var"), columns.map(|column| mean(&column)));
    }

    #[test]
    fn slow_weights_and_the_average_go_by_the_tensors_own_steps() {
        let sgd = rule("sgd", &json!({}));
        let mut tensors = [1.0, 1.0]
            .map(|param| Tensor::<f64>::new(&*sgd, vec![param]).lookahead(2, 0.25).ema(0.5));
        let grad: &[f64] = &[1.0];
        step_all(&*sgd, &mut tensors, &[1.0; 2], &[Some(grad), None]);
        assert_eq!(tensors[1].param, [1.0]);
        step_all(&*sgd, &mut tensors, &[1.0; 2], &[Some(grad); 2]);
        // 1, 0, -1, of which a quarter of the way from 1 is 0.5; averages are 0, then 0.25.
        let [first, second] = &tensors;
        assert_eq!((first.param[0], first.get(&*sgd, "slow")[0]), (0.5, 0.5));
        assert_eq!(first.get(&*sgd, "average"), [0.25]);
        assert_eq!((second.param[0], second.get(&*sgd, "slow")[0]), (0.0, 1.0));
        assert_eq!(second.get(&*sgd, "average"), [0.0]);
    }

    #[test]
    fn prodigy_freezes_what_has_no_learning_rate_and_waits_for_a_gradient() {
        let prodigy = rule("prodigy", &json!({ "d0": 1e-2, "weight_decay": 0.1 }));
        let mut tensors = [1.0, 2.0].map(|param| Tensor::<f64>::new(&*prodigy, vec![param]));
        let d_and_k = |tensor: &Tensor<f64>| [tensor.kept[0], tensor.kept[3]];
        // No gradient that is not 0, so no d to be had: steps are counted, and that is all.
        let (none, one): (&[f64], &[f64]) = (&[0.0], &[1.0]);
        step_all(&*prodigy, &mut tensors, &[1.0; 2], &[Some(none), None]);
        assert_eq!((tensors[0].step, tensors[0].param[0]), (1, 1.0));
        assert_eq!(tensors[0].get(&*prodigy, "p0"), [1.0]);
        assert_eq!(d_and_k(&tensors[0]), [1e-2, 0.0]);

        let frozen = tensors[1].clone();
        step_all(&*prodigy, &mut tensors, &[1.0, 0.0], &[Some(one); 2]);
        assert_eq!((&tensors[1].slots, &tensors[1].param), (&frozen.slots, &frozen.param));
        assert_eq!(tensors[1].step, 0);
        assert!(tensors[0].param[0] < 1.0);
        assert_eq!(d_and_k(&tensors[1]), [1e-2, 1.0], "of the optimizer");
        // One of the two going on alone has the same d.
        let mut alone = tensors[0].clone();
        alone.step(&*prodigy, 1.0, &[1.0]);
        step_all(&*prodigy, &mut tensors, &[1.0; 2], &[Some(one), None]);
        assert_eq!(tensors[0], alone);
        assert!(alone.get(&*prodigy, "d")[0] > 1e-2);
    }
}
