//! Which page a reply gets, and what stands in it.

use super::*;
use crate::filter::Contents;
use crate::route::Fields;
use crate::template::Position;

struct Accept(&'static [&'static str]);

impl Fields for Accept {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut lines = self.0.iter().filter(|_| name == "accept");
        let _ = lines.all(|line| visit(line.as_bytes()));
    }
}

const TOLD: Told<'static> = Told {
    status: 503,
    reason: "no_backend",
    message: "Nobody \"is\" <here>.",
    request_id: "a&b",
};

#[test]
fn a_page_keeps_all_braces_but_its_own_places() {
    let text = "<style>p{color:red}</style>{status} {reason} {message} {request.id} {{reason}} {x} {";
    let page = Page::of(text);
    assert_eq!(
        page.render(Position::Html, &TOLD),
        "<style>p{color:red}</style>503 no_backend Nobody &quot;is&quot; &lt;here&gt;. a&amp;b {reason} {x} {"
    );
    let json = Page::of("{\"id\":\"{request.id}\",\"says\":\"{message}\"}");
    assert_eq!(
        json.render(Position::Json, &TOLD),
        r#"{"id":"a&b","says":"Nobody \"is\" <here>."}"#
    );
    assert_eq!(Page::of("").render(Position::Plain, &TOLD), "");
    assert!(Page::parse(&"x".repeat(PAGE_BYTES_MAX)).is_ok());
    let long = Page::parse(&"x".repeat(PAGE_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(long.message, "is longer than 256 KiB");
}

#[test]
fn what_a_client_accepts_is_read_as_the_standard_has_it() {
    for (lines, html, json, plain) in [
        (&[][..], 1_000, 1_000, 1_000),
        (&[""], 1_000, 1_000, 1_000),
        (&["*/*"], 1_000, 1_000, 1_000),
        (&["application/json"], 0, 1_000, 0),
        (
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            1_000,
            800,
            800,
        ),
        (&["TEXT/*;q=0.5", "application/json ; q=0.7"], 500, 700, 500),
        (&["text/*;q=0.5, text/plain;q=0.1, */*;q=x"], 500, 0, 100),
        (&["text/html;level=1;q=0.2"], 200, 0, 0),
    ] {
        assert_eq!(Wish::of(&Accept(lines)), Wish([html, json, plain]), "{lines:?}");
    }
}

fn pages(words: &[&str]) -> ErrorPages {
    let page = |word: &&str| {
        (
            For::parse(word).unwrap(),
            vec![(Media::Plain, Kept::Here(Page::of(word)))],
        )
    };
    ErrorPages::new(words.iter().map(page).collect())
}

#[test]
fn the_most_precise_page_is_taken() {
    let all = pages(&["5xx", "503", "no_backend", "4xx", "404"]);
    let of = |reply: &Reply| {
        let found = all.find(reply, Wish::default())?;
        assert_eq!(found.on.word(), found.render(&TOLD));
        Some(found.render(&TOLD))
    };
    for (reply, page) in [
        (Reply::reason(Reason::NoBackend), Some("no_backend")),
        (Reply::reason(Reason::PoolFull), Some("503")),
        (Reply::reason(Reason::ConnectFailed), Some("5xx")),
        (Reply::reason(Reason::NoRoute), Some("404")),
        (Reply::reason(Reason::Denied), Some("4xx")),
        (Reply::new(302, Vec::new(), ""), None),
    ] {
        assert_eq!(of(&reply).as_deref(), page, "{reply:?}");
    }
    let other = Reply::reason(Reason::NoRoute);
    assert!(pages(&["503"]).find(&other, Wish::default()).is_none());
}

#[test]
fn keys_are_reasons_that_clients_see_statuses_and_classes() {
    for (word, on) in [
        ("maintenance", Some(For::Reason(Reason::Maintenance))),
        ("no_route", Some(For::Reason(Reason::NoRoute))),
        ("400", Some(For::Status(400))),
        ("5xx", Some(For::Class(5))),
        ("client_closed", None),
        ("idle_timeout", None),
        ("200", None),
        ("3xx", None),
        ("600", None),
    ] {
        assert_eq!(For::parse(word), on, "{word}");
    }
}

#[test]
fn a_client_gets_the_kind_that_it_likes_best() {
    let kinds = [Media::Html, Media::Json].map(|media| (media, Kept::Here(Page::of(media.essence()))));
    let pages = ErrorPages::new(vec![(For::Class(5), kinds.to_vec())]);
    for (accept, body) in [
        (&[][..], "text/html"),
        (&["application/json"], "application/json"),
        (&["text/html;q=0.5, application/json;q=0.6"], "application/json"),
        (&["image/png"], "text/html"),
    ] {
        let reply = Reply::reason(Reason::NoBackend);
        let page = pages.find(&reply, Wish::of(&Accept(accept))).unwrap();
        assert_eq!((&*page.render(&TOLD), page.media.essence()), (body, body), "{accept:?}");
        assert!(page.varies);
    }
}

#[test]
fn a_file_that_was_never_read_leaves_the_reply_as_it_is() {
    let held: Arc<Held<Page>> = Arc::default();
    let pages = ErrorPages::new(vec![(For::Status(503), vec![(Media::Html, Kept::File(held))])]);
    let reply = Reply::reason(Reason::NoBackend);
    assert!(pages.find(&reply, Wish::default()).is_none());
}

#[test]
fn a_body_that_somebody_chose_stays() {
    let chosen = Reply {
        theirs: true,
        ..Reply::reason(Reason::Unauthorized)
    };
    assert!(!chosen.wants_page() && Reply::reason(Reason::Unauthorized).wants_page());
    assert!(Reply::new(404, Vec::new(), "").wants_page());
    assert!(!Reply::new(404, Vec::new(), "mine").wants_page() && !Reply::new(200, Vec::new(), "").wants_page());
}
