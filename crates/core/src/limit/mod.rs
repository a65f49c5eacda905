//! Limits that all workers share: tables of keys that stay within their bounds, buckets of rates, counts of what is
//! under way.

mod bucket;
mod table;

pub use bucket::{Bucket, Debt, Rate, Taken};
pub use table::{KEYS_MAX, Slot, Table};
