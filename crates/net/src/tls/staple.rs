//! What an authority says of one of its certificates, shown along with it (OCSP, RFC 6960; RFC 6066 §8). It is judged as
//! far as its words go: whoever is shown it looks at its signature.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};

use super::certificate::{Facts, contents};

/// `id-pkix-ocsp-basic`, the one kind of response that there is (RFC 6960 §4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
/// What names are hashed with (RFC 5280, RFC 5754 §2).
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// How far an authority's clock may be ahead of ours.
const SKEW: Duration = Duration::from_secs(300);

/// Certificates that one response may speak of.
const ANSWERS_MAX: usize = 64;

/// A response for one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    /// In DER, as it is shown.
    pub(super) response: Vec<u8>,
    /// From when it holds.
    pub begins: SystemTime,
    /// Until when; `None` when newer words may be had at any time.
    pub ends: Option<SystemTime>,
    word: Word,
}

/// What the authority says of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Good,
    Revoked,
    Unknown,
}

/// Why a response is not to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It says that the certificate was revoked.
    Revoked,
    /// Its authority does not know the certificate.
    Unknown,
    /// It ended then.
    Over(SystemTime),
    /// It begins then.
    Early(SystemTime),
}

impl Staple {
    /// Reads a response in DER, of which the part counts that is for the certificate `shown`.
    ///
    /// # Errors
    /// It is none, or speaks of others, in words that follow the name of its file.
    pub fn read(response: Vec<u8>, shown: &[u8]) -> Result<Staple, String> {
        let (issuer, serial) = whose(shown).ok_or("cannot be compared with the certificate")?;
        let (word, begins, ends) = find(&response, &issuer, &serial)?;
        Ok(Staple {
            response,
            begins,
            ends,
            word,
        })
    }

    /// Why it is not to be shown at `now`.
    pub fn unfit(&self, now: SystemTime) -> Option<Unfit> {
        match (self.word, self.ends) {
            (Word::Revoked, _) => Some(Unfit::Revoked),
            (Word::Unknown, _) => Some(Unfit::Unknown),
            (Word::Good, Some(ends)) if now > ends => Some(Unfit::Over(ends)),
            (Word::Good, _) if self.begins > now + SKEW => Some(Unfit::Early(self.begins)),
            (Word::Good, _) => None,
        }
    }
}

/// A certificate's issuer in DER, and the digits of its number.
fn whose(shown: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let certificate = Certificate::from_der(shown).ok()?;
    let number = certificate.tbs_certificate().serial_number().to_der().ok()?;
    Some((
        Facts::read(shown).ok()?.issuer_name().to_vec(),
        contents(&number)?.to_vec(),
    ))
}

type Found = (Word, SystemTime, Option<SystemTime>);

/// The part of a response that is for the certificate with this issuer and number.
fn find(response: &[u8], issuer: &[u8], serial: &[u8]) -> Result<Found, String> {
    let none = || String::from("is no OCSP response in DER");
    let [outer] = parts(response).ok_or_else(none)?[..] else {
        return Err(none());
    };
    let outer = within(outer).ok_or_else(none)?;
    let status = outer.first().filter(|status| status.tag() == Tag::Enumerated);
    match status.ok_or_else(none)?.value() {
        [0] => {}
        // RFC 6960 §4.2.1: malformed, busy, or not for us. There is no more in it.
        [code] => return Err(format!("is no answer: the authority failed with code {code}")),
        _ => return Err(none()),
    }
    let answers = answers(&outer).ok_or_else(none)?;
    if answers.len() > ANSWERS_MAX {
        return Err(format!("speaks of more than {ANSWERS_MAX} certificates"));
    }
    for answer in answers {
        let answer = within(answer).ok_or_else(none)?;
        let id = answer.first().and_then(|id| within(*id)).ok_or_else(none)?;
        if is_for(&id, issuer, serial).ok_or_else(none)? {
            return read(&answer).ok_or_else(none);
        }
    }
    Err("is for another certificate".into())
}

/// The answers of a response for single certificates.
fn answers<'r>(outer: &[AnyRef<'r>]) -> Option<Vec<AnyRef<'r>>> {
    let bytes = within(explicit(*outer.get(1)?, 0)?)?;
    if bytes.first()?.decode_as::<ObjectIdentifier>().ok()? != BASIC {
        return None;
    }
    let basic = bytes.get(1).filter(|bytes| bytes.tag() == Tag::OctetString)?;
    let [basic] = parts(basic.value())?[..] else {
        return None;
    };
    // The version and who answers stand before them, and the time between.
    let data = within(*within(basic)?.first()?)?;
    let answers = data.iter().find(|part| part.tag() == Tag::Sequence)?;
    within(*answers)
}

/// Whether an answer is for the certificate with this issuer and number. Hashes that we do not know are not looked at.
fn is_for(id: &[AnyRef<'_>], issuer: &[u8], serial: &[u8]) -> Option<bool> {
    let [algorithm, name, _, number] = id else { return None };
    let algorithm = within(*algorithm)?.first()?.decode_as::<ObjectIdentifier>().ok()?;
    let hash = match algorithm {
        SHA_1 => Some(digest(&SHA1_FOR_LEGACY_USE_ONLY, issuer)),
        SHA_256 => Some(digest(&SHA256, issuer)),
        _ => None,
    };
    let is_issuer = hash.is_none_or(|hash| hash.as_ref() == name.value());
    Some(is_issuer && number.tag() == Tag::Integer && number.value() == serial)
}

/// What an answer says, and from when until when.
fn read(answer: &[AnyRef<'_>]) -> Option<Found> {
    let time = |part: &AnyRef<'_>| {
        let time = part.decode_as::<GeneralizedTime>().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(time.to_unix_duration())
    };
    let [_, word, begins, rest @ ..] = answer else {
        return None;
    };
    let word = match number(word.tag())? {
        0 => Word::Good,
        1 => Word::Revoked,
        2 => Word::Unknown,
        _ => return None,
    };
    let ends = rest.first().and_then(|part| explicit(*part, 0));
    let ends = ends.map(|ends| time(&ends).ok_or(())).transpose().ok()?;
    Some((word, time(begins)?, ends))
}

/// The values that stand one behind the other.
fn parts(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(parts)
}

/// What stands in a sequence.
fn within(sequence: AnyRef<'_>) -> Option<Vec<AnyRef<'_>>> {
    (sequence.tag() == Tag::Sequence).then(|| parts(sequence.value()))?
}

/// The one value within a tag of this number.
fn explicit(tagged: AnyRef<'_>, wanted: u32) -> Option<AnyRef<'_>> {
    let is_it = number(tagged.tag()) == Some(wanted);
    match is_it.then(|| parts(tagged.value()))??[..] {
        [one] => Some(one),
        _ => None,
    }
}

/// The number of a tag that means something in its place alone.
fn number(tag: Tag) -> Option<u32> {
    match tag {
        Tag::ContextSpecific { number, .. } => Some(number.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_no_response_is_refused_without_a_panic() {
        let [issuer, serial] = [&b"issuer"[..], &[7]];
        // A failure, and a response whose every prefix is none (RFC 6960 §4.2.1).
        assert!(
            find(b"\x30\x03\x0a\x01\x06", issuer, serial)
                .unwrap_err()
                .contains("code 6")
        );
        let response =
            b"\x30\x18\x0a\x01\x00\xa0\x13\x30\x11\x06\x09\x2b\x06\x01\x05\x05\x07\x30\x01\x01\x04\x04\x30\x02\x30\x00";
        for end in 0..=response.len() {
            assert_eq!(
                find(&response[..end], issuer, serial),
                Err("is no OCSP response in DER".into())
            );
        }
    }

    #[test]
    fn a_response_is_shown_while_it_holds_and_says_good() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let staple = |word, ends| Staple {
            response: Vec::new(),
            begins: at(10_000),
            ends,
            word,
        };
        for (word, ends, now, unfit) in [
            (Word::Good, Some(at(20_000)), 15_000, None),
            (Word::Good, None, 1 << 32, None),
            (Word::Good, Some(at(20_000)), 20_001, Some(Unfit::Over(at(20_000)))),
            (Word::Good, None, 9_800, None),
            (Word::Good, None, 9_000, Some(Unfit::Early(at(10_000)))),
            (Word::Revoked, None, 15_000, Some(Unfit::Revoked)),
            (Word::Unknown, None, 15_000, Some(Unfit::Unknown)),
        ] {
            assert_eq!(staple(word, ends).unfit(at(now)), unfit, "{word:?} {now}");
        }
    }
}
