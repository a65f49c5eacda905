//! Words that do not belong in the repository.

use super::Finding;
use super::source::Source;

/// In Rust code, outside comments and literals: left-overs that panic or print.
const CODE: &[(&str, &str)] = &[
    ("todo!", "finish it, or return an error that says it is not built yet"),
    (
        "unimplemented!",
        "finish it, or return an error that says it is not built yet",
    ),
    ("dbg!", "use tracing, or nothing"),
];

/// Anywhere, as whole words.
const WORDS: &[(&str, &str)] = &[
    ("FIXME", "fix it, or write an issue"),
    ("XXX", "say what is meant, or write an issue"),
    ("TODO", "do it, or write an issue"),
];

/// Names of rooms that mean nothing: what is in them belongs to a concept that has a name.
const ROOMS: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "manager", "managers", "misc",
];

/// Words about how text came to be instead of about Plimsoll, lower case, as FNV-1a hashes: spelt
/// out, they would stand in the repository after all.
const HASHED: &[u64] = &[
    0x2391_9480_3edf_98f7,
    0x2524_b426_1996_11b3,
    0x7f7a_7547_86a6_64b8,
    0x8a1b_8f4a_0a91_3503,
    0xa113_d274_5d70_6ce3,
    0xd523_5518_fae1_f922,
    0x125b_6919_1db9_4ab8,
    0xea9e_60ad_81da_16f1,
    0x2ffb_778d_fae5_4384,
    0x04dc_2554_6038_2976,
    0x7a3c_735f_7f6d_b37f,
];

/// The list itself, and files and folders that a machine writes.
const EXEMPT: &[&str] = &[
    "crates/xtask/src/tidy/words.rs",
    "Cargo.lock",
    "LICENSE",
    "fuzz/Cargo.lock",
    "fuzz/corpus",
];

pub(super) fn check(source: &Source, findings: &mut Vec<Finding>) {
    rooms(source, findings);
    if EXEMPT.iter().any(|path| source.path().starts_with(path)) {
        return;
    }
    for (number, line) in source.code.lines().enumerate() {
        for (word, remedy) in CODE.iter().filter(|(word, _)| line.contains(word)) {
            findings.push(Finding::new(source.path(), number + 1, format!("{word}: {remedy}")));
        }
    }
    for (number, line) in source.text.lines().enumerate() {
        let mut find = |says: String| findings.push(Finding::new(source.path(), number + 1, says));
        if line.contains(here()) {
            find(format!(
                "{}: a path of one machine; name it from the repository's root, or make it an option",
                here()
            ));
        }
        for word in words_of(line) {
            if let Some((word, remedy)) = WORDS.iter().find(|(banned, _)| *banned == word) {
                find(format!("{word}: {remedy}"));
            }
            if HASHED.contains(&fnv1a(&word.to_lowercase())) {
                find(format!(
                    "{word:?}: the repository speaks of Plimsoll alone; leave it out"
                ));
            }
        }
    }
}

/// Names of files, folders and inline modules.
fn rooms(source: &Source, findings: &mut Vec<Finding>) {
    if !source.is_rust() {
        return;
    }
    let remedy = "name it after the concept that its contents belong to";
    let parts = source.path().components().filter_map(|part| part.as_os_str().to_str());
    for part in parts
        .map(|part| part.trim_end_matches(".rs"))
        .filter(|part| ROOMS.contains(part))
    {
        findings.push(Finding::new(source.path(), 1, format!("{part} says nothing: {remedy}")));
    }
    for (number, line) in source.code.lines().enumerate() {
        let Some((_, after)) = line.split_once("mod ") else {
            continue;
        };
        let name = words_of(after).next().unwrap_or_default();
        if ROOMS.contains(&name) && after.trim_end().ends_with('{') {
            findings.push(Finding::new(
                source.path(),
                number + 1,
                format!("mod {name} says nothing: {remedy}"),
            ));
        }
    }
}

fn words_of(line: &str) -> impl Iterator<Item = &str> {
    line.split(|char: char| !char.is_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// FNV-1a with 64 bits, <http://www.isthe.com/chongo/tech/comp/fnv/>.
pub(crate) fn fnv1a(word: &str) -> u64 {
    word.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Where this checkout stands: a path of this machine, which belongs in no file.
fn here() -> &'static str {
    let manifest = env!("CARGO_MANIFEST_DIR");
    manifest.strip_suffix("/crates/xtask").unwrap_or(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let mut findings = Vec::new();
        check(&Source::new(path, text.to_owned()), &mut findings);
        findings.len()
    }

    #[test]
    fn left_overs_are_found_in_code_and_not_in_comments() {
        assert_eq!(found("a.rs", "fn a() { todo!() }"), 1);
        assert_eq!(found("a.rs", "// no todo!() here"), 0);
        assert_eq!(found("a.md", "mktemp /tmp/a.XXXXXX"), 0);
        let text = format!("FIXME: see {}/x", here());
        assert_eq!(found("a.md", &text), 2);
        assert_eq!(found("fuzz/corpus/a", &text), 0);
    }

    #[test]
    fn empty_names_are_found_as_files_folders_and_modules() {
        assert_eq!(found("crates/a/src/utils.rs", ""), 1);
        assert_eq!(found("crates/a/src/common/b.rs", ""), 1);
        assert_eq!(found("crates/a/src/b.rs", "mod helpers {\n}"), 1);
        assert_eq!(found("crates/a/src/b.rs", "mod uncommon {\n}"), 0);
    }

    #[test]
    fn hashes_are_those_of_the_published_test_vectors() {
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }
}
