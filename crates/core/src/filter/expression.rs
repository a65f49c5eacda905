//! A regular expression over a whole path, and what is written in its stead.

use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::route::PathMatch;

/// A regular expression over the whole path.
#[derive(Clone, Debug)]
pub(super) struct Expression(regex::Regex);

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Expression {
    /// Whether it matches all of `text`.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// What it matches of `path`, put in the places of `pattern`; `None` when it does not match.
    pub(super) fn replace(&self, path: &str, pattern: &str) -> Option<String> {
        let captures = self.0.captures(path)?;
        let mut out = String::new();
        for (text, group) in places(pattern) {
            out.push_str(text);
            let found = match group.map(|group| (group, group.parse())) {
                None => None,
                Some((_, Ok(number))) => captures.get(number),
                Some((name, Err(_))) => captures.name(name),
            };
            out.push_str(found.map_or("", |found| found.as_str()));
        }
        Some(out)
    }

    /// The first place of `pattern` for a group that the expression has not.
    pub(super) fn stranger<'p>(&self, pattern: &'p str) -> Option<&'p str> {
        let known = |group: &str| match group.parse::<usize>() {
            Ok(number) => number < self.0.captures_len(),
            Err(_) => self.0.capture_names().flatten().any(|name| name == group),
        };
        places(pattern)
            .filter_map(|(_, group)| group)
            .find(|group| !known(group))
    }
}

/// The texts of a pattern, each with the group whose place is behind it: `$1` (all digits count), `$name`; a `$` that
/// begins neither is text.
fn places(pattern: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = Some(pattern);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut from = 0;
        while let Some(at) = text[from..].find('$').map(|at| from + at) {
            let name = &text[at + 1..];
            let digits = name.bytes().take_while(u8::is_ascii_digit).count();
            let letters = name
                .bytes()
                .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
                .count();
            let length = if digits > 0 { digits } else { letters };
            if length > 0 {
                rest = Some(&name[length..]);
                return Some((&text[..at], Some(&name[..length])));
            }
            from = at + 1;
        }
        rest = None;
        Some((text, None))
    })
}

/// What is wrong with a pattern that names `group`.
pub(super) fn no_such_group(group: &str) -> (String, &'static str) {
    (
        format!("the expression has no group ${group}"),
        "groups are numbered from 1, and named by (?<name>…)",
    )
}

impl Expression {
    /// All of its text is one group.
    pub(super) const WHOLE: &'static str = "$0";
}

impl Decode for Expression {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "a regular expression", faults)?;
        match PathMatch::regex(text) {
            Ok(PathMatch::Regex(regex)) => Some(Expression(regex)),
            Ok(_) => None,
            Err(fault) => {
                let help = fault.help;
                let error = faults.error(node.span, fault.message);
                if let Some(help) = help {
                    error.help(help);
                }
                None
            }
        }
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "examples": ["/v1/(.*)"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_in_their_places() {
        let PathMatch::Regex(regex) = PathMatch::regex("/(?<kind>[a-z]+)-([0-9]+)").unwrap() else {
            panic!("an expression");
        };
        let expression = Expression(regex);
        for (pattern, replaced) in [
            ("/$kind/$2", "/item/7"),
            ("/$2x", "/7x"),
            ("$0", "/item-7"),
            ("/$/a$", "/$/a$"),
            ("/plain", "/plain"),
        ] {
            assert_eq!(
                expression.replace("/item-7", pattern).as_deref(),
                Some(replaced),
                "{pattern}"
            );
            assert_eq!(expression.stranger(pattern), None, "{pattern}");
        }
        assert_eq!(expression.replace("/other", "$0"), None);
        assert_eq!(expression.stranger("/$1/$3"), Some("3"));
        assert_eq!(expression.stranger("/$knd"), Some("knd"));
    }
}
