// The runs in a storage buffer: any number of them.

@group(0) @binding(7) var<storage, read> runs: array<Run>;

fn load_run(number: u32) -> Run {
    return runs[number];
}
