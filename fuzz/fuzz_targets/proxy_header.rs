//! Headers of the PROXY protocol: read the same however they are cut, and what is read is written back as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use plimsoll_fuzz::arrivals;
use plimsoll_net::{
    PROXY_HEADER_BYTES_MAX, ProxyFault, ProxyHeader, Vouched, read_proxy_header, write_proxy_v1, write_proxy_v2,
};

fuzz_target!(|data: &[u8]| {
    let [_, seed, bytes @ ..] = data else { return };
    let whole = read_proxy_header(bytes);
    match (whole, in_pieces(bytes, *seed)) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces, "cut differently, it is another one"),
        // What is wrong is told by how much of it is seen.
        (Err(_), Err(_)) => {}
        (whole, pieces) => panic!("whole it is {whole:?}, in pieces {pieces:?}"),
    }
    let Ok(Some(header)) = whole else {
        return assert!(
            whole != Ok(None) || bytes.len() < PROXY_HEADER_BYTES_MAX,
            "it wants ever more"
        );
    };
    assert!((1..=bytes.len().min(PROXY_HEADER_BYTES_MAX)).contains(&header.length));
    // Told as soon as it is there, and not before.
    assert_eq!(read_proxy_header(&bytes[..header.length - 1]), Ok(None));
    assert_eq!(read_proxy_header(&bytes[..header.length]), whole);
    goes_on(header);
});

/// What is found of bytes that come as `seed` has it.
fn in_pieces(bytes: &[u8], seed: u8) -> Result<Option<ProxyHeader>, ProxyFault> {
    for have in arrivals(bytes.len(), seed) {
        match read_proxy_header(&bytes[..have]) {
            Ok(None) => {}
            found => return found,
        }
    }
    Ok(None)
}

/// Whoever is told the same reads the same, in either version; a mapped address is the one that it maps.
fn goes_on(header: ProxyHeader) {
    let ends = |header: ProxyHeader| {
        header
            .ends
            .map(|ends| [ends.source, ends.destination].map(|end| (end.ip().to_canonical(), end.port())))
    };
    let (mut line, mut binary) = (Vec::new(), Vec::new());
    write_proxy_v1(&mut line, header.ends);
    write_proxy_v2(&mut binary, header.ends, Vouched::default());
    for written in [line, binary] {
        match read_proxy_header(&written) {
            Ok(Some(again)) => {
                assert_eq!(ends(again), ends(header));
                assert_eq!(again.length, written.len());
            }
            other => panic!("we refuse what we wrote: {other:?}"),
        }
    }
}
