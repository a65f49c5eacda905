//! The limit on open descriptors, which bounds how many connections a process can carry.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and says what it is then; `None` is no limit.
pub fn raise_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Refused only where a sandbox forbids the call; the limit is then what it was.
    let held = if setrlimit(Resource::Nofile, raised).is_ok() {
        raised
    } else {
        limit
    };
    held.current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        assert_eq!(limit, getrlimit(Resource::Nofile).current);
        assert_eq!(limit, getrlimit(Resource::Nofile).maximum);
    }
}
