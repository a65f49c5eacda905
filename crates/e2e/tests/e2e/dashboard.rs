//! The dashboard, in headless Chromium.

use e2e::browser::{Browser, ENTER, TAB};
use e2e::{Backend, Plimsoll, Script};

const CONFIG: &str = r#"
    server.trusted_proxies = ["127.0.0.0/8"]
    listeners.web = { bind = ["@web@"] }
    [[routes]]
    name = "shop"
    match = { path = "/shop/*" }
    pool = "shop"
    [pools.shop]
    backends = [{ name = "one", address = "@one@" }, { name = "two", address = "@two@" }]
    health = { interval = "200ms", fall = 1, rise = 1 }
"#;

fn start() -> (Backend, Backend, Plimsoll) {
    let (one, two) = (Backend::start(Script::Echo), Backend::start(Script::Echo));
    let plimsoll = Plimsoll::config(CONFIG)
        .address("one", one.address())
        .address("two", two.address())
        .start();
    for backend in ["one", "two"] {
        plimsoll.wait_for_state("shop", backend, "healthy");
    }
    (one, two, plimsoll)
}

fn open(plimsoll: &Plimsoll) -> Browser {
    let browser = Browser::start();
    browser.open(&format!("http://{}/", plimsoll.address("admin")));
    browser
}

/// The state that is shown of a backend.
fn state_of(backend: &str) -> String {
    format!("document.querySelector('article[aria-label=\"{backend}\"] .badge')?.innerText")
}

#[test]
fn what_happens_is_seen_as_it_happens_and_nothing_from_outside_becomes_html() {
    let (mut one, _two, plimsoll) = start();
    let browser = open(&plimsoll);
    browser.wait_until("document.querySelector('#stands').innerText === 'ready'");
    browser.wait_until(&format!("{} === 'healthy'", state_of("one")));
    browser.wait_until("document.querySelector('#hearing').innerText === 'live'");

    for _ in 0..30 {
        assert_eq!(plimsoll.get("web", "/shop/cart").status, 200);
    }
    browser.wait_until("parseFloat(document.querySelector('.tile b').innerText) > 0");
    browser.wait_until("[...document.querySelectorAll('#route-rows td')].some((cell) => cell.innerText === 'shop')");

    one.stop();
    browser.wait_until(&format!("{} === 'unhealthy'", state_of("one")));
    browser.wait_until("document.querySelector('#event-list').innerText.includes('shop/one is unhealthy')");

    let hostile = "<img src=x onerror=document.title='owned'>";
    let head =
        format!("GET /nowhere HTTP/1.1\r\nhost: shop.example\r\nx-request-id: {hostile}\r\nconnection: close\r\n\r\n");
    assert_eq!(plimsoll.exchange("web", head).status, 404);
    browser.wait_until(
        "[...document.querySelectorAll('#decision-rows td')].some((cell) => cell.innerText === 'no_route')",
    );
    browser.run("[...document.querySelectorAll('#decision-rows tr')].find((row) => row.innerText.includes('no_route')).querySelector('button').click()");
    browser.wait_until("document.querySelector('#decision-steps').innerText.includes('/shop/*')");
    assert!(browser.text("#decision-title").contains(hostile), "it is shown as text");
    assert_eq!(
        browser.run("return [document.title, document.images.length]"),
        serde_json::json!(["Plimsoll", 1])
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_backend_is_drained_and_made_ready_by_keyboard_alone() {
    let (_one, _two, plimsoll) = start();
    let browser = open(&plimsoll);
    browser.wait_until(&format!("{} === 'healthy'", state_of("two")));
    browser.press(TAB);
    assert_eq!(
        browser.run("return document.activeElement.className"),
        "skip",
        "the first stop skips what is on every page"
    );
    // From the search field, the tab key comes to the buttons of the first backend.
    browser.run("document.querySelector('#filter').focus()");
    let mut stops = 0;
    while browser.run("return document.activeElement.dataset.act ?? ''") != "shop/one/drain" {
        browser.press(TAB);
        stops += 1;
        assert!(stops < 20, "the button cannot be reached");
    }
    browser.press(ENTER);
    browser.wait_until("document.querySelector('#change').open");
    browser.run("document.querySelector('#change-go').focus()");
    browser.press(ENTER);
    browser.wait_until(&format!("{} === 'draining'", state_of("one")));
    plimsoll.wait_for_state("shop", "one", "draining");
    browser.wait_until("document.activeElement !== null && !document.querySelector('#change').open");
    browser.run("document.querySelector('[data-act=\"shop/one/ready\"]').focus()");
    browser.press(ENTER);
    browser.wait_until("document.querySelector('#change').open");
    browser.run("document.querySelector('#change-go').focus()");
    browser.press(ENTER);
    plimsoll.wait_for_state("shop", "one", "healthy");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn it_fits_a_phone_and_is_dark_for_whoever_prefers_that() {
    let (_one, _two, plimsoll) = start();
    let browser = open(&plimsoll);
    browser.wait_until(&format!("{} === 'healthy'", state_of("one")));
    let ground = || browser.run("return getComputedStyle(document.body).backgroundColor");
    browser.prefer("light");
    let light = ground();
    browser.prefer("dark");
    assert_ne!(light, ground());
    browser.resize(390, 800);
    let wider = "document.documentElement.scrollWidth > window.innerWidth";
    assert_eq!(browser.run(&format!("return {wider}")), false);
    assert_eq!(browser.run("return window.innerWidth"), 390);
}

#[test]
fn ten_thousand_backends_are_paged_and_found() {
    let backends: Vec<String> = (0..10_000)
        .map(|at| {
            format!(
                "{{ name = \"b-{at}\", address = \"127.1.{}.{}:9\" }}",
                at / 250,
                at % 250 + 1
            )
        })
        .collect();
    let config = format!(
        "listeners.web = {{ bind = [\"@web@\"], pool = \"large\" }}\n[pools.large]\nhealth = false\nbackends = [{}]\n",
        backends.join(", ")
    );
    let plimsoll = Plimsoll::config(&config).start();
    let browser = open(&plimsoll);
    browser.wait_until("document.querySelector('#where').innerText === '1 to 48 of 10000'");
    assert_eq!(browser.run("return document.querySelectorAll('.ship').length"), 48);
    browser.run("document.querySelector('#after').click()");
    browser.wait_until("document.querySelector('#where').innerText === '49 to 96 of 10000'");
    browser.run("document.querySelector('#filter').focus()");
    browser.press("b-9999");
    browser.wait_until("document.querySelector('#where').innerText === '1 to 1 of 1, 10000 in all'");
    assert_eq!(browser.text(".ship h4"), "b-9999");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_token_is_asked_for_and_one_that_only_reads_offers_no_change() {
    let one = Backend::start(Script::Echo);
    let (writes, reads) = ("0123456789abcdef-writes", "0123456789abcdef-reads");
    let plimsoll = Plimsoll::config(
        r#"
        listeners.web = { bind = ["@web@"], pool = "api" }
        pools.api = { backends = [{ name = "one", address = "@one@" }], health = false }
        [admin]
        bind = "@admin@"
        token_file = "admin.token"
        read_token_file = "read.token"
        "#,
    )
    .address("one", one.address())
    .file("admin.token", writes)
    .file("read.token", reads)
    .start();
    for (token, buttons) in [(reads, 0), (writes, 2)] {
        let browser = open(&plimsoll);
        browser.wait_until("document.querySelector('#token-dialog').open");
        browser.run("document.querySelector('#token').focus()");
        browser.press(token);
        browser.press(ENTER);
        browser.wait_until(&format!("{} === 'healthy'", state_of("one")));
        let shown = browser.run("return document.querySelectorAll('.ship button').length");
        assert_eq!(shown, buttons, "{token}");
        assert_eq!(browser.text("#node").contains("read only"), token == reads);
    }
}
