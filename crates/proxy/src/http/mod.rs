//! HTTP: accept → route → forward → respond, a file each.

pub(crate) mod accept;
mod answer;
mod download;
mod downstream;
mod exchange;
mod forward;
mod respond;
mod room;
mod route;
mod upload;

pub(crate) use exchange::connect_reason;
pub(crate) use route::Request;
