//! Values into blocks of codes on the GPU, and back.

mod spec;
mod values;

use wgpu::{Buffer, BufferUsages, CommandEncoder, ComputePass};

pub use spec::{BlockRange, BlockSpec, BlockTensor};

use crate::{
    Gpu, Precision, Result, abi,
    borrowed_buffers::Buffers,
    formats::Formats,
    kernel::{Direction, KernelKey, Program},
    layout::{Item, Layout, Place, Segment, TILE_ELEMS, tiles_of},
    limits,
    records::Records,
    tiles::{self, Extent, LentTensor, Reach},
    update::{self, Fixed, SegmentBuffers, UpdateInputs},
};

/// Quantizes buffers on the GPU, and dequantizes them: gradients, activations, checkpoints, in the formats
/// that optimizer state is kept in ([`StateFormat`](crate::StateFormat)).
///
/// ```text
/// blocks ← codes and scales of the values         quantize
/// values ← codes · scales                         dequantize
/// ```
///
/// Either is one compute pass for all tensors, recorded into an encoder of the caller's. Rounding is to
/// nearest, also in bf16. What comes of values and is quantized again may change again, in int8 and int4: their
/// signed books, which are the references', have no -1, so that a block whose largest magnitude is
/// negative gets a smaller scale (another time costs normal numbers 0.5 % and 6.8 % of their norm). To keep
/// optimizer state, [save](crate::Optimizer::save_to) it. What is infinite or NaN makes its block so; a finite value stays finite, but for
/// companded ones near the end of f16's range, which may be rounded up beyond it.
///
/// **Blocks.** A tensor's blocks are spans of 256 elements, the last filled up with what need not be
/// looked at. A span is its codes and then its scales, little-endian:
///
/// | format    | codes                                         | scales                           | bytes |
/// |-----------|-----------------------------------------------|----------------------------------|-------|
/// | int8      | a byte each, the number in the code book      | absmax, f32                      | 260   |
/// | fp8       | a byte each, e4m3                             | absmax / 448, f32                | 260   |
/// | int4      | byte 4w + 2h + b: elements 128h + 4w + 2b in the upper half, and the next | absmax of each half, f32 | 136 |
/// | companded | a byte each, signed or not                    | bf16 of each 32: 0, 4, 1, 5, 2, 6, 3, 7 | 272 |
/// | bf16, f32 | the values                                    | none                             | 512, 1024 |
///
/// [`StateFormat::split_blocks`](crate::StateFormat::split_blocks) gives codes and scales in rows, as files have
/// them, and [`join_blocks`](crate::StateFormat::join_blocks) makes blocks of these.
///
/// ```no_run
/// use fallline::{BlockSpec, Gpu, Quantizer, StateFormat};
///
/// # fn main() -> fallline::Result<()> {
/// let gpu = Gpu::from_env()?;
/// let quantizer = Quantizer::arena(&gpu, &[BlockSpec::new("x", 4096, StateFormat::Int4)])?;
/// let (x, _) = quantizer.tensors().next().expect("it was just given");
/// quantizer.write_values(x, &[0.5; 4096])?;
/// let mut encoder = gpu.device().create_command_encoder(&Default::default());
/// quantizer.encode_quantize(&mut encoder);
/// gpu.queue().submit([encoder.finish()]);
/// let codes_and_scales: Vec<u8> = quantizer.read_blocks(x)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Quantizer {
    gpu: Gpu,
    tensors: Vec<BlockTensor>,
    to_blocks: Fixed,
    to_values: Fixed,
}

/// Where tensors lie, for the kernels.
struct TileInputs {
    programs: Vec<Program>,
    layout: Layout,
    memory: Vec<SegmentBuffers>,
    values: Vec<tiles::Lent>,
    buffers: Vec<Buffer>,
}

impl Quantizer {
    /// A quantizer with buffers of its own for values and blocks, which begin as zeros.
    ///
    /// # Errors
    /// [`Error::DuplicateTensor`](crate::Error::DuplicateTensor),
    /// [`Error::TensorTooLarge`](crate::Error::TensorTooLarge), or the device out of memory or lost.
    pub fn arena(gpu: &Gpu, specs: &[BlockSpec]) -> Result<Self> {
        gpu.check_lost()?;
        spec::check_names(specs.iter())?;
        let (programs, items) = programs(specs.iter());
        let layout = limits::layout(gpu, &programs, &items, |tensor| specs[tensor].name.clone())?;
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
        let (mut buffers, mut memory, mut blocks_of_segments) =
            (Vec::new(), Vec::new(), Vec::new());
        for segment in &layout.segments {
            let (tiles, formats) = (u64::from(segment.tiles), programs[segment.kernel].formats);
            let size = tiles * TILE_ELEMS * formats.param.size_bytes();
            buffers.push(gpu.buffer("fallline values", size, usage)?);
            let size = tiles * formats.state.tile_bytes();
            let buffer = gpu.buffer("fallline blocks of codes", size, usage)?;
            blocks_of_segments.push(buffer.clone());
            let state = Some((buffer, 0));
            memory.push(SegmentBuffers { owned: None, state, master: None });
        }
        let (mut tensors, mut values) = (Vec::new(), Vec::new());
        for (spec, place) in specs.iter().zip(&layout.places) {
            let (first, elem_bytes) = (u64::from(place.first_tile), spec.dtype.size_bytes());
            let offset = first * TILE_ELEMS * elem_bytes;
            values.push(tiles::Lent { buffer: place.segment, offset });
            tensors.push(BlockTensor {
                spec: spec.clone(),
                values: crate::BufferRange::new(&buffers[place.segment], offset, spec.len_elems),
                blocks: BlockRange {
                    buffer: blocks_of_segments[place.segment].clone(),
                    offset: first * spec.format.tile_bytes(),
                },
            });
        }
        Self::build(gpu, tensors, &TileInputs { programs, layout, memory, values, buffers })
    }

    /// A quantizer over buffers of the caller's, or of an optimizer's arena: `values` and `blocks` may lie
    /// anywhere, in one buffer or in many. A dispatch for each tensor, and one more for the end of one whose
    /// length is no multiple of four; more where a binding cannot reach all of a tensor. Nothing outside
    /// of the given ranges is ever changed.
    ///
    /// # Errors
    /// What is wrong with a range: its length, alignment, usage, or bytes that it shares with another
    /// ([`Error::BlocksOverlap`](crate::Error::BlocksOverlap)).
    pub fn borrowed(gpu: &Gpu, tensors: &[BlockTensor]) -> Result<Self> {
        gpu.check_lost()?;
        spec::check_names(tensors.iter().map(|tensor| &tensor.spec))?;
        spec::check(tensors, alignment(gpu))?;
        let (programs, items) = programs(tensors.iter().map(|tensor| &tensor.spec));
        // A segment for each tensor, since each has its blocks elsewhere.
        let (mut segments, mut places, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        let (mut values, mut buffers) = (Vec::new(), Vec::new());
        for (index, (tensor, item)) in tensors.iter().zip(&items).enumerate() {
            let BlockTensor { spec, values: range, blocks } = tensor;
            let count = u32::try_from(tiles_of(spec.len_elems)).unwrap_or(u32::MAX);
            places.push(Place { segment: index, first_tile: 0, tiles: count });
            segments.push(Segment { kernel: item.kernel, tiles: count, tensors: vec![index] });
            let state = Some((blocks.buffer.clone(), blocks.offset));
            memory.push(SegmentBuffers { owned: None, state, master: None });
            values.push(tiles::Lent { buffer: index, offset: range.offset });
            buffers.push(range.buffer.clone());
        }
        let layout = Layout { segments, places };
        Self::build(
            gpu,
            tensors.to_vec(),
            &TileInputs { programs, layout, memory, values, buffers },
        )
    }

    fn build(gpu: &Gpu, tensors: Vec<BlockTensor>, tile_inputs: &TileInputs) -> Result<Self> {
        let TileInputs { programs, layout, memory, values, buffers } = tile_inputs;
        let extent = |(tensor, place): (&BlockTensor, &Place)| {
            let elem_bytes = tensor.spec.dtype.size_bytes();
            Extent {
                len_elems: tensor.spec.len_elems,
                elem_bytes: (elem_bytes, elem_bytes),
                place: *place,
                state_or_master_bytes: tensor.spec.format.tile_bytes(),
                window_tiles: programs[layout.segments[place.segment].kernel].window_tiles(),
            }
        };
        let extents: Vec<Extent> = tensors.iter().zip(&layout.places).map(extent).collect();
        // Buffers under numbers of their own, in case one is lent for several tensors.
        let mut numbered = Buffers::default();
        let lent = |values: &tiles::Lent| {
            let number = numbered.number(&buffers[values.buffer], 0);
            let param = tiles::Lent { buffer: number, offset: values.offset };
            LentTensor { param, grad: Some(param) }
        };
        let lent: Vec<LentTensor> = values.iter().map(lent).collect();
        let records = Records::new(gpu, tensors.len())?;
        let contents: Vec<abi::Tensor> = extents.iter().map(Extent::record).collect();
        gpu.write("fallline quantized tensors", &records.buffer, 0, &contents)?;
        let reach = Reach { tight: Some(alignment(gpu)), ..limits::reach(gpu) };
        let (hypers, dummy) = (update::no_hypers(gpu)?, update::dummy(gpu)?);
        let segments: Vec<u32> = layout.segments.iter().map(|segment| segment.tiles).collect();
        let tile_inputs = tiles::TileInputs {
            extents: &extents,
            lent: &lent,
            buffers: &numbered.sizes,
            segments: &segments,
            reach,
        };
        let grouping = tiles::group(&tiles::pieces(&extents, reach), tile_inputs);
        let fixed = |direction| {
            let turned = |program: &Program| {
                let signed = program.key.slots[0].signed;
                let key = KernelKey::quantize(program.formats.state, signed, direction);
                Program { key, ..program.clone() }
            };
            let programs: Vec<Program> = programs.iter().map(turned).collect();
            let (programs, records) = (&programs, &records);
            let (hypers, sums, vectors, dummy) = (&hypers, None, None, &dummy);
            let update_inputs = UpdateInputs {
                gpu,
                programs,
                layout,
                memory,
                records,
                hypers,
                sums,
                vectors,
                dummy,
            };
            Fixed::new(update_inputs, &numbered, &grouping)
        };
        let (to_blocks, to_values) = (fixed(Direction::ToBlocks)?, fixed(Direction::ToValues)?);
        gpu.checked("tables", || gpu.queue().submit([]))?;
        gpu.check_lost()?;
        Ok(Self { gpu: gpu.clone(), tensors, to_blocks, to_values })
    }

    /// Records values into blocks, as one compute pass.
    pub fn encode_quantize(&self, encoder: &mut CommandEncoder) {
        self.record_quantize(&mut begin(encoder, "fallline quantize"));
    }

    /// Records blocks into values, as one compute pass.
    pub fn encode_dequantize(&self, encoder: &mut CommandEncoder) {
        self.record_dequantize(&mut begin(encoder, "fallline dequantize"));
    }

    /// As [`encode_quantize`](Self::encode_quantize), into a compute pass of the caller's.
    pub fn record_quantize(&self, pass: &mut ComputePass<'_>) {
        self.to_blocks.record(pass, 0);
    }

    /// As [`encode_dequantize`](Self::encode_dequantize), into a compute pass of the caller's.
    pub fn record_dequantize(&self, pass: &mut ComputePass<'_>) {
        self.to_values.record(pass, 0);
    }

    /// How many dispatches either takes.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.to_blocks.len()
    }
}

/// Bindings begin at multiples of this.
fn alignment(gpu: &Gpu) -> u64 {
    u64::from(gpu.limits().min_storage_buffer_offset_alignment.max(16))
}

fn begin<'a>(encoder: &'a mut CommandEncoder, label: &str) -> ComputePass<'a> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some(label),
        timestamp_writes: None,
    })
}

/// The distinct kernels (of one direction), and which each tensor uses.
fn programs<'a>(specs: impl Iterator<Item = &'a BlockSpec>) -> (Vec<Program>, Vec<Item>) {
    let (mut programs, mut items): (Vec<Program>, Vec<Item>) = (Vec::new(), Vec::new());
    for spec in specs {
        let key = KernelKey::quantize(spec.format, spec.signed, Direction::ToBlocks);
        let (param, state) = (spec.dtype, spec.format);
        let formats = Formats { param, grad: param, precision: Precision::Nearest, state };
        let same = |program: &Program| program.key == key && program.formats == formats;
        let kernel = programs.iter().position(same).unwrap_or_else(|| {
            let key = key.clone();
            programs.push(Program::plain(key, formats));
            programs.len() - 1
        });
        items.push(Item { kernel, len_elems: spec.len_elems });
    }
    (programs, items)
}
