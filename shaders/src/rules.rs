//! The one list of the engine's rules.

use super::{Source, functions, structs};

/// Every rule of the engine, as `stem Type CONSTANT "reference"`, handed to another macro: a line here is all that
/// registers the files `shaders/rules/stem.wgsl`, its values in the engine and its twin.
///
/// ```
/// macro_rules! stems {
///     ($($stem:ident $rule:ident $source:ident $reference:literal,)*) => { [$(stringify!($stem)),*] };
/// }
/// assert!(fallline_shaders::for_each_rule!(stems).contains(&"adamw"));
/// ```
#[macro_export]
macro_rules! for_each_rule {
    ($macro:ident) => {
        $macro! {
            sgd Sgd SGD "torch.optim.SGD",
            lion Lion LION "lion_pytorch.Lion",
            adam Adam ADAM "torch.optim.Adam",
            adamw AdamW ADAMW "torch.optim.AdamW",
            adam_mini AdamMini ADAM_MINI "adam_mini.Adam_mini",
            rmsprop RmsProp RMSPROP "torch.optim.RMSprop",
            adagrad Adagrad ADAGRAD "torch.optim.Adagrad",
            adadelta Adadelta ADADELTA "torch.optim.Adadelta",
            adamax Adamax ADAMAX "torch.optim.Adamax",
            nadam NAdam NADAM "torch.optim.NAdam",
            radam RAdam RADAM "torch.optim.RAdam",
            asgd Asgd ASGD "torch.optim.ASGD",
            rprop Rprop RPROP "torch.optim.Rprop",
            lamb Lamb LAMB "optax.lamb",
            adafactor Adafactor ADAFACTOR "torch.optim.Adafactor",
            adafactor_hf AdafactorHf ADAFACTOR_HF "transformers.Adafactor",
            prodigy Prodigy PRODIGY "prodigyopt.Prodigy",
            adabelief AdaBelief ADABELIEF "adabelief_pytorch.AdaBelief",
            adan Adan ADAN "sail-sg/Adan",
            ademamix AdEmaMix ADEMAMIX "apple/ml-ademamix",
            lars Lars LARS "optax.lars",
            stable_adamw StableAdamW STABLE_ADAMW "optimi.StableAdamW",
            schedulefree_adamw ScheduleFreeAdamW SCHEDULEFREE_ADAMW "schedulefree.AdamWScheduleFree",
            schedulefree_sgd ScheduleFreeSgd SCHEDULEFREE_SGD "schedulefree.SGDScheduleFree",
            sophia Sophia SOPHIA "sophia_opt.SophiaG",
        }
    };
}

macro_rules! sources {
    ($($stem:ident $rule:ident $source:ident $reference:literal,)*) => {
        $(
            #[doc = concat!("The rule of `", $reference, "`.")]
            pub const $source: Source = Source {
                path: concat!("rules/", stringify!($stem)),
                text: include_str!(concat!("../rules/", stringify!($stem), ".wgsl")),
            };
        )*

        /// All of them.
        pub const ALL: &[Source] = &[$($source),*];
    };
}

for_each_rule!(sources);

/// What any rule is joined with, since it may use it. (Decoupled weight decay besides, cautious or not.)
pub const COMMON: &[Source] = &[
    structs::TENSOR,
    structs::PROPOSAL,
    structs::TERMS,
    structs::KEPT,
    functions::POWER,
    functions::LERP,
    functions::L2,
    functions::SUM_BITS,
    functions::MAX_MAGNITUDE,
    functions::NON_NEGATIVE,
    functions::EXPM1,
    functions::RECTIFICATION,
    functions::SCHEDULE_FREE,
];
