//! What the fuzz targets share: bytes that arrive in pieces, and a reader of heads that owes nothing to ours.

pub mod chunks;
pub mod head;
pub mod hello;

/// Where bytes that arrive in pieces are cut: how many have arrived, each time that some more do. It ends with all of
/// them, and never begins with none.
pub fn arrivals(total: usize, seed: u8) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed);
    let mut have = 0;
    std::iter::from_fn(move || {
        if have == total {
            return None;
        }
        // Seed 0 is byte by byte; others are the steps of a linear congruential generator, some of which bring nothing.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let step = if seed == 0 { 1 } else { (state >> 27) as usize };
        have = (have + if have == 0 { step.max(1) } else { step }).min(total);
        Some(have)
    })
}
