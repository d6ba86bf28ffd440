//! Quantizing and dequantizing buffers: what comes back, whose bytes are touched, and bad input.

use fallline::{
    BlockRange, BlockSpec, BlockTensor, BufferRange, Dtype, Error, Group, Optimizer, Quantizer,
    Role, Sgd, StateFormat, Step, TensorId, TensorSpec, wgpu,
};
use fallline_reference::formats::{dynamic, e4m3, nibble};

use crate::common::{
    self, AWKWARD, FORMATS, Rng, bits, buffer, gpu, in_blocks_of, round_trip, submit, tiny_gpu,
};

fn name(index: usize, dtype: Dtype, format: StateFormat, signed: bool) -> String {
    format!("{index} {dtype} {format} {signed}")
}

/// Every format of values and blocks, of either kind of sign, in every awkward length.
fn specs() -> Vec<BlockSpec> {
    let mut specs = Vec::new();
    for (format, ..) in FORMATS {
        for &dtype in Dtype::ALL {
            for signed in [true, false] {
                for (index, len) in AWKWARD.into_iter().enumerate() {
                    let name = name(index, dtype, format, signed);
                    let spec = BlockSpec::new(name, len as u64, format).dtype(dtype);
                    specs.push(if signed { spec } else { spec.unsigned() });
                }
            }
        }
    }
    specs
}

/// What comes back is what the twin rounds to.
fn check(spec: &BlockSpec, values: &[f32], found: &[f32]) {
    let (_, block_elems, rounded) = FORMATS.into_iter().find(|f| f.0 == spec.format).unwrap();
    // Rounding to the values' own format comes on top.
    let slack = if spec.dtype == Dtype::F32 { 1e-6 } else { 5e-3 };
    for (value, absmax, found) in in_blocks_of(block_elems, values, found) {
        let expected = rounded(value, absmax, !spec.signed, 12.0);
        let near = |e: &f64| (f64::from(found) - e).abs() <= slack * e.abs() + 1e-7;
        assert!(expected.iter().any(near), "{}: {value} became {found}", spec.name);
    }
}

#[test]
fn values_come_back_rounded_to_codes() {
    for gpu in [gpu(), tiny_gpu()] {
        let specs = specs();
        let quantizer = Quantizer::arena(&gpu, &specs).unwrap();
        let mut rng = Rng(3);
        let mut written = Vec::new();
        for (id, tensor) in quantizer.tensors() {
            let len = usize::try_from(tensor.spec.len_elems).unwrap();
            let mut values = rng.values(len, 1.0);
            if !tensor.spec.signed {
                values.iter_mut().for_each(|value| *value = value.abs());
            }
            quantizer.write_values(id, &values).unwrap();
            written.push(quantizer.read_values(id).unwrap());
        }
        submit(&gpu, |encoder| quantizer.encode_quantize(encoder));
        let blocks: Vec<Vec<u8>> =
            quantizer.tensors().map(|(id, _)| quantizer.read_blocks(id).unwrap()).collect();
        for ((id, tensor), written) in quantizer.tensors().zip(&written) {
            let values = quantizer.read_values(id).unwrap();
            assert_eq!(bits(&values), bits(written), "{}: values stay", tensor.spec.name);
            quantizer.write_values(id, &vec![9.0; values.len()]).unwrap();
        }
        submit(&gpu, |encoder| quantizer.encode_dequantize(encoder));
        for (((id, tensor), written), blocks) in quantizer.tensors().zip(&written).zip(&blocks) {
            assert_eq!(&quantizer.read_blocks(id).unwrap(), blocks, "blocks stay");
            check(&tensor.spec, written, &quantizer.read_values(id).unwrap());
        }
    }
}

/// Blocks that were read can be written to another quantizer.
#[test]
fn blocks_travel() {
    let gpu = gpu();
    let spec = |name: &str| BlockSpec::new(name, 1000, StateFormat::Int4);
    let (from, to) = (
        Quantizer::arena(&gpu, &[spec("a")]).unwrap(),
        Quantizer::arena(&gpu, &[spec("b")]).unwrap(),
    );
    let id = TensorId::new(0);
    from.write_values(id, &Rng(1).values(1000, 2.0)).unwrap();
    submit(&gpu, |encoder| from.encode_quantize(encoder));
    let blocks = from.read_blocks(id).unwrap();
    assert_eq!(blocks.len() as u64, StateFormat::Int4.blocks_size_bytes(1000));
    to.write_blocks(id, &blocks).unwrap();
    submit(&gpu, |encoder| {
        from.encode_dequantize(encoder);
        to.encode_dequantize(encoder);
    });
    assert_eq!(from.read_values(id).unwrap(), to.read_values(id).unwrap());
}

/// In one buffer, and beside bytes that belong to nobody.
#[test]
fn borrowed_ranges_and_nothing_else_are_written() {
    let gpus = [gpu(), tiny_gpu()];
    for ((format, ..), gpu) in
        FORMATS.into_iter().flat_map(|f| gpus.iter().map(move |gpu| (f, gpu)))
    {
        for (dtype, elem_bytes) in [(Dtype::F32, 4), (Dtype::Bf16, 2)] {
            let mine = f32::from_bits(0xa5a5_a5a5);
            let lent = buffer(gpu, &vec![mine; 100_000], wgpu::BufferUsages::STORAGE);
            let (mut end, mut tensors, mut used) = (0u64, Vec::new(), vec![false; 400_000]);
            for (index, len) in AWKWARD.into_iter().enumerate() {
                let len = len as u64;
                let values = end.next_multiple_of(4 * elem_bytes);
                let values_end = values + len * elem_bytes;
                let blocks = values_end.next_multiple_of(256);
                let blocks_end = blocks + format.blocks_size_bytes(len);
                // The next tensor's values begin in other 256 bytes than these blocks end.
                end = blocks_end.next_multiple_of(256);
                for range in [values..values_end, blocks..blocks_end] {
                    range.for_each(|byte| used[usize::try_from(byte).unwrap()] = true);
                }
                tensors.push(BlockTensor {
                    spec: BlockSpec::new(format!("t{index}"), len, format).dtype(dtype),
                    values: BufferRange::new(&lent, values, len),
                    blocks: BlockRange::new(&lent, blocks),
                });
            }
            let quantizer = Quantizer::borrowed(gpu, &tensors).unwrap();
            let mut rng = Rng(2);
            let mut written = Vec::new();
            for (id, tensor) in quantizer.tensors() {
                let len = usize::try_from(tensor.spec.len_elems).unwrap();
                quantizer.write_values(id, &rng.values(len, 0.5)).unwrap();
                written.push(quantizer.read_values(id).unwrap());
            }
            submit(gpu, |encoder| quantizer.encode_quantize(encoder));
            for (id, tensor) in quantizer.tensors() {
                let len = usize::try_from(tensor.spec.len_elems).unwrap();
                quantizer.write_values(id, &vec![7.0; len]).unwrap();
            }
            submit(gpu, |encoder| quantizer.encode_dequantize(encoder));
            for ((id, tensor), written) in quantizer.tensors().zip(&written) {
                check(&tensor.spec, written, &quantizer.read_values(id).unwrap());
            }
            let bytes: Vec<u8> =
                common::read(gpu, &lent).iter().flat_map(|value| value.to_le_bytes()).collect();
            for (byte, used) in used.iter().enumerate() {
                assert!(*used || bytes[byte] == 0xa5, "{format}: byte {byte}");
            }
        }
    }
}

/// What an optimizer keeps of a gradient is what quantizing the same gradient in its arena gives.
#[test]
fn an_arenas_gradient_becomes_the_blocks_of_its_state() {
    let gpu = gpu();
    for (format, ..) in FORMATS {
        let rule = Sgd::new().momentum(0.5);
        let groups = [Group::new("all", rule).state(format)];
        let specs = [TensorSpec::new("p", [5001])];
        let mut optimizer = Optimizer::arena(&gpu, &groups, &specs).unwrap();
        let id = TensorId::new(0);
        optimizer.write_grad(id, &Rng(5).values(5001, 3.0)).unwrap();
        optimizer.step(&Step::new()).unwrap();
        let grad = optimizer.grad(id).unwrap();
        let blocks = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: Some("test blocks"),
            size: format.blocks_size_bytes(5001),
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        let tensor = BlockTensor {
            spec: BlockSpec::new("grad", 5001, format),
            values: BufferRange::new(grad.buffer(), grad.offset(), 5001),
            blocks: BlockRange::new(&blocks, 0),
        };
        let quantizer = Quantizer::borrowed(&gpu, &[tensor]).unwrap();
        assert_eq!(quantizer.dispatches(), 2, "one more for the last element");
        submit(&gpu, |encoder| {
            quantizer.encode_quantize(encoder);
            quantizer.encode_dequantize(encoder);
        });
        // The host decodes codes with other last bits.
        let state = optimizer.read_state(id, "momentum_buffer").unwrap();
        for (a, b) in state.iter().zip(quantizer.read_values(id).unwrap()) {
            assert!((a - b).abs() <= 1e-6 * a.abs(), "{format}: {a} {b}");
        }
    }
}

/// Exactly in the middle between two codes of the unsigned maps and books, in blocks whose largest value is
/// a power of two: the larger code.
#[test]
fn middles_go_to_the_larger_code() {
    let gpu = gpu();
    let books: [(StateFormat, bool, Vec<f64>); 4] = [
        (StateFormat::Int8, true, dynamic::book(false)),
        (StateFormat::Int8, false, dynamic::book(true)),
        (StateFormat::Int4, true, nibble::map(false)),
        (StateFormat::Int4, false, nibble::map(true)),
    ];
    for (format, signed, book) in books {
        // Those middles that are numbers of f32; besides 0, which has rules of its own.
        let book: Vec<f64> = book.iter().map(|code| f64::from(narrow(*code))).collect();
        let middles: Vec<(f32, f64)> = book
            .windows(2)
            .filter(|pair| pair[0] != 0.0 && pair[1] != 0.0)
            .map(|pair| {
                let larger = if pair[0].abs() > pair[1].abs() { pair[0] } else { pair[1] };
                ((pair[0] + pair[1]) / 2.0, larger)
            })
            .filter(|(middle, _)| f64::from(narrow(*middle)) == *middle)
            .map(|(middle, larger)| (narrow(middle), larger))
            .collect();
        assert!(middles.len() > book.len() / 4, "{format}: {}", middles.len());
        for absmax in [1.0f32, 1024.0, 2f32.powi(-30)] {
            let values: Vec<f32> = middles
                .chunks(120)
                .flat_map(|middles| {
                    let mut block = vec![0.0; 256];
                    // A largest value for both blocks of 128.
                    (block[0], block[128]) = (absmax, absmax);
                    for (at, (middle, _)) in middles.iter().enumerate() {
                        block[at + 1] = middle * absmax;
                    }
                    block
                })
                .collect();
            let spec = BlockSpec::new("t", values.len() as u64, format);
            let spec = if signed { spec } else { spec.unsigned() };
            let found = round_trip(&gpu, spec, &values);
            for (index, (middle, larger)) in middles.iter().enumerate() {
                let found = f64::from(found[index / 120 * 256 + index % 120 + 1] / absmax);
                let right = (found - larger).abs() <= 1e-6 * larger.abs();
                assert!(right, "{format} {signed}: {middle} became {found}, not {larger}");
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[test]
fn bf16_blocks_are_rounded_to_nearest_and_f32_is_kept() {
    let gpu = gpu();
    let specs = [
        BlockSpec::new("bf16", 1001, StateFormat::Bf16),
        BlockSpec::new("f32", 1001, StateFormat::F32),
    ];
    let quantizer = Quantizer::arena(&gpu, &specs).unwrap();
    let values = Rng(7).values(1001, 1.0);
    for (id, _) in quantizer.tensors() {
        quantizer.write_values(id, &values).unwrap();
    }
    submit(&gpu, |encoder| {
        quantizer.encode_quantize(encoder);
        quantizer.encode_dequantize(encoder);
    });
    let rounded: Vec<f32> = values
        .iter()
        .map(|value| {
            use fallline_reference::formats::bf16;
            bf16::decode(bf16::encode(*value))
        })
        .collect();
    assert_eq!(quantizer.read_values(TensorId::new(0)).unwrap(), rounded);
    assert_eq!(quantizer.read_values(TensorId::new(1)).unwrap(), values);
}

/// Whatever bytes somebody writes, every code has its value, and NaN is one.
#[test]
fn every_code_is_decoded() {
    let gpu = gpu();
    let numbers = e4m3::magnitudes();
    let scale = 0.375f32;
    let cases: [(StateFormat, Vec<f64>); 2] = [
        (StateFormat::Int8, dynamic::book(false)),
        (StateFormat::Fp8, numbers.iter().copied().chain([f64::NAN]).collect()),
    ];
    for (format, values) in cases {
        let quantizer = Quantizer::arena(&gpu, &[BlockSpec::new("t", 256, format)]).unwrap();
        let id = TensorId::new(0);
        let blocks: Vec<u8> = (0..=255).chain(scale.to_le_bytes()).collect();
        quantizer.write_blocks(id, &blocks).unwrap();
        submit(&gpu, |encoder| quantizer.encode_dequantize(encoder));
        for (code, found) in quantizer.read_values(id).unwrap().into_iter().enumerate() {
            let expected = match format {
                StateFormat::Int8 => values[code],
                _ if code < 128 => values[code],
                _ => -values[code - 128],
            };
            let (found, expected) = (f64::from(found), expected * f64::from(scale));
            let is_close = (found - expected).abs() <= 1e-6 * expected.abs();
            assert!(
                is_close || found.is_nan() && expected.is_nan(),
                "{format} {code}: {found} {expected}"
            );
        }
    }
}

#[test]
fn bad_ranges_are_told_apart() {
    let gpu = gpu();
    let lent = buffer(&gpu, &vec![0.0; 4096], wgpu::BufferUsages::STORAGE);
    let other = buffer(&gpu, &vec![0.0; 4096], wgpu::BufferUsages::STORAGE);
    let not_storage = buffer(&gpu, &[0.0; 1024], wgpu::BufferUsages::VERTEX);
    let tensor =
        |name: &str, values: (&wgpu::Buffer, u64), blocks: (&wgpu::Buffer, u64)| BlockTensor {
            spec: BlockSpec::new(name, 256, StateFormat::Int8),
            values: BufferRange::new(values.0, values.1, 256),
            blocks: BlockRange::new(blocks.0, blocks.1),
        };
    let error = |tensors: &[BlockTensor]| Quantizer::borrowed(&gpu, tensors).unwrap_err();
    let good = tensor("a", (&lent, 0), (&lent, 1024));
    assert!(Quantizer::borrowed(&gpu, std::slice::from_ref(&good)).is_ok());
    assert!(matches!(
        error(&[good.clone(), tensor("b", (&lent, 2048), (&lent, 1024))]),
        Error::BlocksOverlap { tensor, role: Role::Blocks, other, .. } if tensor == "b" && other == "a"
    ));
    // No shared byte, but values 4 bytes behind blocks cannot be bound apart from these.
    let near = tensor("b", (&lent, 1024 + 272), (&other, 0));
    assert!(matches!(
        error(&[good.clone(), near]),
        Error::BlocksOverlap { role: Role::Values, other_role: Role::Blocks, .. }
    ));
    assert!(matches!(
        error(&[good.clone(), tensor("a", (&other, 0), (&other, 1024))]),
        Error::DuplicateTensor { name } if name == "a"
    ));
    assert!(matches!(
        error(&[tensor("a", (&lent, 0), (&other, 128))]),
        Error::MisalignedOffset { role: Role::Blocks, offset: 128, expected: 256, .. }
    ));
    assert!(matches!(
        error(&[tensor("a", (&lent, 8), (&other, 0))]),
        Error::MisalignedOffset { role: Role::Values, offset: 8, expected: 16, .. }
    ));
    assert!(matches!(
        error(&[tensor("a", (&lent, 0), (&other, 16_384 - 256))]),
        Error::BufferTooSmall { role: Role::Blocks, end: 16_388, size_bytes: 16_384, .. }
    ));
    assert!(matches!(
        error(&[tensor("a", (&not_storage, 0), (&other, 0))]),
        Error::BufferUsage { role: Role::Values, .. }
    ));
    let short = BlockTensor { values: BufferRange::new(&lent, 0, 255), ..good.clone() };
    assert!(matches!(error(&[short]), Error::Length { expected: 256, found: 255, .. }));
    let quantizer = Quantizer::borrowed(&gpu, &[good]).unwrap();
    let id = TensorId::new(0);
    assert!(matches!(
        quantizer.write_blocks(id, &[0; 259]).unwrap_err(),
        Error::Length { expected: 260, found: 259, .. }
    ));
    assert!(matches!(quantizer.write_values(id, &[0.0; 3]).unwrap_err(), Error::Length { .. }));
    assert!(matches!(
        quantizer.read_values(TensorId::new(1)).unwrap_err(),
        Error::UnknownTensor { index: 1, len: 1 }
    ));
}

#[test]
fn a_quantizer_of_nothing_does_nothing() {
    let gpu = gpu();
    for specs in [vec![], vec![BlockSpec::new("empty", 0, StateFormat::Int8)]] {
        let quantizer = Quantizer::arena(&gpu, &specs).unwrap();
        assert_eq!(quantizer.dispatches(), 0);
        submit(&gpu, |encoder| quantizer.encode_quantize(encoder));
        for (id, _) in quantizer.tensors() {
            assert!(quantizer.read_blocks(id).unwrap().is_empty());
            assert!(quantizer.read_values(id).unwrap().is_empty());
        }
    }
}
