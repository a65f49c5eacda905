//! Networks in CIDR notation, and the question whether an address is in one of them.

use std::net::IpAddr;

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
    use super::*;

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
