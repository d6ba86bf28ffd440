//! The loss scale, in a buffer that a runtime's loss kernel can bind.

use wgpu::{Buffer, BufferUsages};

use crate::{
    Gpu, Result, abi,
    factors::{check, positive},
    rules::narrow,
    transfer,
};

/// The loss scale of one optimizer or several, and the rule by which it changes.
///
/// Gradients in 16 bits lose what is too small for them. So the runtime multiplies its loss by a
/// scale, and the optimizer divides the gradients by it, in f32. The scale lives on the GPU:
/// [`buffer`](Self::buffer) is bound by the loss kernel, and neither side asks the host.
///
/// Several optimizers may share a scaler, if their steps belong to one backward pass: each skips its
/// own step if its own gradients overflow, and the scale is updated by the last of them, for
/// all; the others step with [`Step::keep_loss_scale`](crate::Step::keep_loss_scale).
///
/// Cheap to clone: a clone is the same scale.
///
/// ```no_run
/// use fallline::{DynamicScale, Gpu, LossScaler, Options};
///
/// # fn main() -> fallline::Result<()> {
/// let gpu = Gpu::from_env()?;
/// let scaler = LossScaler::dynamic(&gpu, DynamicScale::default())?;
/// let options = Options { loss_scaler: Some(scaler.clone()), ..Options::default() };
/// let for_the_loss_kernel = scaler.buffer().as_entire_binding();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LossScaler {
    gpu: Gpu,
    buffer: Buffer,
}

/// The rule of a dynamic loss scale, `torch.amp.GradScaler`'s with a smallest scale:
///
/// ```text
/// overflow:  scale ← max(scale · backoff_factor, min_scale),  tracker ← 0
/// else:      tracker ← tracker + 1;  at growth_interval:  scale ← scale · growth_factor,  tracker ← 0
/// ```
///
/// The scale grows no further than 2^126, whose reciprocal f32 still holds exactly. (torch's has no
/// smallest scale, and decays to 0 where gradients stay infinite.)
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DynamicScale {
    /// The scale at the beginning; 2^-126 to 2^126.
    pub init_scale: f64,
    /// At least 1.
    pub growth_factor: f64,
    /// Above 0, at most 1.
    pub backoff_factor: f64,
    /// Steps without overflow after which the scale grows; at least 1.
    pub growth_interval: u32,
    /// At least 2^-126, at most the scale at the beginning.
    pub min_scale: f64,
}

impl Default for DynamicScale {
    /// torch's defaults, and no scale below 1.
    fn default() -> Self {
        Self {
            init_scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            min_scale: 1.0,
        }
    }
}

/// The largest scale whose reciprocal is a normal number of f32, 2^126.
const MAX_SCALE: f64 = 8.507_059_173_023_462e37;
const MIN_SCALE: f64 = 1.0 / MAX_SCALE;

impl LossScaler {
    /// A scale that halves with an overflow and grows after a while without one.
    ///
    /// # Errors
    /// [`Error::Factor`](crate::Error::Factor) names what is out of its range.
    pub fn dynamic(gpu: &Gpu, rule: DynamicScale) -> Result<Self> {
        let DynamicScale { init_scale, growth_factor, backoff_factor, growth_interval, min_scale } =
            rule;
        check_scale("init_scale", init_scale)?;
        let in_range = |what: &str, expected, value: f64, ok| {
            check(format!("the loss scaler's {what}"), expected, value, ok)
        };
        let ok = positive(growth_factor) && growth_factor >= 1.0;
        in_range("growth_factor", "finite and >= 1", growth_factor, ok)?;
        let ok = positive(backoff_factor) && backoff_factor <= 1.0;
        in_range("backoff_factor", "> 0 and <= 1", backoff_factor, ok)?;
        let interval = f64::from(growth_interval);
        in_range("growth_interval", ">= 1", interval, growth_interval >= 1)?;
        let ok = (MIN_SCALE..=init_scale).contains(&min_scale);
        in_range("min_scale", ">= 2^-126 and <= init_scale", min_scale, ok)?;
        Self::new(
            gpu,
            abi::LossScale {
                growth_factor: narrow(growth_factor),
                backoff_factor: narrow(backoff_factor),
                growth_interval,
                min_scale: narrow(min_scale),
                ..fixed(init_scale)
            },
        )
    }

    /// A scale that never changes. A step with an overflow is skipped all the same.
    ///
    /// # Errors
    /// [`Error::Factor`](crate::Error::Factor) for a scale outside of 2^-126 to 2^126.
    pub fn fixed(gpu: &Gpu, scale: f64) -> Result<Self> {
        check_scale("scale", scale)?;
        Self::new(gpu, fixed(scale))
    }

    fn new(gpu: &Gpu, contents: abi::LossScale) -> Result<Self> {
        let usage = BufferUsages::STORAGE | BufferUsages::UNIFORM | BufferUsages::COPY_SRC;
        let buffer = gpu.filled("fallline loss scale", usage, &[contents])?;
        Ok(Self { gpu: gpu.clone(), buffer })
    }

    /// What a loss kernel binds, as storage (read only) or as uniform. In WGSL:
    ///
    /// ```wgsl
    /// struct LossScale {
    ///     scale: f32,       // multiply the loss by this
    ///     reciprocal: f32,  // and by this what is to be shown
    ///     // 24 bytes more, which are the engine's
    ///     rest0: vec2<f32>, rest1: vec4<f32>,
    /// }
    /// ```
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The device that the scale lives on.
    #[must_use]
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Reads the scale and the steps without overflow since it changed.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub async fn fetch(&self) -> Result<(f32, u32)> {
        let contents: Vec<abi::LossScale> = transfer::fetch(&self.gpu, &self.buffer, 0, 1).await?;
        Ok((contents[0].scale, contents[0].growth_tracker))
    }

    /// Sets both, as from a checkpoint; takes effect before the next submission.
    ///
    /// # Errors
    /// [`Error::Factor`](crate::Error::Factor) for a scale outside of 2^-126 to 2^126.
    pub fn write(&self, scale: f32, growth_tracker: u32) -> Result<()> {
        check_scale("scale", scale.into())?;
        let contents = abi::LossScale { growth_tracker, ..fixed(scale.into()) };
        // Without the factors of the rule, which lie behind. An overflow that was remembered is not
        // the checkpoint's.
        let head =
            &bytemuck::bytes_of(&contents)[..std::mem::offset_of!(abi::LossScale, growth_factor)];
        transfer::write(&self.gpu, &self.buffer, 0, head)
    }
}

fn check_scale(what: &str, scale: f64) -> Result<()> {
    let ok = (MIN_SCALE..=MAX_SCALE).contains(&scale);
    check(format!("the loss scaler's {what}"), "2^-126 to 2^126", scale, ok)
}

fn fixed(scale: f64) -> abi::LossScale {
    abi::LossScale {
        scale: narrow(scale),
        reciprocal: narrow(1.0 / f64::from(narrow(scale))),
        growth_tracker: 0,
        found_inf: 0,
        growth_factor: 1.0,
        backoff_factor: 1.0,
        growth_interval: 0,
        min_scale: 0.0,
    }
}
