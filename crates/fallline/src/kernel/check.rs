//! Whether the WGSL of a caller's rule fits the engine: looked at before a kernel is made of it, so that what is
//! wrong is told by the lines of the caller's own text.

use fallline_shaders::{Source, join};
use naga::{
    Module, SourceLocation, TypeInner,
    valid::{Capabilities, ValidationFlags, Validator},
};

use super::{
    Frame, KernelKey, Program, Recipe, TableIn,
    outline::{Declared, outline},
};
use crate::{
    Error, Result, Rule, StateFormat,
    slot::{MAX_KEPT, MAX_SLOTS},
    tensor::Formats,
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
pub(crate) fn check(rule: &dyn Rule, key: &KernelKey) -> Result<()> {
    if fallline_shaders::rules::ALL.contains(&key.rule) {
        return Ok(());
    }
    check_declared(rule, key)
}

pub(super) fn check_declared(rule: &dyn Rule, key: &KernelKey) -> Result<()> {
    let name = || rule.name().to_owned();
    check_slots(rule, key)?;
    let declared = outline(key.rule.text);
    let keep = key.keeps().then_some("keep");
    for needed in NEEDED.into_iter().chain(keep) {
        if !declared.iter().any(|declared| declared.name == needed) {
            return Err(Error::RuleLacks { rule: name(), what: needed });
        }
    }
    // In f32 and in a coded format, whose files declare other names.
    for state in [StateFormat::F32, StateFormat::Bf16, StateFormat::Int8] {
        let program = Program::plain(key.clone(), Formats { state, ..Formats::default() });
        let update = program.update(Frame::Arena, TableIn::Uniform);
        check_recipe(rule, key, &declared, &Recipe::Update(update))?;
    }
    let advance = Recipe::Advance { key: key.clone(), number: 0 };
    let module = check_recipe(rule, key, &declared, &advance)?;
    check_constants(rule, &module, "Hyper", &rule.hyper())?;
    check_constants(rule, &module, "StepHyper", &rule.step_hyper())?;
    let (scalars, size) = members(&module, "Scalars");
    if size != 16 {
        let (rule, expected) = (name(), "16 bytes".to_owned());
        let found = format!("{size} bytes: {}", scalars.join(", "));
        return Err(Error::RuleStruct { rule, what: "Scalars", expected, found });
    }
    let (state, _) = members(&module, "State");
    let slots: Vec<&str> = key.slots.iter().map(|slot| slot.name).collect();
    // In this order; switches may leave some unused.
    let mut members = state.iter();
    if !slots.iter().all(|slot| members.any(|member| member == slot)) {
        let (rule, expected, found) = (name(), slots.join(", "), state.join(", "));
        return Err(Error::RuleStruct { rule, what: "State", expected, found });
    }
    Ok(())
}

fn check_slots(rule: &dyn Rule, key: &KernelKey) -> Result<()> {
    let slots = rule.slots();
    for (index, slot) in slots.iter().enumerate() {
        if slots[..index].iter().any(|known| known.name == slot.name) {
            let (rule, slot) = (rule.name().to_owned(), slot.name.to_owned());
            return Err(Error::RuleSlot { rule, slot });
        }
    }
    for (what, limit, found) in
        [("slots", MAX_SLOTS, key.slots.len()), ("scalar slots", MAX_KEPT, key.kept.len())]
    {
        if found > limit {
            let rule = rule.name().to_owned();
            return Err(Error::RuleTooLarge { rule, what, limit, found });
        }
    }
    for (what, found) in [("Hyper", rule.hyper().len()), ("StepHyper", rule.step_hyper().len())] {
        let limit = size_of::<crate::abi::Hyper>() / 4;
        if found > limit {
            let rule = rule.name().to_owned();
            return Err(Error::RuleTooLarge { rule, what, limit, found });
        }
    }
    Ok(())
}

/// Parses and validates a kernel of the rule.
fn check_recipe(
    rule: &dyn Rule,
    key: &KernelKey,
    declared: &[Declared<'_>],
    recipe: &Recipe,
) -> Result<Module> {
    let name = || rule.name().to_owned();
    let sources = recipe.sources();
    for source in sources.iter().filter(|source| **source != key.rule) {
        let ours = outline(source.text);
        let clash = declared.iter().find(|one| ours.iter().any(|other| other.name == one.name));
        if let Some(Declared { name: clash, line }) = clash {
            let (clash, line) = ((*clash).to_owned(), *line);
            return Err(Error::RuleClash { rule: name(), name: clash, line, file: source.path });
        }
    }
    let text = join(&sources);
    let wrong = |message: String, at: Option<SourceLocation>| {
        let line = at.map_or(1, |at| line_of_rule(&sources, key.rule, declared, &text, at));
        Error::RuleWgsl { rule: name(), line, message }
    };
    let module = naga::front::wgsl::parse_str(&text)
        .map_err(|error| wrong(error.message().to_owned(), error.location(&text)))?;
    if let Some(bound) = bound(&module, declared) {
        return Err(Error::RuleWgsl {
            rule: name(),
            line: bound.line,
            message: format!("a rule binds nothing, but `{}` is bound", bound.name),
        });
    }
    Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| wrong(causes(error.as_inner()), error.location(&text)))?;
    for (switch, _) in &key.switches {
        let is_it = |over: &naga::Override| over.name.as_deref() == Some(switch);
        if !module.overrides.iter().any(|(_, over)| is_it(over)) {
            return Err(Error::RuleLacks { rule: name(), what: switch });
        }
    }
    Ok(module)
}

/// The line of the rule's text that an error is about: the one that it names, or that of the function that a
/// line of the engine's calls in vain.
fn line_of_rule(
    sources: &[Source],
    rule: Source,
    declared: &[Declared<'_>],
    text: &str,
    at: SourceLocation,
) -> u32 {
    let lines = |source: &Source| u32::try_from(source.text.matches('\n').count()).unwrap_or(0) + 1;
    let before: u32 = sources.iter().take_while(|source| **source != rule).map(lines).sum();
    if at.line_number > before && at.line_number <= before + lines(&rule) {
        return at.line_number - before;
    }
    let line = text.lines().nth(at.line_number as usize - 1).unwrap_or("");
    let called = declared.iter().find(|one| line.contains(&format!("{}(", one.name)));
    called.map_or(1, |called| called.line)
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
    Err(Error::RuleStruct {
        rule: rule.name().to_owned(),
        what,
        expected: format!("{}, and padding up to 32 bytes", given.join(", ")),
        found: format!("{} ({size} bytes)", members.join(", ")),
    })
}
