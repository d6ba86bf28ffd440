// What comes after the update of any rule: Lookahead (Zhang et al. 2019, "Lookahead Optimizer: k steps
// forward, 1 step back"), an average (Polyak and Juditsky 1992; torch.optim.swa_utils).
//
//   slow    <- lerp(slow, param, slow_weight),  param <- slow           in every k-th step; at first slow is the
//                                                                       parameter before the tensor's first step
//   average <- lerp(average, param, average_weight)                     a copy where average_weight is 1
//
// Both are f32, in tiles behind the rule's slots. In a step with a weight of 0 they are neither loaded nor stored.

override LOOKAHEAD: bool = false;
override AVERAGES: bool = false;

struct After {
    slow: vec4<f32>,
    average: vec4<f32>,
}

fn load_after(place: Place, tensor: Tensor) -> After {
    var loaded = After();
    if (LOOKAHEAD) {
        if (tensor.slow_weight != 0.0 && tensor.step > 1u) {
            loaded.slow = load_exact(after_word(0u, place), place);
        }
    }
    if (AVERAGES) {
        if (tensor.average_weight != 0.0 && tensor.average_weight != 1.0) {
            loaded.average = load_exact(after_word(u32(LOOKAHEAD), place), place);
        }
    }
    return loaded;
}

fn after(
    place: Place,
    before: vec4<f32>,
    param: vec4<f32>,
    loaded: After,
    tensor: Tensor,
) -> vec4<f32> {
    var result = param;
    if (LOOKAHEAD) {
        let is_pulled = tensor.slow_weight != 0.0;
        if (is_pulled || tensor.step == 1u) {
            let slow = select(loaded.slow, before, tensor.step == 1u);
            let pulled = lerp(slow, param, tensor.slow_weight);
            result = select(param, pulled, is_pulled);
            if (place.count != 0u) {
                store_exact(after_word(0u, place), place, select(slow, pulled, is_pulled));
            }
        }
    }
    if (AVERAGES) {
        if (tensor.average_weight != 0.0 && place.count != 0u) {
            let average = lerp(loaded.average, result, tensor.average_weight);
            let is_copy = tensor.average_weight == 1.0;
            store_exact(after_word(u32(LOOKAHEAD), place), place, select(average, result, is_copy));
        }
    }
    return result;
}
