use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::*;
use crate::Socket;

fn ends(source: &str, destination: &str) -> Option<ProxiedEnds> {
    Some(ProxiedEnds {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    })
}

/// What comes of `bytes` when they come one by one, and how many were needed.
fn drip(bytes: &[u8]) -> (Result<Option<ProxyHeader>, ProxyFault>, usize) {
    for count in 0..=bytes.len() {
        match read_proxy_header(&bytes[..count]) {
            Ok(None) => {}
            found => return (found, count),
        }
    }
    (Ok(None), bytes.len())
}

/// A header of version 2.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&SIGNATURE, [command, family].as_slice(), &length, content].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0x10, 0, 1, 0xbb];

#[test]
fn a_header_is_read_to_its_end_and_no_further() {
    let v4 = ends("192.0.2.1:4096", "198.51.100.2:443");
    let v6 = ends("[2001:db8::1]:1", "[2001:db8::2]:65535");
    let mut of_v6 = Vec::new();
    write_proxy_v2(&mut of_v6, v6, Vouched::default());
    for (bytes, ends) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n".to_vec(), v4),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n".to_vec(), v6),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN whatever it says\r\n".to_vec(), None),
        (binary(0x21, TCP4, &V4), v4),
        (
            binary(0x21, TCP4, &[&V4, [4, 0, 1, 9, 0x20, 0, 0].as_slice()].concat()),
            v4,
        ),
        (of_v6, v6),
        // The proxy itself, and clients that have no address of ours.
        (binary(0x20, TCP4, &V4), None),
        (binary(0x20, 0, &[]), None),
        (binary(0x21, 0x31, &[0; 216]), None),
        (binary(0x21, 0x12, &V4), None),
    ] {
        let length = bytes.len();
        let expected = Ok(Some(ProxyHeader { ends, length }));
        assert_eq!(drip(&bytes), (expected, length), "{bytes:?}");
        let more = [bytes.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(drip(&more), (expected, length), "{bytes:?}");
    }
}

#[test]
fn what_is_no_header_is_told_at_once() {
    for (bytes, needed) in [
        (&b"GET / HTTP/1.1\r\n"[..], 1),
        (b"PROX / HTTP/1.1\r\n", 5),
        (b"PROXYTCP4", 6),
        (&[22, 3, 1], 1),
        (b"\r\n\r\n\0\r\nQUIT\r", 12),
    ] {
        assert_eq!(drip(bytes), (Err(ProxyFault::Absent), needed), "{bytes:?}");
    }
}

#[test]
fn a_header_that_could_be_read_in_two_ways_is_refused() {
    for line in [
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096 443 \r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 4096\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 04096 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +4096 443\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.01 198.51.100.2 4096 443\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 4096 443\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY TCP5 192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY tcp4 192.0.2.1 198.51.100.2 4096 443\r\n",
        "PROXY \r\n",
    ] {
        assert!(
            matches!(drip(line.as_bytes()).0, Err(ProxyFault::Malformed(_))),
            "{line}"
        );
    }
    let endless = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat();
    assert_eq!(
        drip(&endless),
        (Err(ProxyFault::Malformed("its line does not end")), LINE_BYTES_MAX)
    );
    for (bytes, needed) in [
        (binary(0x11, TCP4, &V4), 13),
        (binary(0x22, TCP4, &V4), 13),
        (binary(0x21, TCP4, &V4[..11]), 27),
        (binary(0x21, TCP6, &V4), 28),
        (binary(0x21, TCP4, &[&V4, [4, 0].as_slice()].concat()), 30),
        (binary(0x21, TCP4, &[&V4, [4, 0, 2, 1].as_slice()].concat()), 32),
    ] {
        let (found, count) = drip(&bytes);
        assert!(matches!(found, Err(ProxyFault::Malformed(_))), "{bytes:?}: {found:?}");
        assert_eq!(count, needed, "{bytes:?}");
    }
    let giant = binary(0x21, TCP4, &[0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES + 1]);
    assert_eq!(drip(&giant), (Err(ProxyFault::TooLong), FIXED_BYTES));
}

#[test]
fn what_is_written_is_read_back() {
    for (given, read) in [
        (
            ends("192.0.2.1:4096", "198.51.100.2:443"),
            ends("192.0.2.1:4096", "198.51.100.2:443"),
        ),
        (
            ends("[2001:db8::1]:1", "[2001:db8::2]:2"),
            ends("[2001:db8::1]:1", "[2001:db8::2]:2"),
        ),
        (
            ends("[::ffff:192.0.2.1]:1", "198.51.100.2:2"),
            ends("192.0.2.1:1", "198.51.100.2:2"),
        ),
        (
            ends("192.0.2.1:1", "[2001:db8::2]:2"),
            ends("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"),
        ),
        (None, None),
    ] {
        let (mut line, mut bytes) = (Vec::new(), Vec::new());
        write_proxy_v1(&mut line, given);
        let vouched = Vouched {
            alpn: Some(b"h2"),
            authority: Some("a.example"),
            unique_id: Some(b"0123"),
        };
        write_proxy_v2(&mut bytes, given, vouched);
        for header in [line, bytes] {
            let length = header.len();
            assert_eq!(
                read_proxy_header(&header),
                Ok(Some(ProxyHeader { ends: read, length })),
                "{given:?}"
            );
        }
    }
}

#[test]
fn additions_are_written_as_types_lengths_and_values() {
    let mut bytes = Vec::new();
    let vouched = Vouched {
        alpn: Some(b"h2"),
        authority: Some("a.example"),
        unique_id: Some(&[7; UNIQUE_ID_BYTES_MAX + 1]),
    };
    write_proxy_v2(&mut bytes, ends("192.0.2.1:4096", "198.51.100.2:443"), vouched);
    // Of the id there is too much.
    let expected = [&V4, b"\x01\0\x02h2\x02\0\x09a.example".as_slice()].concat();
    assert_eq!(bytes, binary(0x21, TCP4, &expected));
}

#[tokio::test(flavor = "local")]
async fn what_follows_a_header_is_left_on_the_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.2 4096 443\r\n";
    for cut in [1, 7, 20, header.len() - 1, header.len(), header.len() + 2] {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_nodelay(true).unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let bytes = [header.as_slice(), b"and so on"].concat();
        client.write_all(&bytes[..cut]).unwrap();
        {
            let mut taking = std::pin::pin!(socket.take_proxy_header());
            let early = std::future::poll_fn(|cx| std::task::Poll::Ready(taking.as_mut().poll(cx).is_ready())).await;
            // A part of it is not the whole, however often it is looked at.
            assert!(!early || cut >= header.len());
            client.write_all(&bytes[cut..]).unwrap();
            drop(client);
            if !early {
                let taken = taking.await.unwrap();
                assert_eq!(taken, ends("192.0.2.1:4096", "198.51.100.2:443"));
            }
        }
        let mut rest = std::rc::Rc::<crate::Blocks>::default().buffer();
        while socket.fill(&mut rest).await.unwrap() > 0 {}
        assert_eq!(rest.unread(), b"and so on", "{cut}");
    }
}
