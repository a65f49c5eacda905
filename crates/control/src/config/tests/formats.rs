//! TOML, YAML and JSON: the same document, and each one's own mistakes.

use super::super::{Format, parse_text};
use super::{told, toml};

const TOML: &str = r#"
[listeners.web]
bind = ["127.0.0.1:8080", "[::1]:8080"]
timeouts = { idle = "75s" }

[[routes]]
name = "größe"
match = { host = "*.example.com", path = "/api/*", headers = { x-beta = "1", x-id = { regex = "[0-9]+" } } }
retry = { attempts = 2, on = ["connect", "503"] }
pool = "api"

[[routes]]
respond = { status = 404, body = "a \"quoted\"\tword\n" }

[pools.api]
panic_threshold = 40
zone_aware = false
backends = ["10.0.0.1:80", { address = "10.0.0.2:80", weight = 2 }]
health = { http = "/healthz", expect = ["200-299", 304] }
"#;

const YAML: &str = r#"
# The same, in YAML.
listeners:
  web:
    bind: ["127.0.0.1:8080", "[::1]:8080"]
    timeouts: { idle: 75s }
routes:
  - name: größe
    match:
      host: "*.example.com"
      path: /api/*
      headers:
        x-beta: "1"
        x-id: { regex: "[0-9]+" }
    retry: { attempts: 2, on: [connect, "503"] }
    pool: api
  - respond:
      status: 404
      body: "a \"quoted\"\tword\n"
pools:
  api:
    panic_threshold: 40
    zone_aware: false
    backends:
      - 10.0.0.1:80
      - { address: 10.0.0.2:80, weight: 2 }
    health: { http: /healthz, expect: ["200-299", 304] }
"#;

const JSON: &str = "{
\t\"listeners\": { \"web\": { \"bind\": [\"127.0.0.1:8080\", \"[::1]:8080\"], \"timeouts\": { \"idle\": \"75s\" } } },
\t\"routes\": [
\t\t{ \"name\": \"gr\\u00f6\\u00dfe\", \"match\": { \"host\": \"*.example.com\", \"path\": \"\\/api/*\",
\t\t  \"headers\": { \"x-beta\": \"1\", \"x-id\": { \"regex\": \"[0-9]+\" } } },
\t\t  \"retry\": { \"attempts\": 2, \"on\": [\"connect\", \"503\"] }, \"pool\": \"api\" },
\t\t{ \"respond\": { \"status\": 404, \"body\": \"a \\\"quoted\\\"\\tword\\n\" } }
\t],
\t\"pools\": { \"api\": { \"panic_threshold\": 40, \"zone_aware\": false,
\t\t\"backends\": [\"10.0.0.1:80\", { \"address\": \"10.0.0.2:80\", \"weight\": 2 }],
\t\t\"health\": { \"http\": \"/healthz\", \"expect\": [\"200-299\", 304] } } }
}";

#[test]
fn the_three_formats_come_to_the_same_plan() {
    let plans: Vec<String> = [(Format::Toml, TOML), (Format::Yaml, YAML), (Format::Json, JSON)]
        .into_iter()
        .map(|(format, text)| {
            let result = parse_text("x", format, text);
            assert!(result.is_ok(), "{format:?}: {:#?}", told(&result));
            format!("{:#?}", result.unwrap().plan)
        })
        .collect();
    assert_eq!(plans[0], plans[1]);
    assert_eq!(plans[0], plans[2]);
    assert!(plans[0].contains("größe"));
}

#[test]
fn places_are_right_beside_characters_of_several_bytes_and_carriage_returns() {
    for (format, text, expected) in [
        (
            Format::Yaml,
            "zö: 1\r\nserver:\r\n  wörker: 2\r\n",
            ["1:1 «zö»", "3:3 «wörker»"],
        ),
        (
            Format::Yaml,
            "\u{feff}zö: 1\nserver: { wörker: 2 }\n",
            ["1:2 «zö»", "2:11 «wörker»"],
        ),
        (
            Format::Json,
            "{ \"zö\": 1,\r\n \"server\": { \"wörker\": 2 } }",
            ["1:3 «\"zö\"»", "2:14 «\"wörker\"»"],
        ),
        (
            Format::Toml,
            "\"zö\" = 1\r\n[server]\r\n\"wörker\" = 2\r\n",
            ["1:1 «\"zö\"»", "3:1 «\"wörker\"»"],
        ),
    ] {
        let told = told(&parse_text("x", format, text));
        assert_eq!(told.len(), 2, "{told:#?}");
        for (line, expected) in told.iter().zip(expected) {
            assert!(
                line.starts_with(&format!("error {expected} ")),
                "{format:?} {expected}: {told:#?}"
            );
        }
    }
}

#[test]
fn keys_that_are_there_twice_show_both_places_in_every_format() {
    for (format, text, expected) in [
        (
            Format::Toml,
            "[server]\nzone = \"a\"\nlimits = { zone = 1 }\nzone = \"b\"\n",
            "error 4:1 «zone» `zone` is defined twice [first defined here: 2:1]",
        ),
        (
            Format::Toml,
            "[pools.a]\n[log]\n[pools.a]\n",
            "error 3:8 «a» `a` is defined twice [first defined here: 1:1]",
        ),
        (
            Format::Yaml,
            "log:\n  level: info\n  level: warn\n",
            "error 3:3 «level» `level` is defined twice [first defined here: 2:3]",
        ),
        (
            Format::Json,
            "{ \"log\": {}, \"log\": {} }",
            "error 1:14 «\"log\"» `log` is defined twice [first defined here: 1:3]",
        ),
    ] {
        let told = told(&parse_text("x", format, text));
        assert!(told.iter().any(|line| line == expected), "{format:?}: {told:#?}");
    }
}

#[test]
fn errors_of_syntax_are_told_with_their_place() {
    for (format, text, place) in [
        (Format::Toml, "[server]\nworkers = \n", "2:"),
        (Format::Toml, "[server\nworkers = 2\n", "1:"),
        (Format::Toml, "a = 99999999999999999999\n", "1:5"),
        (Format::Toml, "a = 2024-01-01\n", "1:5"),
        (Format::Yaml, "server: [1, 2\n", "2:1"),
        (Format::Yaml, "a: b: c\n", "1:5"),
        (Format::Yaml, "a: *unknown\n", "1:"),
        (Format::Yaml, "a: 1\n---\nb: 2\n", "3:1"),
        (Format::Yaml, "a: !!python/none x\n", "1:"),
        (Format::Yaml, "? [a]\n: 1\n", "1:3"),
        (Format::Json, "{ \"a\": 1, }", "1:11"),
        (Format::Json, "{ a: 1 }", "1:3"),
        (Format::Json, "{ \"a\": 01 }", "1:8"),
        (Format::Json, "{ \"a\": \"x\ny\" }", "1:10"),
        (Format::Json, "{ \"a\": \"\\ud800\" }", "1:9"),
        (Format::Json, "{} // why", "1:4"),
        (Format::Json, "", "1:1"),
        (Format::Json, "{ \"a\": \"x", "1:8"),
    ] {
        let result = parse_text("x", format, text);
        let told = told(&result);
        assert_eq!(told.len(), 1, "{format:?} {text:?}: {told:#?}");
        assert!(
            told[0].starts_with(&format!("error {place}")),
            "{format:?} {text:?}: {told:#?}"
        );
    }
}

#[test]
fn an_empty_document_is_a_configuration_that_serves_nothing() {
    for (format, text) in [(Format::Toml, ""), (Format::Yaml, "# nothing\n"), (Format::Json, "{}")] {
        let result = parse_text("x", format, text);
        assert!(result.is_ok(), "{format:?}");
        assert!(told(&result)[0].contains("there are no listeners"), "{format:?}");
    }
}

#[test]
fn yaml_words_are_text_unless_they_are_booleans_of_the_core_schema() {
    let of = |value: &str| parse_text("x", Format::Yaml, &format!("server: {{ zone: {value} }}"));
    for (value, zone) in [
        ("no", "no"),
        ("1.2.3", "1.2.3"),
        ("!!str 12", "12"),
        ("'5'", "5"),
        ("nan", "nan"),
    ] {
        assert_eq!(of(value).unwrap().plan.zone.as_deref(), Some(zone), "{value}");
    }
    for value in ["true", "12", "1.5", "~", ".inf", "0x1f"] {
        assert!(of(value).is_err(), "{value}");
    }
}

#[test]
fn yaml_aliases_stand_for_what_they_name() {
    let text = "pools:\n  a: &a { backends: ['10.0.0.1:80', '10.0.0.2:80'] }\n  b: *a\n";
    let plan = parse_text("x", Format::Yaml, text).unwrap().plan;
    assert_eq!(plan.pools[0].backends, plan.pools[1].backends);
}

#[test]
fn toml_tells_all_its_errors() {
    let told = told(&toml("a = \nb = 1\n[c\nd = =\n"));
    assert!(told.len() >= 3, "{told:#?}");
}
