use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use std::any::Any;

use super::super::Slot;
use super::super::fixtures::{Asking, Request, read};
use super::super::held::Contents;
use super::*;

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn token(header: &Value, claims: &Value) -> String {
    format!("{}.{}.c2ln", encoded(header), encoded(claims))
}

#[test]
fn a_token_has_three_parts_and_a_header_that_is_understood() {
    let good = token(
        &json!({ "alg": "RS256", "kid": "a", "typ": "JWT" }),
        &json!({ "sub": "ann" }),
    );
    let read = Token::read(good.as_bytes()).unwrap();
    assert_eq!((&*read.algorithm, read.kid.as_deref()), ("RS256", Some("a")));
    assert_eq!(read.signature, b"sig");
    assert_eq!(read.claims().unwrap()["sub"], "ann");
    assert_eq!(read.signed, &good.as_bytes()[..good.len() - 5]);
    let claims = json!({});
    let deep = format!(
        "{}.e30.",
        URL_SAFE_NO_PAD.encode(format!("{{\"alg\":{}1{}}}", "[".repeat(500), "]".repeat(500)))
    );
    for bad in [
        String::new(),
        "a.b".into(),
        format!("{good}.x"),
        format!("{good}="),
        good.replace('.', ".."),
        token(&json!({ "alg": "RS256", "crit": ["exp"] }), &claims),
        token(&json!({ "alg": "RS256", "kid": 7 }), &claims),
        token(&json!({ "alg": "RS256", "kid": "x".repeat(300) }), &claims),
        token(&json!({ "alg": ["RS256"] }), &claims),
        token(&json!({ "kid": "a" }), &claims),
        token(&json!(["RS256"]), &claims),
        token(&json!({ "alg": "RS256" }), &json!({ "sub": "x".repeat(12 << 10) })),
        deep,
    ] {
        assert_eq!(Token::read(bad.as_bytes()), None, "{bad:.80}");
    }
    // What cannot be read as claims is no reason to refuse it before the signature.
    let odd = format!("{}.bm90IGpzb24.c2ln", encoded(&json!({ "alg": "RS256" })));
    assert_eq!(Token::read(odd.as_bytes()).unwrap().claims(), None);
}

fn number(bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(vec![0x81; bytes])
}

#[test]
fn a_set_gives_keys_that_fit_and_no_others() {
    let set = json!({ "keys": [
        { "kty": "RSA", "kid": "a", "n": number(256), "e": "AQAB", "alg": "RS256", "use": "sig" },
        { "kty": "RSA", "kid": "b", "n": format!("AA{}", number(256)), "e": "AQAB", "key_ops": ["verify"] },
        { "kty": "EC", "crv": "P-256", "kid": "c", "x": number(32), "y": number(32) },
        { "kty": "EC", "crv": "P-384", "x": number(48), "y": number(48) },
        { "kty": "OKP", "crv": "Ed25519", "kid": "a", "x": number(32) },
        { "kty": "RSA", "kid": "weak", "n": number(128), "e": "AQAB" },
        { "kty": "RSA", "kid": "huge", "n": number(2000), "e": "AQAB" },
        { "kty": "RSA", "kid": "enc", "n": number(256), "e": "AQAB", "use": "enc" },
        { "kty": "RSA", "kid": "ops", "n": number(256), "e": "AQAB", "key_ops": ["sign"] },
        { "kty": "EC", "crv": "P-256", "kid": "short", "x": number(31), "y": number(32) },
        { "kty": "oct", "kid": "oct", "k": number(32) },
        { "kty": "new" },
        "no key",
    ] });
    let keys = KeySet::parse(&set.to_string()).unwrap();
    assert_eq!(keys.entries(), 5);
    for (kid, algorithm, count) in [
        (Some("a"), Algorithm::Rs256, 1),
        (Some("a"), Algorithm::Rs512, 0),
        (Some("a"), Algorithm::EdDsa, 1),
        (Some("b"), Algorithm::Ps256, 1),
        (Some("b"), Algorithm::Es256, 0),
        (Some("c"), Algorithm::Es256, 1),
        (Some("c"), Algorithm::Es384, 1),
        (None, Algorithm::Rs256, 2),
        (Some("z"), Algorithm::Rs256, 0),
        (Some("oct"), Algorithm::Hs256, 0),
        (None, Algorithm::Hs256, 0),
    ] {
        let found = keys.candidates(kid, algorithm);
        assert_eq!(found.len(), count, "{kid:?} {algorithm:?}");
        assert!(found.iter().all(|key| key.fits(algorithm)));
    }
}

#[test]
fn what_is_no_set_is_refused() {
    let many: Vec<Value> = (0..101).map(|_| json!({})).collect();
    for (text, says) in [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ("[]", "no list `keys`"),
        ("{\"keys\": []}", "no key that can be used"),
        (
            "{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2VjcmV0\"}]}",
            "no key that can be used",
        ),
        (&json!({ "keys": many }).to_string(), "more than 100 keys"),
    ] {
        let wrong = KeySet::parse(text).err().expect(text);
        assert!(wrong.message.contains(says), "{wrong:?}");
    }
    assert!(SharedSecret::parse("short\n").is_err());
    let secret = SharedSecret::parse("0123456789abcdef0123456789abcdef\n").ok().unwrap();
    assert!(!format!("{:?}", secret.0).contains("0123"));
}

/// What becomes of claims that are good but for this one.
fn judged(name: &str, value: Value, at: u64) -> Option<String> {
    let settings: Settings = read(&json!({
        "algorithms": ["RS256"], "jwks": "keys.json", "issuer": ["https://a", "https://b"], "audience": "shop",
        "claims": { "scope": "admin", "realm_access.roles": ["staff", "boss"], "mail": true, "level": 3 }, "require": ["exp"],
    }))
    .unwrap();
    let rules = Rules {
        issuer: &settings.issuer,
        audience: &settings.audience,
        require: &settings.require,
        claims: &settings.claims,
        leeway: settings.leeway.0,
    };
    let mut claims = json!({
        "iss": "https://b", "aud": ["x", "shop"], "exp": 1000, "nbf": 500, "iat": 400.5,
        "scope": "read admin", "realm_access": { "roles": ["boss"] }, "mail": true, "level": 3,
    });
    claims[name] = value;
    let claims: Claims = claims
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    rules.judge(&claims, Some(at)).err().map(|misfit| match misfit {
        Misfit::Invalid(why) => format!("401 {why}"),
        Misfit::Insufficient(why) => format!("403 {why}"),
    })
}

#[test]
fn times_are_held_against_the_clock() {
    for (name, value, at, refused) in [
        ("sub", json!("ann"), 700, None),
        ("sub", json!("ann"), 1029, None),
        ("sub", json!("ann"), 1030, Some("401 it has expired")),
        ("sub", json!("ann"), 470, None),
        ("sub", json!("ann"), 469, Some("401 it is not valid yet")),
        ("iat", json!(731), 700, Some("401 it is not valid yet")),
        ("exp", json!("1000"), 700, Some("401 its claim `exp` is no time")),
        ("exp", json!(null), 700, Some("401 it has no claim `exp`")),
        ("exp", json!(-5), 700, Some("401 it has expired")),
        ("exp", json!(1e300), 700, None),
    ] {
        assert_eq!(
            judged(name, value.clone(), at).as_deref(),
            refused,
            "{name} {value} {at}"
        );
    }
}

#[test]
fn claims_are_held_against_the_settings() {
    for (name, value, at, refused) in [
        ("iss", json!("https://a"), 700, None),
        ("iss", json!("https://a/"), 700, Some("401 it is from another issuer")),
        ("iss", json!(["https://a"]), 700, Some("401 it is from another issuer")),
        ("iss", json!(null), 700, Some("401 it is from another issuer")),
        ("aud", json!("shop"), 700, None),
        ("aud", json!("shop2"), 700, Some("401 it is for another audience")),
        ("aud", json!([]), 700, Some("401 it is for another audience")),
        (
            "aud",
            json!({ "shop": true }),
            700,
            Some("401 it is for another audience"),
        ),
        ("scope", json!("admin"), 700, None),
        ("scope", json!(["admin"]), 700, None),
        (
            "scope",
            json!("administrator"),
            700,
            Some("403 its claim `scope` does not suffice"),
        ),
        (
            "scope",
            json!(null),
            700,
            Some("403 its claim `scope` does not suffice"),
        ),
        ("realm_access.roles", json!("staff"), 700, None),
        (
            "realm_access",
            json!({ "roles": ["guest"] }),
            700,
            Some("403 its claim `realm_access.roles` does not suffice"),
        ),
        (
            "realm_access",
            json!({ "roles": "not boss" }),
            700,
            Some("403 its claim `realm_access.roles` does not suffice"),
        ),
        (
            "mail",
            json!("true"),
            700,
            Some("403 its claim `mail` does not suffice"),
        ),
        ("level", json!(4), 700, Some("403 its claim `level` does not suffice")),
    ] {
        assert_eq!(
            judged(name, value.clone(), at).as_deref(),
            refused,
            "{name} {value} {at}"
        );
    }
}

#[test]
fn claims_become_fields_without_control_characters() {
    for (value, field) in [
        (json!("ann"), Some("ann")),
        (json!(7), Some("7")),
        (json!(true), Some("true")),
        (json!(["a", "b"]), Some("a,b")),
        (json!("a\r\nx: y"), None),
        (json!(["a", "b\n"]), None),
        (json!({ "a": 1 }), None),
        (json!(null), None),
    ] {
        assert_eq!(claims::as_field(&value).as_deref(), field, "{value}");
    }
}

#[test]
fn settings_that_could_let_anybody_in_are_refused() {
    let told = |json: Value| read::<Jwt>(&json).err().unwrap_or_default().join("; ");
    assert_eq!(told(json!({ "jwks": "k.json", "algorithms": ["RS256", "EdDSA"] })), "");
    assert_eq!(told(json!({ "secret_file": "s", "algorithms": ["HS256"] })), "");
    assert_eq!(
        told(json!({ "jwks": "https://id.example.com/jwks", "secret_file": "s", "algorithms": ["HS256", "RS256"] })),
        ""
    );
    for (json, says) in [
        (json!({ "jwks": "k.json" }), "the key `algorithms` is missing"),
        (
            json!({ "jwks": "k.json", "algorithms": [] }),
            "without an algorithm no token is taken",
        ),
        (
            json!({ "jwks": "k.json", "algorithms": ["none"] }),
            "unknown word \"none\"",
        ),
        (
            json!({ "jwks": "k.json", "algorithms": ["rs256"] }),
            "unknown word \"rs256\"",
        ),
        (json!({ "algorithms": ["RS256"] }), "RS256 needs keys"),
        (
            json!({ "jwks": "k.json", "algorithms": ["HS256"] }),
            "HS256 needs a secret",
        ),
        (
            json!({ "jwks": "k.json", "secret_file": "s", "algorithms": ["HS256"] }),
            "none of the algorithms takes keys",
        ),
        (
            json!({ "jwks": "k.json", "secret_file": "s", "algorithms": ["RS256"] }),
            "none of the algorithms takes a secret",
        ),
        (json!({ "jwks": "ftp://a/", "algorithms": ["RS256"] }), "is not a URL"),
        (
            json!({ "jwks": "https://u:p@a/", "algorithms": ["RS256"] }),
            "is not a URL",
        ),
        (
            json!({ "jwks": "k.json", "algorithms": ["RS256"], "leeway": "1h" }),
            "10 minutes apart",
        ),
        (
            json!({ "jwks": "k.json", "algorithms": ["RS256"], "claims": { "a": [] } }),
            "no value of the claim",
        ),
    ] {
        let faults = told(json.clone());
        assert!(faults.contains(says), "{json}: {faults}");
    }
}

/// Keeps the slot of the one file that is named.
#[derive(Default)]
struct KeepSlot(Option<Arc<dyn Slot>>);

impl Keep for KeepSlot {
    fn seed(&self) -> u64 {
        7
    }

    fn state(&mut self, make: &mut dyn FnMut() -> Arc<dyn Any + Send + Sync>) -> Arc<dyn Any + Send + Sync> {
        make()
    }

    fn file(&mut self, _: &FileName, fresh: Arc<dyn Slot>) -> Arc<dyn Slot> {
        self.0.get_or_insert(fresh).clone()
    }
}

#[test]
fn a_token_of_a_new_key_waits_once_for_the_keys_to_be_asked_for() {
    let mut keep = KeepSlot::default();
    let settings = json!({ "jwks": "https://id.example.com/jwks", "algorithms": ["EdDSA"] });
    let filter = read::<Jwt>(&settings).unwrap().build(&mut keep);
    let slot = keep.0.unwrap();
    let key = |kid: &str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": URL_SAFE_NO_PAD.encode([1; 32]) });
    let set = |kid: &str| json!({ "keys": [key(kid)] }).to_string();
    let value = format!("Bearer {}", token(&json!({ "alg": "EdDSA", "kid": "new" }), &json!({})));
    let request = || Request::get().with("authorization", value.clone().leak());
    assert_eq!(request().ask(&*filter).status(), 503, "no keys at all");
    // They were asked for just now: the one that is missing is not there.
    slot.take(set("old").as_bytes()).unwrap();
    assert_eq!(request().ask(&*filter).status(), 401);
    // It is time to ask again.
    slot.is_missed();
    let waits = |asking: Asking| matches!(asking.flow, Flow::Errand(Errand::Wait(_)));
    assert!(waits(request().ask(&*filter)) && waits(request().ask(&*filter)));
    assert!(slot.is_missed(), "somebody asks");
    assert_eq!(request().resume(&*filter, Done::Waited).status(), 401, "not there yet");
    slot.take(set("new").as_bytes()).unwrap();
    let found = request().resume(&*filter, Done::Waited);
    assert!(matches!(found.flow, Flow::Errand(Errand::Signature(_))), "{found:?}");
    // Who only wants to know waits for nothing.
    slot.take(set("old").as_bytes()).unwrap();
    slot.is_missed();
    assert_eq!(request().question(&*filter).status(), 401);
    assert!(!slot.is_missed());
}
