//! Authorities and lists of revoked certificates that are out of their time, on either side.

use e2e::{Authority, Backend, Plimsoll, Scratch, Script, When, eventually, run_command};
use serde_json::Value;

use crate::front::front;
use crate::tls::{curl, logged, s_client_says, shop};
use crate::tls_stage::{assert_no_tls, logging, wrapping};

const EC: &str = "ec -pkeyopt ec_paramgen_curve:P-256";

fn people() -> Authority {
    let people = Authority::new("People");
    people.issue("ann", &[]);
    people
}

/// A listener at which clients show certificates, with these rules.
fn asking(shop: &Authority, backend: &Backend, rules: &str) -> Plimsoll {
    let pair = shop.pair("shop");
    front()
        .log("access = \"access.log\"")
        .listener(&format!("tls = {{ certificates = [{pair}], {rules} }}"))
        .before(backend.address())
}

fn comes(shop: &Authority, plimsoll: &Plimsoll, people: &Authority, name: &str) -> bool {
    let [cert, key] = ["pem", "key"].map(|ending| people.named(&format!("{name}.{ending}")));
    let more = ["--fail", "--cert", &cert, "--key", &key];
    curl(shop, plimsoll, "shop.test", "/", &more).code == Some(0)
}

/// What is said of the file in the status.
fn error_of(plimsoll: &Plimsoll, file: &str) -> Option<String> {
    let status = plimsoll.admin("/api/v1/status").json();
    let files: Vec<Value> = status["files"].as_array().cloned().unwrap_or_default();
    let found = files
        .iter()
        .find(|of| of["path"].as_str().is_some_and(|path| path.ends_with(file)));
    let found = found.unwrap_or_else(|| panic!("{file} is among {files:?}"));
    found["error"].as_str().map(str::to_owned)
}

fn trust_error(plimsoll: &Plimsoll, file: &str) -> f64 {
    plimsoll.metrics().sum("plimsoll_trust_error", &[("file", file)])
}

#[test]
fn an_authority_that_is_over_lets_nobody_in_and_is_told() {
    let (shop, people) = (shop(), people());
    people.sign_itself("over.pem", "People", When::Past);
    let backend = Backend::start(Script::Echo);
    let over = people.named("over.pem");
    let plimsoll = asking(&shop, &backend, &format!("client_ca = \"{over}\""));
    assert!(!comes(&shop, &plimsoll, &people, "ann"));
    let line = logged(&plimsoll, "client_tls_failed");
    assert_eq!(line["tls"]["cause"], "expired_authority", "{line}");
    let error = error_of(&plimsoll, "over.pem").expect("it is told");
    assert!(error.contains("\"CN=People\" ended 2020-12-31"), "{error}");
    assert_eq!(trust_error(&plimsoll, &over), 1.0);
    let ends = plimsoll
        .metrics()
        .sum("plimsoll_trust_expiry_seconds", &[("file", &over)]);
    assert_eq!(ends, 1_609_372_800.0);
    assert!(
        plimsoll.stderr().contains("for whom this authority vouches"),
        "it is in the log"
    );

    // Renewed, beside the old one, it vouches again without anybody else being told.
    let both = people.read("over.pem") + &people.read("ca.pem");
    std::fs::write(people.file("new.pem"), both).expect("it can be written");
    std::fs::rename(people.file("new.pem"), people.file("over.pem")).expect("it can be renamed");
    eventually("ann is let in", || {
        comes(&shop, &plimsoll, &people, "ann").then_some(())
    });
    assert_eq!(error_of(&plimsoll, "over.pem"), None);
    assert_eq!(trust_error(&plimsoll, &over), 0.0);
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_list_that_ends_while_we_serve_shuts_out_whom_it_was_for() {
    let (shop, people) = (shop(), people());
    people.list_revoked_with("crl.pem", "-crlsec 12");
    let backend = Backend::start(Script::Echo);
    let (ca, crl) = (people.named("ca.pem"), people.named("crl.pem"));
    let plimsoll = asking(&shop, &backend, &format!("client_ca = \"{ca}\", crl = \"{crl}\""));
    let ask = "GET / HTTP/1.1\\r\\nhost: shop.test\\r\\nconnection: close\\r\\n\\r\\n";
    let [cert, key] = ["ann.pem", "ann.key"].map(|name| people.named(name));
    let with_session = |option: &str| {
        let more = [
            "-tls1_2",
            "-ign_eof",
            "-servername",
            "shop.test",
            "-cert",
            &cert,
            "-key",
            &key,
            option,
            "session",
        ];
        s_client_says(&shop, &plimsoll, ask, &more).stdout
    };
    assert!(with_session("-sess_out").contains("HTTP/1.1 200"));
    eventually("the list has ended", || error_of(&plimsoll, "crl.pem"));
    assert!(!comes(&shop, &plimsoll, &people, "ann"));
    let line = logged(&plimsoll, "client_tls_failed");
    assert_eq!(line["tls"]["cause"], "expired_revocation", "{line}");
    // Not even with what was agreed on before.
    eventually("no session is taken up", || {
        (!with_session("-sess_in").contains("HTTP/1.1 200")).then_some(())
    });
    assert_eq!(trust_error(&plimsoll, &crl), 1.0);
    assert!(plimsoll.stderr().contains("no list of today"), "it is in the log");

    people.list_revoked();
    eventually("ann is let in again", || {
        comes(&shop, &plimsoll, &people, "ann").then_some(())
    });
    assert_eq!(error_of(&plimsoll, "crl.pem"), None);

    // An old one does not take its place.
    people.list_revoked_with(
        "crl.pem",
        "-crl_lastupdate 20200101000000Z -crl_nextupdate 20201231000000Z",
    );
    eventually("it is told", || {
        error_of(&plimsoll, "crl.pem")?
            .contains("ended 2020-12-31")
            .then_some(())
    });
    assert!(comes(&shop, &plimsoll, &people, "ann"));
}

#[test]
fn backends_for_whom_an_authority_vouches_that_is_over_are_not_believed() {
    let authority = Authority::new("Backends");
    authority.issue("api", &["api.internal"]);
    authority.sign_itself("over.pem", "Backends", When::Past);
    let inner = Backend::start(Script::Echo);
    let backend = wrapping(&authority, "api", inner.address(), "");
    let over = authority.named("over.pem");
    let pool = format!("tls = {{ ca = \"{over}\", server_name = \"api.internal\" }}");
    let plimsoll = logging(&pool).before(backend.address());
    assert_no_tls(&plimsoll, &plimsoll.get("web", "/"), "expired_authority");
    assert_eq!(trust_error(&plimsoll, &over), 1.0);
    let pools = plimsoll.admin("/api/v1/pools").json().to_string();
    assert!(
        pools.contains("nobody in it may vouch") && pools.contains("ended 2020-12-31"),
        "{pools}"
    );

    std::fs::copy(authority.file("ca.pem"), authority.file("new.pem")).expect("it can be copied");
    std::fs::rename(authority.file("new.pem"), authority.file("over.pem")).expect("it can be renamed");
    eventually("the backend is believed", || {
        (plimsoll.get("web", "/").status == 200).then_some(())
    });
    assert_eq!(trust_error(&plimsoll, &over), 0.0);
}

#[test]
fn a_certificate_that_says_too_little_of_itself_is_refused_by_its_own_cause() {
    let (shop, people) = (shop(), people());
    // Version 1: no extensions.
    people.openssl(&[
        "req",
        "-new",
        "-config",
        "ca.cnf",
        "-nodes",
        "-keyout",
        "one.key",
        "-out",
        "one.csr",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-subj",
        "/CN=one",
    ]);
    people.openssl(&[
        "x509", "-req", "-in", "one.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-out", "one.pem",
    ]);
    let text = people.openssl(&["x509", "-in", "one.pem", "-noout", "-text"]).stdout;
    assert!(text.contains("Version: 1 "), "{text}");
    let backend = Backend::start(Script::Echo);
    let ca = people.named("ca.pem");
    let plimsoll = asking(&shop, &backend, &format!("client_ca = \"{ca}\""));
    assert!(!comes(&shop, &plimsoll, &people, "one"));
    let line = logged(&plimsoll, "client_tls_failed");
    assert_eq!(line["tls"]["cause"], "unsupported_certificate", "{line}");
}

/// What `check` says of a listener with these rules for clients, before a pool with these settings, and how it ends.
fn check(scratch: &Scratch, shop: &Authority, rules: &str, pool: &str) -> (Option<i32>, String) {
    let pair = shop.pair("shop");
    scratch.write(
        "plimsoll.toml",
        format!(
            "[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"p\"\ntls = {{ certificates = [{pair}]{rules} }}\n\
             [pools.p]\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth = {{ http = \"/\" }}\n{pool}\n"
        ),
    );
    let checked = run_command(scratch, &["check", "-c", "plimsoll.toml"]);
    (checked.code, checked.stdout + &checked.stderr)
}

#[test]
fn check_warns_of_authorities_and_lists_out_of_their_time() {
    let (shop, people) = (shop(), people());
    people.sign_itself("over.pem", "People", When::Past);
    people.sign_itself("early.pem", "People", When::Future);
    for (file, year) in [("old.crl", 2020), ("early.crl", 2090)] {
        let dates = format!("-crl_lastupdate {year}0101000000Z -crl_nextupdate {year}1231000000Z");
        people.list_revoked_with(file, &dates);
    }
    let one = people.read("ca.cnf").replace("crlnumber = crlnumber\n", "");
    std::fs::write(people.file("one.cnf"), one).expect("it can be written");
    let line = "ca -config one.cnf -cert ca.pem -keyfile ca.key -gencrl -out one.crl";
    people.openssl(&line.split(' ').collect::<Vec<_>>());
    let text = people.openssl(&["crl", "-in", "one.crl", "-noout", "-text"]).stdout;
    assert!(text.contains("Version 1 "), "{text}");
    let scratch = Scratch::new();
    let trusting = |name: &str| format!(", client_ca = \"{}\"", people.named(name));
    let listing = |name: &str| format!("{}, crl = \"{}\"", trusting("ca.pem"), people.named(name));
    for (rules, code, says) in [
        (trusting("over.pem"), 0, "the authority \"CN=People\" ended 2020-12-31"),
        (
            trusting("early.pem"),
            0,
            "the authority \"CN=People\" begins 2090-01-01",
        ),
        (listing("old.crl"), 0, "revoked by \"CN=People\" ended 2020-12-31"),
        (listing("early.crl"), 0, "revoked by \"CN=People\" begins 2090-01-01"),
        (listing("one.crl"), 1, "holds a list of version 1"),
    ] {
        let (ended, said) = check(&scratch, &shop, &rules, "");
        assert!(ended == Some(code) && said.contains(says), "{says}: {said}");
    }
    let pool = format!("tls = {{ ca = \"{}\" }}", people.named("over.pem"));
    let (ended, said) = check(&scratch, &shop, "", &pool);
    let says = "backends for whom it vouches are refused";
    assert!(ended == Some(0) && said.contains(says), "{said}");
    let (ended, said) = check(&scratch, &shop, &trusting("ca.pem"), "");
    assert!(ended == Some(0) && !said.contains("warning"), "{said}");
}

#[test]
fn a_certificate_that_is_over_is_not_shown_where_another_is_for_the_name() {
    let authority = Authority::new("Test Root");
    authority.issue_with(EC, "exact-ec", &["api.shop.test"], When::Past);
    authority.issue_with("rsa:2048", "exact-rsa", &["api.shop.test"], When::Now);
    authority.issue_with(EC, "old", &["old.shop.test"], When::Past);
    authority.issue_with(EC, "alone", &["alone.test"], When::Past);
    authority.issue_with(EC, "wild", &["*.shop.test"], When::Now);
    let names = ["exact-ec", "exact-rsa", "old", "alone", "wild"];
    let pairs: Vec<String> = names.iter().map(|name| authority.pair(name)).collect();
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener(&format!("tls = {{ certificates = [{}] }}", pairs.join(", ")))
        .before(backend.address());
    for (name, shown) in [
        ("api.shop.test", "exact-rsa"),
        ("old.shop.test", "wild"),
        ("www.shop.test", "wild"),
        ("alone.test", "alone"),
    ] {
        let is = crate::tls_certificates::shown(&authority, &plimsoll, &["-servername", name]);
        assert_eq!(is, shown, "{name}");
    }
    // A client that can check nothing else gets what there is.
    let rsa = ["-servername", "api.shop.test", "-sigalgs", "ECDSA+SHA256", "-tls1_2"];
    let is = crate::tls_certificates::shown(&authority, &plimsoll, &rsa);
    assert_eq!(is, "wild");
    let error = |name: &str| {
        let path = authority.named(&format!("{name}.pem"));
        plimsoll
            .metrics()
            .sum("plimsoll_certificate_error", &[("certificate", &path)])
    };
    assert_eq!(names.map(error), [1.0, 0.0, 1.0, 1.0, 0.0]);
    let status = plimsoll.admin("/api/v1/status").json();
    let told = status["certificates"][0]["error"].as_str().unwrap_or_default();
    assert!(told.contains("ended 2020-12-31"), "{told}");
}
