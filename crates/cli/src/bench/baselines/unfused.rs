//! One kernel for each element-wise operation and tensor, as runtimes do that execute a rule
//! operation by operation. Bind groups are made once, which such runtimes do not even do, and
//! temporaries are shared by all tensors, as a caching allocator would have it.

use anyhow::Result;
use fallline::{
    ComputeDispatch, ComputeKernel, Gpu,
    wgpu::{Buffer, BufferUsages, ComputePass},
};

use super::{Known, Scalars, Tensors};
use crate::compute::{self, Vec4Kernel};

/// A place that an operation reads or writes: a role of the tensor, or a temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Param,
    Grad,
    Slot0,
    Slot1,
    Temp0,
    Temp1,
}

/// A constant of the rule.
type Constant = fn(&Scalars) -> f32;

/// An operation; `out` is also an operand where the formula says so. The order is that of the
/// kernels' OP.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// out * c
    Scale(Place, Constant),
    /// out + c
    Offset(Place, Constant),
    /// sign(out)
    Sign(Place),
    /// sqrt(out)
    Sqrt(Place),
    /// x * c
    Scaled(Place, Place, Constant),
    /// x * x
    Square(Place, Place),
    /// out + x
    Add(Place, Place),
    /// out - x
    Subtract(Place, Place),
    /// out / x
    Divide(Place, Place),
}

use Op::{Add, Divide, Offset, Scale, Scaled, Sign, Sqrt, Square, Subtract};
use Place::{Grad, Param, Slot0, Slot1, Temp0, Temp1};

/// The sequence of Burn's AdamW (burn-optim, `adamw.rs`): 15 launches.
const ADAMW: &[Op] = &[
    Scale(Slot0, |s| s.beta1),
    Scaled(Temp0, Grad, |s| s.one_minus_beta1),
    Add(Slot0, Temp0),
    Scale(Slot1, |s| s.beta2),
    Square(Temp0, Grad),
    Scale(Temp0, |s| s.one_minus_beta2),
    Add(Slot1, Temp0),
    // lr / (1 - beta1^t) by lr: the bias correction alone.
    Scaled(Temp0, Slot0, |s| s.step_size / s.lr),
    Scaled(Temp1, Slot1, |s| s.bias_correction2_rsqrt * s.bias_correction2_rsqrt),
    Sqrt(Temp1),
    Offset(Temp1, |s| s.eps),
    Divide(Temp0, Temp1),
    Scale(Param, |s| s.decay),
    Scale(Temp0, |s| s.lr),
    Subtract(Param, Temp0),
];

const SGD: &[Op] = &[
    Scale(Slot0, |s| s.beta1),
    Add(Slot0, Grad),
    Scaled(Temp0, Slot0, |s| s.step_size),
    Subtract(Param, Temp0),
];

const LION: &[Op] = &[
    Scale(Param, |s| s.decay),
    Scaled(Temp0, Slot0, |s| s.beta1),
    Scaled(Temp1, Grad, |s| s.one_minus_beta1),
    Add(Temp0, Temp1),
    Sign(Temp0),
    Scale(Temp0, |s| s.step_size),
    Subtract(Param, Temp0),
    Scale(Slot0, |s| s.beta2),
    Scaled(Temp0, Grad, |s| s.one_minus_beta2),
    Add(Slot0, Temp0),
];

impl Op {
    /// The kernel's number, where the result goes, the other operand, the constant.
    fn parts(self) -> (u8, Place, Option<Place>, Constant) {
        let none: Constant = |_| 0.0;
        match self {
            Scale(out, c) => (0, out, None, c),
            Offset(out, c) => (1, out, None, c),
            Sign(out) => (2, out, None, none),
            Sqrt(out) => (3, out, None, none),
            Scaled(out, x, c) => (4, out, Some(x), c),
            Square(out, x) => (5, out, Some(x), none),
            Add(out, x) => (6, out, Some(x), none),
            Subtract(out, x) => (7, out, Some(x), none),
            Divide(out, x) => (8, out, Some(x), none),
        }
    }
}

/// Each operation's constant lies at a multiple of the largest offset alignment that there is.
const CONSTANT_STRIDE: usize = 256;

#[derive(Debug)]
pub(crate) struct Unfused {
    ops: &'static [Op],
    constants: Buffer,
    dispatches: Vec<ComputeDispatch>,
}

impl Unfused {
    pub(crate) fn new(gpu: &Gpu, known: Known, tensors: &Tensors) -> Result<Self> {
        let ops = match known {
            Known::AdamW => ADAMW,
            Known::Sgd => SGD,
            Known::Lion => LION,
        };
        let kernels = ops.iter().map(|op| kernel(gpu, *op)).collect::<Result<Vec<_>>>()?;
        gpu.checked("the unfused baseline", || {
            let constants = compute::buffer(
                gpu,
                "unfused constants",
                (ops.len() * CONSTANT_STRIDE) as u64,
                BufferUsages::UNIFORM | BufferUsages::COPY_DST,
            );
            let temp = || {
                let size = tensors.largest_window();
                compute::buffer(gpu, "unfused temporary", size, BufferUsages::STORAGE)
            };
            let temps = [temp(), temp()];
            let mut dispatches = Vec::new();
            for (roles, size) in tensors.windows() {
                let place = |place: Place| match place {
                    Param => roles[0].clone(),
                    Grad => roles[1].clone(),
                    Slot0 => roles[2].clone(),
                    Slot1 => roles[3].clone(),
                    Temp0 => compute::part(&temps[0], 0, size),
                    Temp1 => compute::part(&temps[1], 0, size),
                };
                for (number, (op, kernel)) in ops.iter().zip(&kernels).enumerate() {
                    let (_, out, other, _) = op.parts();
                    let constant = (number * CONSTANT_STRIDE) as u64;
                    let mut bound = vec![compute::part(&constants, constant, 16), place(out)];
                    bound.extend(other.map(place));
                    dispatches.push(kernel.bind(&bound, size)?);
                }
            }
            Ok(Self { ops, constants, dispatches })
        })?
    }

    /// Gives the constants of the next step; takes effect with the next submission.
    pub(crate) fn write(&self, gpu: &Gpu, scalars: &Scalars) {
        let mut bytes = vec![0u8; self.ops.len() * CONSTANT_STRIDE];
        for (place, op) in bytes.chunks_exact_mut(CONSTANT_STRIDE).zip(self.ops) {
            let (.., constant) = op.parts();
            place[..4].copy_from_slice(bytemuck::bytes_of(&constant(scalars)));
        }
        gpu.queue().write_buffer(&self.constants, 0, &bytes);
    }

    pub(crate) fn record(&self, pass: &mut ComputePass<'_>) {
        self.dispatches.iter().for_each(|dispatch| dispatch.record(pass, &[]));
    }
}

fn kernel(gpu: &Gpu, op: Op) -> Result<Vec4Kernel> {
    let (number, _, other, _) = op.parts();
    let overrides = [("OP", f64::from(number))];
    let unary = ("unfused unary", include_str!("../shaders/unary.wgsl"));
    let binary = ("unfused binary", include_str!("../shaders/binary.wgsl"));
    let (uniform, write) = (ComputeKernel::UNIFORM, ComputeKernel::WRITE);
    match other {
        None => Vec4Kernel::new(gpu, unary, &overrides, &[uniform, write]),
        Some(_) => Vec4Kernel::new(gpu, binary, &overrides, &[uniform, write, ComputeKernel::READ]),
    }
}
