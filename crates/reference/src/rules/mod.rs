//! Twins and oracles of `shaders/rules`, one file each.

/// What a rule keeps or derives once for each tensor and step.
pub type Scalars<T> = [T; 4];

/// What a slot has a value for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Each element.
    Element,
    /// Each row of the last two dimensions, for each index of those before.
    Row,
    /// Each column of the last two dimensions, for each index of those before.
    Column,
    /// Each of the [blocks](Rule::blocks), equal parts of the first dimension.
    Block,
}

/// A state slot: its name, and what it has a value for.
pub type Slot = (&'static str, Extent);

impl Extent {
    /// The slot's shape, for a parameter of this shape in so many blocks.
    ///
    /// # Panics
    /// If rows or columns are asked of less than two dimensions.
    #[must_use]
    pub fn dims(self, shape: &[usize], blocks: usize) -> Vec<usize> {
        let (mut dims, len) = (shape.to_vec(), shape.len());
        match self {
            Self::Element => {}
            Self::Row => dims[len - 1] = 1,
            Self::Column => dims[len - 2] = 1,
            Self::Block => dims = vec![blocks],
        }
        dims
    }

    /// Which of its values an element of the parameter belongs to.
    pub(crate) fn index(self, shape: &[usize], blocks: usize, element: usize) -> usize {
        let columns = || shape[shape.len() - 1];
        match self {
            Self::Element => element,
            Self::Row => element / columns(),
            Self::Column => {
                let matrix = shape[shape.len() - 2] * columns();
                element / matrix * columns() + element % columns()
            }
            Self::Block => element * blocks / shape.iter().product::<usize>(),
        }
    }
}

/// How far a rule looks before it applies anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At each element by itself.
    Element,
    /// At the whole tensor.
    Tensor,
    /// At all tensors of the optimizer that have a gradient and a learning rate.
    Optimizer,
}

/// A rule on the CPU, with its hyperparameters.
///
/// The twin's scalars and elements are computed as the shader's, in f32; the oracle's in f64.
pub trait Rule: std::fmt::Debug {
    /// The state slots that the rule can have for a parameter of this shape; a switch may leave the last unused.
    fn slots(&self, shape: &[usize]) -> &'static [Slot];

    /// How many blocks it cuts a tensor of this shape into, if it has slots of these.
    fn blocks(&self, shape: &[usize]) -> usize {
        let _ = shape;
        1
    }

    /// What it keeps for the tensor, up to four; for the optimizer if that is its scope.
    fn kept(&self) -> &'static [&'static str] {
        &[]
    }

    /// What these are before the first step.
    fn initial(&self) -> Scalars<f64> {
        [0.0; 4]
    }

    /// Whether f32 and f64 may take different steps from nearly the same numbers, as close to the zero of a sign.
    fn jumps(&self) -> bool {
        false
    }

    /// Whether the gradient's sign is turned.
    fn maximize(&self) -> bool {
        false
    }

    /// Whether what it keeps goes on in steps in which a tensor has no gradient.
    fn keeps_without_grad(&self) -> bool {
        false
    }

    /// Where the twin evaluates an element's parameter, by its state: the shader's `evaluated`.
    fn evaluated(&self, param: f32, state: &[f32]) -> f32 {
        let _ = state;
        param
    }

    /// Where the oracle does.
    fn exact_evaluated(&self, param: f64, state: &[f64]) -> f64 {
        let _ = state;
        param
    }

    /// Whether it takes estimates of the Hessian's diagonal.
    fn takes_estimates(&self) -> bool {
        false
    }

    /// What the twin makes of an element's state and an estimate: the shader's `estimate`.
    fn estimate(&self, value: f32, state: &mut [f32]) {
        let _ = (value, state);
    }

    /// What the oracle makes of them.
    fn exact_estimate(&self, value: f64, state: &mut [f64]) {
        let _ = (value, state);
    }

    /// The shader's `keep` and `scalars` for step `t`, counted from 1.
    fn scalars(&self, t: u32, lr: f32, kept: &mut Scalars<f32>) -> Scalars<f32>;

    /// What the oracle derives for step `t`; the learning rate first, unless it needs others.
    fn exact_scalars(&self, t: u32, lr: f64, kept: &mut Scalars<f64>) -> Scalars<f64> {
        let _ = (t, kept);
        [lr, 0.0, 0.0, 0.0]
    }

    /// How far it looks before it applies anything.
    fn scope(&self) -> Scope {
        Scope::Element
    }

    /// Whether it looks at more than an element.
    fn reduces(&self) -> bool {
        self.scope() != Scope::Element
    }

    /// What of a gradient is averaged over rows and columns, or blocks.
    fn margin(&self, grad: f64) -> f64 {
        grad * grad
    }

    /// What the twin makes of a row's, a column's or a block's value and the mean of the margins.
    fn fold(&self, scalars: &Scalars<f32>, mean: f32, value: f32) -> f32 {
        let _ = (scalars, mean);
        value
    }

    /// What the oracle makes of them.
    fn exact_fold(&self, scalars: &Scalars<f64>, mean: f64, value: f64) -> f64 {
        let _ = (scalars, mean);
        value
    }

    /// What of an element is summed over the scope then. (The twin's sums are exact: the order of the shader's is
    /// its own.)
    fn terms(
        &self,
        t: u32,
        scalars: &Scalars<f64>,
        param: f64,
        grad: f64,
        state: &[f64],
    ) -> [f64; 2] {
        let _ = (t, scalars, param, grad, state);
        [0.0; 2]
    }

    /// What the optimizer keeps, by the sums over its tensors, if that is the scope.
    fn settle(&self, sums: [f64; 2], kept: Scalars<f64>) -> Scalars<f64> {
        let _ = sums;
        kept
    }

    /// The scalars of a tensor with so many elements, by these sums and by what is kept now.
    fn decide(
        &self,
        sums: [f64; 2],
        count: usize,
        scalars: Scalars<f64>,
        kept: &Scalars<f64>,
    ) -> Scalars<f64> {
        let _ = (sums, count, kept);
        scalars
    }

    /// What decoupled weight decay multiplies the parameter by, by the oracle's scalars.
    fn decay(&self, lr: f64, scalars: &Scalars<f64>) -> f64 {
        let _ = (lr, scalars);
        1.0
    }

    /// What the oracle multiplies the direction by: what a limit to its root mean square does not see.
    fn size(&self, lr: f64, scalars: &Scalars<f64>) -> f64 {
        let _ = scalars;
        lr
    }

    /// One element of the twin: the shader's `propose` and `apply`. Of a row, column or block the state has the value,
    /// which stays, and behind all slots, for each of rows, the mean over the matrix.
    fn twin(&self, t: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]);

    /// One element of the oracle: the reference's formula.
    fn oracle(&self, t: u32, scalars: &Scalars<f64>, param: &mut f64, grad: f64, state: &mut [f64]);
}

macro_rules! catalog {
    ($($stem:ident $rule:ident $source:ident $reference:literal,)*) => {
        $(pub mod $stem;)*

        /// The names of the rules.
        pub const NAMES: &[&str] = &[$(stringify!($stem)),*];

        /// The rule of this name with these options, a JSON object under torch's names.
        ///
        /// # Panics
        /// If there is no such rule, or an option is of another type.
        #[must_use]
        pub fn rule(name: &str, options: &serde_json::Value) -> Box<dyn Rule> {
            match name {
                $(stringify!($stem) => {
                    let rule = <$stem::$rule as serde::Deserialize>::deserialize(options);
                    Box::new(rule.expect("options of the rule"))
                })*
                _ => panic!("no rule '{name}'"),
            }
        }

        /// Options that tests step the rule of this name with: every switch, and hyperparameters away from
        /// their defaults. JSON objects.
        ///
        /// # Panics
        /// If there is no such rule.
        #[must_use]
        pub fn cases(name: &str) -> &'static [&'static str] {
            match name {
                $(stringify!($stem) => $stem::CASES,)*
                _ => panic!("no rule '{name}'"),
            }
        }
    };
}

fallline_shaders::for_each_rule!(catalog);
