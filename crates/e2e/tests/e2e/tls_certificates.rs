//! Which certificate a client is shown, and what becomes of certificates while we serve.

use e2e::{Authority, Backend, PATIENCE, Plimsoll, Scratch, Script, When, eventually, run_command};

use crate::front::front;
use crate::tls::{curl, s_client, secured, shop};

/// The subject of the certificate that `openssl s_client` was shown.
#[track_caller]
pub(crate) fn shown(authority: &Authority, plimsoll: &Plimsoll, more: &[&str]) -> String {
    let output = s_client(authority, plimsoll, more).stdout;
    let line = output.lines().find_map(|line| line.trim().strip_prefix("subject="));
    let name = line.and_then(|line| line.split("CN = ").last()?.split(',').next().map(str::to_owned));
    name.unwrap_or_else(|| panic!("no certificate: {output}"))
}

#[test]
fn the_name_and_the_clients_abilities_choose_the_certificate() {
    let authority = Authority::new("Test Root");
    authority.issue("first", &["first.test"]);
    authority.issue("wild", &["*.shop.test"]);
    authority.issue("exact-ec", &["shop.test", "api.shop.test"]);
    authority.issue_with("rsa:2048", "exact-rsa", &["shop.test", "api.shop.test"], When::Now);
    let pairs: Vec<String> = ["first", "wild", "exact-rsa", "exact-ec"]
        .iter()
        .map(|name| authority.pair(name))
        .collect();
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener(&format!("tls = {{ certificates = [{}] }}", pairs.join(", ")))
        .before(backend.address());
    let rsa = ["-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"];
    for (options, name) in [
        (&["-noservername"][..], "first"),
        (&["-servername", "nobody.test"], "first"),
        (&["-servername", "www.shop.test"], "wild"),
        (&["-servername", "a.www.shop.test"], "first"),
        (&["-servername", "api.shop.test"], "exact-ec"),
        (&["-servername", "API.Shop.Test", "-tls1_2"], "exact-ec"),
        (
            &[
                "-servername",
                "shop.test",
                "-cipher",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "-tls1_2",
            ],
            "exact-rsa",
        ),
        (&[&["-servername", "shop.test"][..], &rsa].concat(), "exact-rsa"),
        (
            &[&["-servername", "shop.test", "-tls1_2"][..], &rsa].concat(),
            "exact-rsa",
        ),
    ] {
        assert_eq!(shown(&authority, &plimsoll, options), name, "{options:?}");
    }
}

#[test]
fn the_chain_and_the_staple_come_along() {
    let authority = shop();
    // A chain of two: the authority's own certificate stands in for one between.
    let chain = authority.read("shop.pem") + &authority.read("ca.pem");
    std::fs::write(authority.file("chain.pem"), chain).expect("it can be written");
    let line = "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert shop.pem -respout shop.ocsp";
    authority.openssl(&line.split(' ').collect::<Vec<_>>());
    let [chain, key, ocsp] = ["chain.pem", "shop.key", "shop.ocsp"].map(|name| authority.named(name));
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener(&format!(
            "tls = {{ certificates = [{{ cert = \"{chain}\", key = \"{key}\", ocsp = \"{ocsp}\" }}] }}"
        ))
        .before(backend.address());
    let output = s_client(
        &authority,
        &plimsoll,
        &["-status", "-servername", "shop.test", "-verify_return_error"],
    )
    .stdout;
    assert!(
        output.contains("OCSP Response Status: successful") && output.contains("Cert Status: good"),
        "{output}"
    );
    assert!(
        output.contains("Verify return code: 0 (ok)") && output.contains(" 1 s:CN = Test Root"),
        "{output}"
    );
}

/// As whoever renews certificates does it.
fn replace(authority: &Authority, from: &str, to: &str) {
    for ending in ["key", "pem"] {
        let new = authority.file("new");
        std::fs::copy(authority.file(&format!("{from}.{ending}")), &new).expect("it can be copied");
        std::fs::rename(&new, authority.file(&format!("{to}.{ending}"))).expect("it can be renamed");
    }
}

fn certificate(plimsoll: &Plimsoll) -> serde_json::Value {
    plimsoll.admin("/api/v1/status").json()["certificates"][0].clone()
}

#[test]
fn a_renewed_certificate_is_shown_without_a_failed_request_and_a_bad_one_is_not() {
    let authority = shop();
    authority.issue("renewed", &["shop.test"]);
    authority.issue("third", &["shop.test"]);
    authority.issue_with("rsa:2048", "old", &["shop.test"], When::Past);
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    let expiry = |plimsoll: &Plimsoll| {
        plimsoll
            .metrics()
            .sum("plimsoll_certificate_expiry_seconds", &[("listener", "web")])
    };
    let first = certificate(&plimsoll);
    assert_eq!(
        (&first["names"][0], &first["key"], &first["error"]),
        (&"shop.test".into(), &"ECDSA".into(), &serde_json::Value::Null)
    );
    assert!(expiry(&plimsoll) > 1.7e9);

    // Requests go on meanwhile, each with a handshake of its own.
    let asked = || {
        let output = curl(&authority, &plimsoll, "shop.test", "/", &["--fail"]);
        assert_eq!(output.code, Some(0), "{output:?}");
    };
    replace(&authority, "renewed", "shop");
    eventually("the renewed one is shown", || {
        asked();
        (shown(&authority, &plimsoll, &["-servername", "shop.test"]) == "renewed").then_some(())
    });
    assert_ne!(certificate(&plimsoll)["fingerprint"], first["fingerprint"]);

    for (ruin, says) in [
        ("key", "is not the key of the certificate"),
        ("over", "is over"),
        ("text", "holds no certificate in PEM"),
    ] {
        match ruin {
            "key" => drop(std::fs::copy(authority.file("third.key"), authority.file("shop.key"))),
            "over" => replace(&authority, "old", "shop"),
            _ => std::fs::write(authority.file("shop.pem"), "hello").expect("it can be written"),
        }
        eventually(says, || {
            let error = certificate(&plimsoll)["error"].as_str().map(str::to_owned);
            error.filter(|error| error.contains(says))
        });
        asked();
        let name = shown(&authority, &plimsoll, &["-servername", "shop.test"]);
        assert_eq!(name, "renewed", "{says}");
        assert_eq!(plimsoll.metrics().sum("plimsoll_certificate_error", &[]), 1.0);
        assert!(plimsoll.stderr().contains(says), "it is in the log");
    }
    replace(&authority, "third", "shop");
    eventually("the next good one is shown", || {
        (shown(&authority, &plimsoll, &["-servername", "shop.test"]) == "third").then_some(())
    });
    assert_eq!(certificate(&plimsoll)["error"], serde_json::Value::Null);
    assert_eq!(plimsoll.metrics().sum("plimsoll_certificate_error", &[]), 0.0);
    assert_eq!(
        plimsoll
            .metrics()
            .sum("plimsoll_failures_total", &[("reason", "client_tls_failed")]),
        0.0
    );
}

/// What `check` says of a listener with these certificates and settings, and how it ends.
#[track_caller]
fn check(scratch: &Scratch, certificates: &str, more: &str) -> (Option<i32>, String) {
    scratch.write(
        "plimsoll.toml",
        format!(
            "[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"p\"\ntls = {{ certificates = [{certificates}]{more} }}\n\
             [pools.p]\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth = {{ http = \"/\" }}\n"
        ),
    );
    let checked = run_command(scratch, &["check", "-c", "plimsoll.toml"]);
    (checked.code, checked.stdout + &checked.stderr)
}

fn pair(cert: &str, key: &str) -> String {
    format!("{{ cert = \"{cert}\", key = \"{key}\" }}")
}

#[test]
fn check_says_what_is_wrong_with_which_file() {
    let authority = shop();
    authority.issue("other", &["other.test"]);
    let scratch = Scratch::new();
    let swapped = authority.read("ca.pem") + &authority.read("shop.pem");
    let unordered = authority.read("shop.pem") + &authority.read("other.pem");
    for (name, text) in [
        ("swapped.pem", &*swapped),
        ("unordered.pem", &unordered),
        ("empty.pem", ""),
    ] {
        scratch.write(name, text);
    }
    let [key, pem, other] = ["shop.key", "shop.pem", "other.key"].map(|name| authority.named(name));
    for (certificates, says) in [
        (pair(&pem, &other), "other.key is not the key of the certificate"),
        (
            pair("swapped.pem", &key),
            "the key is that of certificate 2, which has to come first",
        ),
        (
            pair("unordered.pem", &key),
            "certificate 1 was issued by \"CN=Test Root\", and the next is",
        ),
        (pair("empty.pem", &key), "holds no certificate in PEM"),
        (pair("gone.pem", &key), "gone.pem: cannot be opened"),
        (pair(&pem, "empty.pem"), "holds no private key in PEM"),
        (String::new(), "the listener `web` names no certificate"),
    ] {
        let (code, said) = check(&scratch, &certificates, "");
        assert!(code == Some(1) && said.contains(says), "{says}: {said}");
    }
    let (code, said) = check(&scratch, &pair(&pem, &key), "");
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
}

#[test]
fn check_says_what_a_file_is_instead() {
    let authority = shop();
    authority.issue_with("rsa:2048", "rsa", &["shop.test"], When::Now);
    for line in [
        "rsa -aes128 -passout pass:secret -traditional -in rsa.key -out old-encrypted.key",
        "pkcs8 -topk8 -passout pass:secret -in rsa.key -out encrypted.key",
        "x509 -in rsa.pem -outform DER -out rsa.der",
        "pkey -in rsa.key -outform DER -out rsa.key.der",
        "pkcs12 -export -in rsa.pem -inkey rsa.key -passout pass: -out rsa.p12",
    ] {
        authority.openssl(&line.split(' ').collect::<Vec<_>>());
    }
    for (key, name) in [
        ("rsa:1024", "short"),
        ("ec -pkeyopt ec_paramgen_curve:secp256k1", "coin"),
    ] {
        authority.issue_with(key, name, &["shop.test"], When::Now);
    }
    let scratch = Scratch::new();
    scratch.write("bom.pem", format!("\u{feff}{}", authority.read("rsa.pem")));
    scratch.write("short.pem", &authority.read("rsa.pem")[..600]);
    let named = |name: &str| authority.named(name);
    for (cert, key, says) in [
        (
            named("rsa.pem"),
            named("encrypted.key"),
            "holds a key that is encrypted",
        ),
        (
            named("rsa.pem"),
            named("old-encrypted.key"),
            "holds a key that is encrypted",
        ),
        (
            named("short.pem"),
            named("short.key"),
            "cannot be used, RSA of 1024 bits: RSA of 2048",
        ),
        (
            named("coin.pem"),
            named("coin.key"),
            "cannot be used, ECDSA on secp256k1: RSA of",
        ),
        ("bom.pem".into(), named("rsa.key"), "begins with a byte order mark"),
        (
            "short.pem".into(),
            named("rsa.key"),
            "breaks off: -----END CERTIFICATE----- is missing",
        ),
        (
            named("rsa.der"),
            named("rsa.key"),
            "it is DER; openssl x509 -inform DER",
        ),
        (
            named("rsa.pem"),
            named("rsa.key.der"),
            "it is DER; openssl pkey -inform DER",
        ),
        (named("rsa.p12"), named("rsa.key"), "it is PKCS#12"),
        (
            named("rsa.key"),
            named("rsa.key"),
            "it begins with -----BEGIN PRIVATE KEY-----",
        ),
    ] {
        let (code, said) = check(&scratch, &pair(&cert, &key), "");
        assert!(code == Some(1) && said.contains(says), "{says}: {said}");
    }
}

#[test]
fn check_says_which_settings_do_not_go_together() {
    let authority = shop();
    let scratch = Scratch::new();
    scratch.write("empty.pem", "");
    let good = pair(&authority.named("shop.pem"), &authority.named("shop.key"));
    let old = ", min_version = \"1.3\", suites = [\"ECDHE-RSA-AES128-GCM-SHA256\"]";
    for (more, says) in [
        (
            ", client_auth = \"require\"",
            "`client_auth` means nothing without `client_ca`",
        ),
        (", client_ca = \"empty.pem\"", "holds no certificate in PEM"),
        (
            ", suites = [\"TLS_RSA_WITH_3DES\"]",
            "is no cipher suite that can be used",
        ),
        (old, "these suites are for TLS 1.2"),
        (", alpn = [\"h3\"]", "does not speak \"h3\""),
        (
            " }\nprotocol = \"tls\"\nx = {",
            "TLS does not end at `web`, which passes it through",
        ),
        (
            " }\nredirect_to_https = true\nx = {",
            "`redirect_to_https` means nothing where TLS ends",
        ),
    ] {
        let (code, said) = check(&scratch, &good, more);
        assert!(code == Some(1) && said.contains(says), "{says}: {said}");
    }
}

#[test]
fn check_warns_of_certificates_that_will_not_do() {
    let authority = Authority::new("Test Root");
    let key = "ec -pkeyopt ec_paramgen_curve:P-256";
    authority.issue_with(key, "old", &["old.test"], When::Past);
    authority.issue_with(key, "early", &["early.test"], When::Future);
    authority.issue_with(key, "nameless", &[], When::Now);
    let scratch = Scratch::new();
    for (name, says) in [
        ("old", "the certificate ended 2020-12-31"),
        ("early", "the certificate begins 2090-01-01"),
        ("nameless", "the certificate names no host"),
    ] {
        let [pem, key] = ["pem", "key"].map(|ending| authority.named(&format!("{name}.{ending}")));
        let (code, said) = check(&scratch, &pair(&pem, &key), "");
        assert!(code == Some(0) && said.contains(says), "{says}: {said}");
    }
}

#[test]
fn explain_says_which_certificate_a_url_gets() {
    let authority = shop();
    authority.issue("other", &["other.test"]);
    let scratch = Scratch::new();
    scratch.write(
        "plimsoll.toml",
        format!(
            "[listeners.plain]\nbind = \"127.0.0.1:8080\"\npool = \"p\"\n\
             [listeners.web]\nbind = \"127.0.0.1:8443\"\npool = \"p\"\ntls = {{ certificates = [{}, {}] }}\n\
             [pools.p]\nbackends = [\"127.0.0.1:1\"]\n",
            authority.pair("shop"),
            authority.pair("other")
        ),
    );
    let explain = |url: &str| {
        let explained = run_command(&scratch, &["explain", "-c", "plimsoll.toml", url]);
        assert_eq!(explained.code, Some(0), "{explained:?}");
        explained.stdout
    };
    let other = explain("https://other.test/");
    assert!(
        other.contains("the name other.test: ECDSA for other.test until"),
        "{other}"
    );
    assert!(other.contains("x-forwarded-proto: https"), "{other}");
    let nobody = explain("https://nobody.test:8443/");
    assert!(
        nobody.contains("which no certificate is for, gets the default: ECDSA for shop.test"),
        "{nobody}"
    );
    let plain = explain("http://shop.test/");
    assert!(
        plain.contains("plain") && plain.contains("speaks TLS; write https://shop.test"),
        "{plain}"
    );
}

#[test]
fn a_certificate_that_is_over_is_better_than_none() {
    let authority = Authority::new("Test Root");
    authority.issue_with(
        "ec -pkeyopt ec_paramgen_curve:P-256",
        "shop",
        &["shop.test"],
        When::Past,
    );
    let backend = Backend::start(Script::Echo);
    let plimsoll = secured(&authority, "").before(backend.address());
    assert_eq!(shown(&authority, &plimsoll, &["-servername", "shop.test"]), "shop");
    assert!(
        plimsoll
            .stderr()
            .contains("the certificate is over, and there is no other"),
        "it is in the log"
    );
    authority.issue("new", &["shop.test"]);
    replace(&authority, "new", "shop");
    e2e::eventually_within(PATIENCE, "the new one is shown", || {
        (shown(&authority, &plimsoll, &["-servername", "shop.test"]) == "new").then_some(())
    });
}
