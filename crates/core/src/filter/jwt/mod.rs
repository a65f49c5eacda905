//! `jwt`: a signed token (RFC 7519), checked as RFC 8725 has it: the algorithms are those of the configuration, a key
//! serves only the algorithms of its kind, and what a token says of itself chooses among these alone.

mod claims;
mod keys;
mod token;

pub use keys::Key;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use claims::{Claims, Misfit, Rules, Texts, Wanted};
use keys::{KeySet, SharedSecret};
use token::Token;

use super::authorization::shown;
use super::errand::{Algorithm, Done, Errand, Signature};
use super::held::FileOrUrl;
use super::{FieldName, FileName, FileUse, Filter, FilterCx, FilterKind, Flow, Held, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::route::cookie_value;

document! {
    /// A signed token, in `Authorization: Bearer` unless another place is named as well.
    struct Settings {
        /// The keys: a file with a JWK set, which is watched, or a URL, which is asked again and again.
        jwks: Option<FileOrUrl>,
        /// A file with the secret of HS256, HS384 and HS512.
        secret_file: Option<FileName>,
        /// How a token may be signed. The token itself is never asked.
        algorithms: Algorithms,
        /// Who may have issued it; any of these.
        issuer: Texts,
        /// Whom it has to be for; any of these.
        audience: Texts,
        /// Claims and what they have to be, or to have in their lists.
        claims: BTreeMap<String, Wanted>,
        /// Claims that have to be there, like "exp": a token without it never ends.
        require: Vec<String>,
        /// How far clocks may be apart.
        leeway: Leeway = Leeway(Duration::from_secs(30)),
        /// A cookie that has the token where there is no `Authorization: Bearer`.
        cookie: Option<String>,
        /// Fields of the request that are set to claims, in place of what the client sent.
        copy: BTreeMap<String, FieldName>,
        /// Whether the backend gets no `Authorization`.
        remove_authorization: bool = false,
    }
}

/// The farthest that clocks may be apart.
const LEEWAY_MAX: Duration = Duration::from_secs(600);

/// How long a request whose key is not known waits for the keys to be asked for: the control plane looks once a second
/// whether somebody has missed one, and then asks.
const FETCH_WAIT: Duration = Duration::from_millis(1_500);

/// Keys that the signature of a token which names none is held against.
const TRIES_MAX: usize = 8;

/// Tokens that are taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Jwt(Settings);

/// How a token may be signed: at least one way.
#[derive(Clone, Debug, PartialEq)]
struct Algorithms(Vec<Algorithm>);

/// How far clocks may be apart.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Leeway(Duration);

/// The filter.
struct Guard {
    settings: Settings,
    keys: Option<Arc<Held<KeySet>>>,
    secret: Option<Arc<Held<SharedSecret>>>,
}

impl FilterKind for Jwt {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(Guard {
            keys: self.0.jwks.as_ref().map(|keys| Held::of(&keys.0, keep)),
            secret: self.0.secret_file.as_ref().map(|file| Held::of(file, keep)),
            settings: self.0.clone(),
        })
    }

    fn files(&mut self) -> Vec<FileUse<'_>> {
        let keys = self.0.jwks.as_mut().map(|keys| FileUse {
            name: &mut keys.0,
            slot: Held::<KeySet>::slot,
        });
        let secret = self.0.secret_file.as_mut().map(|name| FileUse {
            name,
            slot: Held::<SharedSecret>::slot,
        });
        keys.into_iter().chain(secret).collect()
    }

    fn vouches(&self) -> Vec<&FieldName> {
        self.0.copy.values().collect()
    }
}

impl Filter for Guard {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        self.look(head, cx, true)
    }

    fn resume(&self, done: Done, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        match done {
            Done::Waited => self.look(head, cx, false),
            done => self.admit(&done, head, cx),
        }
    }
}

impl Guard {
    /// Looks for the keys that may have signed the token; when there are none, `may_wait` for those that come.
    fn look(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>, may_wait: bool) -> Flow {
        let Some(bytes) = self.brought(head) else {
            cx.say(|| "no token is shown".to_owned());
            return unauthorized(None);
        };
        let Some(token) = Token::read(&bytes) else {
            return invalid("it is no token", cx);
        };
        let algorithms = self.settings.algorithms.0.iter();
        let Some(algorithm) = algorithms.copied().find(|known| known.word() == token.algorithm) else {
            return invalid("it is signed in a way that is not among `algorithms`", cx);
        };
        let Some(mut keys) = self.candidates(token.kid.as_deref(), algorithm) else {
            if cx.is_question {
                cx.say(|| "the keys are not known here".to_owned());
                return self.admit(&Done::Assumed, head, cx);
            }
            return Flow::Reply(Reply::reason(Reason::AuthUnavailable));
        };
        keys.truncate(TRIES_MAX);
        if keys.is_empty() {
            // There may be another one by now.
            let held = self.keys.as_ref().filter(|_| may_wait && !cx.is_question);
            if held.is_some_and(|held| held.miss()) {
                return Flow::Errand(Errand::Wait(FETCH_WAIT));
            }
            return invalid("it is signed with a key that is not known", cx);
        }
        Flow::Errand(Errand::Signature(Signature {
            algorithm,
            keys,
            signed: token.signed.to_vec(),
            signature: token.signature,
        }))
    }

    /// Judges what the token says, once its signature was looked at.
    fn admit(&self, done: &Done, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let at = match done {
            Done::Signature { right: true, at } => Some(*at),
            Done::Assumed => {
                cx.say(|| "signature and time are taken to be right".to_owned());
                None
            }
            _ => return invalid("its signature is wrong", cx),
        };
        let bytes = self.brought(head).unwrap_or_default();
        let claims = Token::read(&bytes).and_then(|token| token.claims());
        let Some(claims) = claims else {
            return invalid("its claims cannot be read", cx);
        };
        match self.rules().judge(&claims, at) {
            Ok(()) => {}
            Err(Misfit::Invalid(why)) => return invalid(&why, cx),
            Err(Misfit::Insufficient(why)) => {
                cx.say(|| why);
                let challenge = "Bearer error=\"insufficient_scope\"";
                return Flow::Reply(Reply::reason(Reason::Denied).with("www-authenticate", challenge));
            }
        }
        self.hand_on(&claims, head, cx);
        Flow::Next
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            issuer: &self.settings.issuer,
            audience: &self.settings.audience,
            require: &self.settings.require,
            claims: &self.settings.claims,
            leeway: self.settings.leeway.0,
        }
    }

    /// The token that the request shows.
    fn brought(&self, head: &RequestView<'_>) -> Option<Vec<u8>> {
        let fields = head.fields();
        let cookie = || cookie_value(&fields, self.settings.cookie.as_deref()?);
        shown(&fields, "bearer").or_else(cookie)
    }

    /// The keys that may have made the signature; `None` when no keys are known at all.
    fn candidates(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<Vec<Arc<Key>>> {
        if algorithm.is_shared() {
            let secret = self.secret.as_ref()?.now();
            return secret.as_ref().map(|secret| vec![secret.0.clone()]);
        }
        let keys = self.keys.as_ref()?.now();
        keys.as_ref().map(|keys| keys.candidates(kid, algorithm))
    }

    fn hand_on(&self, claims: &Claims, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) {
        for (claim, FieldName(name)) in &self.settings.copy {
            head.changes.request.remove(name);
            if let Some(value) = claims::find(claims, claim).and_then(claims::as_field) {
                cx.say(|| format!("sets {name}"));
                head.changes.request.add(name, value.as_bytes());
            }
        }
        if self.settings.remove_authorization {
            cx.say(|| "removes authorization".to_owned());
            head.changes.request.remove("authorization");
        }
    }
}

/// The token is refused; whoever asks is told why, and the client is not.
fn invalid(why: &str, cx: &mut FilterCx<'_>) -> Flow {
    cx.say(|| why.to_owned());
    unauthorized(Some("invalid_token"))
}

/// RFC 6750 §3: without a token, no error is told.
fn unauthorized(error: Option<&str>) -> Flow {
    let challenge = error.map_or("Bearer".to_owned(), |error| format!("Bearer error=\"{error}\""));
    Flow::Reply(Reply::reason(Reason::Unauthorized).with("www-authenticate", challenge))
}

impl Decode for Jwt {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let settings = Settings::decode(node, faults)?;
        let before = faults.list.len();
        let place = |key: &str| node.field(key).map_or(node.span, |value| value.span);
        let (shared, signed): (Vec<Algorithm>, Vec<Algorithm>) = settings
            .algorithms
            .0
            .iter()
            .partition(|algorithm| algorithm.is_shared());
        if !signed.is_empty() && settings.jwks.is_none() {
            let what = signed[0].word();
            faults
                .error(node.span, format!("{what} needs keys"))
                .help("name a file or a URL: jwks = \"jwks.json\"");
        }
        if !shared.is_empty() && settings.secret_file.is_none() {
            let what = shared[0].word();
            faults
                .error(node.span, format!("{what} needs a secret"))
                .help("name a file: secret_file = \"jwt.secret\"");
        }
        if signed.is_empty() && !shared.is_empty() && settings.jwks.is_some() {
            faults.error(place("jwks"), "none of the algorithms takes keys from a JWK set");
        }
        if shared.is_empty() && settings.secret_file.is_some() {
            faults.error(place("secret_file"), "none of the algorithms takes a secret");
        }
        (faults.list.len() == before).then_some(Jwt(settings))
    }

    fn schema() -> Json {
        Settings::schema()
    }
}

impl Decode for Algorithms {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let list: Vec<Algorithm> = Vec::decode(node, faults)?;
        if list.is_empty() {
            let fault = faults.error(node.span, "without an algorithm no token is taken");
            fault.help("name what your issuer signs with: algorithms = [\"RS256\"]");
            return None;
        }
        Some(Algorithms(list))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "array", "items": Algorithm::schema(), "minItems": 1 })
    }
}

impl Decode for Leeway {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let span = Duration::decode(node, faults)?;
        if span > LEEWAY_MAX {
            faults.error(node.span, "clocks may be 10 minutes apart at the most");
            return None;
        }
        Some(Leeway(span))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

#[cfg(test)]
mod tests;
