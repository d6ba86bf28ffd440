//! What rules sum over rows and columns, tensors and many tensors, from the parts that frames and *margins* leave.

use wgpu::Buffer;

use super::{Written, inputs::StepInputs, workgroups};
use crate::{
    Gpu, Result, Scope,
    abi::Placement,
    compile,
    dispatch::{BindGroup, Dispatch, Pass, bind},
    fits::fits,
    kernel::{Kernel, Recipe},
    layout::TILE_VEC4,
    records::TileSums,
    rule_set::RuleSet,
    vectors::{VectorMemory, Vectors},
};

/// Tensors with more tiles have workgroups of more lanes: `SMALL_TILES` of `control/finish.wgsl`.
pub(crate) const SMALL_TILES: u32 = 1024;

/// Whether a tensor has more.
fn is_large(place: &Placement) -> bool {
    place.len_vec4 + place.tail_elems.min(1) > SMALL_TILES * TILE_VEC4
}

/// What these kernels bind beside their own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'a> {
    pub(super) inputs: &'a StepInputs,
    pub(super) placements: &'a Buffer,
    pub(super) records: &'a Buffer,
    pub(super) kept: &'a Buffer,
}

/// The dispatches between the parts of sums and what is made of these.
#[derive(Clone, Debug)]
pub(crate) struct Reduce {
    sums: Option<TileSums>,
    pub(crate) vectors: Option<VectorMemory>,
    /// *Vectors* for each rule that has rows, columns or blocks, then *means* for each of the first two.
    keep: Vec<Dispatch>,
    /// *Finish* for each rule that looks at whole tensors, then *gather* for each that looks at more.
    decide: Vec<Dispatch>,
}

impl Reduce {
    pub(super) fn new(
        gpu: &Gpu,
        rules: &RuleSet,
        (sums, vectors): (Option<TileSums>, &Vectors),
        bound: Bound<'_>,
        placements: &[Placement],
        groups: usize,
    ) -> Result<Self> {
        let tensors = placements.len() as u64;
        let vectors = vectors.memory.clone();
        let mut all = Self { sums, vectors, keep: Vec::new(), decide: Vec::new() };
        let numbered = || (0u32..).zip(&rules.keys);
        if let Some(memory) = &all.vectors {
            let [vectors, means] = memory.workgroups;
            let with_vectors = || numbered().filter(|(_, key)| key.has_vectors());
            for (number, key) in with_vectors() {
                let recipe = Recipe::Vectors { key: key.clone(), number };
                all.keep.push(all.dispatch(gpu, recipe, bound, vectors)?);
            }
            for (number, key) in with_vectors().filter(|(_, key)| key.has_matrices()) {
                let recipe = Recipe::Means { key: key.clone(), number };
                all.keep.push(all.dispatch(gpu, recipe, bound, means)?);
            }
        }
        if all.sums.is_some() {
            for (number, key) in numbered().filter(|(_, key)| key.reduces()) {
                let is_own = |place: &&Placement| place.rule == number;
                let has_large = placements.iter().filter(is_own).any(is_large);
                for large in [false, true].into_iter().filter(|large| !large || has_large) {
                    // A workgroup for each tensor.
                    let recipe = Recipe::Finish { key: key.clone(), number, large };
                    all.decide.push(all.dispatch(gpu, recipe, bound, tensors)?);
                }
            }
            for family in rules.gathering() {
                let key = family.key.clone();
                let group = fits(family.groups[0], "groups have a record each");
                let sums = if key.scope == Scope::Group { groups } else { 1 };
                let recipe = Recipe::Gather { key, group };
                all.decide.push(all.dispatch(gpu, recipe, bound, sums as u64)?);
            }
        }
        Ok(all)
    }

    /// What kernels of elements bind: the sums of tiles, and rows and columns.
    pub(crate) fn for_elements(&self) -> (Option<&TileSums>, Option<&Buffer>) {
        (self.sums.as_ref(), self.vectors.as_ref().map(|memory| &memory.buffer))
    }

    /// The same with other inputs.
    pub(super) fn with_inputs(&self, gpu: &Gpu, bound: Bound<'_>) -> Result<Self> {
        let mut all = self.clone();
        for dispatch in all.keep.iter_mut().chain(&mut all.decide) {
            dispatch.bind_group = self.bind(gpu, &dispatch.kernel, bound)?;
        }
        Ok(all)
    }

    /// How many dispatches there are.
    pub(super) fn len(&self) -> usize {
        self.keep.len() + self.decide.len()
    }

    /// Records what comes between *margins* and whatever sees rows and columns.
    pub(super) fn record_keep(&self, pass: &mut dyn Pass, written: &Written) {
        for dispatch in &self.keep {
            dispatch.record(pass, &[written.groups]);
        }
    }

    /// Records what comes between the sums of tiles and the update.
    pub(super) fn record_decide(&self, pass: &mut dyn Pass, written: &Written) {
        for dispatch in &self.decide {
            dispatch.record(pass, &[written.groups]);
        }
    }

    fn dispatch(
        &self,
        gpu: &Gpu,
        recipe: Recipe,
        bound: Bound<'_>,
        expected: u64,
    ) -> Result<Dispatch> {
        let (x, y) = workgroups(gpu, expected)?;
        let kernel = compile::kernel(gpu, recipe)?;
        let bind_group = self.bind(gpu, &kernel, bound)?;
        Ok(Dispatch { kernel, bind_group, workgroups: [x, y, 1] })
    }

    fn bind(&self, gpu: &Gpu, kernel: &Kernel, bound: Bound<'_>) -> Result<BindGroup> {
        let Bound { inputs, placements, records, kept } = bound;
        let entire = Buffer::as_entire_binding;
        let mut resources = vec![inputs.groups(), entire(placements)];
        let recipe = &*kernel.recipe;
        match (recipe, &self.vectors, &self.sums) {
            (Recipe::Vectors { .. }, Some(memory), _) => {
                let VectorMemory { buffer, matrices, parts, owners: [owners, _], .. } = memory;
                resources.extend([records, matrices, parts, buffer, owners].map(entire));
            }
            (Recipe::Means { .. }, Some(memory), _) => {
                let VectorMemory { buffer, matrices, owners: [_, owners], .. } = memory;
                resources.extend([matrices, buffer, owners].map(entire));
            }
            (_, _, Some(sums)) => {
                resources.push(sums.binding());
                resources.extend([records, kept].map(entire));
            }
            _ => {}
        }
        bind(gpu, recipe.label(), kernel, &resources)
    }
}
