//! Cookies and tables, as requests see them.

use std::net::SocketAddr;

use super::*;
use crate::name::BackendId;

struct Came(Vec<(&'static str, String)>);

impl Fields for Came {
    fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut lines = self.0.iter().filter(|(known, _)| *known == name);
        let _ = lines.all(|(_, value)| visit(value.as_bytes()));
    }
}

const WALL: u64 = 1_700_000_000;
const HOUR: u64 = 3_600;

fn seal(secrets: &[&str]) -> Seal {
    Seal::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()))
}

fn backend(pool: &str, address: &str) -> Backend {
    Backend::new(BackendId(7), pool, address.parse::<SocketAddr>().unwrap())
}

fn cookie() -> Settings {
    Settings {
        by: By::Cookie(Cookie {
            name: "plimsoll".into(),
            domain: None,
            path: "/".into(),
            secure: None,
            same_site: "Lax",
        }),
        ttl: Some(Duration::from_secs(HOUR)),
    }
}

fn sticky(settings: Settings, seal: Seal) -> Sticky {
    Sticky::new("p".into(), settings, Arc::new(seal), 1, None)
}

fn issued(seal: &Seal, backend: &Backend, wall: u64) -> String {
    let mut value = String::new();
    seal.issue(backend, 42, wall, &mut value);
    value
}

fn tie(sticky: &Sticky, lines: &[&str], wall: u64) -> Tie {
    let came = Came(lines.iter().map(|line| ("cookie", (*line).to_owned())).collect());
    sticky.tie(&came, "192.0.2.1".parse().unwrap(), wall, &mut Rng::seeded(1))
}

#[test]
fn a_cookie_names_its_backend_and_shows_nothing() {
    let (seal, one) = (seal(&["secret"]), backend("p", "10.0.0.1:80"));
    let value = issued(&seal, &one, WALL);
    assert_eq!(value.len(), 48);
    assert!(crate::filter::is_token(&value) && !value.contains("10.0"));
    let opened = seal.open("p", value.as_bytes()).unwrap();
    assert_eq!((opened.id, opened.issued, opened.is_old_key), (42, WALL, false));
    assert_eq!(seal.tags([&one].into_iter()).find(opened.tag), Some(one.id));
    assert_eq!(
        seal.tags([&backend("p", "10.0.0.2:80")].into_iter()).find(opened.tag),
        None
    );
}

#[test]
fn what_we_did_not_sign_for_this_pool_is_no_cookie() {
    let (ours, one) = (seal(&["secret"]), backend("p", "10.0.0.1:80"));
    let value = issued(&ours, &one, WALL);
    assert!(ours.open("p", value.as_bytes()).is_some());
    assert!(ours.open("q", value.as_bytes()).is_none(), "another pool's");
    assert!(
        seal(&["other"]).open("p", value.as_bytes()).is_none(),
        "another secret's"
    );
    for at in 0..value.len() {
        let mut forged = value.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert!(ours.open("p", &forged).is_none(), "changed at {at}");
    }
    let long = "A".repeat(100_000);
    for garbage in [
        "",
        "api-1",
        "10.0.0.1:80",
        &value[1..],
        &format!("{value}A"),
        &long,
        &"\u{ff}".repeat(24),
    ] {
        assert!(ours.open("p", garbage.as_bytes()).is_none());
    }
}

#[test]
fn the_first_secret_signs_and_all_verify() {
    let one = backend("p", "10.0.0.1:80");
    let old = issued(&seal(&["old"]), &one, WALL);
    let both = seal(&["new", "old"]);
    let opened = both.open("p", old.as_bytes()).unwrap();
    assert!(opened.is_old_key);
    assert_eq!(both.tags([&one].into_iter()).find(opened.tag), Some(one.id));
    assert!(seal(&["new"]).open("p", issued(&both, &one, WALL).as_bytes()).is_some());
    let sticky = sticky(cookie(), both);
    assert!(
        tie(&sticky, &[&format!("plimsoll={old}")], WALL).renew,
        "the next one has the new signature"
    );
}

#[test]
fn a_cookie_lasts_for_its_time_and_is_renewed_when_half_of_it_is_gone() {
    let one = backend("p", "10.0.0.1:80");
    let value = issued(&seal(&["secret"]), &one, WALL);
    let line = format!("a=1; plimsoll={value}; b=2");
    let sticky = sticky(cookie(), seal(&["secret"]));
    for (wall, held, renewed) in [
        (WALL, true, false),
        (WALL + HOUR / 2 - 1, true, false),
        (WALL + HOUR / 2, true, true),
        (WALL + HOUR - 1, true, true),
        (WALL + HOUR, false, false),
        (WALL - 300, true, false),
        (WALL - 301, false, false),
    ] {
        let tie = tie(&sticky, &[&line], wall);
        assert_eq!((tie.opened.is_some(), tie.renew), (held, renewed), "at {wall}");
    }
}

#[test]
fn of_several_cookies_the_first_that_holds_counts() {
    let one = backend("p", "10.0.0.1:80");
    let good = issued(&seal(&["secret"]), &one, WALL);
    let sticky = sticky(cookie(), seal(&["secret"]));
    let found = |lines: &[&str]| tie(&sticky, lines, WALL).opened.is_some();
    let good = format!("plimsoll={good}");
    assert!(found(&[&format!("plimsoll=garbage; {good}")]));
    assert!(found(&["plimsoll=garbage", &good]));
    assert!(!found(&[&good.replace("plimsoll", "Plimsoll")]), "names differ by case");
    let many = "plimsoll=x; ".repeat(COOKIES_MAX);
    assert!(!found(&[&format!("{many}{good}")]), "no client has so many");
    assert!(!found(&[]));
}

#[test]
fn the_application_s_cookie_is_learnt_from_its_answer() {
    let settings = Settings {
        by: By::AppCookie("JSESSIONID".into()),
        ttl: None,
    };
    let sticky = sticky(settings, seal(&[]));
    let now = Now::from_millis(1);
    let found = |value: &str| {
        let tie = tie(&sticky, &[&format!("JSESSIONID={value}")], WALL);
        sticky.find(&tie, now)
    };
    sticky.learn_from(b"JSESSIONID=abc.node1; Path=/; HttpOnly", BackendId(3), now);
    sticky.learn_from(b"other=xyz", BackendId(3), now);
    sticky.learn_from(b"JSESSIONID=; Max-Age=0", BackendId(4), now);
    sticky.learn_from(b"garbage", BackendId(4), now);
    assert_eq!(found("abc.node1"), Some(BackendId(3)));
    assert_eq!((found("xyz"), found("")), (None, None));
}

#[test]
fn clients_of_one_ipv6_network_are_one() {
    let settings = Settings {
        by: By::ClientIp,
        ttl: None,
    };
    let sticky = sticky(settings, seal(&[]));
    let key = |client: &str| sticky.tie_of_connection(client.parse().unwrap()).key;
    assert_eq!(key("2001:db8::1"), key("2001:db8::2"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
}
