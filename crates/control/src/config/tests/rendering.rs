//! How faults are shown.

use super::super::render;
use super::super::{Format, Refused, parse_text};
use super::toml;

const FAULTY: &str = "[server]\n\"wörker\" = \"ä\"\nworker = 2\n[log]\nlevel = \"inof\"\n[pools.p]\nbackends = [\"10.0.0.1:80\", \"10.0.0.1:80\"]\n";

fn refused(text: &str) -> Refused {
    toml(text).expect_err("a fault")
}

#[test]
fn a_fault_shows_file_line_column_the_text_underlined_and_the_nearest_word() {
    let refused = refused(FAULTY);
    let text = render::text(&refused.faults, &refused.sources, false);
    for part in [
        "plimsoll.toml:3:1",
        "worker = 2",
        "unknown key `worker`",
        "did you mean `workers`?",
        "plimsoll.toml:5:9",
        "level = \"inof\"",
        "did you mean \"info\"?",
        "10.0.0.1:80 is in the pool `p` twice",
        "first here",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "no colour unless asked for");
    assert!(render::text(&refused.faults, &refused.sources, true).contains('\u{1b}'));
    let at = |part: &str| text.find(part).unwrap();
    assert!(
        at("worker = 2") < at("inof") && at("inof") < at("twice"),
        "in the order of the file"
    );
}

#[test]
fn machines_get_the_same_as_json() {
    let refused = refused(FAULTY);
    let json = render::json(&refused.faults, &refused.sources);
    let second = &json[1];
    assert_eq!(second["severity"], "error");
    assert_eq!(second["file"], "plimsoll.toml");
    assert_eq!((&second["line"], &second["column"]), (&3.into(), &1.into()));
    assert_eq!(second["message"], "unknown key `worker`");
    assert_eq!(second["help"], "did you mean `workers`?");
    let last = json.as_array().unwrap().last().unwrap();
    assert_eq!(last["also"]["column"], 13);
}

#[test]
fn faults_without_text_and_in_endless_lines_are_shown_without_an_excerpt() {
    let empty = parse_text("empty.json", Format::Json, "").expect_err("no JSON");
    let text = render::text(&empty.faults, &empty.sources, false);
    assert!(text.starts_with("error: empty.json:1:1: JSON:"), "{text}");
    let line = format!("{{ \"x\": 1, \"y\": \"{}\" }}", "a".repeat(100_000));
    let long = parse_text("long.json", Format::Json, &line).expect_err("unknown keys");
    let text = render::text(&long.faults, &long.sources, false);
    assert!(
        text.len() < 1_000 && text.contains("long.json:1:3: unknown key `x`"),
        "{text}"
    );
}

#[test]
fn a_fault_at_the_end_of_the_text_is_shown() {
    for text in ["[server", "[server]\nzone = \"é", "a"] {
        let refused = refused(text);
        assert!(!render::text(&refused.faults, &refused.sources, false).is_empty());
    }
}

#[test]
fn two_places_of_one_file_are_shown_together_and_of_two_files_with_both_names() {
    let refused = refused("[pools.p]\nbackends = [\n  \"10.0.0.1:80\",\n  \"10.0.0.1:80\",\n]\n");
    let shown = render::text(&refused.faults, &refused.sources, false);
    assert_eq!(shown.matches("plimsoll.toml:").count(), 1, "{shown}");
    assert!(
        shown.find("first here").unwrap() < shown.find("╰──────── here").unwrap(),
        "{shown}"
    );
    let directory = super::includes::Directory::new();
    let first = directory.write("a.toml", "include = \"b.toml\"\n# ä\n[server]\nzone = \"1\"\n");
    directory.write("b.toml", "# öö\n[server]\nzone = \"2\"\n");
    let refused = super::super::load(&first, &|_| None).expect_err("zone is there twice");
    let shown = render::text(&refused.faults, &refused.sources, false);
    assert!(shown.contains("b.toml:3:1") && shown.contains("a.toml:4:1"), "{shown}");
}

#[test]
fn odd_line_ends_do_not_disturb_the_rendering() {
    for text in [
        "a\u{2028}b = 1",
        "[server]\r\nx = 1\r\n",
        "\"\u{85}é\" = 1\n",
        "{\u{b}}",
        "é\u{c}\u{2029}é",
    ] {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            if let Err(refused) = parse_text("x", format, text) {
                assert!(!render::text(&refused.faults, &refused.sources, true).is_empty());
            }
        }
    }
}
