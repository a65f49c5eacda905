//! `${NAME}`.

use super::super::{Loaded, Refused, load};
use super::includes::Directory;
use super::told;

fn with(text: &str) -> Result<Loaded, Refused> {
    let directory = Directory::new();
    let path = directory.write("plimsoll.toml", text);
    load(&path, &|name| match name {
        "ZONE" => Some("eu-1a".into()),
        "PORT" => Some("8080".into()),
        "ON" => Some("false".into()),
        "EMPTY" => Some(String::new()),
        "TRICK" => Some("a\"\n[admin]\nbind = \"${ZONE}".into()),
        _ => None,
    })
}

#[test]
fn variables_are_filled_in_wherever_text_stands() {
    let loaded = with(
        "[server]\nzone = \"z-${ZONE}-${PORT}\"\nworkers = \"${PORT}\"\nmax_connections = \"${PORT}\"\n\
         expose_reason = \"${ON}\"\n[listeners.web]\nbind = [\"127.0.0.1:${PORT}\"]\n",
    );
    // A number that comes from a variable is a number: 8080 is too many workers.
    assert_eq!(
        told(&loaded),
        ["error 3:11 «\"${PORT}\"» 8080 is out of range: 1 to 1024"]
    );
    let plan = with(
        "[server]\nzone = \"z-${ZONE}-${PORT}${EMPTY}\"\nmax_connections = \"${PORT}\"\n\
         expose_reason = \"${ON}\"\n[listeners.web]\nbind = [\"127.0.0.1:${PORT}\"]\n",
    )
    .unwrap()
    .plan;
    assert_eq!(plan.zone.as_deref(), Some("z-eu-1a-8080"));
    assert_eq!(plan.node.max_connections, 8080);
    assert!(!plan.node.expose_reason);
    assert_eq!(plan.listeners[0].bind[0].port(), 8080);
}

#[test]
fn an_unset_variable_is_an_error_at_its_place() {
    assert_eq!(
        told(&with("[server]\nzone = \"a-${NOPE}-${ZONE}-${NADA}\"\n")),
        [
            "error 2:11 «${NOPE}» the environment variable `NOPE` is not set (set it, or write $${NOPE} for the plain text)",
            "error 2:27 «${NADA}» the environment variable `NADA` is not set (set it, or write $${NADA} for the plain text)",
        ]
    );
    for text in ["${", "${}", "${A B}", "${1A}", "x${ZONE"] {
        let result = with(&format!("[server]\nzone = \"{text}\"\n"));
        assert!(told(&result)[0].contains("begins no variable's name"), "{text}");
    }
}

#[test]
fn two_dollars_and_a_brace_are_a_plain_one() {
    let zone = |text: &str| {
        with(&format!("[server]\nzone = '{text}'\n"))
            .unwrap()
            .plan
            .zone
            .unwrap()
    };
    assert_eq!(zone("$${ZONE}"), "${ZONE}");
    assert_eq!(zone("$$ $ZONE 5$"), "$$ $ZONE 5$");
}

#[test]
fn what_a_variable_holds_is_text_and_never_configuration() {
    let plan = with("[server]\nzone = \"${TRICK}\"\n").unwrap().plan;
    assert_eq!(plan.zone.as_deref(), Some("a\"\n[admin]\nbind = \"${ZONE}"));
}
