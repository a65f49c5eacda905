use super::*;

/// By Python's bcrypt and argon2-cffi, and by htpasswd, of `s3cret`.
const HASHES: [&str; 3] = [
    "$2b$04$mCfm1ptkD9tcipK/LkxYc.pZ4VdNPr/UBa694qFm/JXWBOgDURZ/y",
    "$argon2id$v=19$m=64,t=1,p=1$z4+ZsOqen6FAp6znUe07DQ$nZ8dL0CucGRS9sXgkgW9oYR6TmBxZWyV+Ld+T3TUWr8",
    "$2y$04$tNltNlsjnXMVGXKjikhbluWJiUv.jI2EYoh9oSPCybIls39n2.H4.",
];

struct Shown(String);

impl Fields for Shown {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let _ = name == "authorization" && visit(self.0.as_bytes());
    }
}

#[test]
fn a_file_has_a_name_and_a_hash_a_line() {
    let [bcrypt, argon2, htpasswd] = HASHES;
    let text = format!("# staff\nann:{argon2}\n\nbob:{bcrypt}:a comment\nJosé:{htpasswd}\n");
    let users = Users::parse(&text).unwrap();
    assert_eq!(users.entries(), 3);
    assert_eq!(users.hashes.get("bob").map(|hash| &**hash), Some(bcrypt));
    assert_eq!(users.decoy.as_deref(), Some(argon2));
    assert_eq!(Users::parse("").unwrap().decoy, None);
}

#[test]
fn what_is_no_hash_is_refused_without_showing_it() {
    let [bcrypt, argon2, _] = HASHES;
    let cheap = bcrypt.replace("$04$", "$03$");
    let dear = bcrypt.replace("$04$", "$16$");
    let greedy = argon2.replace("m=64", "m=1048576");
    let short = &bcrypt[..50];
    for (hash, says) in [
        ("secret", "no hash by bcrypt or argon2"),
        ("$apr1$abc$def", "no hash by bcrypt or argon2"),
        ("{SHA}abc", "no hash by bcrypt or argon2"),
        ("", "no hash by bcrypt or argon2"),
        (&cheap, "cost of the bcrypt hash is 3"),
        (&dear, "cost of the bcrypt hash is 16"),
        (short, "not whole"),
        (&greedy, "asks for m=1048576"),
        (
            "$argon2id$v=19$m=64$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo",
            "does not name m, t and p",
        ),
        (
            "$argon2id$v=16$m=64,t=1,p=1$c2FsdA$aGFzaA",
            "no hash by bcrypt or argon2",
        ),
    ] {
        let wrong = Users::parse(&format!("ann:{argon2}\nbob:{hash}\n")).err().expect(hash);
        assert!(
            wrong.line == Some(2) && wrong.message.contains(says),
            "{hash}: {wrong:?}"
        );
        assert!(hash.is_empty() || !wrong.message.contains(hash), "{wrong:?}");
    }
    for text in [
        "ann\n",
        &format!(":{argon2}\n"),
        &format!("ann:{argon2}\nann:{argon2}\n"),
    ] {
        assert!(Users::parse(text).is_err(), "{text}");
    }
}

#[test]
fn only_whole_credentials_are_taken() {
    let show = |text: &str| credentials(&Shown(text.to_owned()));
    let encoded = |bytes: &[u8]| format!("Basic {}", BASE64.encode(bytes));
    for (value, found) in [
        ("Basic YW5uOnMzY3JldA==".to_owned(), Some(("ann", "s3cret"))),
        ("basic YW5uOnMzY3JldA".to_owned(), Some(("ann", "s3cret"))),
        (encoded(b"ann:a:b"), Some(("ann", "a:b"))),
        (encoded(b"ann:"), Some(("ann", ""))),
        (encoded("José:ü".as_bytes()), Some(("José", "ü"))),
        (encoded(b"ann"), None),
        (encoded(b":s3cret"), None),
        (encoded(b"a\nb:s3cret"), None),
        (encoded(b"ann:\xff"), None),
        (
            encoded(format!("ann:{}", "x".repeat(PASSWORD_MAX)).as_bytes()),
            Some(("ann", &*"x".repeat(PASSWORD_MAX))),
        ),
        (
            encoded(format!("ann:{}", "x".repeat(PASSWORD_MAX + 1)).as_bytes()),
            None,
        ),
        ("Basic YW5u*".to_owned(), None),
        ("Basic ".to_owned(), None),
        ("Bearer YW5uOnMzY3JldA==".to_owned(), None),
    ] {
        let expected = found.map(|(name, password)| (name.to_owned(), Secret(password.as_bytes().to_vec())));
        assert_eq!(show(&value), expected, "{value}");
    }
}

#[test]
fn nothing_secret_is_shown_by_debug() {
    let errand = Errand::Password(Password {
        shown: Secret(b"s3cret".to_vec()),
        hash: HASHES[0].into(),
        client: [192, 0, 2, 1].into(),
    });
    assert!(!format!("{errand:?} {}", errand.told()).contains("s3cret"));
}
