//! How much a test may open on this machine.

/// Descriptors that are left for everything but the connections under test.
const RESERVED: u64 = 500;

/// The soft limit on open descriptors of this process; what it starts inherits the same.
pub fn descriptor_limit() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .and_then(|line| line.split_whitespace().nth(3))
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(1024)
}

/// `wanted` connections, or as many as the limit allows when each costs `each` descriptors in one
/// process; prints the scale that the test `name` uses, since a smaller scale proves less.
pub fn scaled(name: &str, wanted: u64, each: u64) -> u64 {
    let limit = descriptor_limit();
    let affordable = limit.saturating_sub(RESERVED) / each.max(1);
    let used = wanted.min(affordable).max(1);
    println!("scale: {name} uses {used} of {wanted} connections (descriptor limit {limit}, {each} each)");
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_never_passes_what_was_wanted_or_what_is_there() {
        assert_eq!(scaled("small", 3, 1), 3);
        assert!(scaled("huge", u64::MAX, 2) <= descriptor_limit() / 2);
    }
}
