use super::super::fixtures::Headers;
use super::*;

fn exact(text: &str) -> ValueMatch {
    ValueMatch::Exact(text.into())
}

fn prefix(text: &str) -> ValueMatch {
    ValueMatch::Prefix(text.into())
}

fn regex(text: &str) -> ValueMatch {
    ValueMatch::regex(text).unwrap()
}

#[test]
fn a_header_matches_by_any_line_or_by_all_of_them_joined() {
    let fields = Headers(&[("x", "a"), ("y", "z"), ("x", "b, c")]);
    for fitting in [
        exact("a"),
        exact("b, c"),
        exact("a, b, c"),
        prefix("b"),
        prefix("a, b"),
        regex("a, .*c"),
        regex("[ab]"),
        ValueMatch::Present(true),
    ] {
        assert_eq!(header(&fields, "x", &fitting), None, "{fitting:?}");
    }
    for other in [
        exact("b"),
        exact("a, b"),
        exact("a, b, c, d"),
        prefix("a, c"),
        regex("b"),
        exact(""),
    ] {
        assert_eq!(header(&fields, "x", &other), Some(Misfit::Other), "{other:?}");
    }
    assert_eq!(header(&fields, "q", &exact("a")), Some(Misfit::Absent));
    assert_eq!(header(&fields, "q", &ValueMatch::Present(true)), Some(Misfit::Absent));
    assert_eq!(header(&fields, "q", &ValueMatch::Present(false)), None);
    assert_eq!(
        header(&fields, "x", &ValueMatch::Present(false)),
        Some(Misfit::Unwanted)
    );
}

#[test]
fn an_empty_header_is_present() {
    let fields = Headers(&[("x", "")]);
    assert_eq!(header(&fields, "x", &ValueMatch::Present(true)), None);
    assert_eq!(header(&fields, "x", &exact("")), None);
    assert_eq!(
        header(&fields, "x", &ValueMatch::Present(false)),
        Some(Misfit::Unwanted)
    );
}

#[test]
fn bytes_that_are_no_text_match_no_expression() {
    struct Raw;
    impl Fields for Raw {
        fn each(&self, _: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            visit(b"\xff");
        }
    }
    assert_eq!(header(&Raw, "x", &regex("(?s).*")), Some(Misfit::Other));
    assert_eq!(header(&Raw, "x", &ValueMatch::Present(true)), None);
}

#[test]
fn parameters_are_compared_decoded() {
    let query = "a=1&b=x%20y+z&&c&d=%zz&a=2&%65=%C3%a4&f=a=b";
    for (name, fitting) in [
        ("a", exact("1")),
        ("a", exact("2")),
        ("b", exact("x y z")),
        ("b", prefix("x ")),
        ("b", regex("x y.z")),
        ("c", exact("")),
        ("c", ValueMatch::Present(true)),
        ("d", exact("%zz")),
        ("e", exact("ä")),
        ("e", regex(".")),
        ("f", exact("a=b")),
        ("", ValueMatch::Present(false)),
    ] {
        assert_eq!(parameter(query, name, &fitting), None, "{name} {fitting:?}");
    }
    assert_eq!(parameter(query, "a", &exact("3")), Some(Misfit::Other));
    assert_eq!(parameter(query, "b", &prefix("x y z!")), Some(Misfit::Other));
    assert_eq!(parameter(query, "A", &exact("1")), Some(Misfit::Absent));
    assert_eq!(parameter("", "a", &ValueMatch::Present(false)), None);
    assert_eq!(
        parameter(query, "a", &ValueMatch::Present(false)),
        Some(Misfit::Unwanted)
    );
}

#[test]
fn cookies_are_found_over_lines_with_and_without_spaces_and_quotes() {
    let fields = Headers(&[("cookie", "a=1; b=\"2\";c=3 ; nameless"), ("cookie", "\td=x=y;a=4; e=")]);
    for (name, fitting) in [
        ("a", exact("1")),
        ("a", exact("4")),
        ("b", exact("2")),
        ("b", exact("\"2\"")),
        ("c", exact("3")),
        ("d", exact("x=y")),
        ("d", regex("x=.")),
        ("e", exact("")),
        ("nameless", ValueMatch::Present(false)),
        ("A", ValueMatch::Present(false)),
    ] {
        assert_eq!(cookie(&fields, name, &fitting), None, "{name} {fitting:?}");
    }
    assert_eq!(cookie(&fields, "a", &exact("2")), Some(Misfit::Other));
    assert_eq!(cookie(&fields, "z", &exact("2")), Some(Misfit::Absent));
    assert_eq!(cookie(&Headers(&[]), "a", &exact("1")), Some(Misfit::Absent));
}
