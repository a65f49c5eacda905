//! What an authority says of a certificate, shown with it (OCSP): never what no client would take.

use e2e::{Authority, Backend, PATIENCE, Plimsoll, Scratch, Script, eventually, run_command, tools};
use serde_json::Value;

use crate::front::front;
use crate::tls::{curl, s_client, shop};

/// Has the authority say of the certificate `name` what it knows, until `options` say.
fn respond(authority: &Authority, name: &str, file: &str, options: &str) {
    let line = format!(
        "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem -cert {name}.pem -respout new.ocsp {options}"
    );
    authority.openssl(&line.split_whitespace().collect::<Vec<_>>());
    std::fs::rename(authority.file("new.ocsp"), authority.file(file)).expect("it can be renamed");
}

/// Has it say `good` from and until when it shall, in seconds from now on.
fn respond_between(authority: &Authority, begins: &str, ends: &str) {
    let mut command = tools::python_script("ocsp.py");
    command.args(["ca.pem", "ca.key", "shop.pem", "new.ocsp", begins, ends]);
    let output = tools::run(command.current_dir(authority.path()), PATIENCE);
    assert_eq!(output.code, Some(0), "{output:?}");
    std::fs::rename(authority.file("new.ocsp"), authority.file("shop.ocsp")).expect("it can be renamed");
}

fn stapled(authority: &Authority) -> String {
    let [cert, key, ocsp] = ["shop.pem", "shop.key", "shop.ocsp"].map(|name| authority.named(name));
    format!("{{ cert = \"{cert}\", key = \"{key}\", ocsp = \"{ocsp}\" }}")
}

/// What a client that asks for it sees.
fn seen(authority: &Authority, plimsoll: &Plimsoll) -> &'static str {
    let output = s_client(authority, plimsoll, &["-status", "-servername", "shop.test"]).stdout;
    assert!(output.contains("Verify return code: 0 (ok)"), "{output}");
    match output {
        output if output.contains("Cert Status: good") => "good",
        output if output.contains("OCSP response: no response sent") => "none",
        _ => "something else",
    }
}

fn status(plimsoll: &Plimsoll) -> Value {
    plimsoll.admin("/api/v1/status").json()["certificates"][0]["ocsp"].clone()
}

#[test]
fn a_response_is_shown_as_long_as_it_is_worth_something() {
    let authority = shop();
    authority.issue("other", &["other.test"]);
    respond(&authority, "shop", "shop.ocsp", "-ndays 7");
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener(&format!("tls = {{ certificates = [{}] }}", stapled(&authority)))
        .before(backend.address());
    let metric = |name: &str| plimsoll.metrics().sum(name, &[("listener", "web")]);
    assert_eq!(seen(&authority, &plimsoll), "good");
    assert!(status(&plimsoll)["next_update"].is_string() && status(&plimsoll)["error"].is_null());
    assert!(metric("plimsoll_ocsp_expiry_seconds") > 1.7e9 && metric("plimsoll_ocsp_error") == 0.0);

    type Change = fn(&Authority);
    let junk: Change = |authority| std::fs::write(authority.file("shop.ocsp"), "junk").expect("it can be written");
    let other: Change = |authority| respond(authority, "other", "shop.ocsp", "-ndays 7");
    let over: Change = |authority| respond_between(authority, "-7200", "-3600");
    let early: Change = |authority| respond_between(authority, "3600", "7200");
    // Its end comes while it is shown, if it is read in time.
    let short: Change = |authority| respond_between(authority, "-3600", "5");
    let gone: Change = |authority| std::fs::remove_file(authority.file("shop.ocsp")).expect("it was there");
    let good: Change = |authority| respond(authority, "shop", "shop.ocsp", "-ndays 7");
    let revoked: Change = |authority| {
        authority.revoke("shop");
        respond(authority, "shop", "shop.ocsp", "-ndays 7");
    };
    for (change, says) in [
        (junk, Some("is no OCSP response in DER")),
        (good, None),
        (other, Some("is for another certificate")),
        (over, Some("shop.ocsp ended 20")),
        (early, Some("shop.ocsp begins 20")),
        (good, None),
        (short, Some("shop.ocsp ended 20")),
        (good, None),
        (gone, Some("shop.ocsp: cannot be opened")),
        (revoked, Some("says that the certificate was revoked")),
    ] {
        change(&authority);
        let error = eventually(&format!("{says:?} is told"), || {
            let error = status(&plimsoll)["error"].clone();
            let is_it = match says {
                None => error.is_null(),
                Some(says) => error.as_str().is_some_and(|error| error.contains(says)),
            };
            is_it.then_some(error)
        });
        // What is told of may be ahead of what is shown by one look at the files.
        eventually("clients see it", || {
            let wanted = if says.is_none() { "good" } else { "none" };
            (seen(&authority, &plimsoll) == wanted).then_some(())
        });
        assert_eq!(
            metric("plimsoll_ocsp_error"),
            f64::from(u8::from(says.is_some())),
            "{error}"
        );
        assert!(
            says.is_none_or(|says| plimsoll.stderr().contains(says)),
            "it is in the log"
        );
        // The certificate itself is none the worse for it.
        let output = curl(&authority, &plimsoll, "shop.test", "/", &["--fail"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(metric("plimsoll_certificate_error"), 0.0);
    }
}

#[test]
fn a_process_starts_with_a_response_that_is_worth_nothing_and_check_warns_of_it() {
    let authority = shop();
    std::fs::write(authority.file("shop.ocsp"), [0x30, 0x03, 0x0a, 0x01, 0x03]).expect("it can be written");
    let backend = Backend::start(Script::Echo);
    let plimsoll = front()
        .listener(&format!("tls = {{ certificates = [{}] }}", stapled(&authority)))
        .before(backend.address());
    assert_eq!(seen(&authority, &plimsoll), "none");
    let says = "shop.ocsp is no answer: the authority failed with code 3";
    assert!(
        status(&plimsoll)["error"]
            .as_str()
            .is_some_and(|error| error.contains(says))
    );

    let scratch = Scratch::new();
    let text = format!(
        "[listeners.web]\nbind = \"127.0.0.1:0\"\npool = \"p\"\ntls = {{ certificates = [{}] }}\n\
         [pools.p]\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth = {{ http = \"/\" }}\n",
        stapled(&authority)
    );
    scratch.write("plimsoll.toml", text);
    for (arguments, code) in [
        (&["check", "-c", "plimsoll.toml"][..], 0),
        (&["check", "--strict", "-c", "plimsoll.toml"], 1),
    ] {
        let checked = run_command(&scratch, arguments);
        assert_eq!(checked.code, Some(code), "{checked:?}");
        let said = checked.stdout + &checked.stderr;
        assert!(said.contains(says) && said.contains("shown without it"), "{said}");
    }
}
