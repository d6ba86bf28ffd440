//! A convolution net on the handwritten digits of `fallline train`, trained four times from the same weights on the same
//! batches: with Burn's AdamW, with that and learning rates that undo the rounding of its bias corrections, with
//! fallline's AdamW, and with Lion, its state in 8 bits, which is a byte a parameter.
//!
//! `cargo run --release --example digits -- [epochs=15] [svg=FILE] [csv=FILE] [data=FILE]`
//!
//! Fails if a loss of fallline's AdamW differs by more than 1e-3 from Burn's with exact corrections. Whoever has no GPU
//! waits: before its first step Burn tunes each of its kernels for convolutions, a minute in software.

mod common;

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::AdamWConfig,
    tensor::{Device, Int, Tensor, TensorData, activation::relu},
};
use common::{Args, Run, output};
use fallline_burn::{
    FusedConfig,
    fallline::{Lion, StateFormat},
};

/// Of each side of an image.
const PIXELS: usize = 8;
const CLASSES: usize = 10;
/// Images to train with; the others are to test with.
const TRAIN: usize = 1437;
const BATCH: usize = 64;
const LR: f64 = 4e-3;
/// Lion's steps are signs: they are to be smaller.
const LION_LR: f64 = 1e-3;
const TOLERANCE: f64 = 1e-3;

#[derive(Module, Debug)]
struct Net {
    first: Conv2d,
    second: Conv2d,
    pool: MaxPool2d,
    hidden: Linear,
    out: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |channels: [usize; 2]| {
            let padding = PaddingConfig2d::Explicit(1, 1, 1, 1);
            Conv2dConfig::new(channels, [3, 3]).with_padding(padding).init(device)
        };
        let side = PIXELS / 4;
        Self {
            first: conv([1, 16]),
            second: conv([16, 32]),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            hidden: LinearConfig::new(32 * side * side, 64).init(device),
            out: LinearConfig::new(64, CLASSES).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.first.forward(images)));
        let x = self.pool.forward(relu(self.second.forward(x)));
        self.out.forward(relu(self.hidden.forward(x.flatten(1, 3))))
    }

    fn loss(&self, Batch { images, labels }: &Batch) -> Tensor<1> {
        let logits = self.forward(images.clone());
        CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, labels.clone())
    }

    /// In percent.
    fn accuracy(&self, Batch { images, labels }: &Batch) -> f64 {
        let found = self.forward(images.clone()).argmax(1).flatten::<1>(0, 1);
        let hits = found.equal(labels.clone()).int().sum().into_scalar::<i32>();
        100.0 * f64::from(hits) / labels.dims()[0] as f64
    }
}

struct Batch {
    images: Tensor<4>,
    labels: Tensor<1, Int>,
}

impl Batch {
    /// Of rows of a table: 64 pixels from 0 to 16, then the label.
    fn new(rows: &[Vec<u8>], device: &Device) -> Self {
        let pixels = rows.iter().flat_map(|row| &row[..PIXELS * PIXELS]);
        let pixels: Vec<f32> = pixels.map(|pixel| f32::from(*pixel) / 16.0).collect();
        let labels: Vec<i32> = rows.iter().map(|row| row[PIXELS * PIXELS].into()).collect();
        let shape = [rows.len(), 1, PIXELS, PIXELS];
        Self {
            images: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: Tensor::from_data(TensorData::new(labels, [rows.len()]), device),
        }
    }
}

fn images(table: &str) -> common::Result<Vec<Vec<u8>>> {
    let row = |row: &str| row.split(',').map(str::parse).collect::<Result<Vec<u8>, _>>();
    let rows = table.lines().map(row).collect::<Result<Vec<_>, _>>()?;
    let is_image =
        |row: &Vec<u8>| row.len() == PIXELS * PIXELS + 1 && usize::from(row[64]) < CLASSES;
    if rows.len() <= TRAIN || !rows.iter().all(is_image) {
        return Err(format!("expected more than {TRAIN} rows of 64 pixels and a label").into());
    }
    Ok(rows)
}

fn main() -> common::Result {
    let args = Args::of(&["epochs", "svg", "csv", "data"])?;
    let epochs = args.number("epochs", 15)?;
    // As the table has them, images of one writer are together: this takes them from all over it.
    let rows = images(&common::data(&args, "digits.csv")?)?;
    let rows: Vec<Vec<u8>> =
        (0..rows.len()).map(|index| rows[index * 1009 % rows.len()].clone()).collect();
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    let device = device.autodiff();
    device.seed(0);
    let batches = |rows: &[Vec<u8>]| -> Vec<Batch> {
        rows.chunks_exact(BATCH).map(|rows| Batch::new(rows, &device)).collect()
    };
    let train = batches(&rows[..TRAIN]);
    let test = Batch::new(&rows[TRAIN..], &device.clone().inner());

    let net = Net::new(&device);
    let caption = format!(
        "handwritten digits, two convolutions and two linear layers, {} parameters, batches of {BATCH}, on {}",
        net.num_params(),
        setup.adapter.get_info().name
    );
    println!("{caption}");
    let adamw = AdamWConfig::new().with_weight_decay(0.01);
    let ours = FusedConfig::try_from(adamw.clone())?.init(&setup)?;
    let lion = Lion::new().weight_decay(0.1);
    let lion = FusedConfig::new(lion).with_state(StateFormat::Int8).init(&setup)?;
    let mut runs = vec![
        Run::burns("Burn's AdamW", &net, adamw.init(), None),
        Run::burns("Burn's AdamW, exact corrections", &net, adamw.init(), None),
        Run::fused("fallline's AdamW", &net, ours).beside(1),
        Run::fused("fallline's Lion, 8-bit state", &net, lion),
    ];
    let steps = epochs * train.len();
    for step in 0..steps {
        let batch = &train[step % train.len()];
        let falling = 1.0 - step as f64 / steps as f64;
        let rates = [LR, LR * unrounded(step + 1), LR, LION_LR];
        let stepped = runs.into_iter().zip(rates);
        let stepped = stepped.map(|(run, lr)| run.step(falling * lr, |net| net.loss(batch)));
        runs = stepped.collect::<common::Result<_>>()?;
        if (step + 1) % train.len() == 0 {
            let losses: Vec<String> =
                runs.iter().map(|run| format!("{:.6}", run.losses[step])).collect();
            println!("epoch {:>2}  {}", (step + 1) / train.len(), losses.join("  "));
        }
    }
    for run in &runs {
        run.print();
        println!(
            "  right on {:.1} % of {} other images",
            run.model.valid().accuracy(&test),
            rows.len() - TRAIN
        );
    }
    common::print_differences(&runs);
    println!("(and by up to {:.1e} from Burn's as it is)", runs[2].differs(&runs[0]));
    output::write(&args, &caption, &runs)?;
    let is_alike = runs[2].differs(&runs[1]) <= TOLERANCE;
    // Burn's device thread does not always survive the end of `main`.
    std::process::exit(i32::from(!is_alike));
}

/// What the learning rate is to be multiplied by, so that Burn's AdamW steps as with exact bias corrections. It rounds them to
/// f32, in which 1 - 0.999^t is right to five digits in the first steps.
fn unrounded(step: usize) -> f64 {
    let step = i32::try_from(step).unwrap_or(i32::MAX);
    let correction = |beta: f32| {
        let rounded = f64::from(1.0 - beta.powi(step));
        (1.0 - f64::from(beta).powi(step)) / rounded
    };
    correction(0.999).sqrt() / correction(0.9)
}
