//! Layer 4: accept → route → forward. A listener for TCP names its pool itself; one that passes TLS through has routes.

pub(crate) mod accept;
mod forward;
mod route;
