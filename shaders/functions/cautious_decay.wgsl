// Cautious weight decay (Chen et al. 2025, "Cautious Weight Decay", arXiv:2510.12402): only where the rule does not
// move the parameter away from 0 itself.
//
//   param <- param * factor      where direction * param >= 0, by their signs
//
// The direction is the one that is followed, behind caution and a limit.

fn decayed(param: vec4<f32>, direction: vec4<f32>, factor: f32) -> vec4<f32> {
    return select(param, param * factor, sign(direction) * sign(param) >= vec4<f32>());
}
