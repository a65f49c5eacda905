//! HTTP: accept → route → forward → respond, a file each.

pub(crate) mod accept;
mod again;
mod answer;
mod back;
mod compress;
mod download;
mod downstream;
mod due;
mod errand;
mod exchange;
mod fault;
mod forward;
mod h3;
mod hedge;
mod mirror;
mod multiplex;
mod pieces;
mod queue;
mod reach;
mod respond;
mod room;
mod route;
mod shared_room;
mod stream;
mod streams;
mod upload;
mod upstream;

pub(crate) use forward::Forward;
pub(crate) use h3::serve_quic;
pub(crate) use multiplex::serve_multiplexed;
pub(crate) use pieces::Pieces;
pub(crate) use route::{Arrived, Request, Spoken};
pub(crate) use streams::Runners;
pub(crate) use upload::Upload;
pub(crate) use upstream::Trunks;
