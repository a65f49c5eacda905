//! Functions that fit a screen.

use super::Finding;
use super::source::Source;

const LINES_MAX: usize = 70;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    for function in functions(&source.code) {
        let lines = function.last_line - function.first_line + 1;
        if lines > LINES_MAX {
            let says = format!(
                "fn {} has {lines} lines, at most {LINES_MAX}: give its steps names of their own",
                function.name
            );
            findings.push(Finding::new(source.path(), function.first_line, says));
        }
    }
}

struct Function {
    name: String,
    first_line: usize,
    last_line: usize,
}

/// Every function with a body, found by counting braces in code without comments and literals.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_a_word = code[..at]
            .chars()
            .next_back()
            .is_none_or(|char| !char.is_alphanumeric() && char != '_');
        let name: String = code[at + 3..]
            .chars()
            .take_while(|char| char.is_alphanumeric() || *char == '_')
            .collect();
        if !starts_a_word || name.is_empty() {
            continue;
        }
        if let Some(end) = end_of_body(code, at) {
            let line_of = |at: usize| code[..at].matches('\n').count() + 1;
            found.push(Function {
                name,
                first_line: line_of(at),
                last_line: line_of(end),
            });
        }
    }
    found
}

/// Where the body of the function that starts at `at` ends; `None` when it has none.
fn end_of_body(code: &str, at: usize) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (offset, char) in code[at..].char_indices() {
        match char {
            '{' => braces += 1,
            '}' if braces <= 1 => return (braces == 1).then_some(at + offset),
            '}' => braces -= 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            // `[u8; 4]` in the signature is no end.
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_the_signature_to_the_brace() {
        let code = "trait T { fn none(&self, a: [u8; 4]); }\nfn one(\n  a: u8,\n) {\n  if a { b }\n}\nfn two() {}\n";
        let found: Vec<_> = functions(code)
            .into_iter()
            .map(|f| (f.name, f.first_line, f.last_line))
            .collect();
        assert_eq!(found, [("one".to_owned(), 2, 6), ("two".to_owned(), 7, 7)]);
    }

    #[test]
    fn a_function_of_71_lines_is_found() {
        let text = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(69));
        let mut findings = Vec::new();
        check(&Source::new("a.rs", text), &mut findings);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 1);
    }
}
