//! A rule with five slots, moments and exact ones, in every format.

use fallline_shaders::Source;
use wgpu::BufferUsages;

use super::*;
use crate::{
    BufferRange, Dtype, Gpu, Precision, abi, blocks,
    borrowed_buffers::{Buffers, Lending, ToLend},
    formats::Formats,
    kernel::{KernelKey, Kind, Program},
    layout::{Item, Layout},
    limits,
    records::Records,
    shell::block_on,
    tiles::{self, Extent, TileInputs},
    transfer,
    update::{self, Fixed, SegmentBuffers, UpdateInputs},
};

/// Slot n becomes what it was and (n + 1) · g; the unsigned one g².
const RULE: Source = Source {
    path: "rules/five",
    text: "
        struct Hyper { words0: vec4<f32>, words1: vec4<f32>, }
        struct StepHyper { words0: vec4<f32>, words1: vec4<f32>, }
        struct Scalars { words0: vec4<f32>, }
        struct State { slots: Slots, }
        fn scalars(t: f32, lr: f32, kept: vec4<f32>, hyper: StepHyper) -> Scalars {
            return Scalars();
        }
        fn propose(param: vec4<f32>, grad: vec4<f32>, state: State, tensor: Tensor, hyper: Hyper) -> Proposal {
            var slots = state.slots;
            slots.slot0 += grad;
            slots.slot1 += grad * grad;
            slots.slot2 += 3.0 * grad;
            slots.slot3 += 4.0 * grad;
            slots.slot4 += 5.0 * grad;
            return Proposal(grad, State(slots));
        }
        fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
            return param - direction;
        }
        fn state_of(slots: Slots) -> State { return State(slots); }
        fn slots_of(state: State) -> Slots { return state.slots; }
    ",
};
const SLOTS: &[Slot] = &[
    Slot::moment("first"),
    Slot::moment("second").unsigned(),
    Slot::moment("slow").exact(),
    Slot::moment("third"),
    Slot::moment("sum").exact(),
];
const LENGTHS: [u64; 3] = [700, 1, 1024];

fn grad(tensor: usize, element: usize) -> f32 {
    let hash = (element * 7919 + tensor * 104_729) % 1009;
    f32::from(u16::try_from(hash).unwrap()) / 512.0 - 1.0
}

fn check(gpu: &Gpu, state: StateFormat) {
    let formats =
        Formats { param: Dtype::F32, grad: Dtype::F32, precision: Precision::Nearest, state };
    let switches = match state {
        StateFormat::Bf16 => vec![("STOCHASTIC_SLOTS", 0)],
        _ => Vec::new(),
    };
    let key = KernelKey::other(Kind::Rule, RULE, switches, SLOTS.to_vec());
    let programs = [Program::plain(key, formats)];
    let items = LENGTHS.map(|len_elems| Item { kernel: 0, len_elems });
    let layout = Layout::new(&items, &[1 << 20]).unwrap();
    let stride = programs[0].state_bytes();
    let of_slots: u64 = SLOTS.iter().map(|slot| slot.format(state).tile_bytes()).sum();
    assert_eq!(stride, of_slots);
    let usage = BufferUsages::STORAGE | BufferUsages::COPY_SRC | BufferUsages::COPY_DST;
    let size = u64::from(layout.segments[0].tiles) * stride;
    let buffer = gpu.buffer("five slots", size, usage).unwrap();
    let memory = [SegmentBuffers { owned: None, state: Some((buffer.clone(), 0)), master: None }];
    let lend = gpu.buffer("lent", 1 << 14, usage).unwrap();
    let grads = gpu.buffer("grads", 1 << 14, usage).unwrap();
    let range = |buffer| move |i: usize| BufferRange::new(buffer, i as u64 * 4096, LENGTHS[i]);
    let params: Vec<BufferRange> = (0..3).map(range(&lend)).collect();
    let places: Vec<BufferRange> = (0..3).map(range(&grads)).collect();
    let mut buffers = Buffers::default();
    let to_lend = (0..3).map(|i| ToLend {
        name: "t",
        len_elems: LENGTHS[i],
        dtype: Dtype::F32,
        grad_dtype: Dtype::F32,
        param: &params[i],
        grad: Some(&places[i]),
    });
    let lending = Lending::new(to_lend, &mut buffers, 0).unwrap();
    let extents: Vec<Extent> = LENGTHS
        .iter()
        .zip(&layout.places)
        .map(|(len_elems, place)| Extent {
            len_elems: *len_elems,
            elem_bytes: (4, 4),
            place: *place,
            state_or_master_bytes: programs[0].state_or_master_bytes(),
            window_tiles: programs[0].window_tiles(),
        })
        .collect();
    for (tensor, place) in places.iter().enumerate() {
        let values: Vec<f32> = (0..usize::try_from(place.len_elems).unwrap())
            .map(|element| grad(tensor, element))
            .collect();
        gpu.write("grads", &grads, place.offset, &values).unwrap();
    }
    let records = Records::new(gpu, 3).unwrap();
    let contents: Vec<abi::Tensor> = extents.iter().map(Extent::record).collect();
    gpu.write("records", &records.buffer, 0, &contents).unwrap();
    let (hypers, dummy) = (update::no_hypers(gpu).unwrap(), update::dummy(gpu).unwrap());
    let update_inputs = UpdateInputs {
        gpu,
        programs: &programs,
        layout: &layout,
        memory: &memory,
        records: &records,
        hypers: &hypers,
        sums: None,
        vectors: None,
        dummy: &dummy,
    };
    let reach = limits::reach(gpu);
    let tile_inputs = TileInputs {
        extents: &extents,
        lent: &lending.tensors,
        buffers: &buffers.sizes,
        segments: &[layout.segments[0].tiles],
        reach,
    };
    let grouping = tiles::group(&tiles::pieces(&extents, reach), tile_inputs);
    let fixed = Fixed::new(update_inputs, &buffers, &grouping).unwrap();
    gpu.checked("five slots", || {
        let mut encoder = gpu
            .device()
            .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("five slots") });
        for _ in 0..2 {
            fixed.record(&mut encoder.begin_compute_pass(&<_>::default()), 0);
        }
        gpu.queue().submit([encoder.finish()]);
    })
    .unwrap();

    let bytes: Vec<u8> = block_on(transfer::fetch(gpu, &buffer, 0, size)).unwrap();
    for (tensor, place) in layout.places.iter().enumerate() {
        let len = usize::try_from(LENGTHS[tensor]).unwrap();
        for (number, slot) in SLOTS.iter().enumerate() {
            let first = usize::try_from(tile_bytes(&SLOTS[..number], state)).unwrap();
            let format = slot.format(state);
            let tile = usize::try_from(format.tile_bytes()).unwrap();
            let tiles = bytes
                .chunks_exact(usize::try_from(stride).unwrap())
                .skip(place.first_tile as usize)
                .take(place.tiles as usize);
            let own: Vec<u8> =
                tiles.flat_map(|all| all[first..first + tile].iter().copied()).collect();
            let dtype = if format == StateFormat::Bf16 { Dtype::Bf16 } else { Dtype::F32 };
            let found = blocks::decode(format, !slot.signed, &own, len)
                .unwrap_or_else(|| dtype.decode(&own));
            for (element, found) in found.iter().take(len).enumerate() {
                let g = grad(tensor, element);
                let times = f32::from(u8::try_from(number + 1).unwrap());
                let exact = if number == 1 { 2.0 * g * g } else { 2.0 * times * g };
                let within = match format {
                    StateFormat::F32 => 1e-5,
                    StateFormat::Bf16 => 0.02,
                    StateFormat::Int4 => 0.3,
                    _ => 0.06,
                } * 2.0
                    * times;
                let name = slot.name;
                assert!(
                    (found - exact).abs() <= within,
                    "{state} {name} {element}: {found} {exact}"
                );
            }
        }
    }
}

#[test]
fn five_slots_of_both_kinds_in_every_format() {
    let gpu = Gpu::from_env().unwrap();
    for &state in StateFormat::ALL {
        check(&gpu, state);
    }
}
