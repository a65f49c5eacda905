//! The nouns and the decisions of Plimsoll.
//!
//! This crate performs no I/O, reads no clock and draws no randomness that it was not given: routing, balancing and
//! health are pure functions, which the data plane, `explain`, `check` and the simulations all call.

pub mod backend;
pub mod backoff;
pub mod balance;
pub mod budget;
pub mod challenge;
pub mod curve;
pub mod decision;
pub mod document;
pub mod error_page;
pub mod exemplar;
pub mod fallback;
pub mod filter;
pub mod grpc;
pub mod health;
pub mod hedge;
pub mod latencies;
pub mod limit;
pub mod load;
pub mod load_line;
pub mod maintenance;
pub mod members;
pub mod membership;
pub mod name;
pub mod network;
pub mod orca;
pub mod outcome;
pub mod pool;
pub mod priority;
pub mod reply;
pub mod retry;
pub mod reversal;
pub mod rng;
pub mod route;
pub mod secured;
pub mod shift;
#[cfg(test)]
mod simulation;
pub mod snapshot;
pub mod split;
pub mod sticky;
pub mod telemetry;
pub mod template;
pub mod time;
pub mod trace;
pub mod uneven;
pub mod upcall;
