//! The end-to-end tests: real processes, real sockets, one binary so that linking is paid once.
//!
//! One module a topic; a test is named after the behaviour that it proves.

mod access_log;
mod admin;
mod clients;
mod continuing;
mod framing;
mod front;
mod heads;
mod limits;
mod operate;
mod pipelining;
mod round_trip;
mod smuggling;
mod timeouts;
mod upgrade;
