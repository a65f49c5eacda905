//! Files that a person can read at one sitting.

use super::Finding;
use super::source::Source;

/// Above this a file is probably two.
const LINES_WARN: usize = 350;
const LINES_MAX: usize = 600;
/// The map of the house is read whole.
const ARCHITECTURE_LINES_MAX: usize = 300;

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.text.lines().count();
    let is_script = source.text.starts_with("#!");
    let too_long = |max: usize| {
        Finding::new(
            source.path(),
            max + 1,
            format!("{lines} lines, at most {max}: split it where its topics part"),
        )
    };
    if source.is_rust() || is_script {
        if lines > LINES_MAX {
            findings.push(too_long(LINES_MAX));
        } else if lines > LINES_WARN {
            findings.push(too_long(LINES_WARN).into_warning());
        }
    } else if source.path().as_os_str() == "ARCHITECTURE.md" && lines >= ARCHITECTURE_LINES_MAX {
        findings.push(too_long(ARCHITECTURE_LINES_MAX - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_a_warning_and_a_very_long_one_an_error() {
        let found = |lines: usize| {
            let mut findings = Vec::new();
            check(&Source::new("a.rs", "x\n".repeat(lines)), &mut findings);
            findings.iter().map(|finding| finding.warning).collect::<Vec<_>>()
        };
        assert_eq!((found(350), found(351), found(601)), (vec![], vec![true], vec![false]));
    }
}
