//! What a request shows in its `Authorization` field.

use crate::route::Fields;

/// The longest value that is looked at. Longer ones are no credentials of ours.
pub(super) const AUTHORIZATION_MAX: usize = 16 << 10;

/// What follows `scheme` in the one `Authorization` field of a request; `None` when there is no such field, another
/// scheme, or more than one field: nobody could say which of them counts (RFC 9110 §11.6.2).
pub(super) fn shown(fields: &dyn Fields, scheme: &str) -> Option<Vec<u8>> {
    let mut found = None;
    let mut count = 0;
    fields.each("authorization", &mut |value| {
        count += 1;
        found = after_scheme(value, scheme).map(<[u8]>::to_vec);
        count < 2
    });
    found.filter(|_| count == 1)
}

fn after_scheme<'v>(value: &'v [u8], scheme: &str) -> Option<&'v [u8]> {
    if value.len() > AUTHORIZATION_MAX {
        return None;
    }
    let (word, rest) = value.split_at_checked(scheme.len())?;
    let spaced = rest.first() == Some(&b' ');
    (word.eq_ignore_ascii_case(scheme.as_bytes()) && spaced).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shown(Vec<Vec<u8>>);

    impl Fields for Shown {
        fn each(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
            assert_eq!(name, "authorization");
            let _ = self.0.iter().all(|value| visit(value));
        }
    }

    #[test]
    fn one_field_of_the_scheme_is_taken() {
        let long = format!("Basic {}", "x".repeat(AUTHORIZATION_MAX));
        for (values, found) in [
            (&["Basic abc"][..], Some("abc")),
            (&["bASIC   abc "], Some("abc")),
            (&["Basic "], Some("")),
            (&["Basic"], None),
            (&["Basicabc"], None),
            (&["Bearer abc"], None),
            (&["Basic abc", "Basic abc"], None),
            (&[], None),
            (&[&long], None),
        ] {
            let fields = Shown(values.iter().map(|value| value.as_bytes().to_vec()).collect());
            assert_eq!(
                shown(&fields, "Basic").as_deref(),
                found.map(str::as_bytes),
                "{values:?}"
            );
        }
    }
}
