//! Devices that have less, and devices that are lost in the middle of something: the same bits, typed errors, and a
//! run that goes on from what it saved.

use std::{
    future::Future,
    io,
    pin::pin,
    task::{Context, Waker},
};

use fallline::{
    AdamW, Dtype, DynamicScale, Error, Gpu, GpuOptions, Group, Lamb, LoadSource, LossScaler,
    Monitor, Optimizer, Options, Precision, Result, SaveSink, Saved, SavedEntry, StateFormat, Step,
    TensorId, TensorSpec, wgpu,
};

use crate::common::{Rng, gpu, write_grads};

const LENGTHS: [usize; 4] = [40_009, 4096, 3, 300];
const FIRST: TensorId = TensorId::new(0);

/// Codes, remainders, sums over tensors, norms, a loss scale, monitored steps.
fn optimizer(gpu: &Gpu) -> Result<Optimizer> {
    let groups = [
        Group::new("codes", AdamW::new().lr(1e-2)).state(StateFormat::Int8),
        Group::new("whole", Lamb::new().lr(1e-2)),
    ];
    let spec = |(index, len): (usize, usize)| {
        let spec = TensorSpec::new(format!("t{index}"), [len]);
        match index {
            0 => spec.dtype(Dtype::Bf16).precision(Precision::Remainder).grad_dtype(Dtype::F32),
            _ => spec.in_group("whole"),
        }
    };
    let specs: Vec<_> = LENGTHS.into_iter().enumerate().map(spec).collect();
    let scaler = LossScaler::dynamic(gpu, DynamicScale { init_scale: 4.0, ..<_>::default() })?;
    let options = Options {
        max_norm: Some(1.0),
        loss_scaler: Some(scaler),
        monitor: Some(Monitor { interval: 2, ..Monitor::default() }),
        ..Options::default()
    };
    Optimizer::arena_with(gpu, &groups, &specs, &options)
}

fn begun(gpu: &Gpu) -> Optimizer {
    let optimizer = optimizer(gpu).unwrap();
    let mut rng = Rng(99);
    for (index, len) in LENGTHS.into_iter().enumerate() {
        optimizer.write_param(TensorId::new(index), &rng.values(len, 1.0)).unwrap();
    }
    optimizer
}

fn run(optimizer: &mut Optimizer, steps: std::ops::Range<u64>) {
    for step in steps {
        let mut rng = Rng(step);
        write_grads(optimizer, &LENGTHS.map(|len| rng.values(len, 1.0)));
        optimizer.step(&Step::new()).unwrap();
    }
}

fn saved(optimizer: &Optimizer) -> Saved {
    let mut saved = Saved::default();
    optimizer.save(&mut saved).unwrap();
    saved
}

/// What a run saves behind its sixth step.
fn whole_run(gpu: &Gpu) -> Saved {
    let mut optimizer = begun(gpu);
    run(&mut optimizer, 0..6);
    saved(&optimizer)
}

#[test]
fn each_limit_of_a_device_is_kept_to_with_the_same_bits() {
    let full = gpu();
    let expected = whole_run(&full);
    let has = full.device().limits();
    let taken = [
        ("WebGPU's defaults", wgpu::Limits::defaults()),
        ("bindings", wgpu::Limits { max_storage_buffer_binding_size: 1 << 17, ..has.clone() }),
        ("buffers", wgpu::Limits { max_buffer_size: 1 << 20, ..has.clone() }),
        (
            "lanes",
            wgpu::Limits {
                max_compute_invocations_per_workgroup: 64,
                max_compute_workgroup_size_x: 64,
                ..has.clone()
            },
        ),
        ("workgroups", wgpu::Limits { max_compute_workgroups_per_dimension: 8, ..has.clone() }),
        (
            "storage buffers",
            wgpu::Limits { max_storage_buffers_per_shader_stage: 8, ..has.clone() },
        ),
        (
            "alignment",
            wgpu::Limits {
                min_storage_buffer_offset_alignment: 256,
                min_uniform_buffer_offset_alignment: 256,
                ..has
            },
        ),
    ];
    for (what, limits) in taken {
        let options =
            GpuOptions { limits: Some(limits.clone()), ..GpuOptions::from_env().unwrap() };
        let gpu = Gpu::open(&options).unwrap_or_else(|error| panic!("{what}: {error}"));
        // wgpu holds the engine to them.
        assert_eq!(gpu.device().limits(), limits, "{what}");
        assert!(expected == whole_run(&gpu), "with less {what}");
    }
}

#[test]
fn features_of_a_device_change_no_bit() {
    let info = gpu().adapter_info();
    let adapters = fallline::adapters(wgpu::Backends::all());
    let adapter = adapters.iter().find(|adapter| adapter.get_info() == info);
    let adapter = adapter.expect("the device's own");
    let with = |required_features| {
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("with these features"),
            required_features,
            required_limits: wgpu::Limits::defaults(),
            ..Default::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).unwrap();
        whole_run(&Gpu::from_device(device, queue).unwrap())
    };
    // No f16, no subgroups, no timestamps; and all of WebGPU's that there are.
    let all = adapter.features() & wgpu::Features::all_webgpu_mask();
    assert!(with(wgpu::Features::empty()) == with(all));
}

/// Loses the device when an entry comes.
struct LosesAt<'a> {
    gpu: &'a Gpu,
    saved: Saved,
    entry: usize,
}

impl SaveSink for LosesAt<'_> {
    fn table(&mut self, entries: &[SavedEntry]) -> io::Result<()> {
        SaveSink::table(&mut self.saved, entries)
    }

    fn chunk(&mut self, entry: usize, _: u64, _: &[u8]) -> io::Result<()> {
        if entry == self.entry {
            self.gpu.device().destroy();
        }
        Ok(())
    }
}

impl LoadSource for LosesAt<'_> {
    fn table(&mut self) -> io::Result<Vec<SavedEntry>> {
        LoadSource::table(&mut self.saved)
    }

    fn read(&mut self, entry: usize, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if entry == self.entry {
            self.gpu.device().destroy();
        }
        self.saved.read(entry, offset, bytes)
    }
}

/// Where the device is lost, and what says so.
type Moment = (&'static str, fn(&Gpu, &mut Optimizer) -> Result<()>);

const MOMENTS: [Moment; 12] = [
    ("before a step", |gpu, optimizer| {
        gpu.device().destroy();
        optimizer.step(&Step::new())
    }),
    ("between recording a step and its submission", |gpu, optimizer| {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        optimizer.encode_step(&mut encoder, &Step::new())?;
        gpu.device().destroy();
        gpu.queue().submit([encoder.finish()]);
        gpu.wait()
    }),
    ("in a pass that is being recorded", |gpu, optimizer| {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        let mut pass = encoder.begin_compute_pass(&<_>::default());
        optimizer.record_step(&mut pass, &Step::new())?;
        gpu.device().destroy();
        optimizer.record_step(&mut pass, &Step::new())
    }),
    ("behind a submission", |gpu, optimizer| {
        optimizer.step(&Step::new())?;
        gpu.device().destroy();
        optimizer.read_steps().map(|_| ())
    }),
    ("between the halves of a step", |gpu, optimizer| {
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        let measured = optimizer.encode_measure(&mut encoder, &Step::new())?;
        gpu.queue().submit([encoder.finish()]);
        let sums = optimizer.read_sums()?;
        gpu.device().destroy();
        let mut encoder = gpu.device().create_command_encoder(&<_>::default());
        optimizer.encode_update(&mut encoder, measured, &sums)
    }),
    ("while a readback is under way", |gpu, optimizer| {
        let mut fetch = pin!(optimizer.fetch_param(FIRST));
        let first = fetch.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        gpu.device().destroy();
        if first.is_pending() {
            pollster::block_on(fetch)?;
        }
        gpu.check_lost()
    }),
    ("while the first reports are under way", |gpu, optimizer| {
        optimizer.step(&Step::new())?;
        optimizer.poll_reports()?;
        gpu.device().destroy();
        // It never waits: what is lost is heard of a call later.
        (0..4).try_for_each(|_| optimizer.poll_reports().map(|_| ()))
    }),
    ("in a save", |gpu, optimizer| {
        let entry = saved(optimizer).entries.iter().position(|entry| entry.what == "seed");
        let entry = entry.expect("it is saved");
        optimizer.save(&mut LosesAt { gpu, saved: Saved::default(), entry })
    }),
    ("in a load", |gpu, optimizer| {
        let saved = saved(optimizer);
        let entry = saved.entries.iter().position(|entry| entry.what == "param");
        let entry = entry.expect("it is saved");
        optimizer.load(&mut LosesAt { gpu, saved, entry })
    }),
    ("before a snapshot", |gpu, optimizer| {
        gpu.device().destroy();
        optimizer.snapshot().map(|_| ())
    }),
    ("before a snapshot is restored", |gpu, optimizer| {
        let snapshot = optimizer.snapshot()?;
        gpu.device().destroy();
        optimizer.restore(&snapshot)
    }),
    ("before another is built", |gpu, _| {
        gpu.device().destroy();
        self::optimizer(gpu).map(|_| ())
    }),
];

#[test]
fn a_run_on_a_device_that_is_lost_goes_on_from_its_save() {
    let next = gpu();
    let expected = whole_run(&next);
    for (moment, lose) in MOMENTS {
        let gpu = gpu();
        let mut first = begun(&gpu);
        run(&mut first, 0..3);
        let mut kept = saved(&first);
        let lost = lose(&gpu, &mut first);
        assert!(matches!(lost, Err(Error::DeviceLost)), "{moment}: {lost:?}");
        drop((first, gpu));

        let mut second = optimizer(&next).unwrap();
        second.load(&mut kept).unwrap();
        run(&mut second, 3..6);
        assert!(expected == saved(&second), "{moment}");
    }
}
