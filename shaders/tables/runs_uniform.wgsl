// The runs in a uniform buffer: at most 2048 of them (64 KiB), read through the constant cache.

@group(0) @binding(7) var<uniform> runs: array<Run, 2048>;

fn load_run(number: u32) -> Run {
    return runs[number];
}
