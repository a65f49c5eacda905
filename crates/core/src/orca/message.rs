//! `OrcaLoadReport` as Protocol Buffers encode it (protobuf.dev/programming-guides/encoding), of which two fields matter.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Metrics, add};

/// gRPC's own senders leave the padding away, and receivers take both (PROTOCOL-HTTP2, "Binary-Header").
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Numbers of the fields.
const CPU_UTILISATION: u64 = 1;
const APPLICATION_UTILISATION: u64 = 9;

/// Fields in one message.
const FIELDS_MAX: usize = 512;

/// The utilisations in a message in base64; `None` when it is no message.
pub(super) fn read(text: &str) -> Option<Metrics> {
    let message = BASE64.decode(text.trim()).ok()?;
    let (mut metrics, mut rest) = (Metrics::new(), &message[..]);
    for _ in 0..FIELDS_MAX {
        if rest.is_empty() {
            return Some(metrics);
        }
        let key = varint(&mut rest)?;
        match (key >> 3, key & 7) {
            (0, _) => return None,
            (number, 1) => {
                let value = f64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
                match number {
                    CPU_UTILISATION => put(&mut metrics, "cpu_utilization", value)?,
                    APPLICATION_UTILISATION => put(&mut metrics, "application_utilization", value)?,
                    _ => {}
                }
            }
            (_, 0) => {
                varint(&mut rest)?;
            }
            (_, 2) => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                take(&mut rest, length)?;
            }
            (_, 5) => {
                take(&mut rest, 4)?;
            }
            _ => return None,
        }
    }
    None
}

/// The last of several counts, as everywhere in this encoding.
fn put(metrics: &mut Metrics, name: &str, value: f64) -> Option<()> {
    metrics.retain(|(known, _)| known != name);
    add(metrics, name, value)
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for at in 0..10 {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(message: &[u8]) -> String {
        BASE64.encode(message)
    }

    #[test]
    fn what_does_not_matter_is_skipped_and_what_is_no_message_is_none() {
        let half = 0.5f64.to_le_bytes();
        let cpu = [&[0x09][..], &half].concat();
        let known = |value: f64| Some(vec![("cpu_utilization".to_owned(), value)]);
        // rps, a map of costs, a field of 32 bits that nobody knows.
        let others = [&[0x18, 0x96, 0x01][..], &[0x22, 0x03, 1, 2, 3], &[0x7d, 1, 2, 3, 4]].concat();
        let quarter = [&[0x09][..], &0.25f64.to_le_bytes()].concat();
        for (message, metrics) in [
            (Vec::new(), Some(Vec::new())),
            (cpu.clone(), known(0.5)),
            ([&others[..], &cpu].concat(), known(0.5)),
            ([&cpu[..], &others].concat(), known(0.5)),
            ([&cpu[..], &quarter].concat(), known(0.25)),
            (cpu[..8].to_vec(), None),
            (vec![0x22, 0x03, 1], None),
            (vec![0x23], None),
            (vec![0x01], None),
            (vec![0xff; 11], None),
            ([&[0x09][..], &f64::NAN.to_le_bytes()].concat(), None),
            ([&[0x09][..], &(-1f64).to_le_bytes()].concat(), None),
        ] {
            assert_eq!(read(&encode(&message)), metrics, "{message:?}");
            assert_eq!(read(encode(&message).trim_end_matches('=')), metrics, "{message:?}");
        }
        assert_eq!(read("not base64!"), None);
        assert_eq!(read(&encode(&[0x18, 1].repeat(FIELDS_MAX + 1))), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(message: Vec<u8>) {
            let _ = read(&encode(&message));
        }
    }
}
