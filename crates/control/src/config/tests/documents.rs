//! The documents: every configuration that they show can be used, and every page that they point at is there.

use std::fs;
use std::path::{Path, PathBuf};

use plimsoll_core::document::Json;

use super::super::schema;
use super::{told, toml};

/// What a partial sample may leave out: each piece stands in for itself where the sample has none of it.
const FRAME: [(&str, &str); 2] = [
    ("[listeners.", "[listeners.web]\nbind = \":8080\"\npool = \"api\"\n"),
    (
        "[pools.api]",
        "[pools.api]\nbackends = [\"10.0.0.1:8080\", \"10.0.0.2:8080\"]\nhealth = { http = \"/healthz\" }\n",
    ),
];

/// A fenced block of a page.
struct Sample {
    /// The first line of its text, counted from 1.
    line: usize,
    text: String,
    /// Whether it is to be completed by the frame.
    partial: bool,
}

#[test]
fn every_configuration_in_the_documents_passes_check_without_a_warning() {
    let mut wrong = Vec::new();
    let mut samples = 0;
    for (page, text) in pages() {
        for sample in samples_of(&text) {
            samples += 1;
            let found = told(&toml(&completed(&sample)));
            let place = |fault| format!("{}:{}: {fault}", page.display(), sample.line);
            wrong.extend(found.into_iter().map(place));
        }
    }
    assert!(samples > 20, "only {samples} samples were found");
    assert!(
        wrong.is_empty(),
        "page:first line of the sample: fault in it\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_example_passes_check_and_names_every_key() {
    let example = fs::read_to_string(root().join("plimsoll.example.toml")).expect("the example is there");
    assert_eq!(told(&toml(&example)), Vec::<String>::new());
    let mut keys = Vec::new();
    keys_of(&schema(), &mut keys);
    let words: Vec<&str> = example.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    keys.retain(|key| !words.contains(&key.as_str()));
    assert!(keys.is_empty(), "the example does not show {keys:?}");
}

#[test]
fn every_page_that_the_documents_point_at_is_there() {
    let mut missing = Vec::new();
    for (page, text) in pages() {
        let directory = root().join(&page).parent().map(Path::to_path_buf).unwrap_or_default();
        for (number, line) in text.lines().enumerate() {
            for rest in line.split("](").skip(1) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                let outside = target.is_empty() || target.contains("://");
                if !outside && !directory.join(target).exists() {
                    missing.push(format!("{}:{}: {target}", page.display(), number + 1));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Every configuration that the documents show, whole.
pub(super) fn samples() -> Vec<String> {
    let example = fs::read_to_string(root().join("plimsoll.example.toml")).expect("the example is there");
    let shown = pages()
        .into_iter()
        .flat_map(|(_, text)| samples_of(&text))
        .map(|sample| completed(&sample));
    shown.chain([example]).collect()
}

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All pages with their texts, by their paths from the root.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for directory in ["", "docs", "docs/policies"] {
        for entry in fs::read_dir(root().join(directory)).expect("the folder is there") {
            let name = entry.expect("the folder can be read").file_name();
            let path = Path::new(directory).join(name);
            if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let text = |path: &PathBuf| fs::read_to_string(root().join(path)).expect("a page is text");
    paths.into_iter().map(|path| (path.clone(), text(&path))).collect()
}

fn samples_of(page: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text: Vec<&str> = inside.collect();
        // Any other word behind `toml` is a slip that would take the sample out of the test.
        match kind.strip_prefix("toml") {
            None => continue,
            Some(rest) => assert!(
                ["", ",partial"].contains(&rest),
                "line {}: what is `{kind}`?",
                number + 1
            ),
        }
        samples.push(Sample {
            line: number + 2,
            text: text.join("\n") + "\n",
            partial: kind.ends_with(",partial"),
        });
    }
    samples
}

fn completed(sample: &Sample) -> String {
    let mut text = sample.text.clone();
    let missing = FRAME
        .iter()
        .filter(|(table, _)| sample.partial && !sample.text.contains(table));
    for (_, piece) in missing {
        text.push_str(piece);
    }
    text
}

/// The names of all properties that a schema has, at any depth.
fn keys_of(schema: &Json, keys: &mut Vec<String>) {
    match schema {
        Json::Object(entries) => {
            for (word, inner) in entries {
                if let (true, Some(properties)) = (word == "properties", inner.as_object()) {
                    keys.extend(properties.keys().cloned());
                }
                keys_of(inner, keys);
            }
        }
        Json::Array(items) => items.iter().for_each(|item| keys_of(item, keys)),
        _ => {}
    }
}
