//! The static table of HPACK (RFC 7541 Appendix A).

use crate::head_text::Kind;

/// Names and values. The first has the index 1.
pub(super) const TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// What each name means, so that nobody has to look at it again.
pub(super) static KINDS: [Kind; TABLE.len()] = {
    let mut kinds = [Kind::Plain; TABLE.len()];
    let mut at = 0;
    while at < TABLE.len() {
        kinds[at] = Kind::of(TABLE[at].0.as_bytes());
        at += 1;
    }
    kinds
};

/// The index of a name that answers have, in any case; 0 when it has none.
pub(super) fn index_of(name: &[u8]) -> usize {
    let Some(first) = name.first() else { return 0 };
    let likely = match (name.len(), first | 0x20) {
        (3, b'a') => 21,
        (3, b'v') => 60,
        (4, b'd') => 33,
        (4, b'e') => 34,
        (4, b'l') => 45,
        (4, b'v') => 59,
        (5, b'a') => 22,
        (6, b's') => 54,
        (7, b'e') => 36,
        (8, b'l') => 46,
        (10, b's') => 55,
        (11, b'r') => 53,
        (12, b'c') => 31,
        (13, b'a') => 18,
        (13, b'c') if name[1] | 0x20 == b'a' => 24,
        (13, b'c') => 30,
        (13, b'l') => 44,
        (14, b'c') => 28,
        (16, b'c') if name[9] | 0x20 == b'n' => 26,
        (16, b'c') if name[9] | 0x20 == b'a' => 27,
        (16, b'c') => 29,
        (16, b'w') => 61,
        (19, b'c') => 25,
        (25, b's') => 56,
        (27, b'a') => 20,
        _ => return 0,
    };
    if TABLE[likely - 1].0.as_bytes().eq_ignore_ascii_case(name) {
        likely
    } else {
        0
    }
}

/// The index of a status; 0 when it has none.
pub(super) fn index_of_status(status: u16) -> u8 {
    match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_those_of_their_names() {
        let mut found = 0;
        for (at, (name, _)) in TABLE.iter().enumerate() {
            let index = index_of(name.as_bytes());
            assert!(index == 0 || index == at + 1, "{name}");
            found += usize::from(index != 0);
            assert_eq!(index_of(name.to_uppercase().as_bytes()), index, "{name}");
        }
        assert_eq!(found, 25);
        assert_eq!((index_of(b""), index_of(b"data"), index_of(b"secret-box")), (0, 0, 0));
        for status in 100..600 {
            let text = status.to_string();
            let at = TABLE.iter().position(|field| *field == (":status", &*text));
            assert_eq!(usize::from(index_of_status(status)), at.map_or(0, |at| at + 1));
        }
    }
}
