use super::super::fixtures::{route, rule, table};
use super::*;

fn found(rules: impl IntoIterator<Item = Rule>) -> Vec<(usize, usize)> {
    let found = table(rules).shadowed();
    found.iter().map(|found| (found.rule, found.by_rule)).collect()
}

fn with_methods(mut rule: Rule, methods: &[&str]) -> Rule {
    rule.methods = methods.iter().map(|method| (*method).to_owned()).collect();
    rule
}

fn with_header(mut rule: Rule, name: &str, value: ValueMatch) -> Rule {
    rule.headers.push((name.into(), value));
    rule
}

#[test]
fn the_same_rule_twice_is_reached_once() {
    assert_eq!(
        found([rule("a.b", "/x"), rule("a.b", "/y"), rule("a.b", "/x")]),
        [(2, 0)]
    );
    assert_eq!(found([rule("a.b", "~/x.*"), rule("a.b", "~/x.*")]), [(1, 0)]);
    assert_eq!(found([rule("", ""), rule("", "")]), [(1, 0)]);
    assert_eq!(
        found([
            rule("any", "/x"),
            rule("", "/x"),
            rule("*.any", "/x"),
            rule("any", "/x/*")
        ]),
        []
    );
}

#[test]
fn a_rule_that_asks_for_more_is_reached_when_it_is_more_specific() {
    let beta = || with_header(rule("", "/x"), "x-beta", ValueMatch::Exact("1".into()));
    assert_eq!(
        found([rule("", "/x"), beta(), with_methods(rule("", "/x"), &["GET"])]),
        []
    );
    // A rule with a method comes before one with a header.
    let posts = with_methods(beta(), &["GET", "POST"]);
    assert_eq!(found([posts, with_methods(rule("", "/x"), &["GET"])]), []);
}

#[test]
fn a_narrower_condition_later_in_the_file_is_not_reached() {
    let get = with_methods(rule("", "/x"), &["GET"]);
    let both = with_methods(rule("", "/x"), &["POST", "GET"]);
    assert_eq!(found([both.clone(), get.clone()]), [(1, 0)]);
    assert_eq!(found([get, both]), []);
    let header = |value| with_header(rule("", "/x"), "x", value);
    let exact = || header(ValueMatch::Exact("abc".into()));
    assert_eq!(found([header(ValueMatch::Present(true)), exact()]), [(1, 0)]);
    assert_eq!(found([header(ValueMatch::Prefix("ab".into())), exact()]), [(1, 0)]);
    assert_eq!(found([header(ValueMatch::Prefix("b".into())), exact()]), []);
    assert_eq!(found([exact(), header(ValueMatch::Present(true))]), []);
    assert_eq!(found([header(ValueMatch::Present(false)), exact()]), []);
}

#[test]
fn an_expression_under_a_prefix_is_not_reached() {
    assert_eq!(found([rule("", "~/api/v[0-9]/x"), rule("", "/api/*")]), [(0, 1)]);
    assert_eq!(found([rule("", "~/ap.*"), rule("", "/*")]), [(0, 1)]);
    assert_eq!(found([rule("", "/*"), rule("", "")]), [(1, 0)]);
    for expression in [
        "~/api?/x",
        "~/(api|x)/y",
        "~/api/|/x",
        "~/apis/.*",
        "~/api/?.*",
        "~/a.*",
        "~(?i)/api/x",
    ] {
        assert_eq!(found([rule("", expression), rule("", "/api/*")]), [], "{expression}");
    }
    // Another host, or a condition, leaves it some requests.
    assert_eq!(found([rule("a.b", "~/api/.*"), rule("", "/api/*")]), []);
    let prefix = with_methods(rule("", "/api/*"), &["GET"]);
    assert_eq!(found([rule("", "~/api/.*"), prefix]), []);
}

#[test]
fn both_routes_are_named() {
    let (first, second) = (route(1), route(2));
    let table = RouteTable::build(vec![
        (rule("", "/x"), first.clone()),
        (rule("", "/x"), second.clone()),
        (rule("", "/y"), second),
        (rule("", "/x"), first),
    ]);
    let found = table.shadowed();
    let told: Vec<_> = found.iter().map(|f| (&*f.route, &*f.by, f.rule)).collect();
    assert_eq!(told, [("r2", "r1", 1), ("r1", "r1", 3)]);
}

#[test]
fn an_expression_that_no_path_can_match_is_seen() {
    for (expression, why) in [
        ("api/.*", "every path begins with a slash"),
        ("^api$", "every path begins with a slash"),
        ("ab?", "every path begins with a slash"),
        ("/a//b", "two slashes are read as one"),
        ("/a b", "\" \" stands in no path but as \"%20\""),
        ("/a\"b", "\"\"\" stands in no path but as \"%22\""),
        ("/é", "bytes beyond visible ASCII stand in no path but percent-encoded"),
    ] {
        let found = PathMatch::regex(expression).unwrap().impossible();
        assert_eq!(found.as_deref(), Some(why), "{expression}");
    }
}

/// Where something can match, nothing is said, and neither where only a whole parser could tell.
#[test]
fn an_expression_that_a_path_may_match_is_left_in_peace() {
    for expression in [
        "",
        ".*",
        "/.*",
        "^/api",
        "a?/x",
        "a*/x",
        "a{0}/x",
        "a|/x",
        "(?i)/X",
        "(?x) / x",
        "\\*",
        "[*]",
        "\\x2fa",
        "/ ?a",
        "/a/?/b",
        "/~u/%20/!$&'",
        "/a\\?b",
    ] {
        assert_eq!(PathMatch::regex(expression).unwrap().impossible(), None, "{expression}");
    }
    assert_eq!(PathMatch::parse("/x").unwrap().impossible(), None);
}
