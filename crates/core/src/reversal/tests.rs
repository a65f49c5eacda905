//! What is turned back, and what is left alone.

use proptest::prelude::*;

use super::*;

const BACKEND: &str = "10.0.0.1:8080";

fn rewritten(steps: &[(&str, &str)]) -> Rewritten {
    let mut rewritten = Rewritten::No;
    steps.iter().for_each(|(prefix, put)| rewritten.replace(prefix, put));
    rewritten
}

fn reversal(host: &str, sent: &HostSent, steps: &[(&str, &str)]) -> Reversal {
    let authority = host::normalise(host.as_bytes()).unwrap();
    Reversal::of("https", authority.as_ref(), sent, &rewritten(steps)).unwrap()
}

fn name(name: &str) -> HostSent {
    HostSent::Name(name.into())
}

#[track_caller]
fn assert_url(reversal: &Reversal, url: &str, becomes: &str) {
    let back = reversal.url(url.as_bytes(), BACKEND.parse().unwrap());
    assert_eq!(back.as_deref().unwrap_or(url), becomes, "{url}");
    assert_eq!(back.is_some(), url != becomes, "{url}");
}

#[test]
fn a_redirect_to_the_host_that_was_sent_leads_to_the_clients() {
    let to = reversal("shop.example.com:8443", &name("api.internal"), &[]);
    for (url, becomes) in [
        ("http://api.internal/x?a=/b#c", "https://shop.example.com:8443/x?a=/b#c"),
        ("HTTPS://API.Internal", "https://shop.example.com:8443/"),
        ("http://api.internal?x", "https://shop.example.com:8443/?x"),
        ("//api.internal/x", "https://shop.example.com:8443/x"),
        ("http://api.internal:80/x", "https://shop.example.com:8443/x"),
        ("https://api.internal:443/x", "https://shop.example.com:8443/x"),
        ("http://api.internal:8080/x", "https://shop.example.com:8443/x"),
        ("http://10.0.0.1:8080/x", "https://shop.example.com:8443/x"),
        (
            "http://api.internal//evil.example/",
            "https://shop.example.com:8443//evil.example/",
        ),
        // Somebody else, or nobody can say who.
        ("http://api.internal:9090/x", "http://api.internal:9090/x"),
        ("http://api.internal.evil.example/", "http://api.internal.evil.example/"),
        ("http://api.internal@evil.example/", "http://api.internal@evil.example/"),
        ("http://user@api.internal/", "http://user@api.internal/"),
        (
            "http://evil.example/http://api.internal/",
            "http://evil.example/http://api.internal/",
        ),
        ("http:/api.internal/x", "http:/api.internal/x"),
        ("ftp://api.internal/x", "ftp://api.internal/x"),
        ("http://10.0.0.2:8080/x", "http://10.0.0.2:8080/x"),
        (
            "http://api.internal\\@evil.example/",
            "http://api.internal\\@evil.example/",
        ),
        ("http://api.internal/\t/x", "http://api.internal/\t/x"),
        // Without a host it is the client's already.
        ("/x", "/x"),
        ("x/y", "x/y"),
        ("?x", "?x"),
        ("", ""),
    ] {
        assert_url(&to, url, becomes);
    }
}

#[test]
fn a_redirect_to_the_backends_address_leads_to_the_clients_host() {
    let to = reversal("shop.example.com", &HostSent::Backend, &[]);
    assert_url(&to, "http://10.0.0.1:8080/x", "https://shop.example.com/x");
    assert_url(&to, "http://10.0.0.1/x", "https://shop.example.com/x");
    assert_url(&to, "http://10.0.0.1:9090/x", "http://10.0.0.1:9090/x");
    let six = to.url(b"http://[2001:DB8::1]:80/x", "[2001:db8::1]:80".parse().unwrap());
    assert_eq!(six.as_deref(), Some("https://shop.example.com/x"));
}

#[test]
fn a_client_that_names_no_host_stays_where_it_is() {
    let to = reversal("", &name("api.internal"), &[]);
    assert_url(&to, "http://api.internal/x?y", "/x?y");
    assert_url(&to, "http://api.internal//evil.example/", "/evil.example/");
    assert_url(&to, "http://api.internal", "/");
}

#[test]
fn paths_are_turned_back_by_the_prefix_that_was_changed() {
    for (steps, path, becomes) in [
        // `strip_prefix = "/v1"`.
        (&[("/v1", "")][..], "/x?q#f", "/v1/x?q#f"),
        (&[("/v1", "")], "/", "/v1/"),
        (&[("/v1", "")], "/v1/x", "/v1/x"),
        (&[("/v1", "")], "/v1x", "/v1/v1x"),
        (&[("/v1", "")], "/a/../x", "/a/../x"),
        (&[("/v1", "")], "/a/%2E%2e/x", "/a/%2E%2e/x"),
        // `add_prefix = "/app"`.
        (&[("", "/app")], "/app/x", "/x"),
        (&[("", "/app")], "/app", "/"),
        (&[("", "/app")], "/apple", "/apple"),
        (&[("", "/app")], "/other", "/other"),
        (&[("", "/app")], "/app//evil.example", "/evil.example"),
        // `path_prefix = "/v2"` of `/api/*`.
        (&[("/api", "/v2")], "/v2/x", "/api/x"),
        (&[("/api", "/v2")], "/api/x", "/api/x"),
        (&[("/api", "/v2")], "/x", "/x"),
        (&[("/api", "/api/v2")], "/api/v2/x", "/api/x"),
        // Several, one after the other.
        (&[("/v1", ""), ("", "/app")], "/app/x", "/v1/x"),
        (&[("", "/a"), ("/a/b", "/c")], "/c/x", "/b/x"),
        (&[("", "/a/b"), ("/a", "/c")], "/c/b/x", "/x"),
    ] {
        let to = reversal("shop.example.com", &HostSent::Keep, steps);
        assert_url(&to, path, becomes);
    }
}

#[test]
fn with_the_clients_own_host_scheme_and_host_stay() {
    let to = reversal("shop.example.com", &HostSent::Keep, &[("/v1", "")]);
    assert_url(&to, "http://shop.example.com/x", "http://shop.example.com/v1/x");
    assert_url(&to, "//Shop.example.com/x", "//Shop.example.com/v1/x");
    assert_url(&to, "http://other.example.com/x", "http://other.example.com/x");
}

#[test]
fn host_and_path_are_turned_back_together() {
    let to = reversal("shop.example.com", &name("api.internal"), &[("/v1", "")]);
    assert_url(&to, "http://api.internal/x", "https://shop.example.com/v1/x");
    assert_url(&to, "/x", "/v1/x");
    assert_url(&to, "http://other.example.com/x", "http://other.example.com/x");
    let back = to.refresh(b"5; URL='http://api.internal/x'", BACKEND.parse().unwrap());
    assert_eq!(back.as_deref(), Some("5; URL=https://shop.example.com/v1/x"));
    for (value, wanted) in [
        ("0;http://api.internal/x", Some("0;https://shop.example.com/v1/x")),
        ("0 ;  http://api.internal/x", Some("0 ;  https://shop.example.com/v1/x")),
        (
            "1.5,URL = http://api.internal/x",
            Some("1.5,URL = https://shop.example.com/v1/x"),
        ),
        ("3 http://api.internal/x", Some("3 https://shop.example.com/v1/x")),
        ("http://api.internal/x", None),
        ("0;", None),
        ("url", None),
        ("0; urgent", None),
    ] {
        let back = to.refresh(value.as_bytes(), BACKEND.parse().unwrap());
        assert_eq!(back.as_deref(), wanted, "{value}");
    }
    assert_eq!(to.refresh(b"5", BACKEND.parse().unwrap()), None);
    assert_eq!(
        to.refresh(b"5; url=http://other.example/", BACKEND.parse().unwrap()),
        None
    );
}

#[test]
fn nothing_is_turned_back_where_nothing_was_changed() {
    let none = |rewritten: &Rewritten| Reversal::of("http", None, &HostSent::Keep, rewritten).is_none();
    assert!(none(&Rewritten::No) && none(&Rewritten::Beyond));
    assert!(none(&rewritten(&[("/a", ""), ("", "/a")])));
    assert!(
        none(&rewritten(&[("", "/a"), ("/b", "")])),
        "what nobody could have taken away"
    );
    let mut beyond = Rewritten::Beyond;
    beyond.replace("/a", "/b");
    assert_eq!(beyond, Rewritten::Beyond);
}

#[test]
fn cookies_hold_where_the_client_asks() {
    let shop = "shop.example.com:8443";
    let set = |client: &str, sent: &HostSent, steps: &[(&str, &str)], cookie: &str| {
        let back = reversal(client, sent, steps).set_cookie(cookie.as_bytes(), BACKEND.parse().unwrap());
        back.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    for (client, sent, steps, cookie, becomes) in [
        (
            shop,
            name("api.internal:81"),
            &[][..],
            "a=b; Domain=api.internal; Secure",
            "a=b; Domain=shop.example.com; Secure",
        ),
        (
            shop,
            name("v1.api.internal"),
            &[],
            "a=b;domain=.Api.Internal;Path=/x",
            "a=b;domain=shop.example.com;Path=/x",
        ),
        (shop, name("api.internal"), &[], "a=b; Domain=internal", ""),
        (shop, name("api.internal"), &[], "a=b; Domain=other.internal", ""),
        (shop, name("api.internal"), &[], "a=b; Domain=pi.internal", ""),
        (shop, name("api.internal"), &[], "a=Domain=api.internal", ""),
        (
            shop,
            HostSent::Backend,
            &[],
            "a=b; Domain=10.0.0.1",
            "a=b; Domain=shop.example.com",
        ),
        (shop, HostSent::Backend, &[], "a=b; Domain=0.0.1", ""),
        (
            "localhost:80",
            name("api.internal"),
            &[],
            "a=b; Domain=api.internal; Path=/",
            "a=b; Path=/",
        ),
        (
            "192.0.2.1",
            name("api.internal"),
            &[],
            "a=b; HttpOnly; Domain=api.internal",
            "a=b; HttpOnly",
        ),
        (
            shop,
            HostSent::Keep,
            &[("/v1", "")],
            "a=b; Domain=shop.example.com; Path=/",
            "a=b; Domain=shop.example.com; Path=/v1",
        ),
        (shop, HostSent::Keep, &[("/v1", "")], "a=b; path=/x", "a=b; path=/v1/x"),
        (shop, HostSent::Keep, &[("/v1", "")], "a=b; Path=/v1", ""),
        (shop, HostSent::Keep, &[("/v1", "")], "__Host-a=b; Path=/; Secure", ""),
        (shop, HostSent::Keep, &[("", "/app")], "a=b; Path=/app", "a=b; Path=/"),
    ] {
        let back = set(client, &sent, steps, cookie);
        assert_eq!(back.as_deref().unwrap_or_default(), becomes, "{cookie}");
    }
    let raw =
        reversal(shop, &name("api.internal"), &[]).set_cookie(b"a=\xff; Domain=api.internal", BACKEND.parse().unwrap());
    assert_eq!(raw.as_deref(), Some(&b"a=\xff; Domain=shop.example.com"[..]));
}

/// What an answer may hold, more often than not something that means something.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(b"http://".to_vec()),
        Just(b"//".to_vec()),
        Just(b"/".to_vec()),
        Just(b"/app".to_vec()),
        Just(b"api.internal".to_vec()),
        Just(b"evil.example".to_vec()),
        Just(b"..".to_vec()),
        Just(b"\\".to_vec()),
        Just(b"\t".to_vec()),
        Just(b"@".to_vec()),
        Just(b"?".to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn nobody_is_led_to_another_host_than_before(value in value(), strips in any::<bool>(), names in any::<bool>()) {
        let steps: &[(&str, &str)] = if strips { &[("/v1", "")] } else { &[("", "/app")] };
        let sent = if names { name("api.internal") } else { HostSent::Keep };
        let to = reversal("shop.example.com", &sent, steps);
        if let Some(back) = to.url(&value, BACKEND.parse().unwrap()) {
            prop_assert!(back.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{back}");
            let is_path = back.starts_with('/') && !back.starts_with("//");
            let host = authority_of(&back).map(|found| found.authority.to_ascii_lowercase());
            prop_assert!(is_path || host.as_deref() == Some("shop.example.com"), "{back}");
        }
        // A cookie is read by nobody but browsers: nothing of ours may be added to it that they would take for more.
        if let Some(back) = to.set_cookie(&value, BACKEND.parse().unwrap()) {
            let parts = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b';').count();
            prop_assert!(parts(&back) <= parts(&value));
        }
    }
}
