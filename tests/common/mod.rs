//! What the GPU tests share: the device, numbers, and a rule in both crates' terms.

use std::sync::Arc;

use fallline::{
    BlockSpec, Gpu, GpuOptions, Optimizer, Quantizer, Rule, Scope, Slot, StateFormat, Step,
    StepReport, TensorId, TensorSpec, wgpu,
};
use fallline_reference::{
    self as reference,
    formats::{companded, dynamic, e4m3, nibble},
};

/// The device under test. Without one the run fails, and says what to install.
pub(crate) fn gpu() -> Gpu {
    Gpu::from_env().unwrap_or_else(|error| panic!("these tests need a GPU: {error}"))
}

/// The device under test, opened with no more than WebGPU's default limits.
pub(crate) fn webgpu_default_gpu() -> Gpu {
    let limits = Some(wgpu::Limits::defaults());
    GpuOptions::from_env()
        .and_then(|options| Gpu::open(&GpuOptions { limits, ..options }))
        .unwrap_or_else(|error| panic!("these tests need a GPU: {error}"))
}

/// The device under test, used as if bindings, buffers and dispatches were tiny.
pub(crate) fn tiny_gpu() -> Gpu {
    let tiny = wgpu::Limits {
        max_storage_buffer_binding_size: 1 << 17,
        max_buffer_size: 1 << 20,
        max_compute_workgroups_per_dimension: 8,
        max_compute_invocations_per_workgroup: 64,
        ..wgpu::Limits::defaults()
    };
    gpu().restrict_limits(&tiny).expect("the engine works within these limits")
}

/// Reproducible numbers (SplitMix64, Steele et al. 2014).
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value whose magnitude is in [scale / 2, scale), of either sign: well scaled, never tiny.
    pub(crate) fn value(&mut self, scale: f32) -> f32 {
        let bits = self.next_u64();
        let magnitude = 0.5 + (bits >> 40) as f32 / (1u64 << 25) as f32;
        if bits & 1 == 0 { scale * magnitude } else { -scale * magnitude }
    }

    pub(crate) fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.value(scale)).collect()
    }
}

/// WGSL leaves the last bits of division (2.5 ULP) and square root (as 1 / inverseSqrt, 2 ULP more)
/// open and lets a driver contract a multiplication and an addition; drivers tried so far give 0 to 2.
pub(crate) const TWIN_ULP: u32 = 2;

/// A rule of the engine, and the same of the reference.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) rule: Arc<dyn Rule>,
    pub(crate) twin: Arc<dyn reference::Rule>,
    name: &'static str,
    options: serde_json::Value,
}

impl Case {
    pub(crate) fn new(name: &'static str, options: serde_json::Value) -> Self {
        let rule = fallline::deserialize_rule(name, &options).expect("options of the rule");
        Self { rule, twin: reference::rule(name, &options).into(), name, options }
    }

    /// What the rule keeps for a tensor of one dimension.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.rule.slots(&TensorSpec::new("t", [1]))
    }

    /// How far a slot may be from the twin's, which has exactly the sums that it may be multiplied by.
    pub(crate) fn slot_ulp(&self) -> u32 {
        if self.rule.scope() == Scope::Element { TWIN_ULP } else { TWIN_ULP + 2 }
    }

    /// The same with another option, if the rule has it.
    pub(crate) fn with(&self, option: &str, value: impl Into<serde_json::Value>) -> Self {
        let mut options = self.options.clone();
        let value = value.into();
        if let Some(known) = options.get_mut(option)
            && known.is_number() == value.is_number()
        {
            *known = value;
        }
        Self::new(self.name, options)
    }
}

/// Every rule with every switch, hyperparameters away from their defaults.
pub(crate) fn cases() -> Vec<Case> {
    let of_rule = |name: &&'static str| {
        let name = *name;
        let case = move |options: &&str| {
            Case::new(name, serde_json::from_str(options).expect("a JSON object"))
        };
        reference::cases(name).iter().map(case)
    };
    fallline::RULE_NAMES.iter().flat_map(of_rule).collect()
}

/// A tensor of one dimension for each size: t0, t1, …
pub(crate) fn specs(sizes: &[usize]) -> Vec<TensorSpec> {
    sizes.iter().enumerate().map(|(i, len)| TensorSpec::new(format!("t{i}"), [*len])).collect()
}

/// Sizes around everything that the engine counts in: vec4s, tiles, workgroups; primes.
pub(crate) const AWKWARD: [usize; 14] =
    [0, 1, 2, 3, 5, 31, 255, 256, 257, 1021, 1024, 1025, 4097, 40_009];

/// A buffer of the caller's with these contents.
pub(crate) fn buffer(gpu: &Gpu, contents: &[f32], usage: wgpu::BufferUsages) -> wgpu::Buffer {
    let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("the caller's"),
        size: contents.len() as u64 * 4,
        usage: usage | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let bytes: Vec<u8> = contents.iter().flat_map(|value| value.to_le_bytes()).collect();
    gpu.queue().write_buffer(&buffer, 0, &bytes);
    buffer
}

/// Reads a whole buffer.
pub(crate) fn read_bytes(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<u8> {
    let staging = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: Some("test readback"),
        size: buffer.size(),
        usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut encoder =
        gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    encoder.copy_buffer_to_buffer(buffer, 0, &staging, 0, buffer.size());
    gpu.queue().submit([encoder.finish()]);
    staging.map_async(wgpu::MapMode::Read, .., |mapped| mapped.expect("mappable"));
    gpu.wait().expect("a live device");
    staging.get_mapped_range(..).expect("mapped").to_vec()
}

/// Reads a whole buffer of f32.
pub(crate) fn read(gpu: &Gpu, buffer: &wgpu::Buffer) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(&read_bytes(gpu, buffer))
}

/// Writes the gradient of each tensor.
pub(crate) fn write_grads(optimizer: &Optimizer, grads: &[Vec<f32>]) {
    for (index, grad) in grads.iter().enumerate() {
        optimizer.write_grad(TensorId::new(index), grad).unwrap();
    }
}

/// One step, and its report.
pub(crate) fn step(optimizer: &mut Optimizer, step: &Step<'_>) -> StepReport {
    optimizer.step(step).unwrap();
    let mut reports = optimizer.wait_reports().unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

/// The bits, for comparisons that must be exact.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A format in blocks with their length, and the values that a value may become in a block of a largest
/// magnitude.
pub(crate) type InBlocks = (StateFormat, usize, fn(f32, f32, bool, f64) -> Vec<f64>);

pub(crate) const FORMATS: [InBlocks; 4] = [
    (StateFormat::Int8, 256, dynamic::rounded),
    (StateFormat::Int4, 128, nibble::rounded),
    (StateFormat::Fp8, 256, e4m3::rounded),
    (StateFormat::Companded, 32, companded::rounded),
];

/// Each value with the largest magnitude of its block, and what was found for it.
pub(crate) fn in_blocks_of<'a>(
    block_elems: usize,
    values: &'a [f32],
    found: &'a [f32],
) -> impl Iterator<Item = (f32, f32, f32)> + 'a {
    assert_eq!(values.len(), found.len());
    let blocks = values.chunks(block_elems).zip(found.chunks(block_elems));
    blocks.flat_map(|(block, found)| {
        let absmax = block.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        block.iter().zip(found).map(move |(value, found)| (*value, absmax, *found))
    })
}

/// Submits what is recorded.
pub(crate) fn submit(gpu: &Gpu, record: impl FnOnce(&mut wgpu::CommandEncoder)) {
    let mut encoder = gpu
        .device()
        .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("test") });
    record(&mut encoder);
    gpu.queue().submit([encoder.finish()]);
}

/// What values are after they were quantized.
pub(crate) fn round_trip(gpu: &Gpu, spec: BlockSpec, values: &[f32]) -> Vec<f32> {
    let quantizer = Quantizer::arena(gpu, &[spec]).unwrap();
    let id = TensorId::new(0);
    quantizer.write_values(id, values).unwrap();
    submit(gpu, |encoder| {
        quantizer.encode_quantize(encoder);
        quantizer.encode_dequantize(encoder);
    });
    quantizer.read_values(id).unwrap()
}
