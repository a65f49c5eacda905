//! Errors as `application/problem+json` (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::config::Refused;

/// The type of what cannot be done while another process takes over, and can be by whoever serves then.
pub const UPGRADING: &str = "urn:plimsoll:problem:upgrading";

/// Of the body.
const MEDIA_TYPE: &str = "application/problem+json";

/// What went wrong with a call.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    /// The problem's type and title, where the status alone does not say enough.
    kind: Option<(&'static str, &'static str)>,
    /// Members of its own.
    more: Map<String, Value>,
}

impl Problem {
    /// A problem that its status names, with a sentence that says what to do.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem {
            status,
            detail: detail.into(),
            kind: None,
            more: Map::new(),
        }
    }

    /// Nothing can be changed now, as `why` says; soon, whoever calls again is answered by the process that serves then.
    pub(super) fn upgrading(why: &str) -> Self {
        Problem {
            kind: Some((UPGRADING, "an upgrade is under way")),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{why}, and nothing was changed: ask again"),
            )
        }
    }

    /// A body that could not be understood, with each fault and its place.
    pub(super) fn refused(refused: &Refused) -> Self {
        let told: Vec<String> = refused
            .faults
            .iter()
            .map(|fault| match &fault.help {
                Some(help) => format!("{} ({help})", fault.message),
                None => fault.message.clone(),
            })
            .collect();
        let mut problem = Problem::new(StatusCode::BAD_REQUEST, told.join("; "));
        let errors = crate::config::render::json(&refused.faults, &refused.sources);
        problem.more.insert("errors".into(), errors);
        problem
    }
}

impl Problem {
    /// The same with another member.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// Whether `response` is one.
    pub(super) fn is_problem(response: &Response) -> bool {
        response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind == MEDIA_TYPE)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let plain = ("about:blank", self.status.canonical_reason().unwrap_or("error"));
        let (kind, title) = self.kind.unwrap_or(plain);
        let is_passing = kind == UPGRADING;
        let mut object = self.more;
        object.insert("type".into(), kind.into());
        object.insert("title".into(), title.into());
        object.insert("status".into(), json!(self.status.as_u16()));
        object.insert("detail".into(), self.detail.into());
        let mut response = (self.status, Value::Object(object).to_string()).into_response();
        let kind = HeaderValue::from_static(MEDIA_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if is_passing {
            let fields = [(header::RETRY_AFTER, "1"), (header::CONNECTION, "close")];
            let fields = fields.map(|(name, value)| (name, HeaderValue::from_static(value)));
            response.headers_mut().extend(fields);
        }
        response
    }
}
