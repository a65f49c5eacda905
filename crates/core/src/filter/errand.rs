//! What filters need to have done, as data: whoever runs them does it and comes back with how it went.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What a filter needs to have done, and cannot do itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Errand {
    /// Time is to pass.
    Wait(Duration),
    /// A password is to be held against its hash.
    Password(Password),
    /// A service is to be asked about the request.
    Ask(Ask),
}

/// How an errand went.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The time has passed.
    Waited,
    /// Somebody only asks what would be: nothing was done, and all is taken to be as it should.
    Assumed,
    /// Whether the password is the one that was hashed; `None` when too many others wait for that to be known.
    Password(Option<bool>),
    /// What the service answered; `None` when it did not, or not in time.
    Asked(Option<Answered>),
}

/// A password, and what it is held against.
#[derive(Clone, Debug, PartialEq)]
pub struct Password {
    /// What was shown.
    pub shown: Secret,
    /// The hash, as its file has it.
    pub hash: Arc<str>,
    /// Who shows it: one client does not keep all others waiting.
    pub client: IpAddr,
}

/// A question about a request, to an authentication service. Whoever asks it adds who the client is.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Where the service is.
    pub to: SocketAddr,
    /// Its `Host`.
    pub host: String,
    /// Its path and query.
    pub target: String,
    /// The method that the client asks with.
    pub method: String,
    /// The canonical path and the query that it asks for.
    pub uri: String,
    /// The only fields of the request that are sent along, in lower case; all of them when `None`.
    pub only: Option<Arc<[String]>>,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// What a service answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Its fields, in their order and case.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Its body, without any framing; empty when the request goes on.
    pub body: Vec<u8>,
}

impl Default for Answered {
    /// It agrees.
    fn default() -> Self {
        Answered {
            status: 200,
            fields: Vec::new(),
            body: Vec::new(),
        }
    }
}

/// What is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

impl Errand {
    /// What is done, in words for whoever asks.
    pub(super) fn told(&self) -> String {
        match self {
            Errand::Wait(span) => format!("waits for {} ms", span.as_millis()),
            Errand::Password(_) => "has the password held against its hash".to_owned(),
            Errand::Ask(ask) => {
                let path = ask.target.split('?').next().unwrap_or_default();
                format!("asks http://{}{path}", ask.host)
            }
        }
    }
}
