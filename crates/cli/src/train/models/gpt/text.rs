//! The text, and its characters as tokens.

/// The works that the binary carries.
const SHAKESPEARE: &str = include_str!("../../../../data/shakespeare.txt");

/// A text in tokens. Its last tenth is to test with.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) tokens: Vec<u32>,
    /// The character of each token, in the order of their code points.
    pub(super) characters: Vec<char>,
}

impl Text {
    pub(super) fn shakespeare() -> Self {
        Self::new(SHAKESPEARE)
    }

    pub(super) fn new(text: &str) -> Self {
        let mut characters: Vec<char> = text.chars().collect();
        characters.sort_unstable();
        characters.dedup();
        let token = |c| count(characters.binary_search(&c).unwrap_or(0));
        Self { tokens: text.chars().map(token).collect(), characters }
    }

    /// How many characters there are to choose from.
    pub(super) fn classes(&self) -> u32 {
        count(self.characters.len())
    }

    pub(super) fn len(&self) -> u32 {
        count(self.tokens.len())
    }

    /// How many tokens there are to train with.
    pub(super) fn train_len(&self) -> u32 {
        self.len() - self.len() / 10
    }

    /// The tokens as text.
    pub(super) fn decode(&self, tokens: &[u32]) -> String {
        tokens.iter().map(|token| self.characters[*token as usize]).collect()
    }
}

/// A count of characters; kernels count in u32.
pub(super) fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_numbered_by_code_point() {
        let text = Text::new("banana\n");
        assert_eq!(text.characters, ['\n', 'a', 'b', 'n']);
        assert_eq!(text.tokens, [2, 1, 3, 1, 3, 1, 0]);
        assert_eq!(text.decode(&text.tokens), "banana\n");
    }

    #[test]
    fn the_text_has_as_many_characters_as_everywhere() {
        let text = Text::shakespeare();
        // What nanoGPT's prepare.py prints of the same file.
        assert_eq!((text.len(), text.classes()), (1_115_394, 65));
        assert_eq!(text.train_len(), 1_003_855);
    }
}
