//! What can be wrong with a rule of the caller's.

/// What is wrong with a rule: its WGSL, or what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The WGSL of a rule does not declare what a rule must, or a switch of it.
    #[error("rule '{rule}': its WGSL does not declare `{what}`")]
    Lacks {
        /// The rule's name.
        rule: String,
        /// The name that is missing.
        what: &'static str,
    },
    /// The WGSL of a rule declares a name that the engine's does.
    #[error("rule '{rule}', line {line}: `{name}` is declared by the engine's {file}.wgsl too")]
    Clash {
        /// The rule's name.
        rule: String,
        /// The name.
        name: String,
        /// The line of the rule's text.
        line: u32,
        /// The engine's file.
        file: &'static str,
    },
    /// The WGSL of a rule is wrong.
    #[error("rule '{rule}', line {line}: {message}")]
    Wgsl {
        /// The rule's name.
        rule: String,
        /// The line of the rule's text; of a function that the engine cannot call, the one that declares it.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// A struct of a rule's WGSL is not what the rule says in Rust.
    #[error("rule '{rule}': {what} must be {expected}; found {found}")]
    Struct {
        /// The rule's name.
        rule: String,
        /// The struct.
        what: &'static str,
        /// Its members, or its size.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Two rules have the same name: two of a caller's, or one has the name of one of the engine's.
    #[error("two rules have the name '{rule}'")]
    Name {
        /// The name.
        rule: String,
    },
    /// Two slots of a rule have the same name.
    #[error("rule '{rule}': the slot '{slot}' is given twice")]
    Slot {
        /// The rule's name.
        rule: String,
        /// The slot's name.
        slot: String,
    },
    /// A rule keeps or is given more than one can be.
    #[error("rule '{rule}': at most {limit} {what}, found {found}")]
    TooLarge {
        /// The rule's name.
        rule: String,
        /// What is too many.
        what: &'static str,
        /// How many there may be.
        limit: usize,
        /// How many there are.
        found: usize,
    },
}
