//! Limits that all workers share: tables of keys that stay within their bounds, buckets of rates, counts of what is
//! under way.

mod bans;
mod bucket;
mod counts;
mod shedding;
mod table;

pub use bans::{Bans, Counted, Rules, Standing};
pub use bucket::{Bucket, Debt, Rate, Taken};
pub use counts::{COUNTED_MAX, Counts, Held, Room};
pub use shedding::Shedding;
pub use table::{Entry, KEYS_MAX, Table};
