//! Waiting for something to become true, with a deadline and a message.

use std::time::{Duration, Instant};

use crate::PATIENCE;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Calls `look` until it returns something; panics with `what` after [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// Calls `look` until it returns something; panics with `what` after `patience`.
#[track_caller]
pub fn eventually_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Panics when `holds` is false at any look during `span`: for what must not happen.
pub fn stays(span: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + span;
    while Instant::now() < deadline {
        assert!(holds(), "did not stay so for {span:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eventually_returns_what_was_found() {
        let mut looks = 0;
        let found = eventually("third look", || {
            looks += 1;
            (looks == 3).then_some("found")
        });
        assert_eq!(found, "found");
    }

    #[test]
    #[should_panic(expected = "a thing that never is")]
    fn eventually_gives_up_with_the_message() {
        eventually_within(Duration::from_millis(30), "a thing that never is", || None::<()>);
    }
}
