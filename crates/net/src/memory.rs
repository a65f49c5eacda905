//! Memory that the process has and does not use.

/// Gives memory back to the system that was freed, as after a large configuration has been replaced. glibc keeps it
/// otherwise, for as long as anything that was allocated later is in use (malloc_trim(3)). With another allocator nothing
/// happens.
pub fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "malloc_trim has no safe form")]
    // SAFETY: it may be called at any time, by any thread: it takes the allocator's own locks, and what is in use stays
    // where it is.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays() {
        let kept: Vec<Vec<u8>> = (0..1_000).map(|at| vec![at as u8; 10_000]).collect();
        let freed: Vec<Vec<u8>> = (0..1_000).map(|at| vec![at as u8; 10_000]).collect();
        drop(freed);
        give_back_memory();
        assert!(
            kept.iter()
                .enumerate()
                .all(|(at, bytes)| bytes.iter().all(|byte| *byte == at as u8))
        );
    }
}
