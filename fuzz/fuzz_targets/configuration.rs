//! Configurations: whatever a file holds, it is used or refused, and what is said about it can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_control::config::{Format, parse_text, render};
use plimsoll_core::document::{Fault, Severity};

fuzz_target!(|data: &[u8]| {
    let [format, bytes @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let format = match format % 3 {
        0 => Format::Toml,
        1 => Format::Yaml,
        _ => Format::Json,
    };
    let is_error = |fault: &Fault| fault.severity == Severity::Error;
    let (faults, sources) = match parse_text("fuzzed", format, text) {
        Ok(loaded) => {
            assert!(!loaded.warnings.iter().any(is_error), "used in spite of an error");
            (loaded.warnings, loaded.sources)
        }
        Err(refused) => {
            assert!(refused.faults.iter().any(is_error), "refused without a word");
            (refused.faults, refused.sources)
        }
    };
    for colour in [false, true] {
        let shown = render::text(&faults, &sources, colour);
        assert_eq!(shown.is_empty(), faults.is_empty());
    }
    let listed = render::json(&faults, &sources);
    assert_eq!(listed.as_array().map(Vec::len), Some(faults.len()));
});
