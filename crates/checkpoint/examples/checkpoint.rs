//! A run that saves itself as it goes, is cut off, and is resumed: to the bit what it would have been.
//!
//! Minimizes `Σ (p - target)²` with a learning rate that falls where the loss no longer does. Where the schedule is goes
//! into the checkpoint, beside everything of the optimizer's.

use std::{error::Error, ops::Range};

use fallline::{
    AdamW, Gpu, Group, Optimizer, StateFormat, Step, TensorSpec,
    schedule::{ReduceOnPlateau, Scheduler, SchedulerState},
};
use fallline_checkpoint::Checkpoints;
use serde::{Deserialize, Serialize};

const LEN: u16 = 5000;
const STEPS: u64 = 60;

/// What the run needs to continue beside its optimizer.
#[derive(Serialize, Deserialize)]
struct Extra {
    schedule: SchedulerState,
}

struct Run {
    optimizer: Optimizer,
    schedule: Scheduler,
    /// Steps taken.
    step: u64,
}

impl Run {
    /// From the last checkpoint, or from the beginning where there is none.
    fn begin_or_resume(gpu: &Gpu, checkpoints: &Checkpoints) -> Result<Self, Box<dyn Error>> {
        let group = Group::new("all", AdamW::new()).state(StateFormat::Int8);
        let optimizer = Optimizer::arena(gpu, &[group], &[TensorSpec::new("p", [LEN.into()])])?;
        let schedule = Scheduler::new(ReduceOnPlateau::new().patience(2).factor(0.5), [0.1])?;
        let mut run = Self { optimizer, schedule, step: 0 };
        if let Some(checkpoint) = checkpoints.latest()? {
            checkpoint.load(&mut run.optimizer)?;
            run.schedule.load_state(checkpoint.extra::<Extra>()?.schedule)?;
            run.step = checkpoint.step();
            println!("resumed behind step {}", run.step);
        }
        Ok(run)
    }

    /// Takes these steps, and saves after every twentieth.
    fn train(
        &mut self,
        steps: Range<u64>,
        checkpoints: &Checkpoints,
    ) -> Result<(), Box<dyn Error>> {
        let p = self.optimizer.id("p").ok_or("the tensor was just given")?;
        for step in steps {
            // On the host, to be short: `minimal.rs` of the engine has them on the GPU.
            let values = self.optimizer.read_param(p)?;
            let off = (0..LEN).zip(values).map(|(i, p)| p - (f32::from(i) / 300.0).sin());
            let off: Vec<f32> = off.collect();
            let grad: Vec<f32> = off.iter().map(|off| 2.0 * off).collect();
            self.optimizer.write_grad(p, &grad)?;
            self.schedule.observe(off.iter().map(|off| f64::from(off * off)).sum());
            self.optimizer.step(&Step::lr_per_group(self.schedule.lrs()))?;
            self.step = step + 1;
            if self.step.is_multiple_of(20) {
                let extra = Extra { schedule: self.schedule.state().clone() };
                checkpoints.save(&self.optimizer, self.step, &extra)?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let gpu = Gpu::from_env()?;
    let folder = tempfile::tempdir()?;
    let checkpoints = |run: &str| Checkpoints::new(folder.path().join(run)).keep(2);

    let whole_run = checkpoints("whole");
    let mut whole = Run::begin_or_resume(&gpu, &whole_run)?;
    whole.train(0..STEPS, &whole_run)?;

    // Whatever ends a process: what it did behind its last checkpoint is lost, and done again.
    let cut_off_run = checkpoints("cut off");
    Run::begin_or_resume(&gpu, &cut_off_run)?.train(0..STEPS - 7, &cut_off_run)?;
    let mut resumed = Run::begin_or_resume(&gpu, &cut_off_run)?;
    resumed.train(resumed.step..STEPS, &cut_off_run)?;

    let bits = |run: &Run| -> Result<Vec<u32>, Box<dyn Error>> {
        let p = run.optimizer.id("p").ok_or("the tensor was just given")?;
        Ok(run.optimizer.read_param(p)?.into_iter().map(f32::to_bits).collect())
    };
    let (lr, kept) = (resumed.schedule.lrs()[0], cut_off_run.steps()?);
    println!(
        "after {STEPS} steps at a learning rate of {lr:.1e}; kept are those of steps {kept:?}"
    );
    if bits(&whole)? == bits(&resumed)? && whole.schedule.state() == resumed.schedule.state() {
        println!("the same bits");
        Ok(())
    } else {
        Err("the resumed run has gone another way".into())
    }
}
