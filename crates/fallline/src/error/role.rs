/// Which of a tensor's buffers is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The parameter itself.
    Param,
    /// Its gradient.
    Grad,
    /// Values to quantize, or dequantized.
    Values,
    /// The blocks of codes that these become.
    Blocks,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Param => "parameter",
            Role::Grad => "gradient",
            Role::Values => "values",
            Role::Blocks => "blocks",
        })
    }
}
