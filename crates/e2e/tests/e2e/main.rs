//! The end-to-end tests: real processes, real sockets, one binary so that linking is paid once.
//!
//! One module a topic; a test is named after the behaviour that it proves.

mod access_log;
mod admin;
mod beside;
mod checks;
mod clients;
mod continuing;
mod cuts;
mod draining;
mod failures;
mod filters;
mod framing;
mod front;
mod heads;
mod health;
mod http2;
mod http2_abuse;
mod http2_backends;
mod http2_pairs;
mod http2_streams;
mod killed;
mod limits;
mod mirror;
mod operate;
mod outlier;
mod pipelining;
mod policies;
mod probes;
mod programs;
mod rate_limits;
mod refusals;
mod retries;
mod reuse;
mod round_trip;
mod scale;
mod smuggled_bodies;
mod smuggling;
mod soak;
mod split;
mod stage;
mod tcp;
mod timeouts;
mod upgrade;
mod waiting;
mod watched_files;
