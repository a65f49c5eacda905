//! Bodies of calls.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use plimsoll_core::document::Decode;

use super::problem::Problem;
use crate::config::decode_json;

/// The largest body of a change, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The JSON document in the body of a call.
///
/// # Errors
/// Another media type, too many bytes, or what is wrong with the document.
pub(super) async fn read_body<T: Decode>(fields: &HeaderMap, body: Body) -> Result<T, Problem> {
    let text = read_json(fields, body).await?;
    decode_json(text).map_err(|refused| Problem::refused(&refused))
}

/// The text of a JSON document in the body of a call.
///
/// # Errors
/// Another media type, or too many bytes.
pub(super) async fn read_json(fields: &HeaderMap, body: Body) -> Result<String, Problem> {
    // A form in somebody's page can send any other type without asking first.
    if !kind_of(fields).eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type has to be application/json",
        ));
    }
    read_text(body, BODY_BYTES_MAX).await
}

/// The media type of a body, without its parameters.
pub(super) fn kind_of(fields: &HeaderMap) -> &str {
    let kind = fields.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// The text in the body of a call, of `most` bytes.
///
/// # Errors
/// Too many bytes, or what is no text.
pub(super) async fn read_text(body: Body, most: usize) -> Result<String, Problem> {
    let bytes = to_bytes(body, most).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body did not arrive whole, or has more than {most} bytes"),
        )
    })?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body is not UTF-8 text"))
}
