//! TLS without a configuration file: `plimsoll proxy --tls`, with files of one's own, and the demo.

use e2e::{Backend, Plimsoll, Scratch, Script, eventually, run_command, tools};

use crate::tls::shop;

#[test]
fn proxy_makes_a_certificate_of_its_own_and_speaks_http3() {
    let backend = Backend::start(Script::Echo);
    let to = backend.address().to_string();
    let arguments = ["proxy", "--tls", "--http3", "--listen", "@web@", "--to", &to];
    let plimsoll = Plimsoll::command(&arguments).start();
    let url = format!("https://{}/a", plimsoll.address("web"));
    let output = tools::curl(&["-k", "--fail", "-i", &url]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let said = output.stdout.to_ascii_lowercase();
    assert!(
        said.starts_with("http/2 200") && said.contains("\nalt-svc: h3="),
        "{said}"
    );
    // Nobody vouches for it, and whoever does not say -k is told so.
    assert_eq!(tools::curl(&[&url]).code, Some(60));
    assert!(
        plimsoll.stderr().contains("nobody vouches for it"),
        "{}",
        plimsoll.stderr()
    );
    assert!(!plimsoll.stderr().contains("cannot be"), "{}", plimsoll.stderr());
}

#[test]
fn proxy_shows_the_certificate_that_it_is_given() {
    let authority = shop();
    let backend = Backend::start(Script::Echo);
    let to = backend.address().to_string();
    let [cert, key, ca] = ["shop.pem", "shop.key", "ca.pem"].map(|name| authority.named(name));
    let arguments = [
        "proxy",
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--listen",
        "@web@",
        "--to",
        &to,
    ];
    let plimsoll = Plimsoll::command(&arguments).start();
    let address = plimsoll.address("web");
    let resolve = format!("shop.test:{}:{}", address.port(), address.ip());
    let url = format!("https://shop.test:{}/", address.port());
    let output = tools::curl(&["--fail", "--cacert", &ca, "--resolve", &resolve, &url]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn proxy_says_what_does_not_go_together_and_what_cannot_be_read() {
    let scratch = Scratch::new();
    let serve = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:1",
        "--admin",
        "off",
    ];
    for (more, code, says) in [
        (&["--tls-cert", "a.pem"][..], 2, "--tls-key"),
        (
            &["--tls", "--tls-cert", "a.pem", "--tls-key", "a.key"],
            2,
            "cannot be used with",
        ),
        (&["--tcp", "--http3", "--tls"], 2, "cannot be used with"),
        (&["--http3"], 1, "tls"),
    ] {
        let output = run_command(&scratch, &[&serve[..], more].concat());
        assert_eq!(output.code, Some(code), "{more:?}: {output:?}");
        assert!(output.stderr.contains(says), "{more:?}: {output:?}");
    }
}

#[test]
fn the_demo_speaks_tls_and_says_where() {
    let plimsoll = Plimsoll::command(&["demo", "--once", "--tls"]).start();
    let url = eventually("it says what to type", || {
        let said = plimsoll.stdout();
        let rest = said.split("curl -ik ").nth(1)?;
        rest.contains(' ')
            .then(|| rest.split(' ').next().unwrap_or_default().to_owned())
    });
    let output = tools::curl(&["-k", "--fail", "-i", &url]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let said = output.stdout.to_ascii_lowercase();
    assert!(
        said.starts_with("http/2 200") && said.contains("\nalt-svc: h3="),
        "{said}"
    );
}
