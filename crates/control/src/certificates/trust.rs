//! How those stand who say whom to believe: authorities, and lists of what they have revoked.

use std::time::SystemTime;

use plimsoll_net::tls::Validity;

/// What is wrong at `now` with authorities of which any will do, in words; `None` as long as one holds.
pub(crate) fn nobody_vouches<'v>(authorities: impl Iterator<Item = &'v Validity>, now: SystemTime) -> Option<String> {
    let mut first = None;
    for authority in authorities {
        if authority.holds(now) {
            return None;
        }
        first.get_or_insert(authority);
    }
    first.map(|authority| format!("nobody in it may vouch: {}", words(authority, now)))
}

/// What is wrong at `now` with lists of which each has to hold.
pub(crate) fn no_list<'v>(lists: impl IntoIterator<Item = &'v Validity>, now: SystemTime) -> Option<String> {
    let untimely = lists.into_iter().find(|list| !list.holds(now))?;
    Some(format!("the list of what was revoked by {}", words(untimely, now)))
}

/// Whose it is, and since when or until when it does not hold.
pub(crate) fn words(validity: &Validity, now: SystemTime) -> String {
    let date = |time: SystemTime| humantime::format_rfc3339_seconds(time);
    match validity.ends.filter(|ends| now > *ends) {
        Some(ends) => format!("\"{}\" ended {}", validity.subject, date(ends)),
        None => format!("\"{}\" begins {}", validity.subject, date(validity.begins)),
    }
}

/// When the next of them ends, or the last has when all are over.
pub(crate) fn next_end<'v>(all: impl Iterator<Item = &'v Validity> + Clone, now: SystemTime) -> Option<SystemTime> {
    let ends = all.filter_map(|validity| validity.ends);
    ends.clone().filter(|ends| *ends >= now).min().or(ends.max())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn valid(begins: u64, ends: u64) -> Validity {
        Validity {
            subject: format!("CN={begins}"),
            begins: at(begins),
            ends: Some(at(ends)),
        }
    }

    #[test]
    fn one_authority_that_holds_is_enough_and_one_list_that_does_not_is_too_much() {
        let all = [valid(10, 20), valid(15, 30)];
        for (now, authorities, lists) in [
            (
                5,
                Some("nobody in it may vouch: \"CN=10\" begins 1970-01-01T00:00:10Z"),
                Some("\"CN=10\" begins"),
            ),
            (12, None, Some("\"CN=15\" begins 1970-01-01T00:00:15Z")),
            (17, None, None),
            (20, None, None),
            (
                25,
                None,
                Some("the list of what was revoked by \"CN=10\" ended 1970-01-01T00:00:20Z"),
            ),
            (31, Some("\"CN=10\" ended 1970-01-01T00:00:20Z"), Some("ended")),
        ] {
            for (said, wanted) in [
                (nobody_vouches(all.iter(), at(now)), authorities),
                (no_list(&all, at(now)), lists),
            ] {
                match (&said, wanted) {
                    (Some(said), Some(wanted)) => assert!(said.contains(wanted), "{now}: {said}"),
                    _ => assert_eq!(said.as_deref(), wanted, "{now}"),
                }
            }
        }
    }

    #[test]
    fn the_next_end_is_told_and_the_last_when_all_are_over() {
        let all = [valid(10, 20), valid(15, 30)];
        for (now, end) in [(0, 20), (20, 20), (21, 30), (40, 30)] {
            assert_eq!(next_end(all.iter(), at(now)), Some(at(end)), "{now}");
        }
        assert_eq!(next_end([].iter(), at(0)), None);
    }
}
