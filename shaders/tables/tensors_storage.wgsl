// The tensors' records in a storage buffer: any number of them.

@group(0) @binding(0) var<storage, read> tensors: array<Tensor>;

fn load_tensor(index: u32) -> Tensor {
    return tensors[index];
}
