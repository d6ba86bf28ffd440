//! Ways to find the nearest code of 8-bit state, and the value of a code, on the device at hand.
//!
//! `cargo bench --bench codes` times every candidate here beside a kernel that moves the same
//! bytes, all of them in every round, and prints medians of the rounds' ratios with their quartiles.
//! Before that, every code must be the nearest one by `fallline-reference`, and every value the book's.
//! A path as argument names one more `formats/dynamic.wgsl` to compare, such as an older one.

use std::{env, time::Instant};

use candidates::{Candidate, Direction, candidates};
use data::{BLOCK, Data};
use fallline::{Gpu, wgpu};

mod candidates;
mod data;

#[path = "../../tests/common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;

/// Words of four elements, a multiple of the data's.
const WORDS: usize = 1 << 20;
/// Words of a workgroup, as `frame.wgsl` has it.
const WORKGROUP_WORDS: usize = 512;
const ROUNDS: usize = 31;
/// The traffic's time, made of several dispatches in a pass, so that the submission does not count.
const PASS_S: f64 = 0.01;

/// The buffers of one book and direction.
struct Bench<'a> {
    gpu: &'a Gpu,
    data: &'a Data,
    direction: Direction,
    buffers: [wgpu::Buffer; 6],
    layout: wgpu::BindGroupLayout,
    bind_group: wgpu::BindGroup,
}

impl<'a> Bench<'a> {
    fn new(gpu: &'a Gpu, data: &'a Data, direction: Direction) -> Self {
        use wgpu::BufferUsages as Usage;
        let tiled =
            |values: &[f32], len| values.iter().copied().cycle().take(len).collect::<Vec<_>>();
        let pack = |codes: &[(u8, _)]| {
            f32::from_bits(u32::from_le_bytes([0, 1, 2, 3].map(|i| codes[i].0)))
        };
        let codes: Vec<f32> = data.codes.chunks(4).map(pack).collect();
        let cells: Vec<f32> = data.cells().into_iter().map(f32::from_bits).collect();
        let table = data.table(direction);
        let (values, codes) = match direction {
            Direction::Encode => (tiled(&data.values, WORDS * 4), vec![0.0; WORDS]),
            Direction::Decode => (vec![0.0; WORDS * 4], tiled(&codes, WORDS)),
        };
        let absmaxes = tiled(&data.absmaxes, WORDS * 4 / BLOCK);
        let storage = |contents: &[f32]| common::buffer(gpu, contents, Usage::STORAGE);
        let buffers = [
            storage(&values),
            storage(&codes),
            storage(&absmaxes),
            storage(&table),
            common::buffer(gpu, &table, Usage::UNIFORM),
            storage(&cells),
        ];
        let read = wgpu::BufferBindingType::Storage { read_only: true };
        let write = wgpu::BufferBindingType::Storage { read_only: false };
        let types = [write, write, read, read, wgpu::BufferBindingType::Uniform, read];
        let entries: Vec<_> = (0..)
            .zip(types)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty,
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout = gpu.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("codes"),
            entries: &entries,
        });
        let entries: Vec<_> = (0..)
            .zip(&buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.as_entire_binding(),
            })
            .collect();
        let bind_group = gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("codes"),
            layout: &layout,
            entries: &entries,
        });
        Self { gpu, data, direction, buffers, layout, bind_group }
    }

    fn pipeline(&self, candidate: &Candidate) -> wgpu::ComputePipeline {
        let device = self.gpu.device();
        let label = Some(candidate.name.as_str());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label,
            source: wgpu::ShaderSource::Wgsl(candidate.wgsl.as_str().into()),
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&self.layout)],
            immediate_size: 0,
        });
        device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[("KIND", f64::from(u8::from(self.data.is_unsigned)))],
                ..Default::default()
            },
            cache: None,
        })
    }

    /// Seconds for so many dispatches.
    #[allow(clippy::cast_possible_truncation, reason = "2,048 workgroups")]
    fn run(&self, pipeline: &wgpu::ComputePipeline, dispatches: usize) -> f64 {
        let mut encoder = self.gpu.device().create_command_encoder(&<_>::default());
        let mut pass = encoder.begin_compute_pass(&<_>::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        for _ in 0..dispatches {
            pass.dispatch_workgroups((WORDS / WORKGROUP_WORDS) as u32, 1, 1);
        }
        drop(pass);
        let commands = encoder.finish();
        let start = Instant::now();
        self.gpu.queue().submit([commands]);
        self.gpu.wait().expect("a live device");
        start.elapsed().as_secs_f64()
    }

    fn check(&self, name: &str) {
        match self.direction {
            Direction::Encode => {
                self.data.check_codes(name, &common::read_bytes(self.gpu, &self.buffers[1]));
            }
            Direction::Decode => {
                self.data.check_values(name, &common::read(self.gpu, &self.buffers[0]));
            }
        }
    }

    /// Checks every candidate, times them in rounds of alternating order, and prints the table.
    fn compare(&self, rounds: usize) {
        let candidates = candidates(self.direction);
        let pipelines: Vec<_> = candidates.iter().map(|c| self.pipeline(c)).collect();
        for (candidate, pipeline) in candidates.iter().zip(&pipelines).skip(1) {
            // The traffic's results are nobody's.
            self.run(&pipelines[0], 1);
            self.run(pipeline, 1);
            self.check(&candidate.name);
        }
        let mut dispatches = 1;
        while self.run(&pipelines[0], dispatches) < PASS_S {
            dispatches *= 2;
        }
        let mut times = vec![Vec::new(); pipelines.len()];
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..pipelines.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                times[index].push(self.run(&pipelines[index], dispatches));
            }
        }
        let book = if self.data.is_unsigned { "unsigned" } else { "signed" };
        println!(
            "\n{:?}, {book} book: ns per element, time by traffic's (quartiles)",
            self.direction
        );
        let elems = (dispatches * WORDS * 4) as f64;
        for (candidate, own) in candidates.iter().zip(&times) {
            let mut ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(a, b)| a / b).collect();
            let mut own = own.clone();
            own.sort_by(f64::total_cmp);
            ratios.sort_by(f64::total_cmp);
            let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[(rounds - 1) * quarter / 4]);
            let ns = own[rounds / 2] / elems * 1e9;
            println!("{:40} {ns:7.3} {middle:6.2} ({low:.2} to {high:.2})", candidate.name);
        }
    }
}

fn main() {
    // `cargo test --benches` only asks whether it works.
    let rounds = if env::args().any(|arg| arg == "--bench") { ROUNDS } else { 1 };
    let gpu = common::gpu();
    println!("{}", gpu.adapter_info().name);
    for is_unsigned in [false, true] {
        let data = Data::new(is_unsigned);
        for direction in [Direction::Encode, Direction::Decode] {
            Bench::new(&gpu, &data, direction).compare(rounds);
        }
    }
}
