//! Durations, sizes and rates as users write them: `"250ms"`, `"64KiB"`, `"100/s"`.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Decode, Faults, Node, Value, expect_text};

/// Milliseconds in each unit of time that is understood.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Bytes in each unit of size that is understood.
const SIZE_UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Reads `"1.5s"`: a number directly followed by its unit. The product is rounded to the unit's smallest part.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let scale = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let number: f64 = number.parse().ok()?;
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of a unit, never negative, checked against the range"
    )]
    let product = (number * scale as f64 <= 1e15).then_some((number * scale as f64).round() as u64);
    product
}

impl Decode for Duration {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Value::Integer(number) = node.value {
            faults.error(node.span, "a duration needs a unit").help(format!(
                "write \"{number}s\" for seconds, or \"{number}ms\" for milliseconds"
            ));
            return None;
        }
        let text = expect_text(node, "a duration, like \"2s\"", faults)?;
        let millis = scaled(text, &DURATION_UNITS);
        if millis.is_none() {
            faults
                .error(node.span, format!("\"{text}\" is not a duration"))
                .help("write a number and a unit: \"250ms\", \"2s\", \"5m\", \"1h\" or \"1d\"");
        }
        millis.map(Duration::from_millis)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^[0-9.]+ *(ms|s|m|h|d)$", "examples": ["250ms", "2s", "5m"] })
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Decode for Size {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        if let Value::Integer(number) = node.value {
            let size = u64::try_from(number).ok();
            if size.is_none() {
                faults.error(node.span, "a size cannot be negative");
            }
            return size.map(Size);
        }
        let text = expect_text(node, "a size, like \"64KiB\"", faults)?;
        let bytes = scaled(text, &SIZE_UNITS);
        if bytes.is_none() {
            faults
                .error(node.span, format!("\"{text}\" is not a size"))
                .help("write a number and a unit: \"16KiB\", \"10MiB\" or \"512B\"");
        }
        bytes.map(Size)
    }

    fn schema() -> Json {
        json!({ "type": ["string", "integer"], "examples": ["64KiB", "10MiB"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Span;

    fn duration(text: &str) -> (Option<Duration>, Faults) {
        let mut faults = Faults::default();
        let node = Node {
            span: Span::default(),
            value: Value::Text(text.into()),
        };
        (Duration::decode(&node, &mut faults), faults)
    }

    #[test]
    fn durations_are_read_in_every_unit() {
        for (text, millis) in [
            ("250ms", 250),
            ("2s", 2_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(duration(text).0, Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in [
            "",
            "2",
            "s",
            "2 parsecs",
            "-1s",
            "1e3s",
            "99999999999999999999s",
            "1..5s",
        ] {
            let (value, faults) = duration(text);
            assert_eq!(value, None, "{text}");
            assert!(
                faults.list[0]
                    .help
                    .as_deref()
                    .is_some_and(|help| help.contains("250ms")),
                "{text}"
            );
        }
    }
}
