//! What the dashboard draws, as it gets it.

use super::Fixture;

#[tokio::test]
async fn a_page_of_backends_is_found_ordered_and_bounded() {
    let fixture = Fixture::new();
    fixture.check(0, true);
    fixture.check(1, false);
    let page = async |query: &str| {
        let stats = fixture.get(&format!("/api/v1/stats?pool=api{query}")).await.json();
        let page = stats["backends"]["page"].as_array().expect("a page").clone();
        let names = page
            .iter()
            .map(|backend| backend["name"].as_str().expect("a name").to_owned());
        (names.collect::<Vec<String>>(), stats["backends"]["found"].clone())
    };
    assert_eq!(page("").await, (vec!["one".into(), "two".into()], 2.into()));
    assert_eq!(page("&sort=state").await.0, ["two", "one"]);
    assert_eq!(page("&filter=UNHEALTHY").await, (vec!["two".into()], 1.into()));
    assert_eq!(page("&filter=127.0.0.1:1").await.0, ["one"]);
    assert_eq!(page("&limit=1&offset=1").await, (vec!["two".into()], 2.into()));
    assert_eq!(page("&offset=9").await, (vec![], 2.into()));
}

#[tokio::test]
async fn wrong_questions_are_told_what_is_right() {
    let fixture = Fixture::new();
    for (query, status, says) in [
        ("?pool=apo", 404, "did you mean"),
        ("?limit=3", 400, "`pool` is missing"),
        ("?pool=api&limit=501", 400, "from 1 to 500"),
        ("?pool=api&pool=api", 400, "given twice"),
        ("?pool=api&sort=size", 400, "requests, errors, latency"),
        ("?pool=api&offset=-1", 400, "is a number"),
        ("?poll=api", 400, "unknown parameter"),
    ] {
        let answer = fixture.get(&format!("/api/v1/stats{query}")).await;
        assert!(
            answer.status == status && answer.body.contains(says),
            "{query}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn without_a_pool_there_are_sums_alone() {
    let fixture = Fixture::new();
    fixture.check(0, true);
    fixture.check(1, false);
    let stats = fixture.get("/api/v1/stats").await.json();
    assert!(stats.get("backends").is_none(), "{stats:#}");
    let api = &stats["pools"][0];
    assert_eq!((&api["name"], &api["backends"]), (&"api".into(), &2.into()));
    assert_eq!(
        (&api["states"]["healthy"], &api["states"]["unhealthy"]),
        (&1.into(), &1.into())
    );
    assert_eq!(stats["may_write"], true);
}
