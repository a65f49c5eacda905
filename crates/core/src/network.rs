//! Networks in CIDR notation, and the question whether an address is in one of them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::document::{Decode, Faults, Json, Node, expect_text};

/// An address and the length of its prefix: `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address, its host bits cleared.
    base: u128,
    mask: u128,
}

/// IPv4 addresses are compared as IPv6 ones (RFC 4291 §2.5.5.2), so that a mapped address is the address that it maps.
fn widened(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl Network {
    /// The network of `prefix` bits around `address`; `None` when the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32u32 } else { 128 };
        let host_bits = bits.checked_sub(u32::from(prefix))?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Some(Network {
            base: widened(address) & mask,
            mask,
        })
    }

    /// Whether `address` is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        widened(address) & self.mask == self.base
    }

    /// Whether all of `other` is in it.
    pub fn covers(&self, other: &Network) -> bool {
        self.mask & other.mask == self.mask && other.base & self.mask == self.base
    }

    /// The length of its prefix, as that of an IPv6 network.
    pub fn prefix(&self) -> u32 {
        self.mask.count_ones()
    }

    /// The first and the last address, as IPv6 ones.
    fn range(&self) -> (u128, u128) {
        (self.base, self.base | !self.mask)
    }

    /// Reads `10.0.0.0/8`, or a single address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            Some((address, prefix)) => Network::new(address.parse().ok()?, prefix.parse().ok()?),
            None => {
                let address: IpAddr = text.parse().ok()?;
                Network::new(address, if address.is_ipv4() { 32 } else { 128 })
            }
        }
    }
}

/// As users write it.
impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = Ipv6Addr::from_bits(self.base);
        match (address.to_ipv4_mapped(), self.prefix()) {
            (Some(v4), prefix @ 96..) => write!(out, "{v4}/{}", prefix - 96),
            (_, prefix) => write!(out, "{address}/{prefix}"),
        }
    }
}

/// Many networks, of which the one that an address is in is found in the logarithm of their number: ranges that neither
/// touch nor overlap, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkSet(Vec<(u128, u128)>);

impl NetworkSet {
    /// Whether `address` is in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = widened(address);
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|at| address <= self.0[at].1)
    }
}

impl FromIterator<Network> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        let mut ranges: Vec<(u128, u128)> = networks.into_iter().map(|network| network.range()).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            let touches = before.1.checked_add(1).is_none_or(|end| next.0 <= end);
            if touches {
                before.1 = before.1.max(next.1);
            }
            touches
        });
        ranges.shrink_to_fit();
        NetworkSet(ranges)
    }
}

impl Decode for Network {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a network, like \"10.0.0.0/8\"", faults)?;
        let network = Network::parse(text);
        if network.is_none() {
            faults
                .error(node.span, format!("\"{text}\" is not a network"))
                .help("write it like \"10.0.0.0/8\", \"2001:db8::/32\" or a single address");
        }
        network
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "examples": ["10.0.0.0/8", "2001:db8::/32"] })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses() -> impl Strategy<Value = IpAddr> {
        // Few bits that differ, so that networks meet addresses.
        let near = |bits: u32| 0..=bits;
        prop_oneof![
            near(0x3ff).prop_map(|low| IpAddr::from((0x0a00_0000 | low).to_be_bytes())),
            near(0x3ff).prop_map(|low| IpAddr::from(((0x2001_0db8_u128 << 96) | u128::from(low)).to_be_bytes())),
            near(0xff).prop_map(|low| IpAddr::from((0xffff_0a00_0000_u128 | u128::from(low)).to_be_bytes())),
            any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
            any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
        ]
    }

    fn networks() -> impl Strategy<Value = Network> {
        (addresses(), 0..=128_u8).prop_filter_map("a prefix that is too long", |(address, prefix)| {
            let prefix = if address.is_ipv4() { prefix / 4 } else { prefix };
            Network::new(address, prefix)
        })
    }

    proptest! {
        #[test]
        fn a_set_holds_what_its_networks_hold(
            list in proptest::collection::vec(networks(), 0..20),
            asked in proptest::collection::vec(addresses(), 1..20),
        ) {
            let set: NetworkSet = list.iter().copied().collect();
            for address in asked {
                let linear = list.iter().any(|network| network.contains(address));
                prop_assert_eq!(set.contains(address), linear, "{}", address);
            }
        }
    }

    #[test]
    fn a_set_keeps_ranges_that_touch_as_one() {
        let set = |list: &[&str]| -> NetworkSet { list.iter().filter_map(|text| Network::parse(text)).collect() };
        assert_eq!(set(&["10.0.0.0/9", "10.128.0.0/9", "10.1.2.3"]), set(&["10.0.0.0/8"]));
        assert_eq!(set(&["::/0", "ffff::/16"]).0, [(0, u128::MAX)]);
        assert!(!set(&[]).contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_is_shown_as_it_is_written_and_covers_what_is_within() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "192.0.2.1/32", "2001:db8::/32", "::/0"] {
            assert_eq!(Network::parse(text).unwrap().to_string(), text);
        }
        let covers = |wide: &str, narrow: &str| Network::parse(wide).unwrap().covers(&Network::parse(narrow).unwrap());
        assert!(
            covers("10.0.0.0/8", "10.1.0.0/16") && covers("10.0.0.0/8", "10.0.0.0/8") && covers("::/0", "10.0.0.1")
        );
        assert!(!covers("10.1.0.0/16", "10.0.0.0/8") && !covers("10.0.0.0/8", "11.0.0.0/16"));
    }

    #[test]
    fn addresses_are_in_their_networks_and_in_no_other() {
        let net = Network::parse("10.0.0.0/8").unwrap();
        assert!(net.contains("10.255.1.2".parse().unwrap()) && net.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!net.contains("11.0.0.1".parse().unwrap()) && !net.contains("2001:db8::1".parse().unwrap()));
        let all = Network::parse("::/0").unwrap();
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("8.8.8.8".parse().unwrap())
        );
        assert!(
            !Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("2001:db8::1".parse().unwrap())
        );
        assert_eq!(Network::parse("10.0.0.0/33"), None);
        assert_eq!(Network::parse("10.0.0/8"), None);
    }
}
