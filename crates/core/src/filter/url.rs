//! URLs of services that we ask ourselves.

/// A URL with `http://` or `https://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https://`.
    pub secure: bool,
    /// Host and port, as they are written.
    pub host: String,
    /// Path and query.
    pub target: String,
}

impl Url {
    /// Reads `text`; `None` when it is no such URL. Names and passwords before the host are none of it: they would end
    /// up in logs.
    pub fn parse(text: &str) -> Option<Self> {
        let secure = text.starts_with("https://");
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        // RFC 3986 §2: what else is in a URL is encoded.
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte);
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if host.is_empty() || host.contains('@') || !rest.bytes().all(plain) {
            return None;
        }
        Some(Url {
            secure,
            host: host.to_owned(),
            target: if target.starts_with('/') {
                target.to_owned()
            } else {
                format!("/{target}")
            },
        })
    }

    /// The same for people: without the query, which may hold a secret.
    pub fn shown(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let path = self.target.split('?').next().unwrap_or_default();
        format!("{scheme}://{}{path}", self.host)
    }

    /// The host without its port, an IPv6 address without its brackets; and the port.
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let default = if self.secure { 443 } else { 80 };
        if let Some(rest) = self.host.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            return Some((host, port_of(port, default)?));
        }
        let at = self.host.find(':').unwrap_or(self.host.len());
        let (host, port) = self.host.split_at(at);
        Some((host, port_of(port, default)?)).filter(|(host, _)| !host.is_empty())
    }
}

fn port_of(text: &str, default: u16) -> Option<u16> {
    if text.is_empty() {
        return Some(default);
    }
    text.strip_prefix(':')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_target() {
        for (text, host, port, shown) in [
            (
                "https://id.example.com/jwks?key=1",
                "id.example.com",
                443,
                "https://id.example.com/jwks",
            ),
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, "http://127.0.0.1:8080/"),
            ("http://[::1]:81/x", "::1", 81, "http://[::1]:81/x"),
            ("https://[::1]?x", "::1", 443, "https://[::1]/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.host_and_port(), Some((host, port)), "{text}");
            assert_eq!(url.shown(), shown);
        }
        for text in [
            "ftp://a/",
            "https://",
            "http://u:p@a/",
            "http://a b/",
            "http://a/#x",
            "http://a/\r\n",
            "a.json",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
        for text in [
            "http://a:/",
            "http://a:99999/",
            "http://:80/",
            "http://[::1/",
            "http://[::1]x/",
        ] {
            assert_eq!(Url::parse(text).unwrap().host_and_port(), None, "{text}");
        }
    }
}
