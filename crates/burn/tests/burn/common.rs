use std::sync::OnceLock;

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Distribution, Tensor, wgpu::WgpuSetup},
};
use fallline_burn::{Fused, FusedConfig};

/// The device of the process, with autodiff, and what it was opened with.
pub(crate) fn opened() -> &'static (Device, WgpuSetup) {
    static OPENED: OnceLock<(Device, WgpuSetup)> = OnceLock::new();
    OPENED.get_or_init(|| {
        let opened = Device::wgpu_options().init_with_setup();
        let (device, setup) = opened.expect("a GPU, or Mesa's software driver");
        (device.autodiff(), setup)
    })
}

pub(crate) fn device() -> &'static Device {
    &opened().0
}

pub(crate) fn setup() -> &'static WgpuSetup {
    &opened().1
}

/// A net of shapes that are awkward: odd lengths, one element.
#[derive(Module, Debug)]
pub(crate) struct Net {
    pub(crate) scale: Param<Tensor<2>>,
    pub(crate) shift: Param<Tensor<1>>,
    pub(crate) gain: Param<Tensor<1>>,
    pub(crate) out: Param<Tensor<2>>,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        let device = device();
        let mut random = Random(seed);
        let mut param = |len: usize| -> Vec<f32> { (0..len).map(|_| random.next()).collect() };
        let two = |values: Vec<f32>| {
            Tensor::<1>::from_floats(values.as_slice(), device).reshape([67, 131])
        };
        let one = |values: Vec<f32>| Tensor::<1>::from_floats(values.as_slice(), device);
        Self {
            scale: Param::from_tensor(two(param(67 * 131))),
            shift: Param::from_tensor(one(param(131))),
            gain: Param::from_tensor(one(param(1))),
            out: Param::from_tensor(two(param(67 * 131))),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = x * self.scale.val() + self.shift.val().unsqueeze();
        hidden.tanh() * self.out.val() * self.gain.val().unsqueeze()
    }

    pub(crate) fn loss(&self, (x, y): &(Tensor<2>, Tensor<2>)) -> Tensor<1> {
        (self.forward(x.clone()) - y.clone()).square().mean()
    }

    pub(crate) fn grads(&self, batch: &(Tensor<2>, Tensor<2>)) -> (f32, GradientsParams) {
        let loss = self.loss(batch);
        let grads = GradientsParams::from_grads(loss.backward(), self);
        (loss.into_scalar::<f32>(), grads)
    }

    /// All parameters, one after the other.
    pub(crate) fn values(&self) -> Vec<f32> {
        let mut values = floats(self.scale.val());
        values.extend(floats(self.shift.val()));
        values.extend(floats(self.gain.val()));
        values.extend(floats(self.out.val()));
        values
    }
}

pub(crate) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Inputs and what is to come out.
pub(crate) fn batches(count: usize) -> Vec<(Tensor<2>, Tensor<2>)> {
    let batch = |seed: usize| {
        let mut random = Random(seed as u64 + 1000);
        let x: Vec<f32> = (0..67 * 131).map(|_| 2.0 * random.next()).collect();
        let x = Tensor::<1>::from_floats(x.as_slice(), device()).reshape([67, 131]);
        (x.clone(), (x * 1.5).sin())
    };
    (0..count).map(batch).collect()
}

/// Uniform in -1..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// The module with every parameter in memory of its own: clones share it.
pub(crate) fn copied<M: Module>(module: &M) -> M {
    struct Copy;
    impl ModuleMapper for Copy {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let requires_grad = tensor.is_require_grad();
            let copy = Tensor::from_data(tensor.to_data(), &tensor.device());
            Param::from_mapped_value(id, copy.set_require_grad(requires_grad), mapper)
        }
    }
    module.clone().map(&mut Copy)
}

/// The largest difference of two lists.
pub(crate) fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
    differences.fold(0.0, |worst, d| if d > worst || d.is_nan() { d } else { worst })
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// fallline's optimizer, and Burn's with it inside.
pub(crate) fn fused(config: FusedConfig) -> (Fused, ModuleOptimizer) {
    let fused = config.init(setup()).expect("the device will do");
    let optim = fused.clone().into();
    (fused, optim)
}

pub(crate) fn adamw() -> FusedConfig {
    FusedConfig::try_from(AdamWConfig::new().with_weight_decay(0.01)).expect("it fits")
}

/// What Burn computes lazily on this thread until something is read.
pub(crate) fn queue(len: usize, rounds: usize) -> Tensor<1> {
    let mut x = Tensor::<1>::random([len], Distribution::Uniform(1.0, 1.0), device());
    for _ in 0..rounds {
        x = x.clone() * 0.5 + x * 0.5;
    }
    x
}
