//! The host that was asked for, as routes compare it.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// The longest host, in bytes: a name in the DNS has at most 253 (RFC 1035 §2.3.4, without its length bytes), and one
/// more for the dot at its end.
pub const HOST_BYTES_MAX: usize = 254;

/// A host and its port (RFC 3986 §3.2.2 and §3.2.3), normalised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// In lower case, without a trailing dot; IPv6 in brackets, as RFC 5952 writes it. Never empty.
    pub host: Cow<'a, str>,
    /// The port, when one was given.
    pub port: Option<u16>,
}

/// Why a `Host` field, an `:authority` or the authority of an absolute target is refused; the answer is 400 with the
/// reason `bad_request`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// A port without a host.
    #[error("a port stands without a host")]
    NoHost,
    /// `user@host` (RFC 9110 §4.2.4).
    #[error("user information stands before the host")]
    UserInfo,
    /// A byte that may not stand in a host.
    #[error("the byte 0x{0:02x} may not stand in a host")]
    Character(u8),
    /// A dot at the beginning, or two in a row.
    #[error("a label of the host is empty")]
    EmptyLabel,
    /// Longer than [`HOST_BYTES_MAX`].
    #[error("the host is longer than {HOST_BYTES_MAX} bytes")]
    TooLong,
    /// Brackets that hold no IPv6 address. Zones and IPvFuture are refused: no client may send the former
    /// (RFC 6874 §4), and the latter does not exist.
    #[error("the brackets hold no IPv6 address")]
    BadIpv6,
    /// A port that is not a number from 1 to 65535, written without leading zeros.
    #[error("the port is not a number from 1 to 65535")]
    BadPort,
}

/// Normalises `host[:port]`. `Ok(None)` is the empty host, which RFC 9112 §3.2 has clients send when their target
/// names none.
///
/// A host is made of letters, digits and `-._~`: RFC 3986's reg-name without percent-encoding and without sub-delims,
/// since a comma or semicolon in a `Host` means that somebody joined two of them. The host is borrowed unless it has
/// upper-case letters or is an IPv6 address.
///
/// # Errors
/// See [`HostFault`].
pub fn normalise(raw: &[u8]) -> Result<Option<Authority<'_>>, HostFault> {
    if raw.is_empty() {
        return Ok(None);
    }
    if raw.first() == Some(&b'[') {
        let close = raw.iter().position(|byte| *byte == b']').ok_or(HostFault::BadIpv6)?;
        let host = ipv6(&raw[1..close])?;
        let port = port(&raw[close + 1..])?;
        return Ok(Some(Authority { host, port }));
    }
    let end = raw.iter().position(|byte| *byte == b':').unwrap_or(raw.len());
    let found = name(&raw[..end]).and_then(|host| {
        Ok(Some(Authority {
            host,
            port: port(&raw[end..])?,
        }))
    });
    // No `@` comes this far without a fault; what it means is the better answer.
    found.map_err(|fault| {
        if raw.contains(&b'@') {
            HostFault::UserInfo
        } else {
            fault
        }
    })
}

fn name(raw: &[u8]) -> Result<Cow<'_, str>, HostFault> {
    if raw.is_empty() {
        return Err(HostFault::NoHost);
    }
    if raw.len() > HOST_BYTES_MAX {
        return Err(HostFault::TooLong);
    }
    let mut has_upper = false;
    let mut previous = b'.';
    for &byte in raw {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {}
            b'A'..=b'Z' => has_upper = true,
            b'.' if previous != b'.' => {}
            b'.' => return Err(HostFault::EmptyLabel),
            _ => return Err(HostFault::Character(byte)),
        }
        previous = byte;
    }
    let text = std::str::from_utf8(raw).expect("only ASCII was let through");
    let text = text.strip_suffix('.').unwrap_or(text);
    Ok(if has_upper {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    })
}

fn ipv6(inner: &[u8]) -> Result<Cow<'static, str>, HostFault> {
    let text = std::str::from_utf8(inner).map_err(|_| HostFault::BadIpv6)?;
    let address: Ipv6Addr = text.parse().map_err(|_| HostFault::BadIpv6)?;
    Ok(Cow::Owned(format!("[{address}]")))
}

/// Reads what follows the host: nothing, or `:` and digits.
fn port(raw: &[u8]) -> Result<Option<u16>, HostFault> {
    match raw {
        // RFC 3986 §3.2.3: a port may be empty, and is then the scheme's.
        [] | [b':'] => Ok(None),
        // A leading zero is refused as well: `:080` is 80 to one reader and octal to another.
        [b':', digits @ ..] if digits.len() <= 5 && matches!(digits, [b'1'..=b'9', ..]) => {
            let number = digits.iter().try_fold(0u32, |number, digit| {
                digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
            });
            number
                .and_then(|number| u16::try_from(number).ok())
                .map(Some)
                .ok_or(HostFault::BadPort)
        }
        _ => Err(HostFault::BadPort),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(raw: &str) -> Result<Option<(String, Option<u16>)>, HostFault> {
        normalise(raw.as_bytes()).map(|found| found.map(|authority| (authority.host.into_owned(), authority.port)))
    }

    #[test]
    fn hosts_are_compared_in_lower_case_without_port_or_trailing_dot() {
        for (raw, host, port) in [
            ("shop.example.com", "shop.example.com", None),
            ("Shop.Example.COM", "shop.example.com", None),
            ("shop.example.com.", "shop.example.com", None),
            ("shop.example.com.:8080", "shop.example.com", Some(8080)),
            ("localhost:1", "localhost", Some(1)),
            ("a_b.example:65535", "a_b.example", Some(65535)),
            ("10.0.0.1:80", "10.0.0.1", Some(80)),
            ("a:", "a", None),
            ("[::1]:", "[::1]", None),
            ("[::1]", "[::1]", None),
            ("[2001:DB8:0:0::1]:443", "[2001:db8::1]", Some(443)),
            ("xn--ksekuchen-v2a.example", "xn--ksekuchen-v2a.example", None),
        ] {
            assert_eq!(of(raw), Ok(Some((host.to_owned(), port))), "{raw}");
        }
        assert_eq!(of(""), Ok(None));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (raw, fault) in [
            (":80", HostFault::NoHost),
            (".", HostFault::EmptyLabel),
            (".a", HostFault::EmptyLabel),
            ("a..b", HostFault::EmptyLabel),
            ("a..", HostFault::EmptyLabel),
            ("user@host", HostFault::UserInfo),
            ("user:pw@host:80", HostFault::UserInfo),
            ("a,b", HostFault::Character(b',')),
            ("a b", HostFault::Character(b' ')),
            ("a/b", HostFault::Character(b'/')),
            ("a\\b", HostFault::Character(b'\\')),
            ("a%41", HostFault::Character(b'%')),
            ("a\0", HostFault::Character(0)),
            ("a#b", HostFault::Character(b'#')),
            ("ä", HostFault::Character(0xc3)),
            ("a:0", HostFault::BadPort),
            ("a:080", HostFault::BadPort),
            ("a:65536", HostFault::BadPort),
            ("a:+80", HostFault::BadPort),
            ("a:80:80", HostFault::BadPort),
            ("a:8O", HostFault::BadPort),
            ("::1", HostFault::NoHost),
            ("2001:db8::1", HostFault::BadPort),
            ("[::1", HostFault::BadIpv6),
            ("[::1%25eth0]", HostFault::BadIpv6),
            ("[v1.x]", HostFault::BadIpv6),
            ("[127.0.0.1]", HostFault::BadIpv6),
            ("[]", HostFault::BadIpv6),
            ("[::1]x", HostFault::BadPort),
        ] {
            assert_eq!(of(raw), Err(fault), "{raw}");
        }
        assert_eq!(of(&"a".repeat(HOST_BYTES_MAX + 1)), Err(HostFault::TooLong));
    }

    #[test]
    fn a_normal_host_is_borrowed() {
        for raw in ["shop.example.com", "shop.example.com:8080", "shop.example.com."] {
            let found = normalise(raw.as_bytes()).unwrap().unwrap();
            assert!(matches!(found.host, Cow::Borrowed(_)), "{raw}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn normal_hosts_stay_as_they_are(raw in "[a-zA-Z0-9._~:@\\[\\]-]{0,12}") {
            if let Ok(Some(first)) = normalise(raw.as_bytes()) {
                let again = normalise(first.host.as_bytes()).unwrap().unwrap();
                prop_assert_eq!(&again.host, &first.host);
                prop_assert_eq!(again.port, None);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = normalise(&raw);
        }
    }
}
