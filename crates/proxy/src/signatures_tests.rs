//! Tokens through the filter and back, signed by PyJWT.

use std::any::Any;
use std::sync::Arc;

use plimsoll_core::document::{Decode, Entry, Faults, Json, Node, Span, Value};
use plimsoll_core::filter::{
    Changes, Done, Errand, FileName, Filter, FilterCx, FilterEntry, Flow, Keep, RequestView, Slot,
};
use plimsoll_core::rng::Rng;
use plimsoll_core::route::{Asked, Fields, Target};
use plimsoll_core::time::Now;
use serde_json::json;

use super::*;

const MADE: &str = include_str!("signatures_tests.json");

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Files that hold what tests have made.
struct Holds(Json);

impl Keep for Holds {
    fn seed(&self) -> u64 {
        0
    }

    fn state(&mut self, make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>) -> Arc<dyn Any + Send + Sync> {
        make()
    }

    fn file(&mut self, file: &FileName, fresh: Arc<dyn Slot>) -> Arc<dyn Slot> {
        let text = if file.written == "secret" {
            SECRET.to_owned()
        } else {
            self.0.to_string()
        };
        fresh.take(text.as_bytes()).unwrap();
        fresh
    }
}

fn node(json: &Json) -> Node {
    let value = match json {
        Json::Array(items) => Value::Array(items.iter().map(node).collect()),
        Json::Object(map) => Value::Table(
            map.iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    key_span: Span::default(),
                    node: node(value),
                })
                .collect(),
        ),
        other => Value::Text(other.as_str().unwrap().to_owned()),
    };
    Node {
        span: Span::default(),
        value,
    }
}

fn filter(algorithms: &[&str], keys: &Json) -> Box<dyn Filter> {
    let mut settings = json!({ "kind": "jwt", "algorithms": algorithms });
    if algorithms.iter().any(|name| !name.starts_with("HS")) {
        settings["jwks"] = "keys.json".into();
    }
    if algorithms.iter().any(|name| name.starts_with("HS")) {
        settings["secret_file"] = "secret".into();
    }
    let mut faults = Faults::default();
    let entry = FilterEntry::decode(&node(&settings), &mut faults);
    entry.expect("sound").config.build(&mut Holds(keys.clone()))
}

struct Bearer(String);

impl Fields for Bearer {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let _ = name == "authorization" && visit(format!("Bearer {}", self.0).as_bytes());
    }
}

/// The status that `token` gets; 200 when it is let in.
fn status(filter: &dyn Filter, token: &str) -> u16 {
    let fields = Bearer(token.to_owned());
    let asked = Asked::read("GET", b"a", Target::Origin(b"/"), &fields, false).unwrap();
    let (mut changes, mut rng) = (Changes::default(), Rng::seeded(1));
    let mut head = RequestView {
        asked: &asked,
        changes: &mut changes,
        prefix: "",
    };
    let mut cx = FilterCx {
        dry_run: false,
        now: Now::START,
        rng: &mut rng,
        client: [192, 0, 2, 1].into(),
        peer: ([192, 0, 2, 1], 1).into(),
        request_id: "id",
        scheme: "http",
        tls: None,
        route: "",
        pool: "",
        is_question: false,
        said: None,
    };
    let mut flow = filter.request(&mut head, &mut cx);
    if let Flow::Errand(Errand::Signature(signature)) = &flow {
        let right = is_right(signature);
        flow = filter.resume(Done::Signature { right, at: 0 }, &mut head, &mut cx);
    }
    match flow {
        Flow::Next => 200,
        Flow::Reply(reply) => reply.status,
        Flow::Errand(errand) => panic!("{errand:?}"),
    }
}

fn made() -> (Json, serde_json::Map<String, Json>) {
    let made: Json = serde_json::from_str(MADE).unwrap();
    let tokens = made["tokens"].as_object().unwrap().clone();
    (json!({ "keys": made["keys"] }), tokens)
}

#[test]
fn tokens_that_others_signed_are_taken_under_their_own_algorithm_alone() {
    let (keys, tokens) = made();
    let all: Vec<&str> = tokens.keys().map(String::as_str).collect();
    for (algorithm, token) in &tokens {
        let token = token.as_str().unwrap();
        assert_eq!(status(&*filter(&[algorithm], &keys), token), 200, "{algorithm}");
        assert_eq!(status(&*filter(&all, &keys), token), 200, "{algorithm}");
        let others: Vec<&str> = all.iter().copied().filter(|name| name != algorithm).collect();
        assert_eq!(status(&*filter(&others, &keys), token), 401, "{algorithm}");
        // One bit of the signature, and of what is signed.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let other = if signature.starts_with('A') { 'B' } else { 'A' };
        let bent = format!("{signed}.{other}{}", &signature[1..]);
        assert_eq!(status(&*filter(&all, &keys), &bent), 401, "{algorithm}");
        let forged = token.replacen("eyJzdWIiOiJhbm4ifQ", "eyJzdWIiOiJib2IifQ", 1);
        assert_ne!(forged, token, "the claims are where they are expected");
        assert_eq!(status(&*filter(&all, &keys), &forged), 401, "{algorithm}");
        for cut in ["", &signature[..8]] {
            assert_eq!(
                status(&*filter(&all, &keys), &format!("{signed}.{cut}")),
                401,
                "{algorithm}"
            );
        }
    }
}

#[test]
fn a_token_does_not_choose_how_it_is_judged() {
    use base64::Engine;
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    let (keys, tokens) = made();
    let all: Vec<&str> = tokens.keys().map(String::as_str).collect();
    let judge = filter(&all, &keys);
    let claims = encode("{\"sub\":\"root\"}");
    for name in ["none", "None", "NONE", "nOnE", "", "RS256 ", "rs256"] {
        let header = encode(&format!("{{\"alg\":\"{name}\"}}"));
        for signature in ["", "AA"] {
            assert_eq!(
                status(&*judge, &format!("{header}.{claims}.{signature}")),
                401,
                "{name}"
            );
        }
    }
    // The public key, which everybody has, as the secret of an HMAC (CVE-2015-9235).
    let modulus = keys["keys"][0]["n"].as_str().unwrap();
    for header in [r#"{"alg":"HS256","kid":"rsa"}"#, r#"{"alg":"HS256"}"#] {
        let signed = format!("{}.{claims}", encode(header));
        for secret in [modulus.as_bytes(), keys["keys"][0].to_string().as_bytes(), b""] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag.as_ref());
            assert_eq!(status(&*judge, &format!("{signed}.{tag}")), 401);
            assert_eq!(status(&*filter(&["RS256"], &keys), &format!("{signed}.{tag}")), 401);
        }
    }
    // A key that the token brings itself, or says where to find.
    let es256 = tokens["ES256"].as_str().unwrap();
    let (_, rest) = es256.split_once('.').unwrap();
    for header in [
        r#"{"alg":"ES256","kid":"../../etc/passwd"}"#,
        r#"{"alg":"ES256","kid":"p256' OR '1'='1"}"#,
        r#"{"alg":"ES256","kid":"rsa"}"#,
        r#"{"alg":"ES256","jku":"http://127.0.0.1:1/keys","kid":"mine"}"#,
        r#"{"alg":"ES256","jwk":{"kty":"oct","k":""},"kid":"mine"}"#,
        r#"{"alg":"RS256","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"p256","crit":["b64"],"b64":false}"#,
    ] {
        assert_eq!(status(&*judge, &format!("{}.{rest}", encode(header))), 401, "{header}");
    }
    // ECDSA with r = s = 0, which some take for right (CVE-2022-21449).
    let zeros = encode(&"\0".repeat(64));
    let header = encode(r#"{"alg":"ES256","kid":"p256"}"#);
    assert_eq!(status(&*judge, &format!("{header}.{claims}.{zeros}")), 401);
}

#[test]
fn a_key_without_a_name_is_found_by_trying_a_few() {
    let (keys, tokens) = made();
    let ed = tokens["EdDSA"].as_str().unwrap();
    let mut named = keys["keys"][3].clone();
    named.as_object_mut().unwrap().remove("kid");
    assert_eq!(status(&*filter(&["EdDSA"], &json!({ "keys": [named] })), ed), 200);
    let other = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    assert_eq!(
        status(&*filter(&["EdDSA"], &json!({ "keys": [other, named] })), ed),
        200
    );
    let many: Vec<&Json> = std::iter::repeat_n(&other, 8).chain([&named]).collect();
    assert_eq!(status(&*filter(&["EdDSA"], &json!({ "keys": many })), ed), 401);
}
