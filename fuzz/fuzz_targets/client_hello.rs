//! ClientHellos: read the same however they come in packets and records, and as a plain reader reads them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::arrivals;
use plimsoll_fuzz::hello::{self, Found};
use plimsoll_net::{HELLO_RECORDS_MAX, HELLO_WIRE_MAX, Hello, HelloFault, HelloScan};

fuzz_target!(|data: &[u8]| {
    let [size, seed, bytes @ ..] = data else { return };
    let whole = HelloScan::default().look(bytes);
    let pieces = in_pieces(bytes, *seed);
    assert!(whole != Ok(None) || bytes.len() < HELLO_WIRE_MAX, "it wants ever more");
    match (hello::read(bytes), &whole) {
        (Found::Hello(plain, used), Ok(Some(ours))) => {
            assert_eq!(&plain, ours);
            // Told as soon as it is there, and not before.
            let before = HelloScan::default().look(&bytes[..used - 1]);
            assert_eq!(before, Ok(None));
            assert_eq!(HelloScan::default().look(&bytes[..used]), Ok(Some(plain)));
        }
        (Found::Cut, Ok(None) | Err(_)) | (Found::Wrong, Err(_)) => {}
        (plain, ours) => panic!("the plain reader finds {plain:?}, ours {ours:?}"),
    }
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "cut differently, it is another one"),
        // What is wrong is told by how much of it is seen.
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("whole it is {whole:?}, in pieces {pieces:?}"),
    }
    if let Ok(Some(hello)) = &whole {
        judge(hello);
        in_records(bytes, usize::from(*size), hello);
    }
});

/// What is found of bytes that come as `seed` has it.
fn in_pieces(bytes: &[u8], seed: u8) -> Result<Option<Hello>, HelloFault> {
    let mut scan = HelloScan::default();
    for have in arrivals(bytes.len(), seed) {
        match scan.look(&bytes[..have]) {
            Ok(None) => {}
            found => return found,
        }
    }
    Ok(None)
}

/// What routes, logs and policies may rely on.
fn judge(hello: &Hello) {
    if let Some(name) = &hello.sni {
        assert!((1..=253).contains(&name.len()));
        assert!(
            name.bytes()
                .all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
        );
        assert!(!name.starts_with('.') && !name.ends_with('.') && !name.contains(".."));
    }
    assert!(hello.alpn.iter().all(|name| !name.is_empty()));
}

/// The same message in records of `size` bytes is the same.
fn in_records(bytes: &[u8], size: usize, hello: &Hello) {
    let (mut message, mut rest) = (Vec::new(), bytes);
    let length = |message: &[u8]| match message {
        [_, high, middle, low, ..] => Some(4 + u32::from_be_bytes([0, *high, *middle, *low]) as usize),
        _ => None,
    };
    while length(&message) != Some(message.len()) {
        let (fragment, next) = rest[5..].split_at(usize::from(u16::from_be_bytes([rest[3], rest[4]])));
        message.extend_from_slice(fragment);
        rest = next;
    }
    let size = size.max(1);
    let mut again = Vec::new();
    for fragment in message.chunks(size) {
        let length = u16::try_from(fragment.len()).expect("it is short");
        again.extend([22, 3, 3]);
        again.extend(length.to_be_bytes());
        again.extend_from_slice(fragment);
    }
    let found = HelloScan::default().look(&again);
    if message.len().div_ceil(size) <= HELLO_RECORDS_MAX {
        assert_eq!(found.as_ref(), Ok(&Some(hello.clone())));
    } else {
        assert_eq!(found, Err(HelloFault::TooLarge));
    }
}
