use proptest::prelude::*;

use super::*;

fn of(raw: &str) -> Result<String, PathFault> {
    canonical(raw.as_bytes(), false).map(Cow::into_owned)
}

#[test]
fn each_path_has_one_spelling() {
    for (raw, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/%41%7a%2d%5F%7E", "/Az-_~"),
        ("/%e4%2b%3b", "/%E4%2B%3B"),
        ("/a%20b", "/a%20b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/a/..", "/"),
        ("/..", "/"),
        ("/.", "/"),
        ("/../x", "/x"),
        ("/../../../etc/passwd", "/etc/passwd"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/%2e/b", "/b"),
        ("//a///b//", "/a/b/"),
        ("/a//../b", "/a/b"),
        ("//../x", "/x"),
        ("/...", "/..."),
        ("/..a/.b/a..", "/..a/.b/a.."),
        ("/.well-known/acme-challenge/x", "/.well-known/acme-challenge/x"),
        ("/a;v=1/b", "/a;v=1/b"),
        ("/%252e%252e/x", "/%252e%252e/x"),
        ("/a|b\"c[d]{e}^`<>", "/a%7Cb%22c%5Bd%5D%7Be%7D%5E%60%3C%3E"),
        ("/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b"),
    ] {
        assert_eq!(of(raw).as_deref(), Ok(expected), "{raw}");
    }
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    for (raw, fault) in [
        ("", PathFault::NotAbsolute),
        ("a", PathFault::NotAbsolute),
        ("*", PathFault::NotAbsolute),
        ("http://x/", PathFault::NotAbsolute),
        ("/a\\b", PathFault::Backslash),
        ("/a%2fb", PathFault::EncodedSlash),
        ("/a%2Fb", PathFault::EncodedSlash),
        ("/..%2f..%2fx", PathFault::EncodedSlash),
        ("/a%5cb", PathFault::EncodedSlash),
        ("/a%00b", PathFault::EncodedNul),
        ("/a\0b", PathFault::Control(0)),
        ("/a\x7fb", PathFault::Control(0x7f)),
        ("/a\r\nb", PathFault::Control(13)),
        ("/a\tb", PathFault::Control(9)),
        ("/a b", PathFault::Space),
        ("/a#b", PathFault::Fragment),
        ("/a?b", PathFault::QuestionMark),
        ("/ä", PathFault::NonAscii(0xc3)),
        ("/%", PathFault::BadEscape),
        ("/%4", PathFault::BadEscape),
        ("/%4g", PathFault::BadEscape),
        ("/%+1", PathFault::BadEscape),
        ("/%u002e", PathFault::BadEscape),
        ("/a/..;/b", PathFault::HiddenDots),
        ("/a/..;x=1/b", PathFault::HiddenDots),
        ("/a/.%2e;/b", PathFault::HiddenDots),
        ("/a/..%3b/b", PathFault::HiddenDots),
        ("/.;/a", PathFault::HiddenDots),
    ] {
        assert_eq!(of(raw), Err(fault), "{raw}");
    }
}

#[test]
fn encoded_slashes_are_kept_where_they_are_allowed_and_hide_no_dots() {
    let of = |raw: &str| canonical(raw.as_bytes(), true).map(Cow::into_owned);
    assert_eq!(of("/group%2fproject").as_deref(), Ok("/group%2Fproject"));
    assert_eq!(of("/a%5Cb/../c").as_deref(), Ok("/c"));
    assert_eq!(of("/v1.2%2Fx").as_deref(), Ok("/v1.2%2Fx"));
    for raw in ["/..%2fx", "/a/x%2f..", "/a%5c..%5cb", "/x%2f.%2fy", "/x%2F..;a%2Fy"] {
        assert_eq!(of(raw), Err(PathFault::HiddenDots), "{raw}");
    }
    assert_eq!(of("/a%00b"), Err(PathFault::EncodedNul));
}

#[test]
fn a_canonical_path_is_borrowed() {
    for raw in [
        "/",
        "/a/b.c/d-e_f~g",
        "/.well-known/x",
        "/a%20b%C3%A4",
        "/..a",
        "/a;v=1",
    ] {
        assert!(
            matches!(canonical(raw.as_bytes(), false), Ok(Cow::Borrowed(_))),
            "{raw}"
        );
    }
}

#[test]
fn a_target_is_split_at_its_first_question_mark() {
    let split =
        |target: &'static str| split(target.as_bytes()).map(|t| (std::str::from_utf8(t.path).unwrap(), t.query));
    assert_eq!(split("/a"), Ok(("/a", None)));
    assert_eq!(split("/a?"), Ok(("/a", Some(""))));
    assert_eq!(split("/a?b?c=%zz|{}^\"\\"), Ok(("/a", Some("b?c=%zz|{}^\"\\"))));
    assert_eq!(split("/a?b#c"), Err(PathFault::Fragment));
    assert_eq!(split("/a?b c"), Err(PathFault::Space));
    assert_eq!(split("/a?b\nc"), Err(PathFault::Control(10)));
    assert_eq!(split("/a?ä"), Err(PathFault::NonAscii(0xc3)));
}

#[test]
fn a_path_of_many_dots_and_slashes_takes_one_walk() {
    let raw = format!("/{}{}", "a/".repeat(8000), "../".repeat(8000));
    assert_eq!(of(&raw).as_deref(), Ok("/"));
    assert_eq!(of(&"/".repeat(16000)).as_deref(), Ok("/"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn canonical_paths_stay_as_they_are(
        raw in "/(%2[eEfF]|%5[cC]|%[0-9a-fA-F]{2}|[/.;a|]|[ -~]){0,24}",
        allow in any::<bool>(),
    ) {
        if let Ok(path) = canonical(raw.as_bytes(), allow) {
            prop_assert_eq!(canonical(path.as_bytes(), allow), Ok(Cow::Borrowed(&*path)));
            prop_assert!(path.starts_with('/') && !path.contains("//"));
            prop_assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")));
            prop_assert!(allow || !(path.contains("%2F") || path.contains("%5C")));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..40), allow in any::<bool>()) {
        let _ = canonical(&raw, allow);
        let _ = split(&raw);
    }

    #[test]
    fn escaping_letters_changes_nothing(path in "(/[a-z]{1,4}){1,4}", at in any::<prop::sample::Index>()) {
        let at = at.index(path.len() - 1) + 1;
        if path.as_bytes()[at] != b'/' {
            let escaped = format!("{}%{:02x}{}", &path[..at], path.as_bytes()[at], &path[at + 1..]);
            prop_assert_eq!(of(&escaped), Ok(path));
        }
    }
}
