//! The conversions of `shaders/formats` and the pair of `shaders/precision/remainder`, alone on the
//! GPU: every code of 16 bits and of e4m3, every tie, and random bits, against the twins.

#![allow(clippy::cast_possible_truncation, reason = "codes are lower halves of words")]

use fallline::{Gpu, wgpu};
use fallline_reference::formats::{bf16, e4m3, f16};
use fallline_shaders::{formats, functions, join, packing, precision, structs};

use crate::common::{self, Rng, gpu};

/// Runs `output = expression` for each vec4 `codes` of the input, with `random` beside it.
fn run(gpu: &Gpu, expression: &str, codes: &[u32], random: &[u32]) -> Vec<u32> {
    let modules = [
        formats::F16,
        formats::BF16,
        formats::E4M3,
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
