//! Connection ids that carry the number of the worker that gave them.

use std::time::Duration;

use aws_lc_rs::rand::fill;
use quinn::{ConnectionId, ConnectionIdGenerator};

/// Length of an id: two bytes that lead to the worker, and eight that nobody guesses.
const LENGTH: usize = 10;

/// Gives ids of one worker. The first two bytes are a random number whose remainder by the number of workers is the
/// worker's: to whoever does not know how many there are they are as random as the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    pub(super) worker: usize,
    pub(super) workers: usize,
}

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; LENGTH];
        // It fails where there is no randomness at all, where there are no keys of TLS either.
        let drawn = fill(&mut bytes);
        debug_assert!(drawn.is_ok());
        let first = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        let rounds = ((usize::from(u16::MAX) + 1) / self.workers).max(1);
        let number = first % rounds * self.workers + self.worker;
        bytes[..2].copy_from_slice(&u16::try_from(number).unwrap_or_default().to_be_bytes());
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_lead_to_their_worker_and_are_unlike() {
        for workers in [1, 2, 3, 7, 64, 1000] {
            for worker in [0, workers / 2, workers - 1] {
                let mut ids = Ids { worker, workers };
                let given: HashSet<Vec<u8>> = (0..200).map(|_| ids.generate_cid().to_vec()).collect();
                assert_eq!(given.len(), 200);
                for id in given {
                    assert_eq!(id.len(), ids.cid_len());
                    assert_eq!(usize::from(u16::from_be_bytes([id[0], id[1]])) % workers, worker);
                }
            }
        }
    }
}
