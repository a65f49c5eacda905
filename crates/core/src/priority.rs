//! Priority classes: who is served first, and who is refused first, when there is more work than backends may carry.

use std::cmp::Ordering;

use crate::route::Fields;

crate::words! {
    /// A class. A higher one is served first; a lower one is shed first.
    pub enum Class {
        /// Before all others.
        High = "high",
        /// Whatever nothing is said of.
        Normal = "normal",
        /// What can come again: batches, crawlers.
        Low = "low",
    }
}

impl Class {
    /// All, the highest first.
    pub const ALL: [Class; 3] = [Class::High, Class::Normal, Class::Low];
}

/// The first to be served is the least.
impl Ord for Class {
    fn cmp(&self, other: &Self) -> Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

impl PartialOrd for Class {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How a route tells the class of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Priority {
    /// All are of this one.
    Fixed(Class),
    /// By a field's first value.
    Field {
        /// Its name, in lower case.
        name: String,
        /// Values that make a request high, in lower case.
        high: Vec<String>,
        /// Values that make it low, in lower case.
        low: Vec<String>,
    },
}

impl Default for Priority {
    fn default() -> Self {
        Priority::Fixed(Class::Normal)
    }
}

impl Priority {
    /// The class of a request with these fields.
    pub fn class(&self, fields: &dyn Fields) -> Class {
        let (name, high, low) = match self {
            Priority::Fixed(class) => return *class,
            Priority::Field { name, high, low } => (name, high, low),
        };
        let mut class = Class::Normal;
        fields.each(name, &mut |value| {
            let value = value.trim_ascii();
            let names = |list: &[String]| list.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
            if names(high) {
                class = Class::High;
            } else if names(low) {
                class = Class::Low;
            }
            false
        });
        class
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lines(&'static [&'static str]);

    impl Fields for Lines {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            let lines = self.0.iter().filter(|_| name == "x-priority");
            let _ = lines.map(|line| visit(line.as_bytes())).find(|go_on| !go_on);
        }
    }

    #[test]
    fn the_first_value_tells_the_class() {
        let priority = Priority::Field {
            name: "x-priority".into(),
            high: vec!["checkout".into()],
            low: vec!["batch".into(), "crawl".into()],
        };
        for (lines, class) in [
            (&[][..], Class::Normal),
            (&["Batch "], Class::Low),
            (&["crawl"], Class::Low),
            (&["checkout", "batch"], Class::High),
            (&["batches"], Class::Normal),
        ] {
            assert_eq!(priority.class(&Lines(lines)), class, "{lines:?}");
        }
        assert_eq!(Priority::Fixed(Class::Low).class(&Lines(&["checkout"])), Class::Low);
        assert!(Class::High < Class::Normal && Class::Normal < Class::Low);
    }
}
