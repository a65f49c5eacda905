//! The public words for how a backend stands, and why.

use std::fmt;
use std::sync::Arc;

use super::Offence;

crate::words! {
    /// How a backend stands in its pool.
    pub enum State {
        /// It takes work.
        Healthy = "healthy",
        /// Its checks fail, or its discovery says that it is not ready.
        Unhealthy = "unhealthy",
        /// It is out for a time because of how it answered.
        Ejected = "ejected",
        /// It takes no new work, and keeps what it has.
        Draining = "draining",
        /// An operator took it out.
        Maintenance = "maintenance",
        /// It was not checked yet.
        Unknown = "unknown",
    }
}

impl State {
    /// Whether an operator, discovery or the backend itself wants no new work here: not even a panic changes that.
    pub fn is_withdrawn(self) -> bool {
        matches!(self, State::Draining | State::Maintenance)
    }
}

/// Why a backend is in its [`State`]. Its `Display` is the text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No check has finished yet.
    Unchecked,
    /// The pool has no checks.
    NoChecks,
    /// It counts as healthy until its checks fail.
    Assumed,
    /// Its checks pass.
    CheckPassed,
    /// Its checks fail; the text says how.
    CheckFailed(Arc<str>),
    /// It was ejected for this.
    Ejected(Offence),
    /// The time of its ejection is over.
    EjectionOver,
    /// It is back before its time, since the others that are left do not suffice.
    Readmitted,
    /// An operator said so.
    Operator,
    /// Its discovery says that it is ready.
    Ready,
    /// Its discovery says that it is not ready.
    NotReady,
    /// Its discovery says that it is going away.
    Terminating,
}

impl Cause {
    /// The cause as one of a few words, for metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Cause::Unchecked => "unchecked",
            Cause::NoChecks => "no_checks",
            Cause::Assumed => "assumed",
            Cause::CheckPassed => "check_passed",
            Cause::CheckFailed(_) => "check_failed",
            Cause::Ejected(offence) => offence.word(),
            Cause::EjectionOver => "ejection_over",
            Cause::Readmitted => "readmitted",
            Cause::Operator => "operator",
            Cause::Ready => "ready",
            Cause::NotReady => "not_ready",
            Cause::Terminating => "terminating",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Unchecked => out.write_str("not checked yet"),
            Cause::NoChecks => out.write_str("without checks, counts as healthy"),
            Cause::Assumed => out.write_str("counts as healthy until its checks fail"),
            Cause::CheckPassed => out.write_str("checks pass"),
            Cause::CheckFailed(how) => write!(out, "checks fail: {how}"),
            Cause::Ejected(offence) => offence.fmt(out),
            Cause::EjectionOver => out.write_str("its ejection is over"),
            Cause::Readmitted => out.write_str("back before its time: too few others are left"),
            Cause::Operator => out.write_str("an operator said so"),
            Cause::Ready => out.write_str("discovery says that it is ready"),
            Cause::NotReady => out.write_str("discovery says that it is not ready"),
            Cause::Terminating => out.write_str("discovery says that it is going away"),
        }
    }
}
