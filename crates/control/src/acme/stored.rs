//! Under which names things are kept, and how what is remembered is written.

use std::time::{Duration, SystemTime};

use plimsoll_core::filter::Url;
use serde_json::{Value, json};

use super::schedule::{Advice, Memory};
use crate::config::AcmePlan;

/// The longest part of a name that is somebody's name; a file's name has 255 bytes.
const SHOWN_MAX: usize = 100;

/// Where things of one plan are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// The account, which all certificates of an authority share.
    pub(super) account: String,
    /// The certificate, with its key.
    pub(super) certificate: String,
    /// What is remembered of it.
    pub(super) memory: String,
    /// The turn to speak with the authority.
    pub(super) turn: String,
    /// What the names of all its certificates begin with.
    authority: String,
}

impl Places {
    pub(super) fn of(plan: &AcmePlan) -> Places {
        let host = Url::parse(&plan.directory).map_or_else(String::new, |url| url.host);
        let authority = named(&host, &[&plan.directory]);
        let first = plan.domains.first().map(String::as_str).unwrap_or_default();
        let domains: Vec<&str> = plan.domains.iter().map(String::as_str).collect();
        let certificate = format!("{authority}.{}", named(first, &domains));
        Places {
            account: format!("{authority}.account.json"),
            certificate: format!("{certificate}.pem"),
            memory: format!("{certificate}.state.json"),
            turn: authority.clone(),
            authority,
        }
    }

    /// Whether `name` is that of a certificate of the same authority.
    pub(super) fn is_sibling(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.authority);
        rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".pem"))
    }
}

/// A name that people recognise by `shown`, and that no other list of `texts` has.
fn named(shown: &str, texts: &[&str]) -> String {
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' | '.' | '-' => c,
        _ => '_',
    };
    let shown: String = shown.chars().take(SHOWN_MAX).map(plain).collect();
    // Its name must not begin with a dot, nor be hidden for another reason.
    let shown = shown.trim_start_matches('.');
    // FNV-1a: it has to be the same in every version, and holds against accidents alone, which is all that there are.
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{shown}-{hash:016x}")
}

/// What is remembered, as it is kept.
pub(super) fn write(memory: &Memory) -> Vec<u8> {
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    let advice = memory.advice.as_ref().map(|advice| {
        json!({
            "of": advice.of,
            "from": advice.window.map(|(from, _)| time(from)),
            "to": advice.window.map(|(_, to)| time(to)),
            "ask_again": time(advice.ask_again),
        })
    });
    let text = json!({
        "failures": memory.failures,
        "try_again": memory.try_again.map(time),
        "error": memory.error,
        "advice": advice,
    });
    format!("{text:#}\n").into_bytes()
}

/// What is remembered, of what was kept; `None` when that is something else.
pub(super) fn read(bytes: &[u8]) -> Option<Memory> {
    let text: Value = serde_json::from_slice(bytes).ok()?;
    let time = |value: &Value| {
        let time = humantime::parse_rfc3339(value.as_str()?).ok()?;
        // What is further away than that was written by nobody like us.
        (time < SystemTime::UNIX_EPOCH + FUTURE).then_some(time)
    };
    let advice = &text["advice"];
    Some(Memory {
        failures: u32::try_from(text["failures"].as_u64()?).ok()?,
        try_again: time(&text["try_again"]),
        error: text["error"].as_str().map(str::to_owned),
        advice: advice["of"].as_str().and_then(|of| {
            Some(Advice {
                of: of.to_owned(),
                window: time(&advice["from"]).zip(time(&advice["to"])),
                ask_again: time(&advice["ask_again"])?,
            })
        }),
    })
}

/// The year 2200, since 1970: beyond it nobody waits for anything.
const FUTURE: Duration = Duration::from_secs(7_258_118_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_things_are_not() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for memory in [
            Memory::default(),
            Memory {
                failures: 3,
                try_again: Some(at(1_800_000_000)),
                error: Some("rateLimited: \"too many\"".into()),
                advice: Some(Advice {
                    of: "abc".into(),
                    window: Some((at(1_900_000_000), at(1_900_086_400))),
                    ask_again: at(1_800_021_600),
                }),
            },
            Memory {
                advice: Some(Advice {
                    of: "abc".into(),
                    window: None,
                    ask_again: at(1),
                }),
                ..Memory::default()
            },
        ] {
            assert_eq!(read(&write(&memory)), Some(memory));
        }
        for garbage in [
            "",
            "{}",
            "[]",
            "null",
            "{\"failures\": -1}",
            "{\"failures\": 99999999999}",
            "\u{0}",
        ] {
            assert_eq!(read(garbage.as_bytes()), None, "{garbage}");
        }
        // A part that cannot be read is as if it had not been said.
        let odd = r#"{"failures": 1, "try_again": "9999-01-01T00:00:00Z", "error": 7, "advice": {"of": 1}}"#;
        let expected = Memory {
            failures: 1,
            ..Memory::default()
        };
        assert_eq!(read(odd.as_bytes()), Some(expected));
    }

    #[test]
    fn names_tell_authorities_and_certificates_apart_and_leave_no_directory() {
        for (shown, texts, name) in [
            ("shop.example.com", &["shop.example.com"][..], "shop.example.com-"),
            ("*.example.com", &["*.example.com"], "_.example.com-"),
            ("../../etc", &["x"], "_.._etc-"),
            ("localhost:14000", &["x"], "localhost_14000-"),
            ("", &[], "-"),
        ] {
            let found = named(shown, texts);
            let (shown, hash) = found.rsplit_once('-').expect("a hash");
            assert_eq!((format!("{shown}-").as_str(), hash.len()), (name, 16));
        }
        assert_ne!(named("a", &["ab", "c"]), named("a", &["a", "bc"]));
        // The same in every version: FNV-1a of "a" and a zero.
        assert_eq!(named("a", &["a"]), named("a", &["a"]));
        assert!(named(&"x".repeat(1_000), &[]).len() <= SHOWN_MAX + 17);
    }
}
