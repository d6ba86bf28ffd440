//! Which tensors are meant: by name, glob, shape, or whatever a caller looks at.

use std::{fmt, sync::Arc};

use glob::Pattern;

use crate::{Error, Result, TensorSpec};

/// Some of the tensors, by their names and shapes: of a [group](crate::Groups), or to
/// [freeze](crate::Optimizer::freeze).
///
/// A text is a glob: `?` is any character, `*` any number of them, dots and slashes included, `[abc]` and `[a-z]` one
/// of these, `[!a-z]` one of all others; `[*]` is a star. It is the language of Python's `fnmatch`, which timm takes for
/// its lists; a `**` must stand alone between slashes.
///
/// ```
/// use fallline::{Select, TensorSpec};
///
/// # fn main() -> fallline::Result<()> {
/// let tensors = [
///     TensorSpec::new("embed.weight", [1000, 64]),
///     TensorSpec::new("blocks.0.weight", [64, 64]),
///     TensorSpec::new("blocks.0.bias", [64]),
/// ];
/// assert_eq!(Select::glob("blocks.*").of(&tensors)?, [1, 2]);
/// assert_eq!(Select::max_dims(1).of(&tensors)?, [2]);
/// assert_eq!(Select::glob("blocks.*").except(Select::max_dims(1)).of(&tensors)?, [1]);
/// let large = Select::filter(|tensor| tensor.shape.iter().product::<usize>() > 4096);
/// assert_eq!(large.or("*.bias").of(&tensors)?, [0, 2]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Select(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// What is wrong with it is reported where it is used.
    Glob {
        text: String,
        pattern: Result<Pattern, String>,
    },
    Name(String),
    MaxDims(usize),
    NoDecay,
    Filter(Filter),
    Any(Vec<Kind>),
    All(Vec<Kind>),
    Not(Box<Kind>),
}

/// A caller's function.
#[derive(Clone)]
struct Filter(Arc<dyn Fn(&TensorSpec) -> bool + Send + Sync>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a filter")
    }
}

impl Select {
    /// Those whose names match a glob.
    pub fn glob(glob: impl Into<String>) -> Self {
        Self(Kind::glob(glob.into()))
    }

    /// Those whose names match one of these globs; of no globs, none.
    pub fn globs(globs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Kind::Any(globs.into_iter().map(|glob| Kind::glob(glob.into())).collect()))
    }

    /// The one of this name, in which no character stands for others.
    pub fn name(name: impl Into<String>) -> Self {
        Self(Kind::Name(name.into()))
    }

    /// Those of these names; of no names, none.
    pub fn names(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Kind::Any(names.into_iter().map(|name| Kind::Name(name.into())).collect()))
    }

    /// Those of at most so many dimensions. The shape of a [piece](crate::Whole) is the piece's: choose before tensors are
    /// cut.
    #[must_use]
    pub const fn max_dims(dims: usize) -> Self {
        Self(Kind::MaxDims(dims))
    }

    /// Those that this is true of.
    pub fn filter(is_one: impl Fn(&TensorSpec) -> bool + Send + Sync + 'static) -> Self {
        Self(Kind::Filter(Filter(Arc::new(is_one))))
    }

    /// Those that weights are decayed without: biases, norms, and whatever has at most one dimension.
    ///
    /// ```text
    /// dimensions <= 1, or the name, in lower case, has "bias", "layernorm", "rmsnorm",
    /// or between its dots "norm" or something that ends in "_norm"
    /// ```
    ///
    /// Source: timm's `weight_decay_exclude_1d`; the names are those of transformers' `Trainer`.
    #[must_use]
    pub const fn no_decay() -> Self {
        Self(Kind::NoDecay)
    }

    /// These and others.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        Self(Kind::Any(vec![self.0, other.into().0]))
    }

    /// Those of these that are among others too.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        Self(Kind::All(vec![self.0, other.into().0]))
    }

    /// These without others.
    #[must_use]
    pub fn except(self, other: impl Into<Self>) -> Self {
        Self(Kind::All(vec![self.0, Kind::Not(Box::new(other.into().0))]))
    }

    /// The indices of those of these tensors that it selects.
    ///
    /// # Errors
    /// [`Error::Glob`]; [`Error::NoMatch`] if a glob or a name in it matches no tensor, or it selects none.
    pub fn of<'a>(&self, tensors: impl IntoIterator<Item = &'a TensorSpec>) -> Result<Vec<usize>> {
        self.check()?;
        let tensors: Vec<&TensorSpec> = tensors.into_iter().collect();
        let unused = self.unused(&tensors);
        if !unused.is_empty() {
            return Err(Error::NoMatch { patterns: unused });
        }
        let selected = tensors.iter().enumerate().filter(|(_, tensor)| self.has(tensor));
        Ok(selected.map(|(index, _)| index).collect())
    }

    /// Whether its globs can be read; whatever takes it asks this too.
    ///
    /// # Errors
    /// [`Error::Glob`] for the first that cannot.
    pub fn check(&self) -> Result<()> {
        for leaf in self.0.leaves() {
            if let Kind::Glob { text: glob, pattern: Err(reason) } = leaf {
                return Err(Error::Glob { glob: glob.clone(), reason: reason.clone() });
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, tensor: &TensorSpec) -> bool {
        self.0.has(tensor)
    }

    /// What of it matches none of these tensors, in words. An empty list is meant to select none.
    pub(crate) fn unused(&self, tensors: &[&TensorSpec]) -> Vec<String> {
        let unused = self.unused_patterns(tensors);
        let is_list = self.0.leaves().is_empty();
        if unused.is_empty() && !is_list && !tensors.iter().any(|tensor| self.has(tensor)) {
            return vec!["the selection".to_owned()];
        }
        unused
    }

    /// The globs and names in it that match none of these tensors, in words.
    pub(crate) fn unused_patterns(&self, tensors: &[&TensorSpec]) -> Vec<String> {
        let in_words = |leaf: &&Kind| match leaf {
            Kind::Glob { text, .. } => Some(format!("the glob '{text}'")),
            Kind::Name(name) => Some(format!("the name '{name}'")),
            _ => None,
        };
        let is_unused = |leaf: &&Kind| !tensors.iter().any(|tensor| leaf.has(tensor));
        self.0
            .leaves()
            .iter()
            .copied()
            .filter(is_unused)
            .filter_map(|leaf| in_words(&leaf))
            .collect()
    }
}

impl Kind {
    fn glob(text: String) -> Self {
        let pattern = Pattern::new(&text);
        let pattern = pattern.map_err(|error| format!("{} (at {})", error.msg, error.pos));
        Self::Glob { text, pattern }
    }

    fn has(&self, tensor: &TensorSpec) -> bool {
        match self {
            Self::Glob { pattern, .. } => {
                pattern.as_ref().is_ok_and(|pattern| pattern.matches(&tensor.name))
            }
            Self::Name(name) => tensor.name == *name,
            Self::MaxDims(dims) => tensor.shape.len() <= *dims,
            Self::NoDecay => is_bias_or_norm(tensor),
            Self::Filter(Filter(is_one)) => is_one(tensor),
            Self::Any(kinds) => kinds.iter().any(|kind| kind.has(tensor)),
            Self::All(kinds) => kinds.iter().all(|kind| kind.has(tensor)),
            Self::Not(kind) => !kind.has(tensor),
        }
    }

    /// What it is made of.
    fn leaves(&self) -> Vec<&Self> {
        match self {
            Self::Any(kinds) | Self::All(kinds) => kinds.iter().flat_map(Self::leaves).collect(),
            Self::Not(kind) => kind.leaves(),
            leaf => vec![leaf],
        }
    }
}

/// See [`Select::no_decay`].
fn is_bias_or_norm(tensor: &TensorSpec) -> bool {
    let name = tensor.name.to_lowercase();
    tensor.shape.len() <= 1
        || ["bias", "layernorm", "rmsnorm"].into_iter().any(|part| name.contains(part))
        || name.split('.').any(|part| part == "norm" || part.ends_with("_norm"))
}

/// A glob.
impl From<&str> for Select {
    fn from(glob: &str) -> Self {
        Self::glob(glob)
    }
}

/// Any of these globs.
impl<const N: usize> From<[&str; N]> for Select {
    fn from(globs: [&str; N]) -> Self {
        Self::globs(globs)
    }
}
