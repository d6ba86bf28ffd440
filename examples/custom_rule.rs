//! A rule of your own: a page of WGSL and its constants. Everything else serves it as it serves the engine's:
//! here 8-bit state, clipping, and a run that is saved and resumed bit for bit.
//!
//! Signum (Bernstein et al., *signSGD*, 2018): the sign of an average of gradients.

use fallline::{
    AdamW, Gpu, Group, Optimizer, Options, OutOfRange, Rule, Saved, Slot, Source, StateFormat,
    Step, TensorSpec, range,
};

const SIGNUM: &str = "
    struct Hyper { momentum: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
    struct StepHyper { weight_decay: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
    struct Scalars { lr: f32, decay: f32, padding0: vec2<f32>, }
    struct State { momentum_buffer: vec4<f32>, }

    fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
        return Scalars(lr, 1.0 - lr * hyper.weight_decay, vec2<f32>());
    }
    fn propose(
        param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper,
    ) -> Proposal {
        let average = lerp(state.momentum_buffer, grad, 1.0 - hyper.momentum);
        return Proposal(sign(average), State(average));
    }
    fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
        return param * tensor.scalars.decay - tensor.scalars.lr * direction;
    }
    fn state_of(slots: Slots) -> State { return State(slots.slot0); }
    fn slots_of(state: State) -> Slots {
        var slots = Slots();
        slots.slot0 = state.momentum_buffer;
        return slots;
    }";

#[derive(Debug)]
struct Signum {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
}

impl Rule for Signum {
    fn source(&self) -> Source {
        Source { path: "signum", text: SIGNUM }
    }
    fn lr(&self) -> f64 {
        self.lr
    }
    fn check(&self) -> Result<(), OutOfRange> {
        range::non_negative("lr", self.lr)?;
        range::beta("momentum", self.momentum)?;
        range::non_negative("weight_decay", self.weight_decay)
    }
    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        vec![Slot::moment("momentum_buffer")]
    }
    fn hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("momentum", self.momentum)]
    }
    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("weight_decay", self.weight_decay)]
    }
}

fn build(gpu: &Gpu) -> fallline::Result<Optimizer> {
    let signum = Signum { lr: 1e-3, momentum: 0.9, weight_decay: 0.01 };
    let groups = [
        Group::new("weights", signum).state(StateFormat::Int8),
        Group::new("biases", AdamW::new().weight_decay(0.0)),
    ];
    let tensors =
        [TensorSpec::new("weight", [128, 64]), TensorSpec::new("bias", [64]).in_group("biases")];
    let options = Options { max_norm: Some(1.0), ..Options::default() };
    Optimizer::arena_with(gpu, &groups, &tensors, &options)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let gpu = Gpu::from_env()?;
    let train = |optimizer: &mut Optimizer| -> fallline::Result<Vec<f32>> {
        let weight = optimizer.id("weight").expect("it was just given");
        for _ in 0..10 {
            let param = optimizer.read_param(weight)?;
            optimizer.write_grad(weight, &param.iter().map(|p| p - 0.02).collect::<Vec<_>>())?;
            optimizer.step(&Step::new())?;
        }
        optimizer.read_param(weight)
    };
    let (mut first, mut second) = (build(&gpu)?, build(&gpu)?);
    train(&mut first)?;
    let mut saved = Saved::default();
    first.save(&mut saved)?;
    second.load(&mut saved)?;
    let (went_on, resumed) = (train(&mut first)?, train(&mut second)?);
    println!("signum after 20 steps: {:.4}; resumed after 10: the same bits", went_on[0]);
    if went_on == resumed { Ok(()) } else { Err("the resumed run went elsewhere".into()) }
}
