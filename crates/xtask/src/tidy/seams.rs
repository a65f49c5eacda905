//! Seams stay narrow: a new need gets a new trait, not a wider one.

use super::Finding;
use super::source::Source;

/// The places where the house is meant to be extended.
const SEAMS: &[&str] = &[
    "Policy",
    "Picker",
    "Filter",
    "AsyncFilter",
    "BodyFilter",
    "Discover",
    "Probe",
    "Storage",
    "Turns",
];
const METHODS_MAX: usize = 3;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    for seam in SEAMS {
        for (at, found) in source.code.match_indices(&format!("trait {seam}")) {
            let after = source.code[at + found.len()..].chars().next();
            if after.is_some_and(|char| char.is_alphanumeric() || char == '_') {
                continue;
            }
            let body = body_of(&source.code[at..]);
            let methods = body.match_indices("fn ").count();
            if methods > METHODS_MAX {
                let line = source.code[..at].matches('\n').count() + 1;
                let says = format!(
                    "the seam {seam} has {methods} methods, at most {METHODS_MAX}: make a new trait for the new need"
                );
                findings.push(Finding::new(source.path(), line, says));
            }
        }
    }
}

/// From the first brace to the one that closes it, without bodies inside.
fn body_of(code: &str) -> String {
    let mut depth = 0_usize;
    let mut body = String::new();
    for char in code.chars() {
        match char {
            '{' => depth += 1,
            '}' if depth <= 1 => break,
            '}' => depth -= 1,
            _ if depth == 1 => body.push(char),
            _ => {}
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seam_with_a_fourth_method_is_found_and_other_traits_are_not() {
        let methods = "fn a(); fn b() { fn inner() {} } fn c();";
        let found = |text: String| {
            let mut findings = Vec::new();
            check(&Source::new("a.rs", text), &mut findings);
            findings.len()
        };
        assert_eq!(found(format!("pub trait Picker {{ {methods} }}")), 0);
        assert_eq!(found(format!("pub trait Picker: Send {{ {methods} fn d(); }}")), 1);
        assert_eq!(found(format!("pub trait PickerView {{ {methods} fn d(); }}")), 0);
    }
}
