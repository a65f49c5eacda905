use super::*;

fn host_fault(text: &str) -> String {
    let fault = HostMatch::parse(text).unwrap_err();
    format!("{} | {}", fault.message, fault.help.unwrap_or_default())
}

fn path_fault(text: &str) -> String {
    let fault = PathMatch::parse(text).unwrap_err();
    format!("{} | {}", fault.message, fault.help.unwrap_or_default())
}

#[test]
fn hosts_are_exact_or_wildcards_in_front() {
    for (text, expected) in [
        ("shop.example.com", HostMatch::Exact("shop.example.com".into())),
        ("Shop.Example.com.", HostMatch::Exact("shop.example.com".into())),
        ("*.Example.com", HostMatch::Suffix(".example.com".into())),
        ("*.localhost", HostMatch::Suffix(".localhost".into())),
        ("[2001:DB8::1]", HostMatch::Exact("[2001:db8::1]".into())),
    ] {
        assert_eq!(HostMatch::parse(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_wrong_host_is_told_what_to_write() {
    for (text, expected) in [
        ("", "is empty"),
        ("*", "leave `host` out"),
        ("*.", "is empty"),
        ("*.*.example.com", "\"*.example.com\""),
        ("shop.*.com", "\"*.example.com\""),
        ("*shop.example.com", "\"*.example.com\""),
        ("shop.example.com:8080", "leave \":8080\" out"),
        ("*.example.com:80", "leave \":80\" out"),
        (
            "https://shop.example.com/x",
            "write the host alone: \"shop.example.com\"",
        ),
        ("::1", "\"[::1]\""),
        ("käse.example", "punycode"),
        ("*.[::1]", "wildcard over an address"),
        ("a b", "not a host"),
    ] {
        let fault = host_fault(text);
        assert!(fault.contains(expected), "{text}: {fault}");
    }
}

#[test]
fn paths_are_exact_or_prefixes() {
    let of = |text: &str| PathMatch::parse(text).unwrap();
    assert!(matches!(of("/"), PathMatch::Exact(path) if path == "/"));
    assert!(matches!(of("/api"), PathMatch::Exact(path) if path == "/api"));
    assert!(matches!(of("/api/"), PathMatch::Exact(path) if path == "/api/"));
    assert!(matches!(of("/*"), PathMatch::Prefix(path) if path.is_empty()));
    assert!(matches!(of("/api/*"), PathMatch::Prefix(path) if path == "/api"));
    assert!(matches!(of("/a%2Fb/*"), PathMatch::Prefix(path) if path == "/a%2Fb"));
}

#[test]
fn a_wrong_path_is_told_what_to_write() {
    for (text, expected) in [
        ("", "\"/\""),
        ("api/*", "\"/api/*\""),
        ("*", "\"/*\""),
        ("/api*", "write \"/api/*\" for everything under /api"),
        ("/a/*/b", "path_regex"),
        ("/a/**", "path_regex"),
        ("/a/../b", "write \"/b\""),
        ("//api/*", "write \"/api/*\""),
        ("/%41", "write \"/A\""),
        ("/a%2fb", "write \"/a%2Fb\""),
        ("/users/{id}", "use `path_regex` for patterns"),
        ("/käse/*", "write \"/k%C3%A4se/*\""),
        ("/a b", "write \"/a%20b\""),
        ("/a?b=c", "`query ="),
        ("/a#b", "leave it out"),
        ("/a\\b", "write \"/a/b\""),
        ("/100%", "\"%25\""),
        ("/a%00", "refused before"),
    ] {
        let fault = path_fault(text);
        assert!(fault.contains(expected), "{text}: {fault}");
    }
}

#[test]
fn an_expression_is_over_the_whole_path() {
    let regex = PathMatch::regex("/a|/b[0-9]+").unwrap();
    for path in ["/a", "/b12"] {
        assert!(regex.matches(path), "{path}");
    }
    for path in ["/ab", "/x/a", "/b1x", "/b", "/a\n"] {
        assert!(!regex.matches(path), "{path}");
    }
    assert_eq!(regex.to_string(), "/a|/b[0-9]+");
}

#[test]
fn a_wrong_or_huge_expression_is_refused() {
    for text in ["(", "a)(b", "a)|(?:b", "[", "(?<=a)b"] {
        let fault = PathMatch::regex(text).unwrap_err();
        assert!(fault.message.contains("is not a regular expression"), "{text}: {fault}");
    }
    let fault = PathMatch::regex(r"/(\w{1000}){1000}").unwrap_err();
    assert!(fault.message.contains("more than"), "{fault}");
}
