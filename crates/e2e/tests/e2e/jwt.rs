//! The filter `jwt`, with tokens that openssl signs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::issuer::{Issuer, SECRET, base64url, now};
use e2e::{Backend, Plimsoll, Reply, Script, eventually, eventually_within};
use serde_json::{Value, json};

const CONFIG: &str = r#"
    [log]
    access = "access.log"
    [listeners.web]
    bind = "@web@"
    [[routes]]
    name = "api"
    match = { path = "/api/*" }
    filters = [{ kind = "jwt", jwks = "JWKS", issuer = "https://id.example", audience = "shop", algorithms = ["RS256", "ES256", "EdDSA"], copy = { sub = "x-user", "realm.roles" = "x-roles" }, cookie = "token", require = ["exp"] }]
    pool = "p"
    [[routes]]
    name = "admin"
    match = { path = "/admin/*" }
    filters = [{ kind = "jwt", jwks = "JWKS", algorithms = ["RS256"], claims = { scope = "admin" }, remove_authorization = true }]
    pool = "p"
    [[routes]]
    name = "shared"
    match = { path = "/shared/*" }
    filters = [{ kind = "jwt", secret_file = "secret", algorithms = ["HS256"] }]
    pool = "p"
    [[routes]]
    name = "open"
    pool = "p"
    [pools.p]
    backends = ["@one@"]
    health = false
"#;

fn start(jwks: &str, keys: &str) -> (Backend, Plimsoll) {
    let backend = Backend::named("one", Script::Echo);
    let setup = Plimsoll::config(&CONFIG.replace("JWKS", jwks)).address("one", backend.address());
    let setup = setup.file("keys.json", keys).file("secret", format!("{SECRET}\n"));
    (backend, setup.start())
}

fn bearing(plimsoll: &Plimsoll, path: &str, token: &str) -> Reply {
    let fields = format!("x-user: root\r\nX_Roles: root\r\nauthorization: Bearer {token}\r\n");
    plimsoll.exchange("web", format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n"))
}

#[test]
fn tokens_that_openssl_signed_are_taken_and_say_who_it_is() {
    let issuer = Issuer::new();
    let (backend, plimsoll) = start("keys.json", &issuer.jwks(""));
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let token = issuer.token(algorithm, "", |_| {});
        assert_eq!(bearing(&plimsoll, "/api/", &token).status, 200, "{algorithm}");
        let seen = backend.seen().pop().expect("it came");
        assert_eq!(seen.head.headers_named("x-user").collect::<Vec<_>>(), ["ann"]);
        assert_eq!(
            (seen.head.header("x-roles"), seen.head.header("x_roles")),
            (Some("a,b"), None)
        );
        assert_eq!(seen.head.header("authorization"), Some(&*format!("Bearer {token}")));
    }
    let token = issuer.token("RS256", "", |_| {});
    let by_cookie = plimsoll.exchange(
        "web",
        format!("GET /api/ HTTP/1.1\r\nhost: a\r\ncookie: a=b; token={token}\r\n\r\n"),
    );
    assert_eq!(by_cookie.status, 200);
    assert_eq!(bearing(&plimsoll, "/admin/", &token).status, 200);
    assert_eq!(
        backend.seen().pop().expect("it came").head.header("authorization"),
        None
    );
    let shared = issuer.sign(&json!({ "alg": "HS256" }), &json!({ "sub": "ann" }));
    assert_eq!(bearing(&plimsoll, "/shared/", &shared).status, 200);
    bearing(&plimsoll, "/api/", &shared).assert_reason(401, "unauthorized");
    bearing(&plimsoll, "/shared/", &token).assert_reason(401, "unauthorized");
    // Nobody else says who it is, where nobody is asked for a token either.
    assert_eq!(bearing(&plimsoll, "/", "x").status, 200);
    assert_eq!(backend.seen().pop().expect("it came").head.header("x-user"), None);
    let told = plimsoll.scratch().read("access.log") + &plimsoll.stderr();
    assert!(!told.contains("eyJ"), "{told}");
}

/// Tokens that nobody may take, and what is wrong with each.
fn bad_tokens(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let good = issuer.token("RS256", "", |_| {});
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let (_, claims) = signed.split_once('.').expect("two parts");
    let none = format!("{}.{claims}.", base64url(b"{\"alg\":\"none\"}"));
    let confused = {
        // The public key, which everybody has, as the secret of an HMAC.
        issuer.openssl("rsa -in RS256.pem -pubout -outform DER -out public.der");
        let key: String = issuer
            .bytes("public.der")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let signed = format!("{}.{claims}", base64url(b"{\"alg\":\"HS256\",\"kid\":\"RS256\"}"));
        issuer.scratch().write("signed", &signed);
        issuer.openssl(&format!(
            "dgst -sha256 -mac HMAC -macopt hexkey:{key} -binary -out signature signed"
        ));
        format!("{signed}.{}", base64url(&issuer.bytes("signature")))
    };
    vec![
        (
            "expired",
            issuer.token("RS256", "", |claims| claims["exp"] = (now() - 60).into()),
        ),
        (
            "not yet",
            issuer.token("RS256", "", |claims| claims["nbf"] = (now() + 600).into()),
        ),
        (
            "from tomorrow",
            issuer.token("RS256", "", |claims| claims["iat"] = (now() + 86_400).into()),
        ),
        (
            "never ends",
            issuer.token("RS256", "", |claims| {
                _ = claims.as_object_mut().expect("claims").remove("exp");
            }),
        ),
        (
            "wrong audience",
            issuer.token("RS256", "", |claims| claims["aud"] = "blog".into()),
        ),
        (
            "wrong issuer",
            issuer.token("RS256", "", |claims| claims["iss"] = "https://evil.example".into()),
        ),
        ("no signature", format!("{signed}.")),
        ("none", none),
        ("confused", confused),
        ("another key", Issuer::new().token("RS256", "", |_| {})),
        ("an unknown key", issuer.token("RS256", "-2", |_| {})),
        (
            "a path for a key",
            issuer.sign(&json!({ "alg": "RS256", "kid": "../../../dev/null" }), &json!({})),
        ),
        (
            "another's key",
            issuer.sign(&json!({ "alg": "RS256", "kid": "ES256" }), &json!({})),
        ),
        ("giant", format!("{signed}.{}", "A".repeat(20_000))),
        ("no token", "x".into()),
        ("no text", "\u{e9}".into()),
    ]
}

#[test]
fn a_token_that_is_not_good_is_refused_without_saying_why() {
    let issuer = Issuer::new();
    let (backend, plimsoll) = start("keys.json", &issuer.jwks(""));
    for (what, token) in bad_tokens(&issuer) {
        let reply = bearing(&plimsoll, "/api/", &token);
        reply.assert_reason(401, "unauthorized");
        let challenge = reply.header("www-authenticate");
        let expected = if what == "giant" {
            "Bearer"
        } else {
            "Bearer error=\"invalid_token\""
        };
        assert_eq!(challenge, Some(expected), "{what}");
        assert!(reply.text().contains("Credentials are missing or wrong"), "{what}");
    }
    let nothing = plimsoll.get("web", "/api/");
    nothing.assert_reason(401, "unauthorized");
    assert_eq!(nothing.header("www-authenticate"), Some("Bearer"));
    let reader = issuer.token("RS256", "", |claims| claims["scope"] = "read administrator".into());
    let reply = bearing(&plimsoll, "/admin/", &reader);
    reply.assert_reason(403, "denied");
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\"")
    );
    assert_eq!(backend.requests(), 0);
}

#[test]
fn keys_of_a_url_are_asked_for_again_when_one_is_missed() {
    let issuer = Issuer::new();
    let keys = Backend::named("keys", Script::status(503));
    let jwks = format!("http://{}/jwks?x=secret", keys.address());
    let (_backend, plimsoll) = start(&jwks, "");
    let status = |mark: &str| bearing(&plimsoll, "/api/", &issuer.token("RS256", mark, |_| {})).status;
    bearing(&plimsoll, "/api/", &issuer.token("RS256", "", |_| {})).assert_reason(503, "auth_unavailable");
    keys.play(Script::reply(200, issuer.jwks("")));
    eventually("the keys are there", || (status("") == 200).then_some(()));
    let asked = keys.requests();
    let listed = || {
        let files = plimsoll.admin("/api/v1/status").json()["files"].clone();
        let is_url = |file: &&Value| file["path"].as_str().is_some_and(|path| path.starts_with("http"));
        files
            .as_array()
            .and_then(|files| files.iter().find(is_url).cloned())
            .expect("it is listed")
    };
    let known = listed();
    assert_eq!(
        (&known["path"], &known["entries"]),
        (&json!(format!("http://{}/jwks", keys.address())), &json!(3))
    );
    // The issuer signs with new keys.
    keys.play(Script::reply(200, issuer.jwks("-2")));
    eventually_within(Duration::from_secs(40), "the new keys are found", || {
        (status("-2") == 200).then_some(())
    });
    assert_eq!(status(""), 401, "the old ones are gone");
    assert!(keys.requests() - asked <= 9, "{} times", keys.requests() - asked);
    // Keys that cannot be read take nothing away.
    keys.play(Script::reply(200, "<html>"));
    let error = eventually_within(Duration::from_secs(40), "the bad answer is told", || {
        assert_eq!(status("-3"), 401);
        listed()["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("is no JSON") && !error.contains("secret"), "{error}");
    assert_eq!(status("-2"), 200);
}

/// Serves a file over TLS.
const PYTHON: &str = r#"
import functools, http.server, ssl, sys
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/cert.pem", sys.argv[1] + "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Python(Child);

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve_tls(directory: &Path) -> (Python, u16) {
    let mut command = Command::new("python3");
    command
        .args(["-c", PYTHON])
        .arg(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut python = Python(command.spawn().expect("python3 is there"));
    let mut line = String::new();
    let stdout = python.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says its port");
    (python, line.trim().parse().expect("a port"))
}

#[test]
fn keys_come_over_tls_from_those_whom_the_machine_trusts() {
    let issuer = Issuer::new();
    issuer.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=keys \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
    );
    issuer.scratch().write("jwks", issuer.jwks(""));
    let (_python, port) = serve_tls(issuer.scratch().path());
    let config = CONFIG.replace("JWKS", &format!("https://127.0.0.1:{port}/jwks"));
    let token = issuer.token("ES256", "", |_| {});
    let start = |certificates: &str| {
        let backend = Backend::named("one", Script::Echo);
        let setup = Plimsoll::config(&config)
            .address("one", backend.address())
            .file("secret", SECRET);
        (backend, setup.environment("SSL_CERT_FILE", certificates).start())
    };
    let trusted = issuer.scratch().path().join("cert.pem").display().to_string();
    let (_backend, plimsoll) = start(&trusted);
    eventually("the keys are there", || {
        (bearing(&plimsoll, "/api/", &token).status == 200).then_some(())
    });
    let stranger = Issuer::new();
    stranger.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=other");
    let (_backend, plimsoll) = start(&stranger.scratch().path().join("cert.pem").display().to_string());
    let error = eventually("the stranger is refused", || {
        let files = plimsoll.admin("/api/v1/status").json()["files"].clone();
        files
            .as_array()?
            .iter()
            .find_map(|file| file["error"].as_str().map(str::to_owned))
    });
    assert!(error.contains("certificate"), "{error}");
    bearing(&plimsoll, "/api/", &token).assert_reason(503, "auth_unavailable");
}

#[test]
fn explain_judges_what_a_token_says_and_shows_none_of_it() {
    let issuer = Issuer::new();
    let (_backend, plimsoll) = start("keys.json", &issuer.jwks(""));
    let config = plimsoll.config_file().display().to_string();
    let explain = |token: &str| {
        let header = format!("authorization: Bearer {token}");
        let said = e2e::run_command(
            plimsoll.scratch(),
            &["explain", "-c", &config, "-H", &header, "http://127.0.0.1/admin/"],
        );
        assert!(!said.stdout.contains("eyJ"), "{said:?}");
        said.stdout
    };
    let told = explain(&issuer.token("RS256", "", |_| {}));
    assert!(
        told.contains("signature and time are taken to be right; removes authorization"),
        "{told}"
    );
    let told = explain(&issuer.token("RS256", "", |claims| claims["scope"] = "read".into()));
    assert!(
        told.contains("answers 403 denied") && told.contains("its claim `scope` does not suffice"),
        "{told}"
    );
    let told = explain(&issuer.token("ES256", "", |_| {}));
    assert!(told.contains("not among `algorithms`"), "{told}");
}
