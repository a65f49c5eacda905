//! Calls about decisions: what a request would get now, and why.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use plimsoll_core::decision::Decision;
use plimsoll_core::document::nearest;

use super::Api;
use super::problem::Problem;
use crate::explain::{Question, Unanswerable, Url};

/// What may be asked with.
const PARAMETERS: [&str; 6] = ["url", "method", "client", "header", "alpn", "listener"];

/// `GET /api/v1/explain`: nothing is sent, and nothing is counted.
pub(super) async fn explain(
    State(api): State<Api>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<axum::Json<Decision>, Problem> {
    let question = question(&parameters)?;
    Ok(axum::Json(api.control.explain(&question)?))
}

fn question(parameters: &[(String, String)]) -> Result<Question, Problem> {
    if let Some((name, _)) = parameters.iter().find(|(name, _)| !PARAMETERS.contains(&name.as_str())) {
        let hint = nearest(name, PARAMETERS).map_or(String::new(), |word| format!("; did you mean \"{word}\"?"));
        return Err(bad(format!("unknown parameter \"{name}\"{hint}")));
    }
    let all = |wanted: &'static str| parameters.iter().filter(move |(name, _)| name == wanted);
    let one = |wanted: &'static str| match all(wanted).count() {
        0 | 1 => Ok(all(wanted).next().map(|(_, value)| value.as_str())),
        _ => Err(bad(format!("`{wanted}` is given twice"))),
    };
    let url = one("url")?.ok_or_else(|| bad("`url` is missing: ?url=http://HOST/PATH".into()))?;
    let headers = all("header").map(|(_, text)| Question::header(text));
    Ok(Question {
        url: Url::parse(url)?,
        method: Question::method(one("method")?.unwrap_or("GET"))?,
        headers: headers.collect::<Result<_, _>>()?,
        client: one("client")?.map(Question::client).transpose()?,
        alpn: all("alpn").map(|(_, name)| name.clone()).collect(),
        listener: one("listener")?.map(str::to_owned),
        seed: 0,
    })
}

impl From<Unanswerable> for Problem {
    fn from(why: Unanswerable) -> Self {
        match why {
            Unanswerable::Listener(why) => Problem::new(StatusCode::NOT_FOUND, why),
            why => bad(why.to_string()),
        }
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
