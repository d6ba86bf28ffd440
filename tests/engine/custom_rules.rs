//! Rules of a caller's own: what is wrong with them is told by their own lines, and what they keep in other
//! shapes than the parameter's is kept.

use fallline::{
    Encoding, Error, Group, Optimizer, OutOfRange, Rule, Saved, Slot, SlotShape, Source,
    StateFormat, Step, TensorId, TensorSpec,
};

use crate::common::{bits, gpu};

/// SGD that keeps something in every shape, and counts its steps in a scalar.
const TEXT: &str = "\
struct Hyper { rate: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
struct StepHyper { one: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>, }
struct Scalars { lr: f32, count: f32, padding0: vec2<f32>, }
struct State { sum: vec4<f32>, }
fn keep(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> vec4<f32> {
    return vec4<f32>(kept.tensor.x + hyper.one, kept.tensor.y, 0.0, 0.0);
}
fn scalars(t: f32, lr: f32, kept: Kept, hyper: StepHyper) -> Scalars {
    return Scalars(lr, kept.tensor.x, vec2<f32>());
}
fn propose(
    param: vec4<f32>,
    grad: vec4<f32>,
    state: State,
    tensor: Tensor,
    hyper: Hyper,
) -> Proposal {
    return Proposal(hyper.rate * grad, State(state.sum + grad));
}
fn apply(param: vec4<f32>, direction: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> {
    return param - tensor.scalars.lr * direction;
}
fn state_of(slots: Slots) -> State { return State(slots.slot0); }
fn slots_of(state: State) -> Slots {
    var slots = Slots();
    slots.slot0 = state.sum;
    return slots;
}
fn margin(grad: vec4<f32>, tensor: Tensor, hyper: Hyper) -> vec4<f32> { return grad; }
fn keep_row(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 { return before; }
fn keep_column(before: f32, mean: f32, scalars: Scalars, hyper: StepHyper) -> f32 { return before; }
fn row_factor(row: f32, mean: f32, hyper: StepHyper) -> f32 { return row; }
";

#[derive(Clone, Debug)]
struct Custom {
    name: &'static str,
    text: &'static str,
    slots: Vec<Slot>,
    hyper: Vec<(&'static str, f64)>,
    switches: Vec<(&'static str, bool)>,
}

impl Custom {
    fn new() -> Self {
        let slots = vec![
            Slot::moment("rows").shape(SlotShape::Rows),
            Slot::moment("sum").exact(),
            Slot::scalar("count"),
            Slot::moment("columns").unsigned().shape(SlotShape::Columns),
            Slot::scalar("other"),
        ];
        Self { name: "mine", text: TEXT, slots, hyper: vec![("rate", 1.0)], switches: Vec::new() }
    }

    /// The same with a part of its text replaced.
    fn with(self, part: &str, by: &str) -> Self {
        assert!(self.text.contains(part), "{part}");
        Self { text: self.text.replace(part, by).leak(), ..self }
    }
}

impl Rule for Custom {
    fn source(&self) -> Source {
        Source { path: self.name, text: self.text }
    }

    fn lr(&self) -> f64 {
        0.5
    }

    fn check(&self) -> Result<(), OutOfRange> {
        Ok(())
    }

    fn switches(&self, _: &TensorSpec) -> Vec<(&'static str, bool)> {
        self.switches.clone()
    }

    fn slots(&self, _: &TensorSpec) -> Vec<Slot> {
        self.slots.clone()
    }

    fn hyper(&self) -> Vec<(&'static str, f64)> {
        self.hyper.clone()
    }

    fn step_hyper(&self) -> Vec<(&'static str, f64)> {
        vec![("one", 1.0)]
    }
}

fn build(rule: Custom, tensors: &[TensorSpec]) -> Result<Optimizer, Error> {
    Optimizer::arena(&gpu(), &[Group::new("all", rule).state(StateFormat::Int8)], tensors)
}

#[track_caller]
fn refused(rule: Custom, expected: &str) {
    let error = build(rule, &[TensorSpec::new("w", [3])]).expect_err(expected).to_string();
    assert!(error.contains(expected), "{error}\ninstead of\n{expected}");
}

#[test]
fn a_mistake_is_told_with_the_line_of_the_callers_text() {
    let rule = Custom::new;
    refused(
        rule().with("hyper.rate * grad", "hyper.rat * grad"),
        "rule 'mine', line 18: invalid field accessor `rat`",
    );
    refused(
        rule().with("kept.tensor.x, vec2<f32>()", "kept.tensor.x, vec2<f32>("),
        "rule 'mine', line 9: expected",
    );
    refused(rule().with("return param -", "return nothing -"), "line 21: no definition in scope");
    // Right by itself, but not what the engine calls.
    refused(
        rule()
            .with("fn apply(param: vec4<f32>, direction", "fn apply(param: vec3<f32>, direction")
            .with("return param -", "return vec4<f32>(param, 0.0) -"),
        "rule 'mine', line 20:",
    );
    refused(
        rule().with(
            "struct State",
            "@group(0) @binding(9) var<uniform> more: vec4<f32>;\nstruct State",
        ),
        "rule 'mine', line 4: a rule binds nothing, but `more` is bound",
    );
}

#[test]
fn what_is_missing_or_there_twice_is_named() {
    let rule = Custom::new;
    refused(rule().with("fn apply(", "fn applied("), "its WGSL does not declare `apply`");
    refused(rule().with("fn keep(", "fn keeps("), "its WGSL does not declare `keep`");
    refused(rule().with("struct Scalars", "struct Scalar"), "does not declare `Scalars`");
    refused(
        rule().with(
            "struct State",
            "const MAX_F32: f32 = 1.0;\nfn lerp(a: f32) -> f32 { return a; }\nstruct State",
        ),
        "rule 'mine', line 5: `lerp` is declared by the engine's functions/lerp.wgsl too",
    );
    // Of a format that no tensor here has, and of borrowed buffers.
    for (name, file) in [("softsign_encode", "formats/companded"), ("Run", "structs/run")] {
        let declared = format!("const {name}: f32 = 1.0;\nstruct State").leak();
        let expected = format!("line 4: `{name}` is declared by the engine's {file}.wgsl too");
        refused(rule().with("struct State", declared), &expected);
    }
    let switched = Custom { switches: vec![("FAST", true)], ..rule() };
    refused(switched, "its WGSL does not declare `FAST`");
}

/// What is saved says a rule by its name.
#[test]
fn two_rules_of_one_name_are_refused() {
    let tensors = [TensorSpec::new("w", [3])];
    let other = Custom::new().with("state.sum + grad", "state.sum - grad");
    let groups = [Group::new("a", Custom::new()), Group::new("b", other)];
    let error = Optimizer::arena(&gpu(), &groups, &tensors).unwrap_err().to_string();
    assert_eq!(error, "two rules have the name 'mine'");
    let groups = [Group::new("a", Custom::new()), Group::new("b", Custom::new())];
    Optimizer::arena(&gpu(), &groups, &tensors).unwrap();
    refused(Custom { name: "rules/adamw", ..Custom::new() }, "two rules have the name 'adamw'");
}

#[test]
fn constants_and_slots_must_be_those_of_the_text() {
    let rule = Custom::new;
    let other = Custom { hyper: vec![("speed", 1.0)], ..rule() };
    refused(other, "Hyper must be speed, and padding up to 32 bytes; found rate, padding0");
    let more = Custom { hyper: vec![("rate", 1.0), ("more", 1.0)], ..rule() };
    refused(more, "Hyper must be rate, more, and padding up to 32 bytes");
    refused(
        rule().with(
            "rate: f32, padding0: f32, padding1: vec2<f32>, padding2: vec4<f32>,",
            "rate: f32,",
        ),
        "Hyper must be rate, and padding up to 32 bytes; found rate (4 bytes)",
    );
    refused(
        rule()
            .with("count: f32, padding0: vec2<f32>, }\nstruct State", "count: f32, }\nstruct State")
            .with("kept.tensor.x, vec2<f32>()", "kept.tensor.x"),
        "Scalars must be 16 bytes; found 8 bytes: lr, count",
    );
    let named = |name| {
        let slots = vec![Slot::moment(name), Slot::scalar("count")];
        Custom { slots, ..Custom::new() }
    };
    refused(named("average"), "State must be average; found sum");
    refused(named("count"), "the slot 'count' is given twice");
    let names = ["sum", "a", "b", "c", "d", "e", "f", "g", "h"];
    let many = Custom { slots: names.map(Slot::moment).to_vec(), ..rule() };
    refused(many, "at most 8 slots, found 9");
    let five = ["a", "b", "c", "d", "e"].map(Slot::scalar).to_vec();
    refused(Custom { slots: five, ..rule() }, "at most 4 scalar slots, found 5");
}

/// A shape with the lengths of its rows, columns and scalars.
const SHAPES: [(&[usize], [usize; 3]); 6] = [
    (&[3, 5], [3, 5, 1]),
    (&[], [1, 1, 1]),
    (&[7], [1, 7, 1]),
    (&[2, 3, 4], [6, 8, 1]),
    (&[0, 4], [0, 4, 1]),
    (&[70, 90], [70, 90, 1]),
];
const SLOTS: [&str; 3] = ["rows", "columns", "other"];

fn specs() -> Vec<TensorSpec> {
    let spec =
        |(index, (shape, _)): (usize, &(&[usize], _))| TensorSpec::new(format!("t{index}"), *shape);
    SHAPES.iter().enumerate().map(spec).collect()
}

fn values(tensor: usize, slot: usize, len: usize) -> Vec<f32> {
    (0..len).map(|i| (1 + i + 100 * slot + 1000 * tensor) as f32 / 8.0).collect()
}

/// Writes what has other shapes than the parameter's.
fn fill(optimizer: &Optimizer, tensors: std::ops::Range<usize>) {
    for tensor in tensors {
        for (slot, name) in SLOTS.iter().enumerate() {
            let values = values(tensor, slot, SHAPES[tensor].1[slot]);
            optimizer.write_state(TensorId::new(tensor), name, &values).unwrap();
        }
    }
}

#[track_caller]
fn assert_kept(optimizer: &Optimizer, tensors: impl Iterator<Item = usize>) {
    for tensor in tensors {
        for (slot, name) in SLOTS.iter().enumerate() {
            let found = optimizer.read_state(TensorId::new(tensor), name).unwrap();
            let expected = values(tensor, slot, SHAPES[tensor].1[slot]);
            assert_eq!(bits(&found), bits(&expected), "t{tensor} {name}");
        }
    }
}

#[test]
fn rows_columns_and_scalars_are_kept_and_counted() {
    let mut optimizer = build(Custom::new(), &specs()).unwrap();
    fill(&optimizer, 0..SHAPES.len());
    let absent = [TensorId::new(2)];
    for step in 0..3 {
        let step = if step == 1 { Step::new().without_grad(&absent) } else { Step::new() };
        optimizer.step(&step).unwrap();
    }
    assert_kept(&optimizer, 0..SHAPES.len());
    for (id, expected) in [(0, 3.0), (2, 2.0), (4, 3.0)] {
        assert_eq!(optimizer.read_state(TensorId::new(id), "count").unwrap(), [expected]);
    }
    let wrong =
        optimizer.write_state(TensorId::new(0), "rows", &[0.0; 15]).unwrap_err().to_string();
    assert!(wrong.contains("rows") && wrong.contains('3') && wrong.contains("15"), "{wrong}");
    let unknown = optimizer.read_state(TensorId::new(0), "row").unwrap_err().to_string();
    assert!(unknown.contains("rows, sum, count, columns, other"), "{unknown}");
}

#[test]
fn they_are_saved_with_their_shapes_and_loaded() {
    let first = build(Custom::new(), &specs()).unwrap();
    fill(&first, 0..SHAPES.len());
    let mut saved = Saved::default();
    first.save(&mut saved).unwrap();
    let entry = |tensor: &str, what: &str| {
        let is_it =
            |e: &&fallline::SavedEntry| e.tensor.as_deref() == Some(tensor) && e.what == what;
        let entry = saved.entries.iter().find(is_it).unwrap();
        (entry.shape.clone(), entry.size_bytes, entry.encoding)
    };
    let f32s = Encoding::Numbers(fallline::Dtype::F32);
    assert_eq!(entry("t3", "state/rows"), (vec![2, 3, 1], 24, f32s));
    assert_eq!(entry("t3", "state/columns"), (vec![2, 1, 4], 32, f32s));
    assert_eq!(entry("t3", "state/count"), (vec![], 4, f32s));
    // Large enough for codes, of which these have none.
    assert_eq!(entry("t5", "state/rows"), (vec![70, 1], 280, f32s));

    let mut second = build(Custom::new(), &specs()).unwrap();
    second.load(&mut saved).unwrap();
    assert_kept(&second, 0..SHAPES.len());
    saved
        .entries
        .retain(|entry| entry.what != "state/columns" || entry.tensor.as_deref() != Some("t1"));
    let error = second.load(&mut saved).unwrap_err().to_string();
    assert!(error.contains("state/columns of tensor 't1'"), "{error}");
}

#[test]
fn they_stay_when_tensors_come_and_go() {
    let specs = specs();
    let mut optimizer = build(Custom::new(), &specs[..4]).unwrap();
    fill(&optimizer, 0..4);
    optimizer.remove_tensors(&[TensorId::new(1)]).unwrap();
    optimizer.add_tensors(&specs[4..]).unwrap();
    assert_kept(&optimizer, [0, 2, 3].into_iter());
    let added = optimizer.read_state(TensorId::new(5), "rows").unwrap();
    assert_eq!(added, [0.0; 70]);
    fill(&optimizer, 4..6);
    assert_kept(&optimizer, [0, 2, 3, 4, 5].into_iter());
    optimizer.step(&Step::new()).unwrap();
    assert_kept(&optimizer, [0, 2, 3, 4, 5].into_iter());
}
