//! Asking again where an authority wanted another nonce, which is no answer (RFC 8555 §6.5).

use instant_acme::Error;

/// How often something is asked again, each time with three nonces, until the authority is believed to want none.
pub(super) const NONCES_MAX: u32 = 10;

/// Whether another nonce was wanted.
pub(super) fn wanted(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce"))
}

/// What `$ask` answers in the end, `$doing` which an error is told to have come up; it is evaluated for each try.
macro_rules! again {
    ($doing:expr, $transport:expr, $ask:expr) => {{
        let mut tries = 0;
        loop {
            match $ask.await {
                Err(error) if tries < $crate::acme::nonces::NONCES_MAX && $crate::acme::nonces::wanted(&error) => {
                    tries += 1;
                }
                other => {
                    break other.map_err(|error| $crate::acme::fault::Fault::of($doing, error, $transport.heard()));
                }
            }
        }
    }};
}

pub(super) use again;
