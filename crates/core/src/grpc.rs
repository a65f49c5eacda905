//! gRPC's words: its status codes, how they answer to those of HTTP, and its deadlines.

use std::time::Duration;

use crate::outcome::Reason;
use crate::reply::Reply;

macro_rules! codes {
    ($( $variant:ident = $number:literal, $name:literal, $status:literal, $says:literal; )*) => {
        /// A status of gRPC other than OK.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $( #[doc = $says] $variant = $number ),* }

        impl Code {
            /// All of them, as configurations have them.
            pub const RETRY_WORDS: &'static [&'static str] = &[$(concat!("grpc:", $name)),*];

            const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The name, as Envoy spells it.
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// The status of HTTP that says the same, as Envoy has it for the health of backends.
            pub const fn http_status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }
        }
    };
}

codes! {
    Cancelled = 1, "cancelled", 499, "The caller has given up.";
    Unknown = 2, "unknown", 500, "An error of which nothing else is known.";
    InvalidArgument = 3, "invalid-argument", 400, "The call makes no sense.";
    DeadlineExceeded = 4, "deadline-exceeded", 504, "It was not done in time.";
    NotFound = 5, "not-found", 404, "What is asked for does not exist.";
    AlreadyExists = 6, "already-exists", 409, "What is to be made is there already.";
    PermissionDenied = 7, "permission-denied", 403, "The caller may not do this.";
    ResourceExhausted = 8, "resource-exhausted", 429, "There is not enough of something.";
    FailedPrecondition = 9, "failed-precondition", 400, "Not in this state of things.";
    Aborted = 10, "aborted", 409, "Somebody else got in the way.";
    OutOfRange = 11, "out-of-range", 400, "Beyond what there is.";
    Unimplemented = 12, "unimplemented", 501, "There is no such call.";
    Internal = 13, "internal", 500, "Something is broken.";
    Unavailable = 14, "unavailable", 503, "Not now.";
    DataLoss = 15, "data-loss", 500, "Data is gone for good.";
    Unauthenticated = 16, "unauthenticated", 401, "Nobody knows who is calling.";
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The code of this number; `None` for OK (0) and for what is none.
    pub fn numbered(number: u8) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The code of this name, with hyphens or underscores, in either case.
    pub fn named(name: &str) -> Option<Code> {
        let name = name.to_ascii_lowercase().replace('_', "-");
        Code::ALL.iter().copied().find(|code| code.name() == name)
    }

    /// What a client is told of a status of HTTP (gRPC's `http-grpc-status-mapping.md`).
    pub fn of_http(status: u16) -> Code {
        match status {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        }
    }

    /// What a client of gRPC is told instead of a reply of ours, when that is a refusal.
    pub fn of_reply(reply: &Reply) -> Option<Code> {
        match reply.reason {
            Some(reason) => Some(Code::of_reason(reason)),
            None => (reply.status >= 400).then(|| Code::of_http(reply.status)),
        }
    }

    /// What a client is told of a reason of ours: as its status of HTTP would be, but that time that is up and errors of
    /// our own have codes that say so.
    pub fn of_reason(reason: Reason) -> Code {
        match reason {
            Reason::RequestTimeout | Reason::ResponseTimeout | Reason::RequestBodyTimeout => Code::DeadlineExceeded,
            Reason::Internal => Code::Internal,
            reason => Code::of_http(reason.status()),
        }
    }
}

/// Whether a body of this type is gRPC's: `application/grpc`, perhaps with a suffix. gRPC-Web, which has no trailers, is
/// another protocol.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type
        .split_at_checked(TYPE.len())
        .is_some_and(|(is, rest)| is.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long a call may take by its `grpc-timeout`: up to eight digits and a unit. `None` when it says no such thing.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A text as `grpc-message` carries it: what is not visible ASCII, and `%`, as `%XX`.
pub fn message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_numbers_and_names_of_the_protocol() {
        let numbers: Vec<u8> = Code::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, (1..=16).collect::<Vec<_>>());
        for code in Code::ALL {
            assert_eq!(Code::named(code.name()), Some(*code));
            assert_eq!(Code::numbered(code.number()), Some(*code));
        }
        assert_eq!(Code::named("DATA_LOSS"), Some(Code::DataLoss));
        assert_eq!((Code::numbered(0), Code::numbered(17)), (None, None));
    }

    #[test]
    fn our_reasons_have_codes() {
        for (reason, code) in [
            (Reason::NoRoute, Code::Unimplemented),
            (Reason::NoHealthyBackend, Code::Unavailable),
            (Reason::ConnectFailed, Code::Unavailable),
            (Reason::ConnectTimeout, Code::Unavailable),
            (Reason::RequestTimeout, Code::DeadlineExceeded),
            (Reason::RateLimited, Code::Unavailable),
            (Reason::Denied, Code::PermissionDenied),
            (Reason::HeaderTooLarge, Code::Unknown),
            (Reason::Internal, Code::Internal),
        ] {
            assert_eq!(Code::of_reason(reason), code, "{reason:?}");
        }
    }

    #[test]
    fn a_type_is_grpcs_or_not() {
        for (content_type, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc(content_type.as_bytes()), is, "{content_type}");
        }
    }

    #[test]
    fn deadlines_are_read_and_what_is_none_is_none() {
        for (value, millis) in [
            ("1S", Some(1_000)),
            ("99999999H", Some(359_999_996_400_000)),
            ("2M", Some(120_000)),
            ("250m", Some(250)),
            ("5000u", Some(5)),
            ("3000000n", Some(3)),
            ("0S", Some(0)),
            ("123456789S", None),
            ("S", None),
            ("1s", None),
            ("-1S", None),
            ("", None),
        ] {
            assert_eq!(timeout(value.as_bytes()), millis.map(Duration::from_millis), "{value}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(message("50 % of é\n"), "50 %25 of %C3%A9%0A");
    }
}
