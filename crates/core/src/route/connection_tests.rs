use std::net::{IpAddr, Ipv4Addr};

use super::super::fixtures::route;
use super::*;

fn rule(sni: &str, alpn: &[&str], client: &str) -> ConnectionRule {
    ConnectionRule {
        sni: match sni {
            "" => HostMatch::Any,
            sni => HostMatch::parse(sni).unwrap(),
        },
        alpn: alpn.iter().map(|name| (*name).to_owned()).collect(),
        client: Network::parse(client),
    }
}

/// A table whose routes are named by their order: `r0`, `r1`, …
fn table(rules: impl IntoIterator<Item = ConnectionRule>) -> ConnectionTable {
    let numbered = rules.into_iter().zip(0..);
    ConnectionTable::build(numbered.map(|(rule, id)| (rule, route(id))).collect())
}

fn find(table: &ConnectionTable, sni: &str, alpn: &[&str], client: [u8; 4]) -> Option<String> {
    let alpn: Vec<Vec<u8>> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let head = ConnectionHead {
        sni,
        alpn: &alpn,
        client: IpAddr::from(client),
    };
    let mut decision = Decision::default();
    let told = table
        .find(&head, Some(&mut decision))
        .map(|route| route.name.to_string());
    let found = table.find(&head, None).map(|route| route.name.to_string());
    assert_eq!((&told, &decision.route), (&found, &found));
    let taken = decision
        .steps
        .iter()
        .filter(|step| step.verdict == Verdict::Taken)
        .count();
    assert_eq!((taken == 1, taken < 2), (found.is_some(), true), "{decision:#?}");
    found
}

const HOME: [u8; 4] = [10, 1, 2, 3];
const AWAY: [u8; 4] = [192, 0, 2, 1];

#[test]
fn the_most_specific_name_wins() {
    let table = table([
        rule("", &[], ""),
        rule("*.example.com", &[], ""),
        rule("*.db.example.com", &[], ""),
        rule("a.db.example.com", &[], ""),
    ]);
    for (sni, taken) in [
        ("a.db.example.com", "r3"),
        ("b.db.example.com", "r2"),
        ("x.y.db.example.com", "r2"),
        ("db.example.com", "r1"),
        ("example.com", "r0"),
        ("", "r0"),
    ] {
        assert_eq!(find(&table, sni, &[], AWAY).as_deref(), Some(taken), "{sni}");
    }
}

#[test]
fn of_one_name_those_that_ask_for_more_come_first() {
    let table = table([
        rule("a.example", &[], ""),
        rule("a.example", &[], "10.0.0.0/8"),
        rule("a.example", &[], "10.1.0.0/16"),
        rule("a.example", &["acme-tls/1"], ""),
        rule("a.example", &["h2", "http/1.1"], "10.0.0.0/8"),
        rule("a.example", &[], "10.1.0.0/16"),
    ]);
    for (alpn, client, taken) in [
        (&[][..], AWAY, "r0"),
        (&[], [10, 2, 0, 0], "r1"),
        (&[], HOME, "r2"),
        (&["acme-tls/1"], HOME, "r3"),
        (&["http/1.1"], HOME, "r4"),
        (&["http/1.1", "acme-tls/1"], HOME, "r4"),
        (&["h3"], AWAY, "r0"),
    ] {
        assert_eq!(
            find(&table, "a.example", alpn, client).as_deref(),
            Some(taken),
            "{alpn:?} {client:?}"
        );
    }
    assert_eq!(find(&table, "b.example", &[], HOME), None);
}

#[test]
fn what_matches_less_of_a_connection_is_asked_when_more_does_not_match_wholly() {
    let table = table([
        rule("a.example", &["h2"], ""),
        rule("*.example", &[], "10.0.0.0/8"),
        rule("", &["h2"], ""),
    ]);
    assert_eq!(find(&table, "a.example", &[], HOME).as_deref(), Some("r1"));
    assert_eq!(find(&table, "a.example", &[], AWAY), None);
    assert_eq!(find(&table, "b.example", &["h2"], AWAY).as_deref(), Some("r2"));
}

#[test]
fn a_decision_tells_what_refused_each_rule() {
    let twice = route(7);
    let table = ConnectionTable::build(vec![
        (rule("a.example", &["h2"], ""), route(0)),
        (rule("a.example", &[], "10.0.0.0/8"), route(1)),
        (rule("*.example", &[], ""), route(2)),
        (rule("", &[], ""), route(3)),
        (rule("b.example", &[], ""), twice.clone()),
        (rule("c.example", &[], ""), twice),
    ]);
    let head = ConnectionHead {
        sni: "a.example",
        alpn: &[],
        client: Ipv4Addr::LOCALHOST.into(),
    };
    let mut decision = Decision::default();
    table.find(&head, Some(&mut decision));
    let told: Vec<String> = (decision.steps.iter())
        .map(|step| format!("{} {:?}: {}", step.subject, step.verdict, step.why))
        .collect();
    assert_eq!(
        told,
        [
            "r0 Refused: no alpn was sent, not h2",
            "r1 Refused: client 127.0.0.1 is not in 10.0.0.0/8",
            "r2 Taken: the most specific match: sni *.example",
            "r3 Passed: matches as well, but r2 comes first: this one names no sni",
            "r7 Refused: match 1: sni is a.example, not b.example",
            "r7 Refused: match 2: sni is a.example, not c.example",
        ]
    );
}

#[test]
fn only_so_much_is_told() {
    let rules = (0..5000).map(|at| rule(&format!("h{at}.example"), &[], ""));
    let table = table(rules.chain([rule("", &[], "")]));
    let head = ConnectionHead {
        sni: "",
        alpn: &[],
        client: Ipv4Addr::LOCALHOST.into(),
    };
    let mut decision = Decision::default();
    table.find(&head, Some(&mut decision));
    assert_eq!(decision.steps.len(), TOLD_MAX + 1);
    let last = decision.steps.last().map(|step| &*step.why);
    assert_eq!(last, Some("4901 more matches are not shown"));
}

#[test]
fn rules_that_no_connection_can_reach_are_found() {
    let table = table([
        rule("a.example", &[], ""),
        rule("a.example", &[], ""),
        rule("b.example", &["h2", "http/1.1"], "10.0.0.0/8"),
        rule("b.example", &["h2"], "10.0.0.0/8"),
        rule("b.example", &["h2"], ""),
        rule("b.example", &["h3"], "10.0.0.0/8"),
        rule("b.example", &[], "10.0.0.0/8"),
        rule("*.example", &[], ""),
        rule("", &[], ""),
    ]);
    let found: Vec<(usize, usize)> = (table.shadowed().iter())
        .map(|found| (found.rule, found.by_rule))
        .collect();
    assert_eq!(found, [(1, 0), (3, 2)]);
}
