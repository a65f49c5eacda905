//! How many different sessions came of late, in little room: a HyperLogLog of 256 registers (Flajolet, Fusy, Gandouet and
//! Meunier 2007; its error is 1.04 / √256 = 6.5 %), with linear counting for few (Whang, Vander-Zanden and Taylor 1990).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::time::Now;

const REGISTERS: usize = 256;

/// The sessions of one backend that came of late. It takes no room before the first.
#[derive(Debug, Default)]
pub struct Seen(OnceLock<Box<[Window; 2]>>);

#[derive(Debug)]
struct Window {
    /// Its number, from 2; 0 before it was used.
    epoch: AtomicU32,
    registers: [AtomicU8; REGISTERS],
}

impl Default for Window {
    fn default() -> Self {
        Window {
            epoch: AtomicU32::new(0),
            registers: std::array::from_fn(|_| AtomicU8::new(0)),
        }
    }
}

impl Seen {
    /// The session `id` came. Most of the time this reads two bytes.
    pub(super) fn see(&self, id: u64, ttl: Duration, now: Now) {
        let epoch = epoch(ttl, now);
        let windows = self.0.get_or_init(Box::default);
        let window = &windows[(epoch & 1) as usize];
        if window.epoch.load(Relaxed) != epoch && window.epoch.swap(epoch, Relaxed) != epoch {
            window.registers.iter().for_each(|register| register.store(0, Relaxed));
        }
        let hash = xxh3_64(&id.to_be_bytes());
        let (at, rest) = ((hash >> 56) as usize, hash << 8);
        #[expect(clippy::cast_possible_truncation, reason = "57 at the most")]
        let rank = (rest.leading_zeros().min(56) + 1) as u8;
        if window.registers[at].load(Relaxed) < rank {
            window.registers[at].fetch_max(rank, Relaxed);
        }
    }

    /// About how many different ones came within half of `ttl` to the whole of it.
    pub(super) fn count(&self, ttl: Duration, now: Now) -> u64 {
        let Some(windows) = self.0.get() else { return 0 };
        let epoch = epoch(ttl, now);
        let recent = |window: &&Window| epoch.wrapping_sub(window.epoch.load(Relaxed)) <= 1;
        let (mut sum, mut empty) = (0.0, 0u32);
        for at in 0..REGISTERS {
            let ranks = windows
                .iter()
                .filter(recent)
                .map(|window| window.registers[at].load(Relaxed));
            let rank = ranks.max().unwrap_or(0);
            empty += u32::from(rank == 0);
            sum += (-f64::from(rank)).exp2();
        }
        let registers = 256.0;
        let estimate = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let count = if estimate <= 2.5 * registers && empty > 0 {
            registers * (registers / f64::from(empty)).ln()
        } else {
            estimate
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let count = count.round() as u64;
        count
    }
}

/// Windows are half of `ttl` wide, so that the last two hold what came within it.
fn epoch(ttl: Duration, now: Now) -> u32 {
    let width = (ttl.as_millis() / 2).max(1);
    #[expect(clippy::cast_possible_truncation, reason = "it may wrap")]
    let windows = (u128::from(now.millis()) / width) as u32;
    windows.wrapping_add(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn each_counts_once_and_those_that_stay_away_are_forgotten() {
        let seen = Seen::default();
        let at = |seconds: u64| Now::from_millis(seconds * 1_000);
        assert_eq!(seen.count(TTL, at(0)), 0);
        for id in 0..5 {
            seen.see(id, TTL, at(0));
            seen.see(id, TTL, at(1));
        }
        assert_eq!(seen.count(TTL, at(1)), 5);
        seen.see(7, TTL, at(40));
        assert_eq!(seen.count(TTL, at(40)), 6);
        assert_eq!(seen.count(TTL, at(70)), 1);
        assert_eq!(seen.count(TTL, at(1_000)), 0);
    }

    #[test]
    fn many_are_estimated() {
        for many in [300u64, 5_000, 100_000] {
            let seen = Seen::default();
            (0..many).for_each(|id| seen.see(id, TTL, Now::START));
            let count = seen.count(TTL, Now::START);
            // Three standard deviations.
            assert!(count.abs_diff(many) * 5 < many, "{many}: {count}");
        }
    }
}
