//! Files that are no configuration, or not yet.

use std::fs;

use e2e::{Backend, PATIENCE, Plimsoll, Script};

use crate::reload::{answering, command, put, reload, start, status};

#[test]
fn a_file_that_was_cut_short_closes_nothing() {
    let (_one, mut plimsoll) = start(&answering("first"));
    for text in ["", "# to be written\n", "[pools.api]\nbackends = [\"127.0.0.1:1\"]\n"] {
        plimsoll.rewrite_config(text);
        let refused = command(&plimsoll, &["reload"]);
        assert_ne!(refused.code, Some(0), "{refused:?}");
        assert!(refused.stderr.contains("no listener, and 1 are served"), "{refused:?}");
        assert_eq!(plimsoll.get("web", "/said").text(), "first");
    }
    let status = status(&plimsoll);
    assert_eq!(status["last_reload"]["result"], "error", "{status:#}");
    let empty = put(&plimsoll, "application/toml", "", "");
    assert_eq!(empty.status, 400, "{empty:?}");
    assert_eq!(plimsoll.get("web", "/said").text(), "first");
}

#[test]
fn a_file_that_blocks_is_refused_and_the_next_reload_goes_on() {
    let text = |body: &str| format!("include = [\"conf.d/*.toml\"]\n{}", answering(body));
    let one = Backend::start(Script::Echo);
    let mut plimsoll = Plimsoll::config(&text("first"))
        .address("one", one.address())
        .file("conf.d/more.toml", "")
        .start();
    let pipe = plimsoll.scratch().path().join("conf.d/pipe.toml");
    e2e::tools::run(std::process::Command::new("mkfifo").arg(&pipe), PATIENCE);
    plimsoll.rewrite_config(&text("second"));
    let refused = reload(&plimsoll);
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(
        refused.text().contains("it is a pipe and no file"),
        "{}",
        refused.text()
    );
    fs::remove_file(&pipe).expect("it is there");
    assert_eq!(reload(&plimsoll).status, 200);
    assert_eq!(plimsoll.get("web", "/said").text(), "second");
}
