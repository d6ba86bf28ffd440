//! Which layer of a network a tensor belongs to.

use std::{collections::BTreeSet, fmt, ops::Range, sync::Arc};

use glob::Pattern;

use crate::{Error, Result, TensorSpec};

/// The layers of a network, from its input to its output, by the names of their tensors: what
/// [`Groups::layer_decay`](crate::Groups::layer_decay) counts.
///
/// Each text is a glob, as those of [`Select`](crate::Select), or several with a `|` between them. One is a layer; one
/// with a `#` is a layer for each number that stands there, in their order. The first that a tensor's name matches says its
/// layer, and tensors that none matches are one more layer behind all others, as a head is.
///
/// ```
/// use fallline::Layers;
///
/// // A transformer's: 0 are the embeddings, then come the blocks, and whatever else there is.
/// let layers = Layers::from(["cls_token|*embed*", "blocks.#.*"]);
/// // The same by a function.
/// let layers = Layers::by(|tensor| {
///     let parts: Vec<&str> = tensor.name.split('.').collect();
///     match parts[..] {
///         ["blocks", number, ..] => number.parse().ok().map(|number: usize| number + 1),
///         _ => (tensor.name == "cls_token" || tensor.name.contains("embed")).then_some(0),
///     }
/// });
/// ```
#[derive(Clone, Debug)]
pub struct Layers(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Globs(Vec<LayerGlob>),
    By(By),
}

/// A caller's function.
#[derive(Clone)]
struct By(Arc<LayerOf>);

type LayerOf = dyn Fn(&TensorSpec) -> Option<usize> + Send + Sync;

impl fmt::Debug for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a function")
    }
}

/// Globs, in which a `#` stands for a number.
#[derive(Clone, Debug)]
struct LayerGlob {
    text: String,
    /// What is wrong with them is reported where they are used.
    patterns: Result<Vec<Around>, String>,
}

/// What stands before a number and behind it, if there is one.
#[derive(Clone, Debug)]
struct Around {
    before: Pattern,
    behind: Option<Pattern>,
}

impl Layers {
    /// By globs, in their order.
    pub fn globs(globs: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Kind::Globs(globs.into_iter().map(|glob| LayerGlob::new(glob.into())).collect()))
    }

    /// By the number that this gives for each tensor, counted from 0; `None`: behind all others.
    pub fn by(layer_of: impl Fn(&TensorSpec) -> Option<usize> + Send + Sync + 'static) -> Self {
        Self(Kind::By(By(Arc::new(layer_of))))
    }

    /// Whether its globs can be read; [`Groups::assign`](crate::Groups::assign) asks this too.
    ///
    /// # Errors
    /// [`Error::Glob`] for the first that cannot.
    pub fn check(&self) -> Result<()> {
        for LayerGlob { text, patterns } in self.as_globs() {
            if let Err(reason) = patterns {
                return Err(Error::Glob { glob: text.clone(), reason: reason.clone() });
            }
        }
        Ok(())
    }

    /// The globs that match none of these tensors, in words.
    pub(super) fn unused(&self, tensors: &[&TensorSpec]) -> Vec<String> {
        let is_used =
            |glob: &&LayerGlob| tensors.iter().any(|tensor| glob.number(&tensor.name).is_some());
        let unused = self.as_globs().iter().filter(|glob| !is_used(glob));
        unused.map(|glob| format!("the glob '{}' of the layers", glob.text)).collect()
    }

    /// The layer of each tensor.
    pub(super) fn of(&self, tensors: &[&TensorSpec]) -> Vec<usize> {
        let layers: Vec<Option<usize>> = match &self.0 {
            Kind::By(By(layer_of)) => tensors.iter().map(|tensor| layer_of(tensor)).collect(),
            Kind::Globs(globs) => by_globs(globs, tensors),
        };
        let behind = layers.iter().flatten().max().map_or(0, |last| last.saturating_add(1));
        layers.into_iter().map(|layer| layer.unwrap_or(behind)).collect()
    }

    fn as_globs(&self) -> &[LayerGlob] {
        match &self.0 {
            Kind::Globs(globs) => globs,
            Kind::By(_) => &[],
        }
    }
}

/// Numbers without gaps, in the order of the globs and of the numbers in names.
fn by_globs(globs: &[LayerGlob], tensors: &[&TensorSpec]) -> Vec<Option<usize>> {
    let place = |tensor: &&TensorSpec| {
        let mut numbered = globs.iter().enumerate();
        numbered.find_map(|(index, glob)| Some((index, glob.number(&tensor.name)?)))
    };
    let places: Vec<Option<(usize, u64)>> = tensors.iter().map(place).collect();
    let known: Vec<_> =
        places.iter().flatten().collect::<BTreeSet<_>>().into_iter().copied().collect();
    places.into_iter().map(|place| known.binary_search(&place?).ok()).collect()
}

impl LayerGlob {
    fn new(text: String) -> Self {
        let patterns = text.split('|').map(Around::new).collect();
        Self { text, patterns }
    }

    /// The number in a name that it matches; 0 where it has none.
    fn number(&self, name: &str) -> Option<u64> {
        self.patterns.iter().flatten().find_map(|around| around.number(name))
    }
}

impl Around {
    fn new(glob: &str) -> Result<Self, String> {
        let pattern = |text: &str| {
            Pattern::new(text).map_err(|error| format!("{} (at {})", error.msg, error.pos))
        };
        let Some((before, behind)) = glob.split_once('#') else {
            return Ok(Self { before: pattern(glob)?, behind: None });
        };
        if behind.contains('#') {
            return Err("there is more than one '#'".to_owned());
        }
        Ok(Self { before: pattern(before)?, behind: Some(pattern(behind)?) })
    }

    fn number(&self, name: &str) -> Option<u64> {
        let Self { before, behind } = self;
        let Some(behind) = behind else { return before.matches(name).then_some(0) };
        numbers(name).find_map(|Range { start, end }| {
            let matches = before.matches(&name[..start]) && behind.matches(&name[end..]);
            if matches { name[start..end].parse().ok() } else { None }
        })
    }
}

/// Where the whole numbers of a name stand.
fn numbers(name: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    let is_digit = |at: usize| name.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let begins = move |at: &usize| is_digit(*at) && (*at == 0 || !is_digit(*at - 1));
    let end = move |at: usize| (at..=name.len()).find(|at| !is_digit(*at)).unwrap_or(at);
    (0..name.len()).filter(begins).map(move |at| at..end(at))
}

/// By these globs, in their order.
impl<const N: usize> From<[&str; N]> for Layers {
    fn from(globs: [&str; N]) -> Self {
        Self::globs(globs)
    }
}
