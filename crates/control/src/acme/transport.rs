//! How an authority is spoken to: HTTP of our own, within TLS.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use plimsoll_core::filter::Url;
use rustls::ClientConfig;

use crate::config::AcmePlan;
use crate::fetch::{Answer, Ask, ask, trusting_file};

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Asks an authority, and remembers for how long it does not want to be asked.
#[derive(Clone)]
pub(super) struct Transport {
    trust: Option<Arc<ClientConfig>>,
    heard: Arc<Mutex<Heard>>,
}

/// What was heard of the authority last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// Whether it has answered at all.
    pub(super) answered: bool,
    /// From when on it wants to be asked again.
    pub(super) retry_after: Option<SystemTime>,
}

/// Nobody has answered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unheard(String);

type Answering = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

impl Transport {
    /// To the authority of `plan`.
    ///
    /// # Errors
    /// Its file of those who vouch for the authority cannot be used.
    pub(super) fn new(plan: &AcmePlan) -> Result<Transport, String> {
        let trust = plan.authorities.as_deref().map(trusting_file).transpose()?;
        Ok(Transport {
            trust,
            heard: Arc::default(),
        })
    }

    /// What was heard last.
    pub(super) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, on a thread that may wait.
    fn ask(&self, method: &str, url: &str, kind: Option<&str>, body: &[u8]) -> Result<Answer, Unheard> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard::default();
        // RFC 8555 §6.1: also where the directory sends us elsewhere.
        let Some(url) = Url::parse(url).filter(|url| url.secure) else {
            return Err(Unheard(format!("\"{}\" is no URL of https", url.escape_debug())));
        };
        let fields: Vec<(&str, &str)> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let answer = ask(&Ask {
            method,
            url: &url,
            fields: &fields,
            body,
            trust: self.trust.as_ref(),
            timeout: TIMEOUT,
        });
        let answer = answer.map_err(|wrong| Unheard(wrong.told(&url.shown())))?;
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Heard {
            answered: true,
            retry_after: retry_after(&answer, SystemTime::now()),
        };
        Ok(answer)
    }
}

/// From when on whoever has answered wants to be asked again (RFC 9110 §10.2.3).
fn retry_after(answer: &Answer, now: SystemTime) -> Option<SystemTime> {
    let mut fields = answer.fields.iter();
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))?;
    let value = std::str::from_utf8(value).ok()?.trim();
    match value.parse::<u32>() {
        Ok(seconds) => Some(now + Duration::from_secs(seconds.into())),
        Err(_) => httpdate::parse_http_date(value).ok(),
    }
}

impl HttpClient for Transport {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answering {
        let this = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            // What a question holds can be read as what an answer does.
            let mut body = BytesResponse::from(Response::new(body)).body;
            let body = body.into_bytes().await.map_err(Error::Other)?;
            let asked = tokio::task::spawn_blocking(move || {
                let kind = head.headers.get(http::header::CONTENT_TYPE);
                let kind = kind.and_then(|kind| kind.to_str().ok());
                this.ask(head.method.as_str(), &head.uri.to_string(), kind, &body)
            });
            let answer = asked.await.map_err(|error| Error::Other(Box::new(error)))?;
            let answer = answer.map_err(|unheard| Error::Other(Box::new(unheard)))?;
            let mut response = Response::builder().status(answer.status);
            for (name, value) in &answer.fields {
                response = response.header(name, value.as_slice());
            }
            let (parts, ()) = response.body(())?.into_parts();
            Ok(BytesResponse {
                parts,
                body: Box::new(Bytes::from(answer.body)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_ask_again_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("soon", None),
            ("-1", None),
            ("99999999999", None),
        ] {
            let answer = Answer {
                status: 429,
                fields: vec![("Retry-After".into(), value.into())],
                body: Vec::new(),
            };
            let wanted = seconds.map(|seconds| now + Duration::from_secs(seconds));
            assert_eq!(retry_after(&answer, now), wanted, "{value}");
        }
    }
}
