use burn::{backend::Cube, module::Module, tensor::Tensor};

use crate::common::{Net, adamw, batches, fused};

/// What a tensor is called while it lives where it is.
#[cfg(feature = "fusion")]
fn name<const D: usize>(tensor: Tensor<D>) -> String {
    format!("{:?}", tensor.inner().try_into_primitive::<Cube>().expect("on a GPU").id)
}

#[cfg(not(feature = "fusion"))]
fn name<const D: usize>(tensor: Tensor<D>) -> String {
    let tensor = tensor.inner().try_into_primitive::<Cube>().expect("on a GPU");
    // (Where that is, it learns when a kernel is first launched.)
    format!("{:?}", tensor.handle.memory.descriptor().id)
}

fn names(net: &Net) -> [String; 4] {
    [name(net.scale.val()), name(net.shift.val()), name(net.gain.val()), name(net.out.val())]
}

#[test]
fn a_step_of_ones_own_leaves_clones_as_they_are() {
    let batch = &batches(1)[0];
    let mut net = Net::new(21);
    let (fused, mut optim) = fused(adamw());
    for _ in 0..3 {
        let (clone, before) = (net.clone(), net.values());
        let (_, grads) = net.grads(batch);
        net = fused.step(&mut optim, 1e-2, net, grads);
        assert_eq!(clone.values(), before);
        assert_ne!(net.values(), before);
    }
}

#[test]
fn what_nobody_else_holds_is_written_where_it_lies() {
    let batch = &batches(1)[0];
    let mut net = Net::new(22);
    let (fused, mut optim) = fused(adamw());
    let first = names(&net);
    for _ in 0..3 {
        let (_, grads) = net.grads(batch);
        net = fused.step(&mut optim, 1e-2, net, grads);
        assert_eq!(names(&net), first);
    }
    let clone = net.clone();
    let (_, grads) = net.grads(batch);
    net = fused.step(&mut optim, 1e-2, net, grads);
    assert_ne!(names(&net), first, "it was copied, since somebody else holds it");
    drop(clone);
}

#[test]
fn in_place_is_what_was_chosen() {
    let batch = &batches(1)[0];
    for in_place in [true, false] {
        let mut net = Net::new(23);
        let (fused, mut optim) = fused(adamw().with_in_place(in_place));
        let (clone, before) = (net.clone(), net.values());
        let (_, grads) = net.grads(batch);
        // Whichever of the two steps it is.
        net = match in_place {
            true => fused.step(&mut optim, 1e-2, net, grads),
            false => fallline_burn::step(&mut optim, 1e-2, net, grads),
        };
        assert_ne!(net.values(), before);
        assert_eq!(clone.values() == net.values(), in_place);
    }
}

/// A `Learner` holds a clone in every step, which it then lets go.
#[test]
fn a_step_of_a_learner_is_in_place() {
    let batch = &batches(1)[0];
    let mut net = Net::new(24);
    let (_fused, mut optim) = fused(adamw());
    let first = names(&net);
    for _ in 0..2 {
        let (_, grads) = net.grads(batch);
        net = fallline_burn::step(&mut optim, 1e-2, net.clone(), grads);
        assert_eq!(names(&net), first);
    }
}

/// A clone of the optimizer goes on from where it was cloned, by itself.
#[test]
fn a_clone_of_the_optimizer_has_a_state_of_its_own() {
    let batch = &batches(1)[0];
    let mut net = Net::new(25);
    let (fused, mut optim) = fused(adamw());
    for _ in 0..2 {
        let (_, grads) = net.grads(batch);
        net = fused.step(&mut optim, 1e-2, net, grads);
    }
    let mut fork = optim.clone();
    let step = |optim: &mut _, net: Net| {
        let (_, grads) = net.grads(batch);
        fused.step(optim, 1e-2, net, grads)
    };
    let twin = step(&mut fork, net.clone());
    let twin = step(&mut fork, twin);
    let net = step(&mut optim, net);
    let net = step(&mut optim, net);
    assert_eq!(net.values(), twin.values());
}

/// Burn reads the data of a tensor from the GPU when it is first looked at.
#[test]
fn data_that_was_not_looked_at_yet_stays() {
    let batch = &batches(1)[0];
    let mut net = Net::new(26);
    let before = net.values();
    let (_fused, mut optim) = fused(adamw());
    for _ in 0..2 {
        let (_, grads) = net.grads(batch);
        net = fallline_burn::step(&mut optim, 1e-2, net, grads);
    }
    let first = net.values();
    assert_ne!(first, before);
    let (data, record) = (net.scale.val().into_data(), net.clone().into_record());
    for _ in 0..2 {
        let (_, grads) = net.grads(batch);
        net = fallline_burn::step(&mut optim, 1e-2, net, grads);
    }
    assert_ne!(net.values(), first);
    assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), first[..67 * 131]);
    assert_eq!(Net::new(27).load_record(record).values(), first);
    // And what was copied for that once is written in place from then on.
    let names_now = names(&net);
    let (_, grads) = net.grads(batch);
    net = fallline_burn::step(&mut optim, 1e-2, net, grads);
    assert_eq!(names(&net), names_now);
}
