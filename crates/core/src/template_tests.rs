use super::*;
use crate::document::{Span, Value};
use crate::route::Target;

struct One(&'static str, &'static [&'static str]);

impl Fields for One {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let _ = self
            .1
            .iter()
            .filter(|_| name == self.0)
            .all(|value| visit(value.as_bytes()));
    }
}

fn read(text: &str) -> Result<Template, String> {
    let mut faults = Faults::default();
    let node = Node {
        span: Span::default(),
        value: Value::Text(text.into()),
    };
    let template = Template::decode(&node, &mut faults);
    template.ok_or_else(|| faults.list[0].message.clone() + " | " + faults.list[0].help.as_deref().unwrap_or(""))
}

fn rendered(text: &str, position: Position) -> String {
    let fields = One("x-a", &["1\u{7f}", "<b> \"c\""]);
    let asked = Asked::read(
        "GET",
        b"Shop.example:8080",
        Target::Origin(b"/a%20b?q=1&r=%3C"),
        &fields,
        false,
    );
    let asked = asked.unwrap();
    let secured = Secured {
        sni: "shop.example".into(),
        subject: "CN=ann,O=Shop".into(),
        fingerprint: "ab12".into(),
        ..Secured::default()
    };
    let values = Values {
        asked: &asked,
        fields: &fields,
        client: "2001:db8::1".parse().unwrap(),
        peer: "192.0.2.1:4711".parse().unwrap(),
        request_id: "id",
        scheme: "http",
        tls: Some(&secured),
        route: "r",
        pool: "p",
    };
    read(text).unwrap().rendered(position, &values)
}

#[test]
fn placeholders_are_filled() {
    for (text, expected) in [
        ("{client.ip}:{client.port}", "2001:db8::1:4711"),
        (
            "{request.method} {request.scheme}://{request.host}{request.path}",
            "GET http://shop.example/a%20b",
        ),
        ("{request.query}", "q=1&r=%3C"),
        ("{request.header.X-A}", "1, <b> \"c\""),
        ("{request.header.x-none}", ""),
        ("{route}/{pool}/{request.id}", "r/p/id"),
        (
            "{tls.sni} {tls.client.subject} {tls.client.fingerprint}",
            "shop.example CN=ann,O=Shop ab12",
        ),
        ("{\"a\": {}, b { c }", "{\"a\": {}, b { c }"),
        ("{{route}} {{{route}", "{route} {{r"),
    ] {
        assert_eq!(rendered(text, Position::Field), expected, "{text}");
    }
}

#[test]
fn what_a_client_sends_is_escaped_for_where_it_stands() {
    assert_eq!(
        rendered("/x/{request.header.x-a}", Position::Url),
        "/x/1%7F%2C%20%3Cb%3E%20%22c%22"
    );
    assert_eq!(
        rendered("{request.path}?{request.query}", Position::Url),
        "/a%20b?q=1&r=%3C"
    );
    assert_eq!(
        rendered("<i>{request.header.x-a}", Position::Html),
        "<i>1\u{7f}, &lt;b&gt; &quot;c&quot;"
    );
    assert_eq!(
        rendered("\"{request.header.x-a}\"", Position::Json),
        "\"1\u{7f}, <b> \\\"c\\\"\""
    );
}

#[test]
fn what_is_no_placeholder_is_told_the_nearest() {
    assert!(read("{client.ipp}").unwrap_err().contains("{client.ip}"));
    assert!(read("{nothing-like-it}").unwrap_err().contains("known here: client.ip"));
    assert!(read("{backend.name}").unwrap_err().contains("not known yet"));
}

#[test]
fn a_long_text_of_ones_own_is_not_cut() {
    let text = "x".repeat(RENDERED_MAX * 2);
    assert_eq!(rendered(&text, Position::Plain).len(), text.len());
    let filled = format!("{text}{{request.path}}");
    assert_eq!(rendered(&filled, Position::Plain).len(), text.len());
}

#[test]
fn an_ipv4_address_is_written_as_everybody_writes_it() {
    for octets in [[0, 9, 10, 99], [100, 109, 199, 200], [255; 4], [127, 0, 0, 1]] {
        let (mut out, address) = (Vec::new(), Ipv4Addr::from(octets));
        put_ipv4(&mut out, address);
        assert_eq!(out, address.to_string().as_bytes());
    }
}
