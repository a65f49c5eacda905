//! TCP: accept → forward. A listener names its pool itself; routes by SNI come with TLS.

pub(crate) mod accept;
mod forward;
