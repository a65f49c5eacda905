//! What can be used and will hurt.

use super::includes::Directory;
use super::{SOUND, told, toml};

#[test]
fn a_sound_configuration_warns_of_nothing() {
    assert_eq!(told(&toml(SOUND)), Vec::<String>::new());
}

#[test]
fn a_host_that_is_nearly_a_word_is_warned_of() {
    let with = |host: &str| {
        let route = format!("[[routes]]\npool = \"api\"\nhost = \"{host}\"\n");
        let told = told(&toml(&format!("{SOUND}\n{route}")));
        told.into_iter()
            .filter(|said| said.contains("as a host's name"))
            .collect::<Vec<_>>()
    };
    for (host, word) in [("beckend", "backend"), ("KEEP", "keep"), ("Backend", "backend")] {
        let told = with(host);
        assert!(
            told.len() == 1 && told[0].contains(&format!("did you mean \"{word}\"?")),
            "{told:?}"
        );
    }
    for host in ["keep", "backend", "backend.internal", "shop"] {
        assert_eq!(with(host), Vec::<String>::new(), "{host}");
    }
}

#[test]
fn a_match_of_certificates_is_judged() {
    let with = |listener: &str, what: &str| {
        let text = SOUND.replace("protocol = \"http\"", listener);
        let route = format!("[[routes]]\npool = \"api\"\nmatch = {{ client_cert = {{ {what} }} }}\n");
        told(&toml(&format!("{text}\n{route}"))).join("\n")
    };
    let asks = "protocol = \"http\"\ntls = { certificates = [{ cert = \"a\", key = \"b\" }], client_ca = \"c\" }";
    let plain = "protocol = \"http\"";
    let print = "AB:".repeat(31) + "cd";
    for (listener, what, says) in [
        (asks, "subject = \"CN=ann\"", ""),
        (asks, &*format!("fingerprint = \"{print}\""), ""),
        (asks, "fingerprint = \"ab12\"", "is no SHA-256 of a certificate"),
        (asks, "present = false, san = \"a\"", "has no part of one"),
        (asks, "", "asks for nothing of a certificate"),
        (asks, "subjekt = \"a\"", "subject"),
        (
            plain,
            "present = true",
            "no listener of this route asks clients for certificates",
        ),
        (plain, "present = false", ""),
    ] {
        let told = with(listener, what);
        assert!(
            if says.is_empty() {
                told.is_empty()
            } else {
                told.contains(says)
            },
            "{what}: {told}"
        );
    }
}

#[test]
fn what_will_hurt_is_warned_of_where_it_stands() {
    let pool = |rest: &str| {
        format!(
            "[listeners.web]\nbind = \":1\"\npool = \"p\"\n[pools.p]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n{rest}"
        )
    };
    let checked = "health = { http = \"/\" }\n";
    for (text, expected) in [
        (
            pool(""),
            "warning 4:8 «p» the backends of `p` are checked by TCP alone: an open port is no working server (add health = { http = \"/healthz\" })",
        ),
        (
            pool("health = { tcp = true }\n"),
            "warning 6:10 «{ tcp = true }» the backends of `p` are checked by TCP alone: an open port is no working server (add health = { http = \"/healthz\" })",
        ),
        (
            pool("health = false\n"),
            "warning 6:10 «false» the backends of `p` are not checked: a dead one is found by failing requests (add health = { http = \"/healthz\" }, or { tcp = true })",
        ),
        (
            pool(checked) + "[pools.q]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n",
            "warning 7:8 «q» nothing sends to the pool `q` (name it in a route or a listener, or take it out)",
        ),
        (
            pool(checked) + "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"0.0.0.0/0\"]\n",
            "warning 8:34 «\"0.0.0.0/0\"» everybody's forwarded headers are believed (name the networks of your own proxies alone)",
        ),
        (
            pool(checked) + "[listeners.b]\nbind = \":2\"\n",
            "warning 7:12 «b» `b` answers every request with 404: no route holds for it (add a route, or name a pool in the listener)",
        ),
        (
            pool("health = { http = \"/\", fast_interval = \"3s\" }\n"),
            "warning 6:10 «{ http = \"/\", fast_interval = \"3s\" }» `fast_interval` is longer than `interval` (it is for finding out sooner)",
        ),
        (
            pool(checked) + "outlier = { success_rate = true }\n",
            "warning 7:28 «true» nobody is compared: `p` has fewer than 5 backends (take it out, or set min_backends)",
        ),
        (
            pool(checked) + "outlier = { latency = { min_backends = 2, deviations = 1 } }\n",
            "warning 7:23 «{ min_backends = 2, deviations = 1 }» nobody stands out: of 2 values none lies more than 1.00 deviations from their mean (set fewer deviations)",
        ),
        (
            pool(checked).replace("\"10.0.0.1:80\", ", ""),
            "warning 4:8 «p» the pool `p` has one backend: nothing takes over when it fails",
        ),
        (
            pool(checked).replace("\"10.0.0.1:80\"", "{ address = \"10.0.0.1:80\", max_requests = 5 }")
                + "policy = \"round-robin\"\n",
            "warning 7:10 «\"round-robin\"» round-robin gives each backend of `p` its turn, and they may carry unequal loads (use least-connections, or set weights)",
        ),
    ] {
        assert_eq!(told(&toml(&text)), [expected], "{text}");
    }
    let layer_4 = pool(checked).replace("pool = \"p\"", "pool = \"p\"\nprotocol = \"tcp\"");
    assert_eq!(
        told(&toml(&layer_4)),
        [
            "warning 7:10 «{ http = \"/\" }» the backends of `p` carry TCP and are checked by HTTP on the same port (name the port that answers HTTP, with port = 8080, or add tcp = true instead)"
        ]
    );
    // A TCP check is all that a layer 4 pool can have, as far as we know.
    let tcp = pool("").replace("pool = \"p\"", "pool = \"p\"\nprotocol = \"tcp\"");
    assert_eq!(told(&toml(&tcp)), Vec::<String>::new());
}

#[test]
fn programs_that_cannot_be_run_are_warned_of() {
    let directory = Directory::new();
    directory.write("there", "#!/bin/sh\n");
    for (program, told) in [
        ("sh", None),
        ("/bin/sh", None),
        ("./there", Some("is not executable")),
        ("./elsewhere", Some("is not there")),
        ("no-such-program-anywhere", Some("is in no directory of PATH")),
    ] {
        let path = directory.write(
            "plimsoll.toml",
            format!("{SOUND}[pools.p]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nhealth = {{ exec = [\"{program}\", \"-q\"] }}\n[listeners.p]\nbind = \":7\"\nprotocol = \"tcp\"\npool = \"p\"\n"),
        );
        let loaded = super::super::load(&path, &|_| None).unwrap();
        let warnings: Vec<&str> = loaded.warnings.iter().map(|fault| &*fault.message).collect();
        match told {
            None => assert_eq!(warnings, Vec::<&str>::new(), "{program}"),
            Some(told) => assert!(
                warnings.len() == 1 && warnings[0].ends_with(told),
                "{program}: {warnings:?}"
            ),
        }
    }
}

#[test]
fn warnings_wait_until_there_is_no_error() {
    let told = told(&toml("[pools.p]\nbackends = [\"10.0.0.1:80\"]\nwhat = 1\n"));
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
fn what_no_request_can_reach_is_warned_of_with_what_takes_it() {
    let text = format!(
        "{SOUND}[listeners.other]\nbind = \":2\"\npool = \"api\"\n\
         [[routes]]\nname = \"late\"\npool = \"api\"\n\
         [[routes]]\nname = \"two\"\nlisteners = \"web\"\nmatch = [{{ path = \"/a\" }}, {{ path = [\"/b\", \"/a\"] }}, {{ path = \"/a\" }}]\npool = \"api\"\n"
    );
    assert_eq!(
        told(&toml(&text)),
        [
            "warning 15:8 «\"api\"» no request reaches the route `listener:other`: `all` takes them all (the most specific match wins, and of equals the first in the file) [taken here: 6:1]",
            "warning 16:1 «[[routes]]» no request reaches the route `late`: `all` takes them all (the most specific match wins, and of equals the first in the file) [taken here: 6:1]",
            "warning 22:52 «{ path = \"/a\" }» no request reaches this match of the route `two`: `two` takes them all (the most specific match wins, and of equals the first in the file) [taken here: 22:10]",
        ]
    );
}

#[test]
fn what_no_request_is_like_is_warned_of() {
    let route = |matched: &str| format!("[[routes]]\nname = \"x\"\nmatch = {matched}\nrespond = {{}}\n{SOUND}");
    let whole = "no request reaches the route `x`";
    for (matched, expected) in [
        (
            "{ path_regex = \"api/.*\" }",
            format!(
                "3:9 «{{ path_regex = \"api/.*\" }}» {whole}: every path begins with a slash (the expression has to match a whole path, like \"/api/.*\")"
            ),
        ),
        (
            "{ path = \"/a%2Fb\" }",
            format!(
                "3:9 «{{ path = \"/a%2Fb\" }}» {whole}: the listener `web` refuses paths with %2F (add allow_encoded_slash = true to the listener)"
            ),
        ),
        (
            "{ path = \"/ready\" }",
            format!(
                "3:9 «{{ path = \"/ready\" }}» {whole}: the listener `web` answers /ready itself (choose another path, or another health_path) [its health path: 8:15]"
            ),
        ),
        (
            "[{ path = [\"/ready\", \"/a%5C/*\"] }, { path = \"/x\" }]",
            "3:10 «{ path = [\"/ready\", \"/a%5C/*\"] }» no request reaches this match of the route `x`: the listener `web` answers /ready itself (choose another path, or another health_path) [its health path: 8:15]".into(),
        ),
        (
            "{ methods = [\"GET\", \"CONNECT\"] }",
            "3:29 «\"CONNECT\"» CONNECT is never served: it gets 400 before any route is asked (take it out)".into(),
        ),
    ] {
        let text = route(matched).replace("protocol = \"http\"", "health_path = \"/ready\"");
        assert_eq!(told(&toml(&text)), [format!("warning {expected}")], "{matched}");
    }
    // One that is reached somehow, or somewhere, is no matter.
    let other = "[listeners.other]\nbind = \":2\"\nallow_encoded_slash = true\n";
    for matched in [
        "{ path = [\"/ready\", \"/x\"] }",
        "{ path = \"/ready/*\" }",
        "{ path = \"/ready\" }",
        "{ path = \"/a%2Fb\" }",
        "{ path_regex = \"/ready\" }",
    ] {
        let text = route(matched).replace("protocol = \"http\"", "health_path = \"/ready\"") + other;
        assert_eq!(told(&toml(&text)), Vec::<String>::new(), "{matched}");
    }
}

#[test]
fn a_route_that_one_listener_hides_is_reached_through_another() {
    let text = format!(
        "{SOUND}[listeners.other]\nbind = \":2\"\n\
         [[routes]]\nname = \"late\"\nlisteners = \"other\"\nrespond = {{}}\n"
    );
    let told = told(&toml(&text));
    assert_eq!(
        told.len(),
        1,
        "`late` holds for one listener, where `all` comes first: {told:#?}"
    );
    let first = "[[routes]]\nname = \"first\"\nlisteners = \"web\"\nrespond = {}\n";
    let text = format!("{first}{SOUND}[listeners.other]\nbind = \":2\"\n");
    assert_eq!(super::told(&toml(&text)), Vec::<String>::new());
}
