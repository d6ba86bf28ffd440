//! How long the GPU takes for a compute pass.
//!
//! By timestamps of the GPU where it has them and they can be believed, else by the clock on the wall
//! around submit and wait. Some drivers take timestamps when a pass is recorded or submitted rather
//! than when it runs, so a pass that is long enough for the overhead of a submission not to matter is
//! measured both ways first.

use std::time::Instant;

use anyhow::Result;
use fallline::{
    Gpu,
    wgpu::{self, Buffer, BufferUsages, ComputePass, Features, QuerySet},
};

use crate::compute;

/// The probe takes at least this long: a submission costs well below a millisecond.
const PROBE_S: f64 = 0.02;
const PROBE_RUNS: usize = 5;

/// Timestamps by wall time of the probe: the wall's time holds the submission too.
const BELIEVED: std::ops::RangeInclusive<f64> = 0.5..=1.05;

/// Measures passes on one device.
#[derive(Debug)]
pub(crate) struct Timer {
    gpu: Gpu,
    queries: Option<Queries>,
    /// Timestamps by wall time of a long pass, if the device has timestamps.
    believed: Option<f64>,
}

#[derive(Debug)]
struct Queries {
    set: QuerySet,
    resolved: Buffer,
    readback: Buffer,
    tick_s: f64,
}

impl Timer {
    /// A timer for this device; `probe` records something that takes a millisecond or so.
    pub(crate) fn new(gpu: &Gpu, probe: impl Fn(&mut ComputePass<'_>)) -> Result<Self> {
        let mut timer = Self { gpu: gpu.clone(), queries: None, believed: None };
        if !gpu.device().features().contains(Features::TIMESTAMP_QUERY) {
            return Ok(timer);
        }
        timer.queries = Some(Queries::new(gpu)?);
        let mut repeats = 1;
        let mut ratios = Vec::new();
        while ratios.len() < PROBE_RUNS {
            let (wall_s, gpu_s) = timer.both(|pass| {
                (0..repeats).for_each(|_| probe(pass));
                Ok(())
            })?;
            if wall_s < PROBE_S && repeats < 1 << 16 {
                repeats *= 2;
            } else {
                ratios.push(gpu_s.unwrap_or(0.0) / wall_s);
            }
        }
        let ratio = median(&ratios);
        timer.believed = Some(ratio);
        if !BELIEVED.contains(&ratio) {
            timer.queries = None;
        }
        Ok(timer)
    }

    /// The way of measuring, as results name it.
    pub(crate) fn name(&self) -> &'static str {
        if self.queries.is_some() { "gpu timestamps" } else { "wall" }
    }

    /// The way of measuring, and why it can be believed or why the other one is not used.
    pub(crate) fn describe(&self) -> String {
        match (&self.queries, self.believed) {
            (Some(_), Some(ratio)) => {
                format!("gpu timestamps ({ratio:.2} of wall time for a long pass)")
            }
            (None, Some(ratio)) => {
                format!("wall (gpu timestamps rejected: {ratio:.2} of it for a long pass)")
            }
            _ => "wall (no gpu timestamps)".to_owned(),
        }
    }

    /// Seconds that the GPU takes for what is recorded.
    pub(crate) fn time(
        &self,
        record: impl FnOnce(&mut ComputePass<'_>) -> Result<()>,
    ) -> Result<f64> {
        let (wall_s, gpu_s) = self.both(record)?;
        Ok(gpu_s.unwrap_or(wall_s))
    }

    /// Seconds on the wall from submit to done, and by timestamps if there are any.
    fn both(
        &self,
        record: impl FnOnce(&mut ComputePass<'_>) -> Result<()>,
    ) -> Result<(f64, Option<f64>)> {
        let label = Some("fallline timed");
        let (gpu, device) = (&self.gpu, self.gpu.device());
        gpu.checked("a timed pass", || {
            let descriptor = wgpu::CommandEncoderDescriptor { label };
            let mut encoder = device.create_command_encoder(&descriptor);
            let writes = self.queries.as_ref().map(|queries| wgpu::ComputePassTimestampWrites {
                query_set: &queries.set,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label, timestamp_writes: writes };
            record(&mut encoder.begin_compute_pass(&descriptor))?;
            // The engine's step inputs go up with the next submission: with this one, untimed.
            gpu.queue().submit([]);
            gpu.wait()?;
            let commands = encoder.finish();
            let start = Instant::now();
            gpu.queue().submit([commands]);
            gpu.wait()?;
            let wall_s = start.elapsed().as_secs_f64();
            let gpu_s = self.queries.as_ref().map(|queries| queries.read_s(gpu)).transpose()?;
            Ok((wall_s, gpu_s))
        })?
    }
}

impl Queries {
    fn new(gpu: &Gpu) -> Result<Self> {
        Ok(gpu.checked("timestamps", || Self {
            set: gpu.device().create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("fallline timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: compute::buffer(
                gpu,
                "fallline timestamps",
                16,
                BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
            ),
            readback: compute::buffer(
                gpu,
                "fallline timestamps readback",
                16,
                BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            ),
            tick_s: f64::from(gpu.queue().get_timestamp_period()) * 1e-9,
        })?)
    }

    fn read_s(&self, gpu: &Gpu) -> Result<f64> {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("fallline timestamps"),
        });
        encoder.resolve_query_set(&self.set, 0..2, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readback, 0, 16);
        gpu.queue().submit([encoder.finish()]);
        let ticks: Vec<u64> = compute::read(gpu, &self.readback)?;
        Ok(ticks[1].saturating_sub(ticks[0]) as f64 * self.tick_s)
    }
}

/// The value below which this fraction of the values lies; NaN for none.
pub(crate) fn quantile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = fraction * last as f64;
    #[allow(clippy::cast_possible_truncation, reason = "a place among the values, rounded down")]
    let below = (place.max(0.0) as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// The middle value; NaN for none.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn quantiles_lie_between_the_values() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(median(&values), 2.5);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_device_without_timestamps_is_timed_by_the_wall() -> Result<()> {
        // The engine's choice of an adapter, but a device without its features.
        let name = Gpu::from_env()?.adapter_info();
        let adapters = fallline::adapters(name.backend.into());
        let adapter = adapters.into_iter().find(|adapter| adapter.get_info().name == name.name);
        let adapter = adapter.context("the adapter is gone")?;
        let (device, queue) =
            pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
                label: Some("test"),
                required_limits: adapter.limits(),
                ..Default::default()
            }))?;
        let gpu = Gpu::from_device(device, queue)?;
        let copy = crate::copy::Copy::new(&gpu)?;
        let timer = Timer::new(&gpu, |pass| copy.record(pass))?;
        assert_eq!(timer.name(), "wall");
        assert!(copy.measure(&timer)? > 0.0);
        Ok(())
    }
}
