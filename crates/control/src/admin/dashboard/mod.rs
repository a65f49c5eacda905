//! The dashboard at `GET /`: one page, its style, its script and its mark, all of them in the binary. It is drawn by the
//! browser from the API, as anybody's own would be; nothing is built and nothing comes from elsewhere.
//!
//! The page itself tells nothing about this node, so it needs no token; what it shows, it asks for with one.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;

use super::Api;

/// What the browser may do for this page: nothing but what is ours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const MARK: &str = include_str!("mark.svg");
const SCRIPT: &str = concat!(
    include_str!("draw.js"),
    include_str!("numbers.js"),
    include_str!("page.js"),
    include_str!("live.js")
);

/// The page and what it needs.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/", get(async || file("text/html; charset=utf-8", PAGE)))
        .route("/dashboard.css", get(async || file("text/css; charset=utf-8", STYLE)))
        .route(
            "/dashboard.js",
            get(async || file("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/dashboard.svg", get(async || file("image/svg+xml", MARK)))
        .layer(from_fn(guarded))
}

fn file(kind: &'static str, text: &'static str) -> ([(HeaderName, &'static str); 1], &'static str) {
    ([(header::CONTENT_TYPE, kind)], text)
}

/// What keeps others from drawing our page within theirs, or theirs within ours.
async fn guarded(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    let fields = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_from_outside_becomes_html() {
        for text in [PAGE, STYLE, SCRIPT] {
            let links = text
                .match_indices("http")
                .map(|(at, _)| &text[at..text.len().min(at + 40)]);
            let foreign: Vec<&str> = links
                .filter(|link| link.starts_with("http://") || link.starts_with("https://"))
                .filter(|link| !link.starts_with("http://www.w3.org/2000/svg"))
                .collect();
            assert_eq!(foreign, [""; 0]);
        }
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        assert!(
            !PAGE.contains("style=") && !PAGE.contains(" onclick"),
            "the policy allows neither"
        );
    }

    #[test]
    fn every_element_that_the_script_looks_for_is_on_the_page() {
        for (at, _) in SCRIPT.match_indices("byId(\"") {
            let id: String = SCRIPT[at + 6..].chars().take_while(|c| *c != '"').collect();
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }
}
