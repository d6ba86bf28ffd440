//! `fallline dequantize`: codes and scales back into tensors.

use std::path::PathBuf;

use anyhow::Context;
use fallline::{BlockSpec, Dtype, Gpu, Quantizer, TensorId};

use super::{
    batch::{self, BATCH_ELEMS, Piece},
    copied, finish, format,
    report::{NotFinite, Report, Row},
    scheme::{Coded, Scheme},
};
use crate::{
    Outcome,
    device::{AdapterReport, DeviceArgs},
    names::one_of,
    output::Outputs,
    print,
    tensorfile::{self, Contents, Tensor},
};

/// Options of `fallline dequantize`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// Codes and scales, a file made by fallline quantize
    #[arg(value_name = "IN")]
    input: PathBuf,

    /// Where the tensors are written, as safetensors
    #[arg(value_name = "OUT")]
    output: PathBuf,

    /// Format of the tensors [default: what they were]
    #[arg(long, value_name = "FORMAT", value_parser = one_of(Dtype::ALL, Dtype::name))]
    dtype: Option<Dtype>,

    /// Write the report to FILE as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

const HELP: &str = "\
IN is as fallline quantize --help describes it. OUT holds the tensors under their names, in their
shapes, and the metadata that the file had before. Tensors that were not quantized are copied.

Examples:
  fallline dequantize model.int8.safetensors model.safetensors
  fallline dequantize model.int4.safetensors model.safetensors --dtype bf16 --json report.json";

pub(crate) fn run(args: &Args, device: &DeviceArgs) -> anyhow::Result<Outcome> {
    let Args { input, output, dtype, json } = args;
    let mut outputs = Outputs::beside(&[input]);
    let (output, json) = (outputs.open(output)?, outputs.open_any(json.as_deref())?);
    let bytes = tensorfile::read(input)?;
    let context = || input.display().to_string();
    let contents = Contents::parse(&bytes).with_context(context)?;
    let (scheme, metadata) = Scheme::read(&contents).with_context(context)?;
    let coded = scheme.coded(&contents).with_context(context)?;
    let dtype_of = |was| dtype.map_or_else(|| tensorfile::dtype(was), Ok);
    let dtypes = scheme.tensors.values().map(|original| dtype_of(original.dtype));
    let dtypes: Vec<Dtype> = dtypes.collect::<anyhow::Result<_>>()?;

    let gpu = device.open()?;
    let decoded = dequantize(&gpu, &scheme, &coded, &dtypes).with_context(context)?;
    let (mut tensors, mut rows) = (Vec::new(), Vec::new());
    let quantized = scheme.tensors.iter().zip(dtypes).zip(coded).zip(decoded);
    for ((((name, original), dtype), coded), decoded) in quantized {
        let Decoded { bytes, not_finite } = decoded;
        let (name, shape, dtype) = (name.clone(), original.shape.clone(), tensorfile::tag(dtype)?);
        rows.push(Row {
            name: name.clone(),
            shape: shape.clone(),
            from: scheme.format.to_string(),
            to: Some(dtype.to_string()),
            bytes: coded.codes.len() + coded.scales.len(),
            bytes_after: bytes.len(),
            error: None,
            again: None,
            not_finite,
        });
        tensors.push(Tensor { name, dtype, shape, bytes: bytes.into() });
    }
    for (name, view) in &contents.tensors {
        if !scheme.tensors.contains_key(name) && !scheme.is_scales(name) {
            let (tensor, row) = copied(name, view);
            tensors.push(tensor);
            rows.push(row);
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let adapter = AdapterReport::new(&gpu.adapter_info());
    let report = Report { adapter, format: scheme.format, signed: scheme.signed, rows };
    tensorfile::write(&output, &tensors, &metadata)?;
    finish(&report, json.as_ref())
}

/// What codes stand for.
#[derive(Debug, Default)]
struct Decoded {
    bytes: Vec<u8>,
    not_finite: NotFinite,
}

/// Dequantizes the tensors of the scheme, in its order, each into its format.
fn dequantize(
    gpu: &Gpu,
    scheme: &Scheme,
    coded: &[Coded<'_>],
    dtypes: &[Dtype],
) -> anyhow::Result<Vec<Decoded>> {
    let (format, lens) = (scheme.format, coded.iter().map(|coded| coded.len).collect::<Vec<_>>());
    let mut decoded: Vec<Decoded> = coded.iter().map(|_| Decoded::default()).collect();
    let names: Vec<&String> = scheme.tensors.keys().collect();
    let bar = print::progress(lens.iter().sum(), "dequantize");
    for pieces in batch::batches(&lens, BATCH_ELEMS) {
        let spec = |Piece { tensor, elems }: &Piece| {
            let spec = BlockSpec::new(names[*tensor], elems.len() as u64, format);
            if scheme.signed { spec } else { spec.unsigned() }
        };
        let quantizer = Quantizer::arena(gpu, &pieces.iter().map(spec).collect::<Vec<_>>())?;
        for (index, Piece { tensor, elems }) in pieces.iter().enumerate() {
            // A piece begins where a block does.
            let Coded { codes, scales, .. } = coded[*tensor];
            let of_codes = [elems.start, elems.end].map(|len| format::codes_bytes(format, len));
            let of_scales = [elems.start, elems.end].map(|len| format::scales_bytes(format, len));
            let codes = &codes[of_codes[0]..of_codes[1]];
            let scales = &scales[of_scales[0]..of_scales[1]];
            let blocks = format.join_blocks(elems.len() as u64, codes, scales)?;
            quantizer.write_blocks(TensorId::new(index), &blocks)?;
        }
        batch::submit(gpu, |encoder| quantizer.encode_dequantize(encoder));
        for (index, Piece { tensor, elems }) in pieces.iter().enumerate() {
            let values = quantizer.read_values(TensorId::new(index))?;
            let decoded = &mut decoded[*tensor];
            // In f32 up to here, so that what only the format cannot hold is told apart.
            let bytes = dtypes[*tensor].encode(&values);
            decoded.not_finite.add(&values, &dtypes[*tensor].decode(&bytes));
            decoded.bytes.extend(bytes);
            bar.inc(elems.len() as u64);
        }
    }
    bar.finish_and_clear();
    Ok(decoded)
}
