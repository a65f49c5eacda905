//! The stable reason codes, in one table: word, status, side, and what to tell a person.

use super::Side;

macro_rules! reasons {
    ($( $variant:ident = $word:literal, $status:literal, $side:ident, $says:literal; )*) => {
        /// Why we replied ourselves, or why a connection failed. In the access log, in
        /// `plimsoll_failures_total{reason}` and in `x-plimsoll-reason`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $( #[doc = $says] $variant ),* }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),*];

            /// The stable word.
            pub const fn word(self) -> &'static str {
                match self { $(Reason::$variant => $word),* }
            }

            /// The one with this word.
            pub fn of_word(word: &str) -> Option<Reason> {
                Reason::ALL.iter().copied().find(|reason| reason.word() == word)
            }

            /// The HTTP status of the reply; for those that are only logged, the status in the log (0: none).
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status),* }
            }

            /// Whose doing it was.
            pub const fn side(self) -> Side {
                match self { $(Reason::$variant => Side::$side),* }
            }

            /// One sentence for the reply's body and for `explain`.
            pub const fn says(self) -> &'static str {
                match self { $(Reason::$variant => $says),* }
            }
        }
    };
}

reasons! {
    NoRoute = "no_route", 404, Client, "No route matches this request.";
    BadRequest = "bad_request", 400, Client, "The request is malformed.";
    HeaderTooLarge = "header_too_large", 431, Client, "The request's header fields are too large or too many.";
    BodyTooLarge = "body_too_large", 413, Client, "The request's body is larger than allowed.";
    UriTooLong = "uri_too_long", 414, Client, "The request's target is too long.";
    RequestHeaderTimeout = "request_header_timeout", 408, Client, "The request's head did not arrive in time.";
    RateLimited = "rate_limited", 429, Ours, "Too many requests.";
    Denied = "denied", 403, Ours, "This client may not do this.";
    Unauthorized = "unauthorized", 401, Ours, "Credentials are missing or wrong.";
    NoBackend = "no_backend", 503, Ours, "The pool has no backend that takes work.";
    NoHealthyBackend = "no_healthy_backend", 503, Backend, "No backend of the pool is healthy.";
    PoolFull = "pool_full", 503, Ours, "Every backend of the pool carries as much as it may.";
    QueueTimeout = "queue_timeout", 503, Ours, "No backend became free in time.";
    ConnectFailed = "connect_failed", 502, Backend, "The backend refused the connection or cannot be reached.";
    ConnectTimeout = "connect_timeout", 504, Backend, "The connection to the backend was not made in time.";
    TlsFailed = "tls_failed", 502, Backend, "TLS with the backend failed.";
    BackendReset = "backend_reset", 502, Backend, "The backend closed the connection before it answered.";
    BackendProtocolError = "backend_protocol_error", 502, Backend, "The backend's answer is malformed.";
    ResponseTimeout = "response_timeout", 504, Backend, "The backend did not answer in time.";
    RequestTimeout = "request_timeout", 504, Backend, "The request was not finished in time.";
    RequestBodyTimeout = "request_body_timeout", 408, Client, "The request's body did not arrive in time.";
    Misdirected = "misdirected", 421, Client, "This connection does not serve that host.";
    ConcurrencyLimited = "concurrency_limited", 429, Ours, "Too many requests at once.";
    AuthUnavailable = "auth_unavailable", 503, Ours, "The authentication service cannot be reached.";
    ClientClosed = "client_closed", 499, Client, "The client went away before the answer was complete.";
    ClientTlsFailed = "client_tls_failed", 0, Client, "The TLS handshake with the client failed.";
    Http3Abuse = "http3_abuse", 0, Client, "The client of HTTP/3 did too often what costs us more than it.";
    Http2Abuse = "http2_abuse", 0, Client, "The client sent too many frames of a kind that costs us more than it.";
    IdleTimeout = "idle_timeout", 0, Client, "The connection was idle for too long.";
    BackendUnhealthy = "backend_unhealthy", 0, Ours, "The backend became unhealthy, and its connections were cut.";
    DrainDeadline = "drain_deadline", 0, Ours, "The connection was still open at the drain deadline.";
    Draining = "draining", 503, Ours, "This node is being shut down.";
    Maintenance = "maintenance", 503, Ours, "This is closed for maintenance.";
    FaultInjected = "fault_injected", 503, Ours, "A fault that is injected on purpose.";
    Overloaded = "overloaded", 503, Ours, "This node has reached one of its limits.";
    Internal = "internal", 500, Ours, "An error of our own; it is in the log.";
}
