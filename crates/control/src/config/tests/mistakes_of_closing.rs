//! Bad fallbacks, hosts, notices and error pages.

use super::mistakes::assert_told;
use super::{SOUND, told, toml};

#[test]
fn fallbacks_are_there_and_lead_to_an_end() {
    let pool = |name: &str, fallback: &str| {
        format!("[pools.{name}]\nbackends = [\"10.0.0.1:80\"]\nfallback = \"{fallback}\"\n")
    };
    assert_told(
        &pool("x", "ap"),
        &["error 3:12 «\"ap\"» there is no pool called `ap` (did you mean \"api\"?)"],
    );
    assert_told(
        &pool("x", "x"),
        &["error 3:12 «\"x\"» `x` is its own fallback (the last pool of a chain has no fallback)"],
    );
    assert_told(
        &(pool("w", "x") + &pool("x", "y") + &pool("y", "z") + &pool("z", "x")),
        &[
            "error 6:12 «\"y\"» the fallbacks lead in a circle: x → y → z → x (the last pool of a chain has no fallback)",
        ],
    );
    let long: String = (0..9)
        .map(|at| pool(&format!("p{at}"), &format!("p{}", at + 1)))
        .collect();
    let last = "[pools.p9]\nbackends = [\"10.0.0.1:80\"]\n";
    assert_told(
        &(long + last),
        &["error 3:12 «\"p1\"» more than 8 fallbacks stand behind `p0` (shorten the chain)"],
    );
    let inherited = toml("[defaults]\nfallback = \"api\"");
    assert!(
        told(&inherited)[0].contains("unknown key `fallback`"),
        "each pool names its own"
    );
}

#[test]
fn what_a_pool_is_sent_its_fallbacks_are_sent_too() {
    let text = "[listeners.db]\nbind = \":1\"\nprotocol = \"tcp\"\npool = \"a\"\n[pools.a]\nbackends = [\"10.0.0.1:80\"]\nfallback = \"b\"\n\
                [pools.b]\nbackends = [\"10.0.0.2:80\"]\nlimits = { requests = \"auto\" }";
    assert_told(
        text,
        &[
            "error 10:23 «\"auto\"» `b` has no latency to learn from: the listener `db` relays connections to it (write a number) [sent here: 4:8]",
        ],
    );
}

#[test]
fn a_route_sends_a_host_that_can_be_one() {
    for (host, wrong) in [
        ("keep", false),
        ("backend", false),
        ("API.internal:8080", false),
        ("[2001:db8::1]:80", false),
        ("a b", true),
        ("a,b", true),
        ("user@a", true),
        ("http://a", true),
        ("a:0", true),
        ("", true),
        ("-a", true),
    ] {
        let text = format!("[[routes]]\npool = \"api\"\nhost = \"{host}\"\n{SOUND}");
        let told = told(&toml(&text));
        let refused = told.iter().any(|line| line.contains("cannot be a host"));
        assert_eq!(refused, wrong, "{host}: {told:#?}");
    }
}

#[test]
fn maintenance_is_a_switch_or_a_notice() {
    for (text, expected) in [
        (
            "[[routes]]\npool = \"api\"\nmaintenance = \"on\"",
            "error 3:15 «\"on\"» expected true, false, or a table, found text",
        ),
        (
            "[[routes]]\npool = \"api\"\nmaintenance = { status = 200 }",
            "error 3:26 «200» 200 is out of range: 400 to 599",
        ),
        (
            "[[routes]]\npool = \"api\"\nmaintenance = { alow = \"10.0.0.0/8\" }",
            "error 3:17 «alow» unknown key `alow` (did you mean `allow`?)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
    let plan = super::plan(&format!(
        "[[routes]]\nmatch = {{ path = \"/x\" }}\npool = \"api\"\nmaintenance = {{ enabled = false, retry_after = \"0s\" }}\n{SOUND}"
    ));
    assert_eq!(
        (plan.routes[0].closed, plan.routes[0].notice.retry_after),
        (false, None)
    );
    assert!(!plan.routes[1].closed);
}

#[test]
fn error_pages_are_for_replies_that_there_are() {
    for (text, expected) in [
        (
            "[error_pages]\nno_rout = { body = \"x\" }",
            "error 2:1 «no_rout» `no_rout` is no reason, status or class (did you mean `no_route`?)",
        ),
        (
            "[error_pages]\n302 = { body = \"x\" }",
            "error 2:1 «302» `302` is no reason, status or class (write a reason, like no_backend, a status from 400 to 599, 4xx or 5xx)",
        ),
        (
            "[error_pages]\n503 = \"503.php\"",
            "error 2:7 «\"503.php\"» what is \"503.php\" written in? (add content_type = \"text/html\"; .html, .json and .txt say so themselves)",
        ),
        (
            "[error_pages]\n503 = {}",
            "error 2:7 «{}» a page has either a file or a body ({ file = \"503.html\" }, or { body = \"back soon\" })",
        ),
        (
            "[error_pages]\n503 = [{ body = \"a\" }, { body = \"b\" }]",
            "error 2:24 «{ body = \"b\" }» two pages are text/plain [first here: 2:8]",
        ),
        (
            "[listeners.db]\nbind = \":1\"\nprotocol = \"tcp\"\npool = \"api\"\nerror_pages = { 503 = { body = \"x\" } }",
            "error 1:12 «db» `error_pages` is for http listeners, and `db` speaks tcp (take the key out)",
        ),
    ] {
        assert_told(text, &[expected]);
    }
}
