//! Burn's configurations. Their fields are private; what they are saved as is not.

use burn::{
    config::Config,
    grad_clipping::GradientClippingConfig,
    optim::{
        AdaGradConfig, AdafactorConfig, AdamConfig, AdamWConfig, AdanConfig, LambConfig,
        LionConfig, RmsPropConfig, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
    },
};
use fallline::{
    Adafactor, AdafactorHf, Adagrad, Adam, AdamW, Adan, IntoRule, Lamb, Lion, RmsProp, Sgd,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::FusedConfig;
use crate::{Error, Result};

/// The fields of a configuration.
fn fields<C: Config, F: DeserializeOwned>(config: &C, name: &'static str) -> Result<F> {
    let unknown = |source| Error::UnknownConfig { config: name, source };
    let value = serde_json::to_value(config).map_err(unknown)?;
    serde_json::from_value(value).map_err(unknown)
}

/// A rule with Burn's clipping.
fn config(
    name: &'static str,
    rule: impl IntoRule,
    clipping: Option<GradientClippingConfig>,
) -> Result<FusedConfig> {
    let config = FusedConfig::new(rule);
    match clipping {
        None => Ok(config),
        Some(GradientClippingConfig::Value(value)) => Ok(config.with_clip_value(value.into())),
        Some(GradientClippingConfig::Norm(norm)) => Err(Error::Config {
            config: name,
            field: "grad_clipping",
            expected: "by value or none: Burn clips each tensor to a norm by itself (see FusedConfig::with_max_norm, \
                       ModuleOptimizer::with_grad_clipping)",
            found: format!("Norm({norm})"),
        }),
    }
}

fn penalty(decay: Option<&WeightDecayConfig>) -> f64 {
    decay.map_or(0.0, |decay| decay.penalty.into())
}

fn betas(beta_1: f32, beta_2: f32) -> (f64, f64) {
    (beta_1.into(), beta_2.into())
}

impl TryFrom<SgdConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: SgdConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            weight_decay: Option<WeightDecayConfig>,
            momentum: Option<MomentumConfig>,
            gradient_clipping: Option<GradientClippingConfig>,
        }
        let name = "SgdConfig";
        let Fields { weight_decay, momentum, gradient_clipping } = fields(&config, name)?;
        let mut rule = Sgd::new().weight_decay(penalty(weight_decay.as_ref()));
        if let Some(MomentumConfig { momentum, dampening, nesterov }) = momentum {
            if nesterov && dampening != 0.0 {
                let expected = "0 with nesterov (by default it is 0.1)";
                let found = dampening.to_string();
                return Err(Error::Config { config: name, field: "dampening", expected, found });
            }
            rule = rule.momentum(momentum).dampening(dampening).nesterov(nesterov);
        }
        self::config(name, rule, gradient_clipping)
    }
}

impl TryFrom<AdamConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: AdamConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            beta_1: f32,
            beta_2: f32,
            epsilon: f32,
            amsgrad: bool,
            weight_decay: Option<WeightDecayConfig>,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "AdamConfig";
        let known: Fields = fields(&config, name)?;
        let rule = Adam::new()
            .betas(betas(known.beta_1, known.beta_2))
            .eps(known.epsilon.into())
            .amsgrad(known.amsgrad)
            .weight_decay(penalty(known.weight_decay.as_ref()));
        self::config(name, rule, known.grad_clipping)
    }
}

impl TryFrom<AdamWConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: AdamWConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            beta_1: f32,
            beta_2: f32,
            epsilon: f32,
            weight_decay: f32,
            cautious_weight_decay: bool,
            amsgrad: bool,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "AdamWConfig";
        let known: Fields = fields(&config, name)?;
        let rule = AdamW::new()
            .betas(betas(known.beta_1, known.beta_2))
            .eps(known.epsilon.into())
            .amsgrad(known.amsgrad)
            .weight_decay(known.weight_decay.into());
        let config = self::config(name, rule, known.grad_clipping)?;
        Ok(config.with_group(|group| group.cautious_decay(known.cautious_weight_decay)))
    }
}

impl TryFrom<AdaGradConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: AdaGradConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            lr_decay: f64,
            epsilon: f32,
            weight_decay: Option<WeightDecayConfig>,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "AdaGradConfig";
        let known: Fields = fields(&config, name)?;
        let rule = Adagrad::new()
            .lr_decay(known.lr_decay)
            .eps(known.epsilon.into())
            .weight_decay(penalty(known.weight_decay.as_ref()));
        self::config(name, rule, known.grad_clipping)
    }
}

/// Of Adafactor with a relative step: Burn's default.
const MOST_EPSILON_1: f32 = 1e-30;

impl TryFrom<AdafactorConfig> for FusedConfig {
    type Error = Error;

    /// Burn's is torch's where learning rate and parameter scale are both relative, and otherwise that of
    /// transformers. torch's has floors where Burn's adds `epsilon_1` to squares, so that is taken over there only if it
    /// is so small that it is seen in gradients below 1e-15 alone, as by default.
    fn try_from(config: AdafactorConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            epsilon_1: f32,
            epsilon_2: f32,
            clip_threshold: f32,
            decay_rate: f64,
            relative_step: bool,
            scale_parameter: bool,
            weight_decay: f32,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "AdafactorConfig";
        let known: Fields = fields(&config, name)?;
        let unfit = |field, expected, found: String| {
            Err(Error::Config { config: name, field, expected, found })
        };
        let (eps1, eps2) = (f64::from(known.epsilon_1), f64::from(known.epsilon_2));
        let (threshold, decay) = (f64::from(known.clip_threshold), f64::from(known.weight_decay));
        match (known.relative_step, known.scale_parameter) {
            (true, true) if threshold < 1.0 => {
                let expected = "at least 1 with a relative step";
                unfit("clip_threshold", expected, threshold.to_string())
            }
            (true, true) if known.epsilon_1 > MOST_EPSILON_1 => {
                let expected = "at most 1e-30 with a relative step";
                unfit("epsilon_1", expected, known.epsilon_1.to_string())
            }
            (true, true) => {
                // No floor: that of torch's would be one of squares of matrices and of roots of vectors.
                let rule = Adafactor::new()
                    .eps((Some(0.0), eps2))
                    .d(threshold)
                    .beta2_decay(known.decay_rate)
                    .weight_decay(decay);
                self::config(name, rule, known.grad_clipping)
            }
            (true, false) => {
                unfit("scale_parameter", "true with a relative step", "false".to_owned())
            }
            (false, true) if decay != 0.0 => {
                let expected = "0 where the parameter's scale is in the step, but the learning rate is not relative";
                unfit("weight_decay", expected, decay.to_string())
            }
            (false, scale_parameter) => {
                let rule = AdafactorHf::new()
                    .lr(Some(1e-3))
                    .eps((eps1, eps2))
                    .clip_threshold(threshold)
                    .decay_rate(known.decay_rate)
                    .relative_step(false)
                    .scale_parameter(scale_parameter)
                    .weight_decay(decay);
                self::config(name, rule, known.grad_clipping)
            }
        }
    }
}

impl TryFrom<AdanConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: AdanConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            beta_1: f32,
            beta_2: f32,
            beta_3: f32,
            epsilon: f32,
            weight_decay: f32,
            no_prox: bool,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "AdanConfig";
        let known: Fields = fields(&config, name)?;
        let rule = Adan::new()
            .betas((known.beta_1.into(), known.beta_2.into(), known.beta_3.into()))
            .eps(known.epsilon.into())
            .weight_decay(known.weight_decay.into())
            .no_prox(known.no_prox);
        self::config(name, rule, known.grad_clipping)
    }
}

impl TryFrom<LambConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: LambConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            beta_1: f32,
            beta_2: f32,
            epsilon: f32,
            weight_decay: f32,
            use_trust_ratio: bool,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "LambConfig";
        let known: Fields = fields(&config, name)?;
        if !known.use_trust_ratio {
            let (field, expected) = ("use_trust_ratio", "true");
            return Err(Error::Config { config: name, field, expected, found: "false".into() });
        }
        let rule = Lamb::new()
            .betas(betas(known.beta_1, known.beta_2))
            .eps(known.epsilon.into())
            .weight_decay(known.weight_decay.into());
        self::config(name, rule, known.grad_clipping)
    }
}

impl TryFrom<LionConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: LionConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            beta_1: f32,
            beta_2: f32,
            weight_decay: f32,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "LionConfig";
        let known: Fields = fields(&config, name)?;
        let betas = betas(known.beta_1, known.beta_2);
        let rule = Lion::new().betas(betas).weight_decay(known.weight_decay.into());
        self::config(name, rule, known.grad_clipping)
    }
}

impl TryFrom<RmsPropConfig> for FusedConfig {
    type Error = Error;

    fn try_from(config: RmsPropConfig) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            alpha: f32,
            momentum: f32,
            epsilon: f32,
            centered: bool,
            weight_decay: Option<WeightDecayConfig>,
            grad_clipping: Option<GradientClippingConfig>,
        }
        let name = "RmsPropConfig";
        let known: Fields = fields(&config, name)?;
        let rule = RmsProp::new()
            .alpha(known.alpha.into())
            .momentum(known.momentum.into())
            .eps(known.epsilon.into())
            .centered(known.centered)
            .weight_decay(penalty(known.weight_decay.as_ref()));
        self::config(name, rule, known.grad_clipping)
    }
}
