//! Maglev: a table in which every member claims places in an order of its own (Eisenbud et al., NSDI 2016, §3.4).
//!
//! A pick is one look into the table, whatever the number of members; shares differ by at most 1 % when the table is
//! a hundred times as long as the list of members. A change of members moves a little more than has to move.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::bounded_load::LoadFactor;
use super::hashed::Hashed;
use super::turns::Turns;
use super::{HashKey, PickCx, Picker, Policy};
use crate::document;
use crate::document::{Decode, Faults, Json, Node};
use crate::members::{Members, Slot};

/// The table's length unless more is needed: the paper's smaller one, Envoy's and Katran's default.
const TABLE_SIZE: u32 = 65_537;

/// The longest table: the first prime above 2^23, 32 MiB. It suffices for 83,886 members; beyond, shares get coarser.
const TABLE_SIZE_MAX: u32 = 8_388_617;

/// Places for each member that keep shares within 1 % (NSDI 2016, §3.4: "M > 100 × N").
const PLACES_PER_MEMBER: u64 = 100;

document! {
    /// The member whose place in a table the key's hash falls on: even, and one look a pick, at any size.
    pub struct Maglev {
        /// What is sent alike.
        pub key: HashKey = HashKey::ClientIp,
        /// The factor over its fair share to which a member may be filled before the next in the table is taken;
        /// 1.5 is 150 %.
        pub load_factor: Option<LoadFactor>,
        /// How long the table is: a prime. Pools with more than a hundredth as many members get a longer one.
        pub table_size: TableSize = TableSize(TABLE_SIZE),
    }
}

impl Policy for Maglev {
    fn build(&self, members: &Members) -> Box<dyn Picker> {
        let hashed = Hashed::new(members, self.load_factor);
        Box::new(Table {
            places: fill(&hashed, members, table_size(self.table_size.0, members.len())),
            hashed,
        })
    }

    fn key(&self) -> Option<&HashKey> {
        Some(&self.key)
    }
}

struct Table {
    places: Box<[u32]>,
    hashed: Hashed,
}

impl Picker for Table {
    fn pick(&self, members: &Members, cx: &mut PickCx<'_>) -> Option<Slot> {
        let len = self.places.len();
        // The high half of hash × length: as even as the remainder, without a division.
        #[expect(clippy::cast_possible_truncation, reason = "below the table's length")]
        let own = ((u128::from(cx.key) * len as u128) >> 64) as usize;
        let walk = (own..len).chain(0..own).map(|place| self.places[place] as Slot);
        self.hashed.first(members, cx, walk)
    }
}

/// `configured`, or when that is too short for so many members, the first prime above the least power of two that is
/// long enough. Not the first prime that is: then one member more would mean another length, and move every key.
fn table_size(configured: u32, members: usize) -> u32 {
    let needed = members as u64 * PLACES_PER_MEMBER;
    if needed <= u64::from(configured) {
        return configured;
    }
    let power = u32::try_from(needed.next_power_of_two()).unwrap_or(TABLE_SIZE_MAX);
    // A prime a little above a power of two may have been long enough already.
    let below = next_prime(power / 2);
    let size = if needed <= u64::from(below) {
        below
    } else {
        next_prime(power.min(TABLE_SIZE_MAX))
    };
    size.clamp(configured, TABLE_SIZE_MAX.max(configured))
}

/// The table: members take turns, as often as their weights say, and each claims the first free place of its own
/// permutation of all places.
fn fill(hashed: &Hashed, members: &Members, size: u32) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    if members.is_empty() {
        return Box::default();
    }
    // By address, so that the order of members changes nothing.
    let order = hashed.in_order(members);
    let weights = order.iter().map(|slot| (*slot, u64::from(members[*slot].weight)));
    let mut turns = Turns::new(weights);
    let mut claims: Vec<Claims> = hashed.ids.iter().map(|id| Claims::new(*id, size)).collect();
    let mut places = vec![FREE; size as usize];
    for slot in turns.by_ref().take(size as usize) {
        let claims = &mut claims[slot];
        // Some place is free, and the permutation comes to every one: the length is prime and the step not 0.
        while places[claims.next as usize] != FREE {
            claims.advance(size);
        }
        places[claims.next as usize] = u32::try_from(slot).expect("fewer than 2^32 members");
    }
    places.into()
}

/// A member's permutation of the places: from an offset on, by a step, both of its own.
struct Claims {
    next: u32,
    step: u32,
}

impl Claims {
    fn new(id: u64, size: u32) -> Self {
        let id = id.to_le_bytes();
        #[expect(clippy::cast_possible_truncation, reason = "remainders of a u32")]
        Claims {
            next: (xxh3_64_with_seed(&id, 1) % u64::from(size)) as u32,
            step: (xxh3_64_with_seed(&id, 2) % u64::from(size - 1)) as u32 + 1,
        }
    }

    fn advance(&mut self, size: u32) {
        self.next += self.step;
        if self.next >= size {
            self.next -= size;
        }
    }
}

/// The length of a maglev table: a prime up to 8,388,617.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSize(u32);

impl Decode for TableSize {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let size = u32::decode(node, faults)?;
        if size > TABLE_SIZE_MAX {
            faults
                .error(node.span, format!("a table of {size} places is too long"))
                .help(format!("at most {TABLE_SIZE_MAX}"));
            return None;
        }
        if !is_prime(size) {
            faults
                .error(
                    node.span,
                    format!("the table's size must be a prime, and {size} is none"),
                )
                .help(format!("the next one is {}", next_prime(size)));
            return None;
        }
        Some(TableSize(size))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "integer", "minimum": 2, "maximum": TABLE_SIZE_MAX, "examples": [TABLE_SIZE] })
    }
}

/// The least prime that is not below `from`. There is one below 2 × `from` (Bertrand), so far below 2^32 here.
fn next_prime(from: u32) -> u32 {
    (from.max(2)..)
        .find(|number| is_prime(*number))
        .unwrap_or(TABLE_SIZE_MAX)
}

fn is_prime(number: u32) -> bool {
    number >= 2 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_grow_with_the_members_in_doublings() {
        assert!(is_prime(TABLE_SIZE) && is_prime(TABLE_SIZE_MAX) && !is_prime(1) && !is_prime(65_535));
        assert_eq!(next_prime(1 << 23), TABLE_SIZE_MAX);
        assert_eq!(table_size(TABLE_SIZE, 3), TABLE_SIZE);
        assert_eq!(table_size(TABLE_SIZE, 655), TABLE_SIZE);
        assert_eq!(table_size(TABLE_SIZE, 656), 131_101);
        assert_eq!(table_size(TABLE_SIZE, 1_311), 131_101);
        assert_eq!(table_size(TABLE_SIZE, 1_312), 262_147);
        assert_eq!(table_size(TABLE_SIZE, 10_000), 1_048_583);
        assert_eq!(table_size(TABLE_SIZE, 1_000_000), TABLE_SIZE_MAX);
        assert_eq!(table_size(251, 2), 251);
        assert_eq!(table_size(251, 3), 521);
    }
}
