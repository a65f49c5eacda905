//! Which certificates a server name gets: exact names before wildcards, which stand for one label (RFC 6125 §6.4.3).

use std::collections::HashMap;

/// Positions of certificates by the names that they are for.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: HashMap<Box<str>, Vec<usize>>,
    /// By what follows the star and its dot.
    wildcard: HashMap<Box<str>, Vec<usize>>,
}

impl Names {
    /// Adds the certificate at `at`, which is for `name`.
    pub(super) fn add(&mut self, name: &str, at: usize) {
        let name = name.to_ascii_lowercase();
        let places = match name.strip_prefix("*.") {
            Some(rest) => self.wildcard.entry(rest.into()).or_default(),
            None => self.exact.entry(name.into()).or_default(),
        };
        if !places.contains(&at) {
            places.push(at);
        }
    }

    /// The certificates for the host `name`, in their order; none when it is nobody's.
    pub(super) fn find(&self, name: &str) -> &[usize] {
        let [exact, wildcard] = self.both(name);
        if exact.is_empty() { wildcard } else { exact }
    }

    /// Those that name the host `name`, and those with a wildcard that it falls under.
    pub(super) fn both(&self, name: &str) -> [&[usize]; 2] {
        let lower;
        let mut name = name.strip_suffix('.').unwrap_or(name);
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            name = &lower;
        }
        let exact = self.exact.get(name);
        let wildcard = name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        [exact, wildcard].map(|places| places.map_or(&[][..], Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_comes_before_a_wildcard_which_stands_for_one_label() {
        let mut names = Names::default();
        for (at, name) in ["shop.test", "*.shop.test", "API.shop.test", "shop.test"]
            .into_iter()
            .enumerate()
        {
            names.add(name, at);
        }
        for (name, places) in [
            ("shop.test", &[0, 3][..]),
            ("SHOP.test.", &[0, 3]),
            ("api.shop.test", &[2]),
            ("www.shop.test", &[1]),
            ("a.www.shop.test", &[]),
            ("*.shop.test", &[1]),
            ("test", &[]),
            ("", &[]),
        ] {
            assert_eq!(names.find(name), places, "{name}");
        }
    }
}
