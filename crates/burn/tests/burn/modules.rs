use burn::{
    module::{Module, Param, ParamGroup},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::{Tensor, TensorData},
};
use fallline_burn::{Fused, FusedConfig, fallline::Sgd};

use crate::common::{Net, adamw, batches, copied, device, difference, floats, fused, setup};

fn sgd() -> (Fused, ModuleOptimizer) {
    fused(FusedConfig::try_from(SgdConfig::new()).expect("it fits"))
}

fn param(values: &[f32]) -> Param<Tensor<1>> {
    Param::from_tensor(Tensor::from_floats(values, device()))
}

fn ones<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::ones(shape, &device().clone().inner())
}

#[derive(Module, Debug)]
struct Two {
    a: Param<Tensor<1>>,
    b: Param<Tensor<1>>,
}

#[test]
fn a_parameter_that_a_module_holds_twice_stays_one() {
    for in_place in [true, false] {
        let a = param(&[1.0, 2.0, 3.0]);
        let mut two = Two { a: a.clone(), b: a };
        let (fused, mut optim) = fused(FusedConfig::new(Sgd::new()).with_in_place(in_place));
        for step in 1..=3 {
            // The gradient by both is 1 + 2.
            let loss = (two.a.val() + two.b.val() * 2.0).sum();
            let grads = GradientsParams::from_grads(loss.backward(), &two);
            two = fused.step(&mut optim, 0.1, two, grads);
            let moved = 0.3 * step as f32;
            let expected = [1.0 - moved, 2.0 - moved, 3.0 - moved];
            assert!(difference(&floats(two.a.val()), &expected) < 1e-6, "in place: {in_place}");
            assert_eq!(floats(two.a.val()), floats(two.b.val()));
        }
    }
}

#[test]
fn what_is_frozen_or_has_no_gradient_stays() {
    let mut net = Net::new(41);
    let mut twin = copied(&net);
    let batch = &batches(1)[0];
    let frozen = floats(net.shift.val());
    net.shift = net.shift.set_require_grad(false);
    twin.shift = twin.shift.set_require_grad(false);
    let (fused, mut optim) = fused(adamw());
    let mut burns = AdamWConfig::new().with_weight_decay(0.01).init();
    for step in 0..6 {
        let (_, mut grads) = net.grads(batch);
        let (_, mut twins) = twin.grads(batch);
        if step % 2 == 1 {
            // A step in which a parameter has none.
            grads.remove::<2>(net.out.id);
            twins.remove::<2>(twin.out.id);
        }
        net = fused.step(&mut optim, 1e-2, net, grads);
        twin = burns.step(1e-2, twin, twins);
    }
    assert_eq!(floats(net.shift.val()), frozen);
    assert!(difference(&net.values(), &twin.values()) < 2e-6);
    // Thawed, it takes its first step late.
    net.shift = net.shift.set_require_grad(true);
    twin.shift = twin.shift.set_require_grad(true);
    let (_, grads) = net.grads(batch);
    net = fused.step(&mut optim, 1e-2, net, grads);
    let (_, grads) = twin.grads(batch);
    twin = burns.step(1e-2, twin, grads);
    assert_ne!(floats(net.shift.val()), frozen);
    assert!(difference(&net.values(), &twin.values()) < 2e-6);
}

#[derive(Module, Debug)]
struct Weight {
    w: Param<Tensor<2>>,
}

/// Weights and gradients whose elements do not lie one after the other.
#[test]
fn transposed_weights_and_gradients() {
    let values: Vec<f32> = (0..35 * 33).map(|i| i as f32).collect();
    let data = TensorData::new(values.clone(), [35, 33]);
    let transposed = Tensor::<2>::from_data(data, &device().clone().inner()).transpose();
    let w = Tensor::from_inner(transposed.clone()).require_grad();
    let mut weight = Weight { w: Param::from_tensor(w) };
    let (fused, mut optim) = sgd();
    for _ in 0..2 {
        let mut grads = GradientsParams::new();
        grads.register(weight.w.id, transposed.clone() * 0.5);
        weight = fused.step(&mut optim, 1.0, weight, grads);
    }
    // Twice w ← w - w0 / 2.
    let zeros = floats(weight.w.val());
    assert!(difference(&zeros, &vec![0.0; values.len()]) < 1e-3, "{:?}", &zeros[..5]);
    // And a gradient that is a view, of a weight that is none.
    let mut grads = GradientsParams::new();
    grads.register(weight.w.id, transposed.clone());
    weight = fused.step(&mut optim, 0.25, weight, grads);
    let expected: Vec<f32> = floats(transposed).iter().map(|value| -0.25 * value).collect();
    assert!(difference(&floats(weight.w.val()), &expected) < 1e-3);
}

#[test]
fn parameters_without_elements_and_with_one() {
    #[derive(Module, Debug)]
    struct Odd {
        none: Param<Tensor<2>>,
        one: Param<Tensor<1>>,
    }
    let mut odd =
        Odd { none: Param::from_tensor(Tensor::zeros([0, 3], device())), one: param(&[1.0]) };
    let (fused, mut optim) = sgd();
    for _ in 0..2 {
        let mut grads = GradientsParams::new();
        grads.register(odd.none.id, ones([0, 3]));
        grads.register(odd.one.id, ones([1]));
        odd = fused.step(&mut optim, 0.25, odd, grads);
    }
    assert_eq!(floats(odd.one.val()), [0.5]);
    assert_eq!(odd.none.dims(), [0, 3]);
    let record = optim.into_bytes().expect("a record");
    let _resumed = optim.from_bytes(record).expect("a record");
}

#[derive(Module, Debug)]
struct Growing {
    layers: Vec<Param<Tensor<1>>>,
}

/// Layers are added and taken away; the state of the others goes on.
#[test]
fn modules_that_grow_and_shrink() {
    let mut ours = Growing { layers: vec![param(&[1.0; 300]), param(&[2.0; 5])] };
    let mut theirs = copied(&ours);
    let (fused, mut optim) = fused(adamw());
    let mut burns = AdamWConfig::new().with_weight_decay(0.01).init();
    let grads = |module: &Growing| {
        let mut grads = GradientsParams::new();
        for (index, layer) in module.layers.iter().enumerate() {
            let [len] = layer.dims();
            grads.register(layer.id, ones([len]) * (0.5 + index as f32));
        }
        grads
    };
    let check = |ours: &Growing, theirs: &Growing| {
        for (ours, theirs) in ours.layers.iter().zip(&theirs.layers) {
            assert!(difference(&floats(ours.val()), &floats(theirs.val())) < 1e-6);
        }
    };
    for step in 0..9 {
        match step {
            3 => {
                let layer = param(&[3.0; 1001]);
                theirs.layers.insert(0, copied(&layer));
                ours.layers.insert(0, layer);
            }
            6 => {
                ours.layers.remove(1);
                theirs.layers.remove(1);
                // Only now does Burn's optimizer forget the state: with a record without it.
                let record = optim.to_record();
                optim = ModuleOptimizer::from(fused.clone()).load_record(record);
            }
            _ => {}
        }
        let (our_grads, their_grads) = (grads(&ours), grads(&theirs));
        ours = fused.step(&mut optim, 1e-2, ours, our_grads);
        theirs = burns.step(1e-2, theirs, their_grads);
        check(&ours, &theirs);
    }
}

/// Groups of Burn's, with rules, rates and Burn's clipping of their own, in one pass.
#[test]
fn groups_with_rules_and_rates_of_their_own() {
    let build = |whole: ModuleOptimizer, out: FusedOrBurn| match out {
        FusedOrBurn::Fused(out) => whole.with_group(ParamGroup::from_path("out"), out, None),
        FusedOrBurn::Burn(out) => whole.with_group(ParamGroup::from_path("out"), out.build(), None),
    };
    enum FusedOrBurn {
        Fused(Fused),
        Burn(SgdConfig),
    }
    let fused = adamw().init(setup()).expect("the device will do");
    let config = SgdConfig::new();
    let out = fused.group(FusedConfig::try_from(config.clone()).expect("it fits"));
    let out = out.expect("no step was taken");
    let mut optim = build(fused.clone().into(), FusedOrBurn::Fused(out));
    let burns = AdamWConfig::new().with_weight_decay(0.01).init();
    let mut burns = build(burns, FusedOrBurn::Burn(config));
    let (mut ours, mut theirs) = (Net::new(42), Net::new(42));
    theirs = theirs.load_record(ours.clone().into_record());
    let batches = batches(3);
    for batch in batches.iter().cycle().take(6) {
        let (_, grads) = ours.grads(batch);
        ours = fused.step(&mut optim, 1e-2, ours, grads);
        let (_, grads) = theirs.grads(batch);
        theirs = burns.step(1e-2, theirs, grads);
    }
    assert!(difference(&ours.values(), &theirs.values()) < 2e-6);
}
