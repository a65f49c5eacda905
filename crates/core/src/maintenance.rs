//! Maintenance: a route that is closed for a time, by its configuration or by an operator.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

use crate::network::Network;
use crate::outcome::Reason;
use crate::reply::{Reply, Respond};
use crate::template::{Template, Values};

/// Clients of a closed route are told to come back after so long.
pub const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What a closed route says, and whom it lets in all the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The status.
    pub status: u16,
    /// The body; the reason's own, or an error page, when it is empty.
    pub body: Template,
    /// Header fields.
    pub headers: Vec<(String, Template)>,
    /// When clients are to come back; nobody says so when it is `None`.
    pub retry_after: Option<Duration>,
    /// Clients that come in.
    pub allow: Vec<Network>,
}

impl Default for Notice {
    fn default() -> Self {
        Notice {
            status: Reason::Maintenance.status(),
            body: Template::default(),
            headers: Vec::new(),
            retry_after: Some(RETRY_AFTER),
            allow: Vec::new(),
        }
    }
}

/// What an operator wants of a route, if anything. It outlives generations of the configuration.
#[derive(Debug, Default)]
pub struct Switch(AtomicU8);

const CLOSED: u8 = 1;
const OPEN: u8 = 2;

impl Switch {
    /// Whether the route shall be closed; `None` when that is the configuration's affair.
    pub fn wanted(&self) -> Option<bool> {
        match self.0.load(Relaxed) {
            CLOSED => Some(true),
            OPEN => Some(false),
            _ => None,
        }
    }

    /// Closes or opens the route, or leaves it to its configuration again. Only the control plane's publisher calls it.
    pub fn set(&self, wanted: Option<bool>) {
        let word = match wanted {
            Some(true) => CLOSED,
            Some(false) => OPEN,
            None => 0,
        };
        self.0.store(word, Relaxed);
    }
}

/// A route's maintenance.
#[derive(Clone, Debug, Default)]
pub struct Maintenance {
    /// Whether the configuration closes it.
    pub configured: bool,
    /// What an operator wants.
    pub switch: Arc<Switch>,
    /// What it says while it is closed.
    pub notice: Notice,
}

impl Maintenance {
    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.switch.wanted().unwrap_or(self.configured)
    }

    /// Who closed it, in words.
    pub fn closed_by(&self) -> &'static str {
        match self.switch.wanted() {
            Some(_) => "closed by an operator",
            None => "closed by its configuration",
        }
    }

    /// Whether `client` comes in all the same.
    pub fn lets_in(&self, client: IpAddr) -> bool {
        self.notice.allow.iter().any(|network| network.contains(client))
    }

    /// What everybody else is told.
    pub fn reply(&self, values: &Values<'_>) -> Reply {
        let Notice { status, headers, .. } = &self.notice;
        let is_ours = self.notice.body.as_text() == Some("");
        let own = Respond {
            status: *status,
            body: self.notice.body.clone(),
            headers: headers.clone(),
        }
        .reply(values);
        let mut reply = if is_ours {
            let mut plain = Reply::of_status(*status, Reason::Maintenance);
            plain.headers.extend(own.headers);
            plain
        } else {
            Reply {
                reason: Some(Reason::Maintenance),
                theirs: true,
                ..own
            }
        };
        let says_when = reply.headers.iter().any(|(name, _)| name == "retry-after");
        if let (Some(span), false) = (self.notice.retry_after, says_when) {
            // RFC 9110 §10.2.3: whole seconds.
            let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
            reply = reply.with("retry-after", seconds.to_string());
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Asked, Fields, Target};

    struct Nothing;

    impl Fields for Nothing {
        fn each(&self, _: &str, _: &mut dyn FnMut(&[u8]) -> bool) {}
    }

    fn told(notice: Notice) -> Reply {
        let asked = Asked::read("GET", b"a", Target::Origin(b"/<x>"), &Nothing, false).unwrap();
        let maintenance = Maintenance {
            notice,
            ..Maintenance::default()
        };
        maintenance.reply(&Values {
            asked: &asked,
            fields: &Nothing,
            client: "192.0.2.1".parse().unwrap(),
            peer: "192.0.2.1:1".parse().unwrap(),
            request_id: "id",
            scheme: "http",
            tls: None,
            route: "r",
            pool: "",
        })
    }

    fn field<'r>(reply: &'r Reply, name: &str) -> Option<&'r str> {
        let found = reply.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    #[test]
    fn an_operator_has_the_last_word_until_that_is_undone() {
        for configured in [false, true] {
            let maintenance = Maintenance {
                configured,
                ..Maintenance::default()
            };
            assert_eq!(maintenance.is_closed(), configured);
            for wanted in [Some(true), Some(false), None] {
                maintenance.switch.set(wanted);
                assert_eq!(maintenance.switch.wanted(), wanted);
                assert_eq!(maintenance.is_closed(), wanted.unwrap_or(configured));
            }
        }
    }

    #[test]
    fn a_closed_route_says_when_to_come_back() {
        let plain = told(Notice::default());
        assert_eq!((plain.status, plain.reason), (503, Some(Reason::Maintenance)));
        assert_eq!(field(&plain, "retry-after"), Some("60"));
        assert!(!plain.theirs && plain.body.starts_with("503 maintenance:"));
        let own = told(Notice {
            status: 500,
            body: Template::text("soon"),
            headers: vec![("content-type".into(), Template::text("text/html"))],
            retry_after: Some(Duration::from_millis(1_500)),
            allow: Vec::new(),
        });
        assert_eq!((own.status, &*own.body, own.theirs), (500, "soon", true));
        assert_eq!(field(&own, "retry-after"), Some("2"));
        assert_eq!(field(&own, "content-type"), Some("text/html"));
        let never = told(Notice {
            retry_after: None,
            ..Notice::default()
        });
        assert_eq!(field(&never, "retry-after"), None);
        let dated = told(Notice {
            headers: vec![("retry-after".into(), Template::text("Fri, 31 Dec 2027 23:59:59 GMT"))],
            ..Notice::default()
        });
        assert_eq!(field(&dated, "retry-after"), Some("Fri, 31 Dec 2027 23:59:59 GMT"));
    }

    #[test]
    fn those_who_are_let_in_are_let_in() {
        let maintenance = Maintenance {
            notice: Notice {
                allow: vec![Network::parse("10.0.0.0/8").unwrap()],
                ..Notice::default()
            },
            ..Maintenance::default()
        };
        assert!(maintenance.lets_in("10.1.2.3".parse().unwrap()));
        assert!(!maintenance.lets_in("192.0.2.1".parse().unwrap()));
    }
}
