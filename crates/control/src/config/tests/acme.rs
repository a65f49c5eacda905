//! Certificates that are asked for: what can be, and what is told of the rest.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::super::{AcmePlan, Challenge, load};
use super::includes::Directory;
use super::{plan, told, toml};

/// A listener that asks with these keys, and one where http-01 is answered.
fn config(acme: &str) -> String {
    format!(
        "[listeners.web]\nbind = \":443\"\npool = \"p\"\ntls = {{ acme = {{ {acme} }} }}\n\
         [listeners.plain]\nbind = \":80\"\nredirect_to_https = true\n\
         [pools.p]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nhealth = {{ http = \"/\" }}\n"
    )
}

fn acme(keys: &str) -> AcmePlan {
    let plan = plan(&config(keys));
    let web = plan.listeners.into_iter().find(|listener| listener.name == "web");
    let tls = web.expect("a listener").tls.expect("TLS");
    tls.acme.expect("it is asked for")
}

#[test]
fn names_are_in_lower_case_and_order_and_the_rest_has_defaults() {
    let plan = acme("domains = [\"WWW.Example.com\", \"example.com\"]");
    assert_eq!(plan.domains, ["example.com", "www.example.com"]);
    assert_eq!(plan.directory, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(
        (plan.challenge, plan.dns_timeout),
        (Challenge::Http01, Duration::from_secs(120))
    );
    assert_eq!(plan.storage, std::path::Path::new("acme/"));
    assert_eq!((&plan.email, &plan.authorities, &plan.binding), (&None, &None, &None));
    // However they are ordered, it is the same certificate.
    assert_eq!(plan, acme("domains = [\"example.com\", \"www.example.com\"]"));
    let one = acme("domains = \"example.com\", challenge = \"tls-alpn-01\", email = \"Ops@Example.com\"");
    assert_eq!(
        (one.challenge, one.email.as_deref()),
        (Challenge::TlsAlpn01, Some("Ops@Example.com"))
    );
}

#[test]
fn every_key_of_the_contract_is_taken() {
    let plan = acme(
        "domains = [\"a.example\"], email = \"ops@a.example\", directory = \"https://acme.example/\", ca = \"ca.pem\", \
         challenge = \"http-01\", storage = \"kept/\", eab = { kid = \"k\", hmac_file = \"eab.key\" }",
    );
    assert_eq!(plan.directory, "https://acme.example/");
    let binding = plan.binding.expect("it is bound");
    assert_eq!((binding.kid.as_str(), binding.key.to_str()), ("k", Some("eab.key")));
    assert_eq!(
        (plan.authorities.is_some(), plan.storage.to_str()),
        (true, Some("kept/"))
    );
}

#[test]
fn names_that_no_authority_would_take_are_told() {
    let names = "write a host name, like \"shop.example.com\" or \"*.example.com\"";
    for (name, help) in [
        ("10.0.0.1", "write a name: certificates for addresses are not asked for"),
        ("[::1]", "write a name: certificates for addresses are not asked for"),
        (
            "müller.example",
            "write it as DNS has it, like \"xn--mller-kva.example\"",
        ),
        ("", names),
        ("a..b", names),
        ("example.com.", names),
        ("a.*.example.com", names),
        ("*", names),
        ("my_host.example.com", names),
        ("https://example.com", names),
        ("example.com:443", names),
    ] {
        let told = told(&toml(&config(&format!("domains = [\"{name}\"]"))));
        let expected = format!("no certificate can be asked for \"{name}\" ({help})");
        assert!(told.iter().any(|line| line.ends_with(&expected)), "{name}: {told:#?}");
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    for (keys, says) in [
        ("email = \"a@b.example\"", "`domains` is missing"),
        (
            "domains = [\"*.a.example\"]",
            "no authority gives a certificate for \"*.a.example\" by http-01 (add challenge = \"dns-01\" and a dns_hook: wildcards are proved by it alone)",
        ),
        (
            "domains = [\"a.example\", \"A.example\"]",
            "\"a.example\" is asked for twice",
        ),
        (
            "domains = \"a.example\", challenge = \"dns-01\"",
            "dns-01 needs a `dns_hook`",
        ),
        (
            "domains = \"a.example\", dns_timeout = \"1m\"",
            "`dns_timeout` means nothing by http-01",
        ),
        (
            "domains = \"a.example\", dns_hook = [\"./x\"]",
            "`dns_hook` means nothing by http-01",
        ),
        (
            "domains = \"a.example\", directory = \"http://a.example/\"",
            "is no URL of https",
        ),
        (
            "domains = \"a.example\", email = \"a@b@c\"",
            "is no address to write to",
        ),
        (
            "domains = \"a.example\", email = \"mailto:a@b.example\"",
            "is no address to write to",
        ),
        (
            "domains = \"a.example\", challenge = \"http-02\"",
            "did you mean \"http-01\"?",
        ),
        (
            "domains = \"a.example\", eab = { kid = \"k\" }",
            "`hmac_file` is missing",
        ),
        ("domains = \"a.example\", storge = \"x\"", "unknown key `storge`"),
    ] {
        let told = told(&toml(&config(keys)));
        assert!(told.iter().any(|line| line.contains(says)), "{keys}: {told:#?}");
    }
    let many: Vec<String> = (0..101).map(|at| format!("\"n{at}.example\"")).collect();
    let told = told(&toml(&config(&format!("domains = [{}]", many.join(", ")))));
    assert!(
        told[0].contains("«\"n100.example\"» one certificate is for 100 names at most"),
        "{told:#?}"
    );
}

#[test]
fn what_will_go_wrong_is_warned_of() {
    let alone = "[listeners.web]\nbind = \":443\"\npool = \"p\"\ntls = { acme = { domains = \"a.example\" } }\n\
                 [listeners.two]\nbind = \":444\"\npool = \"p\"\ntls = { acme = { domains = [\"a.example\", \"b.example\"] } }\n\
                 [pools.p]\nbackends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nhealth = { http = \"/\" }\n";
    let warned = told(&toml(alone));
    let nobody = "nobody could answer http-01: no http listener is without TLS";
    assert_eq!(
        warned.iter().filter(|line| line.contains(nobody)).count(),
        2,
        "{warned:#?}"
    );
    assert!(
        warned
            .iter()
            .any(|line| line.contains("two certificates are asked for \"a.example\"")),
        "{warned:#?}"
    );
    // Two listeners that want the same are all right.
    let same = config("domains = \"a.example\"")
        + "[listeners.same]\nbind = \":445\"\npool = \"p\"\ntls = { acme = { domains = \"a.example\" } }\n";
    assert_eq!(told(&toml(&same)), Vec::<String>::new());
}

#[test]
fn what_is_named_is_read_and_where_it_is_kept_is_looked_at() {
    let directory = Directory::new();
    let path = directory.write(
        "plimsoll.toml",
        config("domains = \"a.example\", ca = \"ca.pem\", storage = \"kept\", eab = { kid = \"k\", hmac_file = \"eab.key\" }"),
    );
    let told = |what: &str| {
        match load(&path, &|_| None) {
            Ok(loaded) => loaded.warnings,
            Err(refused) => refused.faults,
        }
        .iter()
        .map(|fault| fault.message.clone())
        .filter(|message| message.contains(what))
        .collect::<Vec<_>>()
    };
    assert_eq!(told("ca.pem: cannot be opened").len(), 1);
    assert_eq!(told("eab.key cannot be opened").len(), 1);
    directory.write("eab.key", "not base64!");
    assert_eq!(told("eab.key holds no key in base64").len(), 1);
    let key = directory.write("eab.key", "c2VjcmV0");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(told("everybody on this machine can read the key").len(), 1);
    directory.write("ca.pem", "garbage");
    assert_eq!(told("ca.pem: holds no certificate").len(), 1);
    let kept = directory.write("kept/inner", "");
    directory.write("plimsoll.toml", config("domains = \"a.example\", storage = \"kept\""));
    let kept = kept.parent().expect("a directory");
    std::fs::set_permissions(kept, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(told("is open to others than its owner").len(), 1);
    std::fs::set_permissions(kept, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(told(""), Vec::<String>::new());
    directory.write(
        "plimsoll.toml",
        config("domains = \"a.example\", storage = \"kept/inner\""),
    );
    assert_eq!(told("cannot be made: something on the way is no directory").len(), 1);
    let hook = "domains = [\"*.a.example\", \"b.a.example\"], challenge = \"dns-01\", dns_hook = [\"./hook\"]";
    directory.write("plimsoll.toml", config(hook));
    assert_eq!(told("hook is not there").len(), 1);
    assert_eq!(told("\"*.a.example\" is for \"b.a.example\" too").len(), 1);
    // Programs are named by files alone, whoever sends us a configuration.
    let sent = super::told(&toml(&config(hook)));
    assert!(
        sent[0].contains("programs are named by a configuration's file alone"),
        "{sent:#?}"
    );
    // A check makes nothing.
    directory.write("plimsoll.toml", config("domains = \"a.example\", storage = \"fresh\""));
    assert_eq!(told(""), Vec::<String>::new());
    assert!(!kept.with_file_name("fresh").exists());
}
