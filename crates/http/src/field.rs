//! Header fields that a proxy has to know, told apart in one look at their name.

/// What a field's name means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing: it is passed on as it came.
    Plain,
    /// `Connection`.
    Connection,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`.
    TransferEncoding,
    /// `Host`.
    Host,
    /// `Upgrade`.
    Upgrade,
    /// `Expect`.
    Expect,
    /// `TE`.
    Te,
    /// `Trailer`.
    Trailer,
    /// `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`: they end here (RFC 9110 §7.6.1).
    HopByHop,
    /// `X-Forwarded-For`.
    ForwardedFor,
    /// `X-Forwarded-Proto`.
    ForwardedProto,
    /// `X-Forwarded-Host`.
    ForwardedHost,
    /// `X-Request-Id`.
    RequestId,
    /// `Forwarded`, `X-Real-IP`, the other `X-Forwarded-…` and `X-Plimsoll-…`: believed from trusted peers alone.
    TrustedOnly,
    /// `Cookie` and `Authorization`: passed on, and `Connection` cannot name them away.
    Credentials,
    /// `Date`.
    Date,
    /// `User-Agent`.
    UserAgent,
}

impl Class {
    /// Whether the `Connection` field may name this field as one that ends here. It may not name away what later
    /// hops rely on for security or framing.
    pub fn may_be_named_by_connection(self) -> bool {
        matches!(
            self,
            Class::Plain | Class::HopByHop | Class::Te | Class::Upgrade | Class::Date | Class::UserAgent
        )
    }

    /// Whether the field may stand in a trailer section (RFC 9110 §6.5.1): nothing that frames, routes or identifies.
    pub fn may_be_trailer(self) -> bool {
        matches!(self, Class::Plain)
    }
}

/// The class of a field by its name. Underscores count as hyphens for the fields that say who the client is: CGI-like
/// servers do not tell `X_Forwarded_For` from `X-Forwarded-For`.
pub fn classify(name: &str) -> Class {
    let bytes = name.as_bytes();
    let Some(first) = bytes.first() else {
        return Class::Plain;
    };
    match (first | 0x20, bytes.len()) {
        (b'a', 13) if name.eq_ignore_ascii_case("authorization") => Class::Credentials,
        (b'c', 6) if name.eq_ignore_ascii_case("cookie") => Class::Credentials,
        (b'c', 10) if name.eq_ignore_ascii_case("connection") => Class::Connection,
        (b'c', 14) if same(bytes, b"content-length") => Class::ContentLength,
        (b'd', 4) if name.eq_ignore_ascii_case("date") => Class::Date,
        (b'e', 6) if name.eq_ignore_ascii_case("expect") => Class::Expect,
        (b'f', 9) if name.eq_ignore_ascii_case("forwarded") => Class::TrustedOnly,
        (b'h', 4) if name.eq_ignore_ascii_case("host") => Class::Host,
        (b'h', 14) if same(bytes, b"http2-settings") => Class::HopByHop,
        (b'k', 10) if same(bytes, b"keep-alive") => Class::HopByHop,
        (b'p', 16) if same(bytes, b"proxy-connection") => Class::HopByHop,
        (b't', 2) if name.eq_ignore_ascii_case("te") => Class::Te,
        (b't', 7) if name.eq_ignore_ascii_case("trailer") => Class::Trailer,
        (b't', 17) if same(bytes, b"transfer-encoding") => Class::TransferEncoding,
        (b'u', 7) if name.eq_ignore_ascii_case("upgrade") => Class::Upgrade,
        (b'u', 10) if name.eq_ignore_ascii_case("user-agent") => Class::UserAgent,
        (b'x', _) => classify_x(bytes),
        _ => Class::Plain,
    }
}

fn classify_x(name: &[u8]) -> Class {
    if same(name, b"x-request-id") {
        // Spelled with an underscore it is somebody else's field.
        return if name.contains(&b'_') {
            Class::TrustedOnly
        } else {
            Class::RequestId
        };
    }
    let forwarded = name.len() >= 12 && same(&name[..12], b"x-forwarded-");
    let ours = name.len() >= 11 && same(&name[..11], b"x-plimsoll-");
    if forwarded && !name.contains(&b'_') {
        let rest = &name[12..];
        if rest.eq_ignore_ascii_case(b"for") {
            return Class::ForwardedFor;
        }
        if rest.eq_ignore_ascii_case(b"proto") {
            return Class::ForwardedProto;
        }
        if rest.eq_ignore_ascii_case(b"host") {
            return Class::ForwardedHost;
        }
    }
    if forwarded || ours || same(name, b"x-real-ip") {
        Class::TrustedOnly
    } else {
        Class::Plain
    }
}

/// Equal without regard to case, and with `_` for `-`.
fn same(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name
            .iter()
            .zip(known)
            .all(|(byte, want)| (if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }) == *want)
}

/// The members of a comma-separated list (RFC 9110 §5.6.1), trimmed, without the empty ones.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for (name, class) in [
            ("Host", Class::Host),
            ("CONTENT-LENGTH", Class::ContentLength),
            ("content_length", Class::ContentLength),
            ("Transfer_Encoding", Class::TransferEncoding),
            ("x-forwarded-for", Class::ForwardedFor),
            ("X_Forwarded_For", Class::TrustedOnly),
            ("X-Forwarded-Server", Class::TrustedOnly),
            ("X-Real_IP", Class::TrustedOnly),
            ("x-plimsoll-explain", Class::TrustedOnly),
            ("x-request-id", Class::RequestId),
            ("accept", Class::Plain),
            ("", Class::Plain),
            ("x", Class::Plain),
        ] {
            assert_eq!(classify(name), class, "{name}");
        }
    }
}
