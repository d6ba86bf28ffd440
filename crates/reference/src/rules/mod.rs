//! Twins and oracles of `shaders/rules`, one file each.

/// What a rule keeps or derives once for each tensor and step.
pub type Scalars<T> = [T; 4];

/// A rule on the CPU, with its hyperparameters.
///
/// The twin's scalars and elements are computed as the shader's, in f32; the oracle's in f64.
pub trait Rule: std::fmt::Debug {
    /// The state slots of the parameter's shape that the rule can have; a switch may leave the last unused.
    fn slots(&self) -> &'static [&'static str];

    /// What it keeps for the tensor, up to four.
    fn kept(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether f32 and f64 may take different steps from nearly the same numbers, as close to the zero of a sign.
    fn jumps(&self) -> bool {
        false
    }

    /// Whether the gradient's sign is turned.
    fn maximize(&self) -> bool {
        false
    }

    /// The shader's `keep` and `scalars` for step `t`, counted from 1.
    fn scalars(&self, t: u32, lr: f32, kept: &mut Scalars<f32>) -> Scalars<f32>;

    /// What the oracle derives for step `t`; the learning rate first, unless it needs others.
    fn exact_scalars(&self, t: u32, lr: f64, kept: &mut Scalars<f64>) -> Scalars<f64> {
        let _ = (t, kept);
        [lr, 0.0, 0.0, 0.0]
    }

    /// Whether it looks at the whole tensor before it applies anything.
    fn reduces(&self) -> bool {
        false
    }

    /// What of an element is summed over the tensor then.
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

    /// The scalars by these sums. (The twin's sums are exact: the order of the shader's is its own.)
    fn decide(&self, sums: [f64; 2], scalars: Scalars<f64>) -> Scalars<f64> {
        let _ = sums;
        scalars
    }

    /// One element of the twin: the shader's `propose` and `apply`.
    fn twin(&self, t: u32, scalars: &Scalars<f32>, param: &mut f32, grad: f32, state: &mut [f32]);

    /// One element of the oracle: the reference's formula.
    fn oracle(&self, t: u32, scalars: &Scalars<f64>, param: &mut f64, grad: f64, state: &mut [f64]);
}

/// Every rule by the stem of its file.
macro_rules! catalog {
    ($($stem:ident: $rule:ident),* $(,)?) => {
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

catalog! {
    sgd: Sgd,
    lion: Lion,
    adam: Adam,
    adamw: AdamW,
    rmsprop: RmsProp,
    nadam: NAdam,
    lamb: Lamb,
}
