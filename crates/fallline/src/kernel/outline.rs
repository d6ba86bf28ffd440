//! What a WGSL file declares at module scope, by name: enough to say which of two files is at fault before a
//! parser sees them joined.

/// Something that is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declared<'a> {
    pub(crate) name: &'a str,
    /// Counted from 1.
    pub(crate) line: u32,
}

const KEYWORDS: [&str; 6] = ["fn", "struct", "alias", "const", "override", "var"];

/// The declarations of a file, in order.
pub(crate) fn outline(text: &str) -> Vec<Declared<'_>> {
    let mut declared = Vec::new();
    let (mut depth, mut angles, mut in_block_comment) = (0usize, 0usize, 0usize);
    let mut keyword_came = false;
    for (line, text) in (1u32..).zip(text.lines()) {
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if rest.starts_with("/*") {
                in_block_comment += 1;
                rest = &rest[2..];
            } else if in_block_comment > 0 {
                let ends = rest.starts_with("*/");
                in_block_comment -= usize::from(ends);
                rest = &rest[if ends { 2 } else { next.len_utf8() }..];
            } else if rest.starts_with("//") {
                break;
            } else if next.is_alphabetic() || next == '_' {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let (word, behind) =
                    rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
                rest = behind;
                if depth == 0 && angles == 0 {
                    if keyword_came {
                        declared.push(Declared { name: word, line });
                    }
                    keyword_came = KEYWORDS.contains(&word);
                }
            } else {
                match next {
                    '{' | '(' | '[' => depth += 1,
                    '}' | ')' | ']' => depth = depth.saturating_sub(1),
                    // Around the parameters of a type; or shifts and comparisons, which end with their statement.
                    '<' => angles += 1,
                    '>' => angles = angles.saturating_sub(1),
                    _ => {}
                }
                if matches!(next, ';' | '{' | '}') {
                    angles = 0;
                }
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    declared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_module_scope_are_found_with_their_lines() {
        let text = "// fn no() {}\n/* struct No {} /* const nested = 1; */ */ const ONE: u32 = 1u;\n\
                    override TWO: bool = false;\nstruct Three {\n    fn_four: f32,\n}\n\
                    @group(0) @binding(1) var<storage, read_write> five: array<vec4<f32>>;\n\
                    fn six(var_seven: f32) -> f32 {\n    var eight = 1.0;\n    const nine = 2;\n    return eight;\n}\n\
                    alias Ten =\n    u32;";
        let found: Vec<(&str, u32)> = outline(text).iter().map(|d| (d.name, d.line)).collect();
        let expected = [("ONE", 2), ("TWO", 3), ("Three", 4), ("five", 7), ("six", 8), ("Ten", 13)];
        assert_eq!(found, expected);
    }

    #[test]
    fn arrows_shifts_and_comparisons_hide_nothing() {
        let text = "fn one() -> vec4<f32> { return vec4<f32>(); }\nconst TWO = 1u << 3u;\n\
                    override THREE: bool = TWO < 9u;\nfn four() {}";
        assert_eq!(outline(text).len(), 4);
    }
}
