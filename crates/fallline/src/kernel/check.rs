//! Whether the WGSL of a caller's rule fits the engine: looked at before a kernel is made of it, so that what is
//! wrong is told by the lines of the caller's own text.

use fallline_shaders::{
    Source, blocks, codecs, control, formats, frames, functions, join, packing, precision, structs,
    tables,
};
use naga::{
    Module, SourceLocation, TypeInner,
    valid::{Capabilities, ValidationFlags, Validator},
};

use super::{
    Frame, KernelKey, Margins, Program, Recipe, Stage, TableIn,
    outline::{Declared, outline},
};
use crate::{
    Dtype, Error, Group, Result, Rule, RuleError, Slot, SlotShape, StateFormat, TensorSpec,
    formats::Formats,
    slot::{MAX_KEPT, MAX_SLOTS, slots_of},
};

/// What every rule declares.
const NEEDED: [&str; 9] = [
    "Hyper",
    "StepHyper",
    "Scalars",
    "State",
    "scalars",
    "propose",
    "apply",
    "state_of",
    "slots_of",
];

/// Checks the text of a rule, and what it says of itself. The engine's own are checked by a test.
pub(crate) fn check(group: &Group, tensor: &TensorSpec, key: &KernelKey) -> Result<()> {
    check_rule(&*group.rule, &slots_of(group, tensor), key)
}

/// The same with these slots.
pub(super) fn check_rule(rule: &dyn Rule, slots: &[Slot], key: &KernelKey) -> Result<()> {
    check_slots(rule, slots, key)?;
    if fallline_shaders::rules::ALL.contains(&key.rule) {
        return Ok(());
    }
    // By its name what is saved is taken up again.
    if crate::RULE_NAMES.contains(&rule.name()) {
        return Err(Error::Rule(RuleError::Name { rule: rule.name().to_owned() }));
    }
    check_declared(rule, key)
}

pub(super) fn check_declared(rule: &dyn Rule, key: &KernelKey) -> Result<()> {
    let declared = outline(key.rule.text);
    let text = Text { rule, key, declared: &declared };
    text.check_names()?;
    let advance = Recipe::Advance { key: key.clone(), number: 0, counts: true };
    let module = text.parse(&advance)?;
    check_structs(rule, key, &module)?;
    text.validate(&advance, &module)?;
    // Of the formats one of each kind: what is wrong with a rule is so in any.
    for state in [StateFormat::F32, StateFormat::Bf16, StateFormat::Int8] {
        let formats = Formats { state, ..Formats::default() };
        let program = Program { is_monitored: true, ..Program::plain(key.clone(), formats) };
        let estimate = key.takes_estimates().then_some(Stage::Estimate { squares: true });
        for stage in program.stages().chain(estimate) {
            let update = Recipe::Update(program.update(Frame::Arena, TableIn::Uniform, stage));
            text.validate(&update, &text.parse(&update)?)?;
        }
    }
    if key.evaluates {
        let program = Program::plain(key.exchange(true), Formats::default());
        let update = program.update(Frame::Arena, TableIn::Uniform, Stage::Update);
        text.validate(&Recipe::Update(update.clone()), &text.parse(&Recipe::Update(update))?)?;
    }
    let (key, number) = (key.clone(), 0);
    let mut others = Vec::new();
    if key.reduces() {
        others.push(Recipe::Finish { key: key.clone(), number, large: false });
    }
    if key.gathers() {
        others.push(Recipe::Gather { key: key.clone(), group: number });
    }
    if key.has_vectors() {
        others.push(Recipe::Margins(Margins {
            key: key.clone(),
            grad: Dtype::F32,
            ragged: false,
            tensors_in: TableIn::Uniform,
            clip_value: false,
            lane_vec4s: 8,
        }));
        others.push(Recipe::Vectors { key: key.clone(), number });
    }
    if key.has_matrices() {
        others.push(Recipe::Means { key, number });
    }
    for recipe in others {
        text.validate(&recipe, &text.parse(&recipe)?)?;
    }
    Ok(())
}

fn check_structs(rule: &dyn Rule, key: &KernelKey, module: &Module) -> Result<()> {
    check_constants(rule, module, "Hyper", &rule.hyper())?;
    check_constants(rule, module, "StepHyper", &rule.step_hyper())?;
    let (scalars, size) = members(module, "Scalars");
    if size != 16 {
        let (rule, expected) = (rule.name().to_owned(), "16 bytes".to_owned());
        let found = format!("{size} bytes: {}", scalars.join(", "));
        return Err(Error::Rule(RuleError::Struct { rule, what: "Scalars", expected, found }));
    }
    let (state, _) = members(module, "State");
    let slots: Vec<&str> = key.slots.iter().map(|slot| slot.name).collect();
    // In this order; switches may leave some unused.
    let mut members = state.iter();
    if !slots.iter().all(|slot| members.any(|member| member == slot)) {
        let (rule, expected) = (rule.name().to_owned(), slots.join(", "));
        return Err(Error::Rule(RuleError::Struct {
            rule,
            what: "State",
            expected,
            found: state.join(", "),
        }));
    }
    Ok(())
}

fn check_slots(rule: &dyn Rule, slots: &[Slot], key: &KernelKey) -> Result<()> {
    for (index, slot) in slots.iter().enumerate() {
        if slots[..index].iter().any(|known| known.name == slot.name) {
            let (rule, slot) = (rule.name().to_owned(), slot.name.to_owned());
            return Err(Error::Rule(RuleError::Slot { rule, slot }));
        }
    }
    let is_kept = |name: &&&str| key.slots.iter().any(|slot| slot.name == **name);
    if let Some(found) = rule.estimated().iter().find(|name| !is_kept(name)) {
        let names: Vec<&str> = key.slots.iter().map(|slot| slot.name).collect();
        return Err(Error::Rule(RuleError::Struct {
            rule: rule.name().to_owned(),
            what: "what an estimate changes",
            expected: names.join(", "),
            found: (*found).to_owned(),
        }));
    }
    let blocks = slots.iter().filter(|s| matches!(s.shape, SlotShape::Blocks(_))).count();
    let of_shape = |shape| slots.iter().filter(|slot| slot.shape == shape).count();
    for (what, limit, found) in [
        ("slots", MAX_SLOTS, key.slots.len()),
        ("scalar slots", MAX_KEPT, key.kept.len()),
        ("joint slots", MAX_KEPT, key.joint.len()),
        ("slots of rows or blocks", 1, of_shape(SlotShape::Rows) + blocks),
        ("slots of columns or blocks", 1, of_shape(SlotShape::Columns) + blocks),
    ] {
        if found > limit {
            let rule = rule.name().to_owned();
            return Err(Error::Rule(RuleError::TooLarge { rule, what, limit, found }));
        }
    }
    for (what, found) in [("Hyper", rule.hyper().len()), ("StepHyper", rule.step_hyper().len())] {
        let limit = size_of::<crate::abi::Hyper>() / 4;
        if found > limit {
            let rule = rule.name().to_owned();
            return Err(Error::Rule(RuleError::TooLarge { rule, what, limit, found }));
        }
    }
    Ok(())
}

/// The text of a rule, in kernels.
#[derive(Clone, Copy)]
struct Text<'a> {
    rule: &'a dyn Rule,
    key: &'a KernelKey,
    declared: &'a [Declared<'a>],
}

impl Text<'_> {
    fn name(&self) -> String {
        self.rule.name().to_owned()
    }

    /// Whether it declares no name of any file that a rule may be joined with.
    fn check_names(&self) -> Result<()> {
        let of_vectors = &[control::MARGINS, control::VECTORS, control::MEANS][..];
        let folders = [
            frames::ALL,
            packing::ALL,
            blocks::ALL,
            formats::ALL,
            codecs::ALL,
            precision::ALL,
            structs::ALL,
            tables::ALL,
            functions::ALL,
            &[control::ADVANCE, control::FINISH],
            if self.key.gathers() { &[control::GATHER] } else { &[] },
            if self.key.has_vectors() { of_vectors } else { &[] },
        ];
        let is_elsewhere = |source: &&Source| {
            (**source == tables::PIECES && !self.key.has_vectors())
                || (**source == functions::NO_COLUMNS
                    && (self.key.has_columns() || !self.key.has_vectors()))
                || (**source == functions::KEEPS_NOTHING && self.key.keeps())
                || (**source == functions::NO_TERMS
                    && (self.key.has_terms() || !self.key.steering.sums()))
                || (**source == functions::KEEPS_NOTHING_JOINT && !self.key.joint.is_empty())
        };
        for source in folders.into_iter().flatten().filter(|source| !is_elsewhere(source)) {
            let ours = outline(source.text);
            let is_ours = |one: &&Declared<'_>| ours.iter().any(|other| other.name == one.name);
            if let Some(Declared { name, line }) = self.declared.iter().find(is_ours) {
                let (name, line) = ((*name).to_owned(), *line);
                return Err(Error::Rule(RuleError::Clash {
                    rule: self.name(),
                    name,
                    line,
                    file: source.path,
                }));
            }
        }
        Ok(())
    }

    /// Parses a kernel of the rule.
    fn parse(&self, recipe: &Recipe) -> Result<Module> {
        let sources = recipe.sources();
        let text = join(&sources);
        let module = naga::front::wgsl::parse_str(&text).map_err(|error| {
            let at = error.location(&text);
            // What is missing fails in a file of the engine's.
            match (at.and_then(|at| self.own_line(&sources, at)), self.missing()) {
                (None, Some(what)) => Error::Rule(RuleError::Lacks { rule: self.name(), what }),
                _ => self.wrong(error.message().to_owned(), &sources, &text, at),
            }
        })?;
        for (switch, _) in &self.key.switches {
            let is_it = |over: &naga::Override| over.name.as_deref() == Some(switch);
            if !module.overrides.iter().any(|(_, over)| is_it(over)) {
                return Err(Error::Rule(RuleError::Lacks { rule: self.name(), what: switch }));
            }
        }
        Ok(module)
    }

    /// Validates a kernel of the rule.
    fn validate(&self, recipe: &Recipe, module: &Module) -> Result<()> {
        if let Some(bound) = bound(module, self.declared) {
            return Err(Error::Rule(RuleError::Wgsl {
                rule: self.name(),
                line: bound.line,
                message: format!("a rule binds nothing, but `{}` is bound", bound.name),
            }));
        }
        let validated =
            Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(module);
        validated.map(drop).map_err(|error| {
            let sources = recipe.sources();
            let text = join(&sources);
            self.wrong(causes(error.as_inner()), &sources, &text, error.location(&text))
        })
    }

    /// What every rule declares, and this one does not.
    fn missing(&self) -> Option<&'static str> {
        let keep = self.key.keeps().then_some("keep");
        let joint = (!self.key.joint.is_empty()).then_some("keep_joint");
        let reduce = if self.key.has_terms() { &["terms", "decide"][..] } else { &[] };
        let evaluated = self.key.evaluates.then_some("evaluated");
        let vectors = &["margin", "keep_row"][..];
        let vectors = if self.key.has_vectors() { vectors } else { &[] };
        let column = self.key.has_columns().then_some("keep_column");
        let factor = self.key.has_matrices().then_some("row_factor");
        let is_missing =
            |needed: &&str| !self.declared.iter().any(|declared| declared.name == *needed);
        let estimate = self.key.takes_estimates().then_some("estimate");
        let vectors = vectors.iter().copied().chain(column).chain(factor);
        let further = reduce.iter().copied().chain(vectors).chain(estimate);
        let kept = keep.into_iter().chain(joint).chain(evaluated);
        NEEDED.into_iter().chain(kept).chain(further).find(is_missing)
    }

    /// The line of the rule's text that a place in a kernel is, if it is in that.
    fn own_line(&self, sources: &[Source], at: SourceLocation) -> Option<u32> {
        let lines =
            |source: &Source| u32::try_from(source.text.matches('\n').count()).unwrap_or(0) + 1;
        let others = sources.iter().take_while(|source| **source != self.key.rule);
        let line = at.line_number.checked_sub(others.map(lines).sum())?;
        (line > 0 && line <= lines(&self.key.rule)).then_some(line)
    }

    /// An error at a place in a kernel: at the line of the rule's text, or at the function that a line of the
    /// engine's calls in vain.
    fn wrong(
        &self,
        message: String,
        sources: &[Source],
        text: &str,
        at: Option<SourceLocation>,
    ) -> Error {
        let own = at.and_then(|at| self.own_line(sources, at));
        let line = own.unwrap_or_else(|| {
            let line = at.and_then(|at| text.lines().nth(at.line_number as usize - 1));
            let calls =
                |one: &&Declared<'_>| line.is_some_and(|l| l.contains(&format!("{}(", one.name)));
            self.declared.iter().find(calls).map_or(1, |called| called.line)
        });
        Error::Rule(RuleError::Wgsl { rule: self.name(), line, message })
    }
}

/// Something of the rule's that is a binding.
fn bound<'a>(module: &Module, declared: &[Declared<'a>]) -> Option<Declared<'a>> {
    let mut bound = module.global_variables.iter().filter(|(_, global)| global.binding.is_some());
    bound.find_map(|(_, global)| {
        declared.iter().copied().find(|one| global.name.as_deref() == Some(one.name))
    })
}

/// An error with what it comes from.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The members of a struct, and its size.
fn members(module: &Module, name: &str) -> (Vec<String>, u32) {
    let found = module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some(name));
    match found.map(|(_, ty)| &ty.inner) {
        Some(TypeInner::Struct { members, span }) => {
            let names = members.iter().map(|member| member.name.clone().unwrap_or_default());
            (names.collect(), *span)
        }
        _ => (Vec::new(), 0),
    }
}

/// Constants lie in the order in which the rule gives them, each an f32, padded to 32 bytes.
fn check_constants(
    rule: &dyn Rule,
    module: &Module,
    what: &'static str,
    given: &[(&'static str, f64)],
) -> Result<()> {
    let (members, size) = members(module, what);
    let given: Vec<&str> = given.iter().map(|(name, _)| *name).collect();
    let is_padding = |name: &String| name.starts_with("padding");
    let same = members.iter().zip(&given).all(|(member, given)| member == given);
    let padded = members.len() >= given.len() && members[given.len()..].iter().all(is_padding);
    if size as usize == size_of::<crate::abi::Hyper>() && same && padded {
        return Ok(());
    }
    Err(Error::Rule(RuleError::Struct {
        rule: rule.name().to_owned(),
        what,
        expected: format!("{}, and padding up to 32 bytes", given.join(", ")),
        found: format!("{} ({size} bytes)", members.join(", ")),
    }))
}
