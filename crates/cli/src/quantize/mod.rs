//! `fallline quantize`: a file of tensors into codes and scales; and `fallline dequantize`, back.

mod batch;
pub(crate) mod dequantize;
mod format;
mod report;
mod scheme;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, bail};
use fallline::{BlockSpec, Gpu, Quantizer, StateFormat, TensorId};
use safetensors::tensor::TensorView;

use crate::{
    Outcome,
    device::{AdapterReport, DeviceArgs},
    output::{Output, Outputs},
    print,
    tensorfile::{self, Contents, Tensor},
};
use batch::{BATCH_ELEMS, Piece};
use report::{Deviation, NotFinite, Report, Row};
use scheme::Scheme;

/// Options of `fallline quantize`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The tensors, a safetensors file
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Where their codes and scales are written, as safetensors
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Format of the codes
    #[arg(long, value_parser = format::parser(), default_value_t = StateFormat::Int8)]
    format: StateFormat,

    /// Codes for values of either sign; the default
    #[arg(long, conflicts_with = "unsigned")]
    signed: bool,

    /// Codes for values that are never negative
    #[arg(long)]
    unsigned: bool,

    /// Write the report to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const HELP: &str = "\
Tensors of IN in F32, F16 and BF16 become codes under their own names, with a scale for each block
of consecutive elements beside them; others are copied. OUT holds, of n elements:
  int8       <name> U8 in its shape, numbers in bitsandbytes' dynamic books, as torchao's
             create_dynamic_map() and create_dynamic_map(False) have them;
             <name>.absmax F32 [n / 256]; value = book[code] * absmax
  int4       <name> U8 [n / 2], the first of two elements in the upper half, as torchao packs them,
             numbers in create_dynamic_map(True, 3, 4); unsigned: in 1/16, 2/16 to 1;
             <name>.absmax F32 [n / 128]; value = map[code] * absmax
  fp8        <name> F8_E4M3 in its shape;
             <name>.scale F32 [n / 256], absmax / 448; value = code * scale
  companded  <name> I8 in its shape; unsigned: U8;
             <name>.scale BF16 [n / 32]; value = code / (254 - |code|) * scale; unsigned:
             (code / 255 * scale)^2
  bf16       <name> BF16 in its shape
These lengths are rounded up. The metadata of IN are kept. They have besides, under \"fallline\", as
JSON, what the tensors were:
  {\"version\": 1, \"format\": \"int8\", \"signed\": true,
   \"tensors\": {\"<name>\": {\"dtype\": \"F32\", \"shape\": [2, 3]}}}
The errors in the table are what dequantizing on this GPU gives against IN: mean and largest
absolute, and ||found - x|| / ||x||, of elements that are finite before and after. One that is not
makes its block so; they are counted before and after.

Examples:
  fallline quantize model.safetensors model.int8.safetensors
  fallline quantize model.safetensors model.int4.safetensors --format int4 --json report.json
  fallline quantize exp_avg_sq.safetensors small.safetensors --unsigned";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    let Args { input, output, format, json, .. } = args;
    let signed = args.signed || !args.unsigned;
    let mut outputs = Outputs::beside(&[input]);
    let (output, json) = (outputs.open(output)?, outputs.open_any(json.as_deref())?);
    let bytes = tensorfile::read(input)?;
    let context = || input.display().to_string();
    let contents = Contents::parse(&bytes).with_context(context)?;
    let scheme = Scheme::new(&contents, *format, signed).with_context(context)?;

    let gpu = device.open()?;
    let mut coded = quantize(&gpu, &scheme, &contents).with_context(context)?;
    let (mut tensors, mut rows) = (Vec::new(), Vec::new());
    for (name, view) in &contents.tensors {
        let Some(Coded { codes, scales, error, again, not_finite }) = coded.remove(name) else {
            let (tensor, row) = copied(name, view);
            tensors.push(tensor);
            rows.push(row);
            continue;
        };
        let (len, shape) = (view.data().len() * 8 / view.dtype().bitsize(), view.shape());
        rows.push(Row {
            name: name.clone(),
            shape: shape.to_vec(),
            from: view.dtype().to_string(),
            to: Some(format.to_string()),
            bytes: view.data().len(),
            bytes_after: codes.len() + scales.len(),
            error: Some(error),
            again: Some(again),
            not_finite,
        });
        let form = format::scales(*format, len)?;
        if let (Some(name), Some((dtype, shape))) = (scheme.scales_of(name), form) {
            tensors.push(Tensor { name, dtype, shape, bytes: scales.into() });
        }
        let (name, dtype) = (name.clone(), format::dtype(*format, signed));
        let (shape, bytes) = (format::shape(*format, shape, len), codes.into());
        tensors.push(Tensor { name, dtype, shape, bytes });
    }
    let adapter = AdapterReport::new(&gpu.adapter_info());
    let report = Report { adapter, format: *format, signed, rows };
    tensorfile::write(&output, &tensors, &scheme.write(&contents.metadata)?)?;
    finish(&report, json.as_ref())
}

/// What became of a tensor.
#[derive(Debug, Default)]
struct Coded {
    codes: Vec<u8>,
    scales: Vec<u8>,
    error: Deviation,
    /// Of another time.
    again: Deviation,
    not_finite: NotFinite,
}

/// Quantizes the tensors of the scheme, and measures how far they are off afterwards.
fn quantize(
    gpu: &Gpu,
    scheme: &Scheme,
    contents: &Contents<'_>,
) -> anyhow::Result<BTreeMap<String, Coded>> {
    let tensors: Vec<(&String, &TensorView<'_>)> =
        scheme.tensors.keys().filter_map(|name| contents.tensors.get_key_value(name)).collect();
    let size_of = |view: &TensorView<'_>| view.dtype().bitsize() / 8;
    let lens: Vec<usize> = tensors.iter().map(|(_, v)| v.data().len() / size_of(v)).collect();
    let mut coded: Vec<Coded> = tensors.iter().map(|_| Coded::default()).collect();
    let bar = print::progress(lens.iter().sum(), "quantize");
    for pieces in batch::batches(&lens, BATCH_ELEMS) {
        let (mut specs, mut values) = (Vec::new(), Vec::new());
        for Piece { tensor, elems } in &pieces {
            let (name, view) = tensors[*tensor];
            let (dtype, size) = (tensorfile::dtype(view.dtype())?, size_of(view));
            let bytes = &view.data()[elems.start * size..elems.end * size];
            let piece = dtype.decode(bytes);
            let negative = piece.iter().position(|value| *value < 0.0);
            if let Some(index) = negative.filter(|_| !scheme.signed) {
                let (element, value) = (elems.start + index, piece[index]);
                bail!(
                    "tensor '{name}': --unsigned needs values >= 0, found {value} as element {element}"
                );
            }
            let spec = BlockSpec::new(name, elems.len() as u64, scheme.format).dtype(dtype);
            specs.push(if scheme.signed { spec } else { spec.unsigned() });
            values.push(piece);
        }
        let quantizer = Quantizer::arena(gpu, &specs)?;
        for (index, values) in values.iter().enumerate() {
            quantizer.write_values(TensorId::new(index), values)?;
        }
        batch::submit(gpu, |encoder| {
            quantizer.encode_quantize(encoder);
            quantizer.encode_dequantize(encoder);
        });
        let mut once = Vec::new();
        for (index, (Piece { tensor, elems }, values)) in pieces.iter().zip(&values).enumerate() {
            let (id, coded) = (TensorId::new(index), &mut coded[*tensor]);
            let blocks = quantizer.read_blocks(id)?;
            let (codes, scales) = scheme.format.split_blocks(elems.len() as u64, &blocks)?;
            coded.codes.extend(codes);
            coded.scales.extend(scales);
            let found = quantizer.read_values(id)?;
            coded.error.add(values, &found);
            coded.not_finite.add(values, &found);
            once.push(found);
            bar.inc(elems.len() as u64);
        }
        // What it costs to do the same with what came of it, as who goes through values each time does.
        batch::submit(gpu, |encoder| {
            quantizer.encode_quantize(encoder);
            quantizer.encode_dequantize(encoder);
        });
        for (index, (Piece { tensor, .. }, once)) in pieces.iter().zip(&once).enumerate() {
            coded[*tensor].again.add(once, &quantizer.read_values(TensorId::new(index))?);
        }
    }
    bar.finish_and_clear();
    Ok(scheme.tensors.keys().cloned().zip(coded).collect())
}

/// A tensor as it is.
fn copied<'a>(name: &str, view: &TensorView<'a>) -> (Tensor<'a>, Row) {
    let (name, dtype, shape, bytes) = (name.to_owned(), view.dtype(), view.shape(), view.data());
    let row = Row {
        name: name.clone(),
        shape: shape.to_vec(),
        from: dtype.to_string(),
        to: None,
        bytes: bytes.len(),
        bytes_after: bytes.len(),
        error: None,
        again: None,
        not_finite: NotFinite::default(),
    };
    (Tensor { name, dtype, shape: shape.to_vec(), bytes: bytes.into() }, row)
}

/// Prints and writes the report.
fn finish(report: &Report, json: Option<&Output>) -> anyhow::Result<Outcome> {
    if let Some(json) = json {
        json.write_json(&report.to_json())?;
    }
    report.warnings().into_iter().for_each(print::warn);
    print::print(report)?;
    Ok(Outcome::Good)
}
