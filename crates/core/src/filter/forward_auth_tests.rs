use super::*;
use crate::document::{Span, Value};

fn url(text: &str) -> Result<AskUrl, String> {
    let mut faults = Faults::default();
    let value = Value::Text(text.into());
    let span = Span::default();
    let decoded = AskUrl::decode(&Node { span, value }, &mut faults);
    decoded.ok_or_else(|| {
        let fault = faults.list.remove(0);
        format!("{} {}", fault.message, fault.help.unwrap_or_default())
    })
}

#[test]
fn a_url_says_where_to_ask_and_for_what() {
    for (text, to, host, target) in [
        (
            "http://127.0.0.1:4180/auth?x=1",
            "127.0.0.1:4180",
            "127.0.0.1:4180",
            "/auth?x=1",
        ),
        ("http://10.0.0.1", "10.0.0.1:80", "10.0.0.1", "/"),
        ("http://[::1]:9000?a", "[::1]:9000", "[::1]:9000", "/?a"),
        ("http://[2001:db8::1]/", "[2001:db8::1]:80", "[2001:db8::1]", "/"),
    ] {
        let asked = url(text).unwrap();
        let found = (asked.to.to_string(), &*asked.host, &*asked.target);
        assert_eq!(found, (to.to_owned(), host, target), "{text}");
    }
    for (text, says) in [
        ("https://127.0.0.1/", "is not built yet"),
        ("http://auth.internal:4180/", "names are not resolved here yet"),
        ("http://user@127.0.0.1/", "is not a URL"),
        ("http://127.0.0.1:99999/", "is not an address"),
        ("http://127.0.0.1/a b", "is not a URL"),
        ("http://127.0.0.1/\r\nx: y", "is not a URL"),
        ("http://127.0.0.1/#a", "is not a URL"),
        ("127.0.0.1/auth", "is not a URL"),
        ("http://", "is not a URL"),
    ] {
        let told = url(text).expect_err(text);
        assert!(told.contains(says), "{text}: {told}");
    }
}

#[test]
fn what_the_service_answers_is_passed_on_without_its_framing() {
    let field = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let answered = |status| Answered {
        status,
        fields: vec![
            field("Location", "/login"),
            field("Set-Cookie", "a=1"),
            field("set-cookie", "b=2"),
            field("Content-Length", "5"),
            field("Transfer-Encoding", "chunked"),
            field("Date", "now"),
            field("X-Plimsoll-Reason", "no_route"),
        ],
        body: b"hello".to_vec(),
    };
    let reply = passed_on(answered(302));
    let names: Vec<&str> = reply.headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["Location", "Set-Cookie", "set-cookie"]);
    assert_eq!((reply.status, reply.reason, &*reply.body), (302, None, "hello"));
    assert_eq!(passed_on(answered(401)).reason, Some(Reason::Unauthorized));
    assert_eq!(passed_on(answered(403)).reason, Some(Reason::Denied));
}
