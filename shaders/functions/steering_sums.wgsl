// What a reduction adds up for a tile: what the rule wants, and what functions/steering.wgsl does.

alias TileSum = vec4<f32>;

fn summed(terms: Terms, direction: vec4<f32>, grad: vec4<f32>, count: u32) -> TileSum {
    let agrees = agreeing(direction, grad);
    let followed = agrees * direction;
    return vec4<f32>(
        existing(terms.first, count),
        existing(terms.second, count),
        existing(agrees, count),
        existing(followed * followed, count),
    );
}

fn four_sums(sum: TileSum) -> vec4<f32> {
    return sum;
}
