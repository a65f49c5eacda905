//! Nothing that a configuration holds makes us panic, or hang.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::{Format, parse_text, render};

const FORMATS: [Format; 3] = [Format::Toml, Format::Yaml, Format::Json];

fn survives(format: Format, text: &str) {
    match parse_text("x", format, text) {
        Ok(loaded) => drop(render::text(&loaded.warnings, &loaded.sources, false)),
        Err(refused) => {
            assert!(!refused.faults.is_empty(), "refused without a word: {text:?}");
            drop(render::text(&refused.faults, &refused.sources, true));
            drop(render::json(&refused.faults, &refused.sources));
        }
    }
}

#[test]
fn bombs_are_refused_quickly() {
    let deep = 200_000;
    let bombs = [
        (Format::Toml, format!("a = {}", "[".repeat(deep))),
        (Format::Toml, format!("a = {}", "{ a = ".repeat(deep))),
        (Format::Toml, format!("{}a = 1", "a.".repeat(deep))),
        (Format::Toml, format!("[{}a]", "a.".repeat(deep))),
        (Format::Toml, "[[a]]\n".repeat(20_000)),
        (Format::Toml, "a = 1\n".repeat(20_000)),
        (Format::Json, "[".repeat(deep)),
        (Format::Json, "{\"a\":".repeat(deep)),
        (Format::Json, format!("{{\"a\": {}}}", "9".repeat(deep))),
        (Format::Json, format!("{{{}}}", vec!["\"a\":1"; 20_000].join(","))),
        (Format::Yaml, "[".repeat(20_000)),
        (Format::Yaml, "- ".repeat(20_000)),
        (Format::Yaml, format!("a: {}", "9".repeat(deep))),
        (
            Format::Yaml,
            (0..20).fold("a0: &a0 x\n".to_owned(), |text, at| {
                let aliases = vec![format!("*a{at}"); 10].join(",");
                format!("{text}a{}: &a{} [{aliases}]\n", at + 1, at + 1)
            }),
        ),
        (Format::Yaml, "a: &a [*a]\n".to_owned()),
    ];
    for (format, bomb) in bombs {
        let start = Instant::now();
        assert!(
            parse_text("x", format, &bomb).is_err(),
            "{format:?} {}",
            &bomb[..40.min(bomb.len())]
        );
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{format:?} {} took {:?}",
            &bomb[..40.min(bomb.len())],
            start.elapsed()
        );
    }
}

#[test]
fn odd_texts_are_survived() {
    for text in [
        "\0",
        "\u{feff}",
        "\r",
        "a\r",
        "\u{2028}",
        "é",
        "\"",
        "'",
        "---\n...\n---",
        "%YAML 9.9\n",
        "a: |\n é\n",
        "{\"\": {\"\": 1}}",
    ] {
        for format in FORMATS {
            survives(format, text);
        }
    }
}

/// Pieces from which texts are made that get past the parser.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("[server]\n".to_owned()),
        Just("[[routes]]\n".to_owned()),
        Just("[pools.a]\n".to_owned()),
        Just("[listeners.\"é\"]\n".to_owned()),
        Just("match = { path_regex = \"(a\" }\n".to_owned()),
        Just("retry = { on = [\"503\", 1, {}] }\n".to_owned()),
        Just("health = { http = \"x\", interval = \"9999999999999999999s\" }\n".to_owned()),
        Just("backends = [\"localhost:1\", { address = \"1.1.1.1:1\", weight = -1 }]\n".to_owned()),
        Just("respond = { headers = { \"a\\u0000\" = \"\\u0000\" } }\n".to_owned()),
        (
            prop::sample::select(vec![
                "bind", "pool", "name", "zone", "policy", "timeout", "workers", "include", "host"
            ]),
            prop::sample::select(vec![
                "1",
                "\"\"",
                "[]",
                "{}",
                "\"a\"",
                "\"${\"",
                "\"${A}\"",
                "-9223372036854775808",
                "nan",
                "true",
                "[[[]]]",
                "\"\\u0000\""
            ])
        )
            .prop_map(|(key, value)| format!("{key} = {value}\n")),
        "[ -~é\\n]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        FORMATS.into_iter().for_each(|format| survives(format, &text));
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        FORMATS.into_iter().for_each(|format| survives(format, &text));
    }

    #[test]
    fn texts_of_half_right_pieces_are_survived(pieces in prop::collection::vec(piece(), 0..12)) {
        survives(Format::Toml, &pieces.concat());
    }

    #[test]
    fn structured_noise_is_survived(text in "[\\[\\]{}:,\"'&*!|>%@\\-#?= \\n\\r\\t\u{b}\u{c}\u{85}\u{2028}a1é]{0,80}") {
        FORMATS.into_iter().for_each(|format| survives(format, &text));
    }
}

#[test]
fn ten_thousand_routes_and_pools_are_read_in_seconds() {
    let text: String = std::iter::once("[listeners.web]\nbind = \":1\"\n".to_owned())
        .chain((0..10_000).map(|at| {
            format!(
                "[[routes]]\nname = \"r{at}\"\nmatch = {{ host = \"h{at}.example.com\", path = \"/p{at}/*\" }}\npool = \"p{at}\"\n\
                 [pools.p{at}]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nhealth = {{ http = \"/\" }}\n"
            )
        }))
        .collect();
    let start = Instant::now();
    let loaded = parse_text("x", Format::Toml, &text).unwrap_or_else(|_| panic!("refused"));
    assert_eq!(loaded.plan.routes.len(), 10_000);
    assert!(loaded.warnings.is_empty());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    println!("{:?}", start.elapsed());
}
