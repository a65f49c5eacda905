use std::cmp::Reverse;

use proptest::prelude::*;

use super::super::fixtures::{Headers, get, route, rule, table};
use super::super::{HostMatch, PathMatch, TOLD_MAX, ValueMatch};
use super::*;
use crate::decision::{Decision, Verdict};
use crate::secured::{CertificatePart, Secured};

fn taken(table: &RouteTable, head: &RequestHead<'_>) -> Option<String> {
    table.find(head, None).map(|taken| taken.route.name.to_string())
}

fn exact(name: &str, value: &str) -> (String, ValueMatch) {
    (name.into(), ValueMatch::Exact(value.into()))
}

#[test]
fn an_exact_host_comes_before_the_longest_wildcard_and_that_before_any() {
    let table = table([
        rule("", "/exact"),
        rule("*.example.com", ""),
        rule("*.shop.example.com", ""),
        rule("a.shop.example.com", "/only"),
    ]);
    for (host, path, expected) in [
        ("a.shop.example.com", "/only", Some("r3")),
        ("a.shop.example.com", "/exact", Some("r2")),
        ("x.y.shop.example.com", "/", Some("r2")),
        ("shop.example.com", "/", Some("r1")),
        ("example.com", "/exact", Some("r0")),
        ("example.com", "/", None),
        ("notexample.com", "/", None),
        (".example.com", "/", None),
        ("", "/exact", Some("r0")),
        ("", "/", None),
    ] {
        assert_eq!(taken(&table, &get(host, path)).as_deref(), expected, "{host}{path}");
    }
}

#[test]
fn an_exact_path_comes_before_the_longest_prefix_and_that_before_an_expression() {
    let table = table([
        rule("", ""),
        rule("", "~/api/.*|/z.*"),
        rule("", "/api/*"),
        rule("", "/api/v1/*"),
        rule("", "/api/v1"),
        rule("", "/"),
        rule("", "/dir/"),
    ]);
    for (path, expected) in [
        ("/api", "r2"),
        ("/api/", "r2"),
        ("/api/x", "r2"),
        ("/apix", "r0"),
        ("/api/v1", "r4"),
        ("/api/v1/", "r3"),
        ("/api/v1/x/y/z", "r3"),
        ("/api/v2/x", "r2"),
        ("/zoo", "r1"),
        ("/", "r5"),
        ("/dir/", "r6"),
        ("/dir", "r0"),
        ("/dir/x", "r0"),
        ("*", "r0"),
        ("", "r0"),
    ] {
        assert_eq!(taken(&table, &get("x", path)).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn then_method_headers_query_cookies_and_the_order_of_the_file_decide() {
    let mut rules = vec![rule("", "/x"); 6];
    rules[1].cookies = vec![exact("c", "3"), exact("d", "4")];
    rules[2].query = vec![exact("a", "1")];
    rules[3].headers = vec![exact("h", "4")];
    rules[4].methods = vec!["GET".into(), "PUT".into()];
    let table = table(rules);
    let of = |method, query, headers: &[(&str, &str)]| {
        let fields = Headers(headers);
        let head = RequestHead {
            method,
            host: "",
            path: "/x",
            query,
            fields: &fields,
            tls: None,
        };
        taken(&table, &head).unwrap()
    };
    let all = [("h", "4"), ("cookie", "c=3; d=4")];
    assert_eq!(of("GET", "a=1", &all), "r4");
    assert_eq!(of("get", "a=1", &all), "r3");
    assert_eq!(of("POST", "a=1", &all[1..]), "r2");
    assert_eq!(of("POST", "b=1", &all[1..]), "r1");
    assert_eq!(of("POST", "b=1", &[]), "r0");
}

#[test]
fn the_less_specific_takes_over_where_the_more_specific_does_not_match_wholly() {
    let mut post = rule("a.example.com", "/api/x");
    post.methods = vec!["POST".into()];
    let mut beta = rule("a.example.com", "/api/*");
    beta.headers = vec![exact("x-beta", "1")];
    let table = table([post, beta, rule("*.example.com", "/api/*")]);
    assert_eq!(taken(&table, &get("a.example.com", "/api/x")).as_deref(), Some("r2"));
}

#[test]
fn a_record_tells_each_candidate_and_why() {
    let mut post = rule("x.com", "/api/x");
    post.methods = vec!["POST".into()];
    let mut beta = rule("x.com", "/api/*");
    beta.headers = vec![exact("x-beta", "1")];
    let mut secret = rule("x.com", "/api/*");
    secret.headers = vec![exact("authorization", "hush")];
    let table = table([
        post,
        beta,
        secret,
        rule("x.com", "/*"),
        rule("", "/api/*"),
        rule("shop.example.com", "/"),
        rule("x.com", "/other"),
    ]);
    let headers = Headers(&[("authorization", "mine")]);
    let mut head = get("x.com", "/api/x");
    head.fields = &headers;
    let mut decision = Decision::default();
    let found = table.find(&head, Some(&mut decision)).unwrap();
    assert_eq!((&*found.route.name, decision.route.as_deref()), ("r3", Some("r3")));
    let steps: Vec<_> = decision
        .steps
        .iter()
        .map(|step| (step.subject.as_str(), step.verdict, step.why.as_str()))
        .collect();
    let passed = "matches as well, but r3 comes first: this one names no host";
    assert_eq!(
        steps,
        [
            ("r0", Verdict::Refused, "method GET is not POST"),
            ("r1", Verdict::Refused, "header x-beta is absent"),
            ("r2", Verdict::Refused, "header authorization has another value"),
            ("r3", Verdict::Taken, "the most specific match: host x.com, path /*"),
            ("r4", Verdict::Passed, passed),
            ("r6", Verdict::Refused, "path /api/x is not /other"),
            ("r5", Verdict::Refused, "host is x.com, not shop.example.com"),
        ]
    );
}

#[test]
fn a_record_is_bounded_and_counts_the_rest() {
    let here = (0..300).map(|_| rule("", "/x"));
    let elsewhere = (0..300).map(|at| rule(&format!("h{at}.com"), ""));
    let table = table(here.chain(elsewhere));
    let mut decision = Decision::default();
    table.find(&get("", "/x"), Some(&mut decision));
    assert_eq!(decision.steps.len(), 1 + TOLD_MAX + 1 + TOLD_MAX + 1);
    assert!(decision.steps[TOLD_MAX + 1].why.starts_with("199 more candidates"));
    assert!(decision.steps.last().unwrap().why.starts_with("200 more matches"));
}

#[test]
fn a_route_of_several_matches_says_which() {
    let twice = route(7);
    let table = RouteTable::build(vec![(rule("", "/x"), twice.clone()), (rule("", "/y"), twice)]);
    let mut decision = Decision::default();
    table.find(&get("", "/y"), Some(&mut decision));
    assert_eq!(decision.steps[0].why, "match 2: the most specific match: path /y");
    assert_eq!(decision.steps[1].why, "match 1: path /y is not /x");
}

/// How many entries a search that finds nothing hands out.
fn candidates(table: &RouteTable, head: &RequestHead<'_>) -> usize {
    let mut count = 0;
    let _ = table.search(head, |_, _| {
        count += 1;
        ControlFlow::Continue(())
    });
    count
}

#[test]
fn ten_thousand_routes_ask_no_more_candidates_than_ten() {
    let by_path = |count| table((0..count).map(|at| rule("x.com", &format!("/r{at}/*"))));
    let by_host = |count| table((0..count).map(|at| rule(&format!("h{at}.com"), "/*")));
    let by_wildcard = |count| table((0..count).map(|at| rule(&format!("*.h{at}.com"), "/*")));
    for count in [10, 10_000] {
        assert_eq!(candidates(&by_path(count), &get("x.com", "/r7/y")), 1);
        assert_eq!(candidates(&by_host(count), &get("h7.com", "/y")), 1);
        assert_eq!(candidates(&by_wildcard(count), &get("a.b.h7.com", "/y")), 1);
        assert_eq!(candidates(&by_host(count), &get("other.com", "/y")), 0);
    }
    assert_eq!(
        taken(&by_path(10_000), &get("x.com", "/r9999")).as_deref(),
        Some("r9999")
    );
}

#[test]
fn a_path_of_thousands_of_segments_costs_no_more_than_the_trie_is_deep() {
    let table = table([rule("", "/a/a/*"), rule("", "/a/a/a/b"), rule("", "/*")]);
    let path = "/a".repeat(8000);
    assert_eq!(table.hosts().any().walk(&path).unwrap().steps, 4);
    assert_eq!(candidates(&table, &get("", &path)), 2);
    // A deep trie gives back its prefixes by links, not node by node.
    let deep = "/b".repeat(1000);
    let table = super::super::fixtures::table([rule("", "/*"), rule("", &deep)]);
    assert_eq!(candidates(&table, &get("", &format!("{deep}/c"))), 1);
}

#[test]
fn expressions_that_do_not_match_are_no_candidates() {
    let table = table((0..100).map(|at| rule("", &format!("~/r{at}/[a-z]+"))));
    assert_eq!(candidates(&table, &get("", "/r42/abc")), 1);
    assert_eq!(candidates(&table, &get("", "/r42/123")), 0);
    assert_eq!(taken(&table, &get("", "/r99/z")).as_deref(), Some("r99"));
}

/// The documented order, taken literally: every rule is asked, and the best of those that match wins.
fn naive(rules: &[Rule], head: &RequestHead<'_>, headers: &[(&str, &str)]) -> Option<usize> {
    let host_fits = |rule: &Rule| match &rule.host {
        HostMatch::Any => true,
        HostMatch::Exact(name) => name == head.host,
        HostMatch::Suffix(suffix) => head.host.strip_suffix(suffix).is_some_and(|left| !left.is_empty()),
    };
    let path_fits = |rule: &Rule| match &rule.path {
        PathMatch::Any => true,
        PathMatch::Exact(path) => path == head.path,
        PathMatch::Prefix(prefix) => {
            head.path == prefix && !prefix.is_empty() || head.path.starts_with(&format!("{prefix}/"))
        }
        PathMatch::Regex(regex) => regex.is_match(head.path),
    };
    let rest_fits = |rule: &Rule| {
        (rule.methods.is_empty() || rule.methods.iter().any(|method| method == head.method))
            && rule.headers.iter().all(|(name, wanted)| match wanted {
                ValueMatch::Exact(value) => headers.contains(&(name, value)),
                _ => unreachable!("the strategy makes no other"),
            })
    };
    let order = |rule: &Rule| {
        let host = match &rule.host {
            HostMatch::Exact(_) => (0, Reverse(0)),
            HostMatch::Suffix(suffix) => (1, Reverse(suffix.len())),
            HostMatch::Any => (2, Reverse(0)),
        };
        let path = match &rule.path {
            PathMatch::Exact(_) => (0, Reverse(0)),
            PathMatch::Prefix(prefix) => (1, Reverse(prefix.len())),
            PathMatch::Regex(_) => (2, Reverse(0)),
            PathMatch::Any => (3, Reverse(0)),
        };
        (host, path, rule.methods.is_empty(), Reverse(rule.headers.len()))
    };
    let fits = |rule: &Rule| host_fits(rule) && path_fits(rule) && rest_fits(rule);
    (0..rules.len())
        .filter(|at| fits(&rules[*at]))
        .min_by_key(|at| (order(&rules[*at]), *at))
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let host = prop_oneof![Just(String::new()), "(\\*\\.)?([ab]\\.){0,2}[ab]"];
    let path = prop_oneof![
        Just(String::new()),
        Just("/*".to_owned()),
        "(/[ab]){0,3}/[ab]?",
        "(/[ab]){1,3}/\\*",
        "~(/[ab.]\\*?){1,3}"
    ];
    let methods = proptest::collection::vec(prop_oneof![Just("GET".to_owned()), Just("PUT".to_owned())], 0..2);
    let headers = proptest::collection::btree_map("[hi]", "[12]", 0..3);
    (host, path, methods, headers).prop_map(|(host, path, methods, headers)| {
        let mut rule = rule(&host, &path);
        rule.methods = methods;
        rule.headers = headers.iter().map(|(name, value)| exact(name, value)).collect();
        rule
    })
}

/// Host, path, whether the method is GET, and a header's value.
fn any_request() -> impl Strategy<Value = (String, String, bool, String)> {
    ("([ab]\\.){0,3}[ab]|", "(/[abc]){0,4}/?|\\*", any::<bool>(), "[12]")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_takes_what_asking_every_rule_would(
        rules in proptest::collection::vec(any_rule(), 0..40),
        requests in proptest::collection::vec(any_request(), 1..20),
    ) {
        let table = table(rules.iter().cloned());
        let shadowed = table.shadowed();
        for (host, path, is_get, value) in &requests {
            let headers = [("h", value.as_str()), ("i", "1")];
            let fields = Headers(&headers);
            let mut head = get(host, path);
            head.method = if *is_get { "GET" } else { "PUT" };
            head.fields = &fields;
            let expected = naive(&rules, &head, &headers);
            let found = taken(&table, &head);
            prop_assert_eq!(&found, &expected.map(|at| format!("r{at}")));
            if path.starts_with('/') {
                prop_assert!(shadowed.iter().all(|rule| Some(rule.rule) != expected));
            }
            let mut decision = Decision::default();
            table.find(&head, Some(&mut decision));
            prop_assert_eq!(&decision.route, &found);
            prop_assert_eq!(decision.steps.len(), rules.len(), "each rule is told once");
        }
    }
}

#[test]
fn a_certificate_is_matched_by_its_parts_and_decides_last() {
    let ann = Secured {
        subject: "CN=ann,O=Shop".into(),
        issuer: "CN=People".into(),
        fingerprint: "ab12".into(),
        names: vec!["ann@shop.test".into(), "spiffe://shop/ann".into()],
        ..Secured::default()
    };
    let nobody = Secured::default();
    let mut rules = vec![rule("", "/x"); 6];
    let exact = |part, text: &str| (part, ValueMatch::Exact(text.into()));
    rules[1].certificate = vec![exact(CertificatePart::Subject, "CN=ann,O=Shop")];
    rules[2].certificate = vec![
        exact(CertificatePart::Name, "spiffe://shop/ann"),
        (CertificatePart::Issuer, ValueMatch::Prefix("CN=People".into())),
    ];
    rules[3].certificate = vec![(CertificatePart::Fingerprint, ValueMatch::Present(false))];
    rules[4].certificate = vec![exact(CertificatePart::Name, "bob@shop.test"); 3];
    rules[5].cookies = vec![("c".into(), ValueMatch::Exact("1".into()))];
    let table = table(rules);
    let of = |tls: Option<&Secured>, headers: &[(&str, &str)]| {
        let fields = Headers(headers);
        let head = RequestHead {
            fields: &fields,
            tls,
            ..get("", "/x")
        };
        taken(&table, &head).unwrap()
    };
    assert_eq!(of(Some(&ann), &[]), "r2");
    assert_eq!(of(Some(&nobody), &[]), "r3");
    assert_eq!(of(None, &[]), "r3");
    assert_eq!(of(Some(&ann), &[("cookie", "c=1")]), "r5");
}
