//! Gradients that lie elsewhere in every step.

use anyhow::Result;
use fallline::{
    AdamW, BorrowedTensor, BufferRange, Gpu, Group, Optimizer, Places, Step, TensorId, TensorSpec,
    wgpu::BufferUsages,
};

use super::{
    numbers::{Rng, bits},
    subject::{Finding, Subject, none_differs},
};
use crate::compute;

const LENGTHS: [usize; 6] = [1, 255, 256, 1021, 4096, 20_001];
const STEPS: u64 = 6;

/// Wherever gradients lie, the step gives the same bits.
pub(super) fn moving(subject: &Subject) -> Result<Finding> {
    let (still, moved) = (trained(&subject.gpu, false)?, trained(&subject.gpu, true)?);
    Ok(judge(&still, &moved))
}

fn judge(still: &[Vec<f32>], moved: &[Vec<f32>]) -> Finding {
    let mut differing = Vec::new();
    for (index, (still, moved)) in still.iter().zip(moved).enumerate() {
        let differs = bits(still).into_iter().zip(bits(moved)).position(|(a, b)| a != b);
        differing.extend(differs.map(|at| format!("t{index} from element {at} on")));
    }
    none_differs(("tensors", still.len()), differing)
}

fn trained(gpu: &Gpu, moves: bool) -> Result<Vec<Vec<f32>>> {
    let mut chance = Rng(8);
    let lend = |(index, grad): (usize, BufferRange)| -> Result<BorrowedTensor> {
        let len = LENGTHS[index];
        Ok(BorrowedTensor {
            spec: TensorSpec::new(format!("t{index}"), [len]),
            param: BufferRange::new(&lent(gpu, &vec![1.0; len])?, 0, len as u64),
            grad: Some(grad),
        })
    };
    let begin = somewhere(gpu, &LENGTHS.map(|len| vec![0.0; len]), &mut chance)?;
    let tensors = begin.iter().cloned().enumerate().map(lend).collect::<Result<Vec<_>>>()?;
    let groups = [Group::new("all", AdamW::new().lr(1e-2))];
    let mut optimizer = Optimizer::borrowed(gpu, &groups, &tensors)?;
    for step in 0..STEPS {
        let mut rng = Rng(100 + step);
        let grads = LENGTHS.map(|len| rng.values(len, 0.1));
        if moves {
            let places = somewhere(gpu, &grads, &mut chance)?;
            let places: Vec<_> = places.into_iter().map(Some).collect();
            let mut encoder = gpu.device().create_command_encoder(&<_>::default());
            optimizer.encode_step_at(&mut encoder, &Step::new(), &Places::of_grads(&places))?;
            gpu.checked("a step", || gpu.queue().submit([encoder.finish()]))?;
        } else {
            for (index, grad) in grads.iter().enumerate() {
                optimizer.write_grad(TensorId::new(index), grad)?;
            }
            optimizer.step(&Step::new())?;
        }
    }
    (0..LENGTHS.len()).map(|index| Ok(optimizer.read_param(TensorId::new(index))?)).collect()
}

/// Gradients in up to four buffers, whose other elements are NaN.
#[allow(clippy::cast_possible_truncation, reason = "small numbers")]
fn somewhere(gpu: &Gpu, grads: &[Vec<f32>], chance: &mut Rng) -> Result<Vec<BufferRange>> {
    let count = 1 + chance.below(4) as usize;
    let mut contents = vec![vec![f32::NAN; 4 * chance.below(50) as usize]; count];
    let mut at = Vec::new();
    for grad in grads {
        let number = chance.below(count as u64) as usize;
        let into = &mut contents[number];
        at.push((number, into.len() as u64 * 4, grad.len() as u64));
        into.extend(grad);
        into.resize((into.len() + chance.below(30) as usize).next_multiple_of(4), f32::NAN);
    }
    let buffers = contents.iter().map(|c| lent(gpu, c)).collect::<Result<Vec<_>>>()?;
    let range =
        |(number, offset, len): (usize, u64, u64)| BufferRange::new(&buffers[number], offset, len);
    Ok(at.into_iter().map(range).collect())
}

fn lent(gpu: &Gpu, contents: &[f32]) -> Result<fallline::wgpu::Buffer> {
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    Ok(gpu.checked("a lent buffer", || {
        let buffer = compute::buffer(gpu, "lent", contents.len() as u64 * 4, usage);
        gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(contents));
        buffer
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_a_difference() {
        let still = vec![vec![1.0, 2.0], vec![3.0]];
        assert!(matches!(judge(&still, &still), Finding::Passed(_)));
        let mut moved = still.clone();
        moved[0][1] = 2.0f32.next_up();
        let Finding::Failed { measured, .. } = judge(&still, &moved) else { panic!("it passed") };
        assert_eq!(measured.to_string(), "1 differ of 2 tensors");
        assert_eq!(measured.detail, "t0 from element 1 on");
    }
}
