//! Files that a configuration names.

use std::path::Path;

use plimsoll_core::document::Severity;

use super::super::load;
use super::SOUND;
use super::includes::Directory;

/// What is wrong with the configuration at `path`: message by message.
fn told(path: &Path) -> Vec<String> {
    match load(path, &|_| None) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.faults.iter().map(|fault| fault.message.clone()).collect(),
    }
}

#[test]
fn a_token_file_without_a_token_is_refused_where_it_is_named() {
    let directory = Directory::new();
    let first = directory.write("plimsoll.toml", format!("include = \"conf.d/admin.toml\"\n{SOUND}"));
    let admin = directory.write("conf.d/admin.toml", "[admin]\ntoken_file = \"admin.token\"\n");
    let token = admin.with_file_name("admin.token");
    let beginning = format!("the admin token file {} ", token.display());
    let expected = |why: &str| vec![format!("{beginning}{why}")];
    assert_eq!(
        told(&first),
        expected("cannot be opened: No such file or directory (os error 2)")
    );
    let advice = "make one with `openssl rand -hex 32`";
    for (text, why) in [
        ("short\n", "holds a token of less than 16 characters"),
        (" \n", "is empty"),
        (
            "two words that are long",
            "holds more than one word, or characters outside ASCII",
        ),
    ] {
        directory.write("conf.d/admin.token", text);
        assert_eq!(told(&first), expected(&format!("{why}; {advice}")), "{text:?}");
    }
    let refused = load(&first, &|_| None).expect_err("refused");
    assert_eq!(refused.faults[0].severity, Severity::Error);
    assert_eq!(refused.sources.position(refused.faults[0].span).line, 2);
    directory.write("conf.d/admin.token", "0123456789abcdef\n");
    assert_eq!(told(&first), Vec::<String>::new());
    // Nobody reads it where there is no API.
    directory.write("conf.d/admin.token", "");
    directory.write(
        "conf.d/admin.toml",
        "[admin]\nbind = \"off\"\ntoken_file = \"admin.token\"\n",
    );
    assert_eq!(told(&first), Vec::<String>::new());
}

#[test]
fn an_access_log_that_could_not_be_written_is_refused_and_none_is_made() {
    let directory = Directory::new();
    let check = |access: &str| {
        let first = directory.write("plimsoll.toml", format!("log.access = \"{access}\"\n{SOUND}"));
        (told(&first), first.with_file_name(access))
    };
    for (access, why) in [
        ("gone/access.log", "No such file or directory (os error 2)"),
        ("plimsoll.toml/access.log", "Not a directory (os error 20)"),
        ("./", "Is a directory (os error 21)"),
    ] {
        let (told, path) = check(access);
        let path = path.display();
        assert_eq!(
            told,
            [format!(
                "the access log cannot be opened at {path}: {why}; set [log] access"
            )]
        );
    }
    let (told, path) = check("access.log");
    assert_eq!(told, Vec::<String>::new());
    assert!(!path.exists());
    std::fs::write(&path, "a line\n").unwrap();
    assert_eq!(check("access.log").0, Vec::<String>::new());
}
