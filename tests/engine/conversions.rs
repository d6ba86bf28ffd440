//! The conversions of `shaders/formats` and the pair of `shaders/precision/remainder`, alone on the
//! GPU: every code of 16 bits and of e4m3, every tie, and random bits, against the twins.

#![allow(clippy::cast_possible_truncation, reason = "codes are lower halves of words")]

use fallline::{
    AdamW, ComputeKernel, Dtype, Gpu, Group, Optimizer, Saved, StateFormat, Step, TensorId,
    TensorSpec, wgpu,
};
use fallline_reference::formats::{bf16, e4m3, f16};
use fallline_shaders::{formats, functions, join, packing, precision, structs};

use crate::common::{self, Rng, gpu, submit};

/// Runs `output = expression` for each vec4 `codes` of the input, with `random` beside it.
fn run(gpu: &Gpu, expression: &str, codes: &[u32], random: &[u32]) -> Vec<u32> {
    let modules = [
        formats::F16,
        formats::F16_NEAREST,
        formats::BF16,
        formats::E4M3,
        formats::E4M3_NEAREST,
        packing::HALVES,
        precision::REMAINDER,
        functions::REMAINDER,
    ];
    let structs = [structs::PLACE, structs::TENSOR];
    // What the remainder's own load and store refer to, though nothing calls them here.
    let stubs = "
        fn param_codes(at: u32, count: u32) -> vec4<u32> { return vec4<u32>(at + count); }
        fn set_param_codes(at: u32, codes: vec4<u32>, count: u32) {}
        struct Scalars { padding0: vec4<f32>, }
        @group(0) @binding(3) var<storage, read_write> master: array<MasterWord>;";
    let main = format!(
        "@group(0) @binding(0) var<storage, read> input: array<vec4<u32>>;
        @group(0) @binding(1) var<storage, read> randoms: array<vec4<u32>>;
        @group(0) @binding(2) var<storage, read_write> output: array<vec4<u32>>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
            if (id.x >= arrayLength(&input)) {{ return; }}
            let codes = input[id.x];
            let random = randoms[id.x];
            output[id.x] = {expression};
        }}"
    );
    let source = main + stubs + &join(&modules) + &join(&structs);
    let device = gpu.device();
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("conversion"),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("conversion"),
        layout: None,
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let float = |words: &[u32]| words.iter().map(|w| f32::from_bits(*w)).collect::<Vec<_>>();
    let usage = wgpu::BufferUsages::STORAGE;
    let buffers = [codes, random, &vec![0; codes.len()]]
        .map(|words| common::buffer(gpu, &float(words), usage));
    let layout = pipeline.get_bind_group_layout(0);
    let entries: Vec<_> = (0u32..)
        .zip(&buffers)
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("conversion"),
        layout: &layout,
        entries: &entries,
    });
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline);
    pass.set_bind_group(0, &bind_group, &[]);
    pass.dispatch_workgroups((codes.len() as u32 / 4).div_ceil(64), 1, 1);
    drop(pass);
    gpu.queue().submit([encoder.finish()]);
    common::bits(&common::read(gpu, &buffers[2]))
}

fn check(expression: &str, codes: &[u32], random: &[u32], twin: impl Fn(u32, u32) -> u32) {
    let found = run(&gpu(), expression, codes, random);
    for ((code, random), found) in codes.iter().zip(random).zip(found) {
        let expected = twin(*code, *random);
        assert_eq!(found, expected, "{expression} of {code:#010x}, {random:#010x}");
    }
}

fn every_code() -> Vec<u32> {
    (0..1 << 16).collect()
}

/// f32s whose encoding is hard: codes of so many bits, ties, and their neighbours; every exponent; specials; and
/// random bits.
fn hard_values(code_bits: u32, decode: impl Fn(u32) -> f32) -> Vec<u32> {
    let mut bits = Vec::new();
    for code in 0..1 << code_bits {
        let (low, high) = (decode(code), decode((code + 1).min((1 << code_bits) - 1)));
        let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
        for value in [low, middle] {
            bits.extend([value.next_down(), value, value.next_up()].map(f32::to_bits));
        }
    }
    for power in (0..1 << 9).map(|power| power << 23) {
        bits.extend([power, power + 1, power | 0x7f_ffff]);
    }
    // Whole vec4s.
    bits.resize(bits.len().next_multiple_of(4), 0);
    let mut rng = Rng(11);
    bits.extend((0..1 << 18).map(|_| rng.next_u64() as u32));
    bits
}

fn zeros(len: usize) -> Vec<u32> {
    vec![0; len]
}

#[test]
fn every_code_is_decoded_exactly() {
    let codes = every_code();
    let none = zeros(codes.len());
    check("bitcast<vec4<u32>>(f16_decode(codes))", &codes, &none, |code, _| {
        f16::decode(code as u16).to_bits()
    });
    check("bitcast<vec4<u32>>(bf16_decode(codes))", &codes, &none, |code, _| {
        bf16::decode(code as u16).to_bits()
    });
    let codes: Vec<u32> = (0..1 << 8).collect();
    check("bitcast<vec4<u32>>(e4m3_decode(codes))", &codes, &codes, |code, _| {
        e4m3::decode(code as u8).to_bits()
    });
}

#[test]
fn every_code_is_given_back_and_every_tie_goes_to_the_even_one() {
    let of = |bits| f32::from_bits(bits);
    let hard = hard_values(16, |code| f16::decode(code as u16));
    check("f16_encode(bitcast<vec4<f32>>(codes))", &hard, &zeros(hard.len()), |bits, _| {
        f16::encode(of(bits)).into()
    });
    let hard = hard_values(16, |code| bf16::decode(code as u16));
    check("bf16_encode(bitcast<vec4<f32>>(codes))", &hard, &zeros(hard.len()), |bits, _| {
        bf16::encode(of(bits)).into()
    });
    let hard = hard_values(8, |code| e4m3::decode(code as u8));
    check("e4m3_encode(bitcast<vec4<f32>>(codes))", &hard, &zeros(hard.len()), |bits, _| {
        e4m3::encode(of(bits)).into()
    });
}

/// By sums that this device rounds to nearest, and by integers: of either sign, which no conversion looks at.
#[test]
fn both_ways_of_rounding_give_every_f32_the_same_code() {
    let gpu = gpu();
    let by_sums = join(&[formats::F16_NEAREST, formats::E4M3_NEAREST]);
    let by_sums = by_sums.replace("fn f16_encode(", "fn f16_by_sum(");
    let by_sums = by_sums.replace("fn e4m3_encode(", "fn e4m3_by_sum(");
    let on_bits =
        [formats::F16, formats::F16_NEAREST_ON_BITS, formats::E4M3, formats::E4M3_NEAREST_ON_BITS];
    let main = "
        override ROW_WORKGROUPS: u32;
        @group(0) @binding(0) var<storage, read_write> differing: array<atomic<u32>, 4>;
        @compute @workgroup_size(64)
        fn main(
            @builtin(workgroup_id) workgroup_id: vec3<u32>,
            @builtin(local_invocation_index) lane: u32,
        ) {
            let workgroup = workgroup_id.y * ROW_WORKGROUPS + workgroup_id.x;
            if (workgroup >= 131072u) { return; }
            let first = (workgroup * 64u + lane) * 256u;
            for (var at = first; at < first + 256u; at += 4u) {
                let value = bitcast<vec4<f32>>(vec4<u32>(at) + vec4<u32>(0u, 1u, 2u, 3u));
                if (any(f16_by_sum(value) != f16_encode(value))) {
                    atomicAdd(&differing[0], 1u);
                    atomicMax(&differing[1], at);
                }
                if (any(e4m3_by_sum(value) != e4m3_encode(value))) {
                    atomicAdd(&differing[2], 1u);
                    atomicMax(&differing[3], at);
                }
            }
        }";
    let wgsl = main.to_owned() + &by_sums + &join(&on_bits);
    let constants = [("ROW_WORKGROUPS", gpu.row_workgroups().into())];
    let bindings = [ComputeKernel::WRITE];
    let kernel = ComputeKernel::new(&gpu, "both", &wgsl, &constants, &bindings).unwrap();
    let differing = common::buffer(&gpu, &[0.0; 4], wgpu::BufferUsages::STORAGE);
    let bound = kernel.bind(&[differing.as_entire_binding()], gpu.fold(1 << 17)).unwrap();
    submit(&gpu, |encoder| bound.record(&mut encoder.begin_compute_pass(&<_>::default()), &[]));
    // How many vec4s, and the last of them.
    assert_eq!(common::bits(&common::read(&gpu, &differing)), [0; 4]);
}

/// Parameters in f16, state in fp8.
#[test]
fn a_device_that_rounds_on_the_bits_steps_to_the_same_bits() {
    let run = |gpu: &Gpu| {
        let group = Group::new("all", AdamW::new().lr(1e-2)).state(StateFormat::Fp8);
        let spec = TensorSpec::new("t", [5000]).dtype(Dtype::F16);
        let mut optimizer = Optimizer::arena(gpu, &[group], &[spec]).unwrap();
        let (id, mut rng) = (TensorId::new(0), Rng(3));
        // Most of them below 2^-14, where a sum rounds.
        optimizer.write_param(id, &rng.values(5000, 1e-5)).unwrap();
        for _ in 0..3 {
            optimizer.write_grad(id, &rng.values(5000, 1.0)).unwrap();
            optimizer.step(&Step::lr_factor(1e-3)).unwrap();
        }
        let mut saved = Saved::default();
        optimizer.save(&mut saved).unwrap();
        let on_bits = |kernel: &fallline::plan::Kernel| kernel.wgsl.contains("by integers alone");
        let plan = optimizer.read_plan().unwrap();
        (saved, plan.kernels.iter().any(on_bits))
    };
    let (by_sums, on_bits) = (run(&gpu()), run(&gpu().round_on_bits()));
    assert!(by_sums.0 == on_bits.0);
    assert_eq!((by_sums.1, on_bits.1), (false, true));
}

#[test]
fn stochastic_rounding_is_the_twins() {
    let mut rng = Rng(5);
    let hard = hard_values(16, |code| f16::decode(code as u16));
    let randoms: Vec<u32> = hard.iter().map(|_| rng.next_u64() as u32).collect();
    let expression = "f16_encode_stochastic(bitcast<vec4<f32>>(codes), random)";
    check(expression, &hard, &randoms, |bits, random| {
        f16::encode_stochastic(f32::from_bits(bits), random).into()
    });
    let expression = "bf16_encode_stochastic(bitcast<vec4<f32>>(codes), random)";
    check(expression, &hard, &randoms, |bits, random| {
        bf16::encode_stochastic(f32::from_bits(bits), random).into()
    });
}

#[test]
fn parameter_and_remainder_are_the_f32() {
    let hard = hard_values(16, |code| bf16::decode(code as u16));
    let none = zeros(hard.len());
    check("round_away(bitcast<vec4<f32>>(codes))", &hard, &none, |bits, _| {
        bf16::encode_away(f32::from_bits(bits)).into()
    });
    let joined = "bitcast<vec4<u32>>(join_remainder(\
        round_away(bitcast<vec4<f32>>(codes)), \
        remainder_of(bitcast<vec4<f32>>(codes), round_away(bitcast<vec4<f32>>(codes)))))";
    check(joined, &hard, &none, |bits, _| {
        // A NaN keeps the upper half of its payload only, and becomes quiet.
        if f32::from_bits(bits).is_nan() { bits & 0xffff_0000 | 0x40_0000 } else { bits }
    });
}
