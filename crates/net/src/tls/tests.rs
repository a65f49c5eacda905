use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;

use super::{Agreed, HandshakeFault, Manners, Pair, Termination, Tickets, Version, provider};
use crate::{Blocks, Socket};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn configs(version: &'static SupportedProtocolVersion) -> (Termination, Arc<ClientConfig>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["shop.test".to_owned()]).expect("made");
    let pair = Pair::read(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes()).expect("a pair");
    let manners = Manners {
        min_version: Version::Tls12,
        suites: Vec::new(),
        protocols: Vec::new(),
        quic: Vec::new(),
    };
    let tickets = Tickets::new().expect("random keys");
    let server = Termination::new(
        vec![Arc::new(pair)],
        &manners,
        None,
        &tickets,
        std::time::SystemTime::now(),
    )
    .expect("a termination");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("a root");
    let client = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Arc::new(client))
}

async fn sockets() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let to = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(to), listener.accept());
    (
        Socket::new(near.expect("it listens")),
        Socket::new(far.expect("it was connected to").0),
    )
}

struct Both {
    client: Socket,
    server: Socket,
    agreed: Agreed,
    blocks: Rc<Blocks>,
}

async fn pair(version: &'static SupportedProtocolVersion) -> Both {
    let (termination, client_config) = configs(version);
    let blocks = Rc::<Blocks>::default();
    let (mut client, mut server) = sockets().await;
    let name = "shop.test".try_into().expect("a name");
    let (one, other) = tokio::join!(
        client.connect_tls(client_config, name, &blocks),
        server.accept_tls(&termination, &[], &blocks),
    );
    one.expect("the client agrees");
    Both {
        client,
        server,
        agreed: other.expect("the server agrees"),
        blocks,
    }
}

#[tokio::test(flavor = "local")]
async fn what_was_read_before_is_a_part_of_the_handshake() {
    for version in BOTH {
        for most in [1, 5, 100, 16 << 10] {
            let (termination, client_config) = configs(version);
            let blocks = Rc::<Blocks>::default();
            let (mut client, mut server) = sockets().await;
            let name = "shop.test".try_into().expect("a name");
            let (one, other) = tokio::join!(client.connect_tls(client_config, name, &blocks), async {
                let mut read = vec![0; most];
                let count = server.stream.read(&mut read).await.expect("it speaks first");
                read.truncate(count);
                server.accept_tls(&termination, &read, &blocks).await
            });
            one.expect("the client agrees");
            let agreed = other.expect("the server agrees");
            assert_eq!(agreed.name.as_deref(), Some("shop.test"), "{most}");
        }
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

#[tokio::test(flavor = "local")]
async fn what_is_written_on_one_side_is_read_on_the_other() {
    for version in BOTH {
        let Both {
            mut client,
            mut server,
            agreed,
            blocks,
        } = pair(version).await;
        let spoken = if version == &TLS13 {
            Version::Tls13
        } else {
            Version::Tls12
        };
        assert_eq!(agreed.version, spoken);
        assert_eq!(agreed.name.as_deref(), Some("shop.test"));
        // More than any buffer on the way holds, so that writes are taken in part and reads meet parts of records.
        let sent = pattern(3 << 20);
        let expected = sent.clone();
        let (written, read) = tokio::join!(
            async {
                client.write_all(&sent).await?;
                client.shutdown_write();
                Ok::<_, std::io::Error>(())
            },
            async {
                let (mut buffer, mut all) = (blocks.buffer(), Vec::new());
                while server.fill(&mut buffer).await? > 0 {
                    all.extend_from_slice(buffer.unread());
                    // Not always all of it: what does not fit is kept.
                    let keep = all.len() % 3000;
                    all.truncate(all.len() - keep.min(buffer.len()));
                    buffer.consume(buffer.len() - keep.min(buffer.len()));
                }
                all.extend_from_slice(buffer.unread());
                Ok::<_, std::io::Error>(all)
            }
        );
        written.expect("written");
        assert!(read.expect("read") == expected);
        // And the other way, behind the end of this one.
        let (written, mut back) = (server.write_all(b"so long").await, blocks.buffer());
        written.expect("written");
        assert_eq!(client.fill(&mut back).await.expect("read"), 7);
        assert_eq!(back.unread(), b"so long");
    }
}

#[tokio::test(flavor = "local")]
async fn an_end_that_was_not_announced_is_no_end() {
    for version in BOTH {
        let Both {
            client,
            mut server,
            blocks,
            ..
        } = pair(version).await;
        let mut buffer = blocks.buffer();
        drop(client);
        assert_eq!(server.fill(&mut buffer).await.expect("announced"), 0);

        let Both {
            client,
            mut server,
            blocks,
            ..
        } = pair(version).await;
        let mut buffer = blocks.buffer();
        // The kernel's end alone, as when a process dies in the middle of its words.
        socket2::SockRef::from(&client.stream)
            .shutdown(std::net::Shutdown::Write)
            .expect("shut");
        let cut = server.fill(&mut buffer).await.expect_err("cut");
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
        client.abort();
        drop(client);
        assert!(server.fill(&mut buffer).await.is_err());
    }
}

#[tokio::test(flavor = "local")]
async fn an_idle_connection_holds_no_block() {
    for version in BOTH {
        let Both {
            mut client,
            mut server,
            blocks,
            ..
        } = pair(version).await;
        let mut buffer = blocks.buffer();
        client.write_all(b"hello").await.expect("written");
        server.fill(&mut buffer).await.expect("read");
        buffer.consume(5);
        buffer.release();
        let waiting = poll_fn(|cx| Poll::Ready(server.poll_fill(cx, &mut buffer))).await;
        assert!(waiting.is_pending() && !buffer.holds_block());
        assert!(poll_fn(|cx| Poll::Ready(server.poll_readable(cx))).await.is_pending());
        // All blocks that were ever taken are back.
        let mut back = 0;
        while blocks.gives_sealed_back() {
            back += 1;
        }
        assert!((1..=4).contains(&back), "{back}");
    }
}

#[tokio::test(flavor = "local")]
async fn tickets_are_no_words_and_an_end_is_seen_without_reading() {
    let Both {
        client,
        mut server,
        blocks,
        ..
    } = pair(&TLS13).await;
    // The server's tickets have come, unasked.
    client.stream.readable().await.expect("readable");
    assert!(client.is_silent() && client.is_silent_now());
    assert!(poll_fn(|cx| Poll::Ready(client.poll_ended(cx))).await.is_pending());
    server.write_all(b"!").await.expect("written");
    client.stream.readable().await.expect("readable");
    while client.is_silent_now() {
        yield_now().await;
    }
    assert!(!client.is_silent());
    // Something is still to be read, so that nobody is told of the end behind it.
    drop(server);
    assert!(poll_fn(|cx| Poll::Ready(client.poll_ended(cx))).await.is_pending());
    let (mut client, mut buffer) = (client, blocks.buffer());
    assert_eq!(client.fill(&mut buffer).await.expect("read"), 1);
    poll_fn(|cx| client.poll_ended(cx)).await;
    assert!(!client.is_silent());
}

#[tokio::test(flavor = "local")]
async fn a_codec_reads_and_writes_many_parts_at_once() {
    let Both {
        mut client, mut server, ..
    } = pair(&TLS13).await;
    let body = pattern(100_000);
    let reading = tokio::task::spawn_local(async move {
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.map(|_| all)
    });
    let parts: Vec<&[u8]> = body.chunks(777).collect();
    let mut sent = 0;
    while sent < body.len() {
        let mut left = sent;
        let slices: Vec<_> = (parts.iter())
            .filter_map(|part| {
                let skip = left.min(part.len());
                left -= skip;
                (skip < part.len()).then(|| std::io::IoSlice::new(&part[skip..]))
            })
            .collect();
        sent += client.write_vectored(&slices).await.expect("written");
    }
    client.shutdown().await.expect("ended");
    assert!(reading.await.expect("no panic").expect("read") == body);
}

#[tokio::test(flavor = "local")]
async fn a_peer_that_speaks_no_tls_is_told_so() {
    let (termination, _) = configs(&TLS13);
    for (said, cause) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], "malformed"), (b"", "closed")] {
        let blocks = Rc::<Blocks>::default();
        let (client, mut server) = sockets().await;
        let mut client = client;
        client.write_all(said).await.expect("written");
        client.shutdown_write();
        let fault = server.accept_tls(&termination, &[], &blocks).await.expect_err("no TLS");
        assert_eq!(fault.cause(), cause, "{fault}");
        drop(server);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
        // A fatal alert (RFC 8446 §6).
        assert!(said.is_empty() || answer.starts_with(&[21, 3]), "{answer:?}");
    }
}

#[tokio::test(flavor = "local")]
async fn a_message_in_crumbs_is_bounded() {
    let (termination, _) = configs(&TLS13);
    let blocks = Rc::<Blocks>::default();
    let (mut client, mut server) = sockets().await;
    let sending = tokio::task::spawn_local(async move {
        // A ClientHello of 60,000 bytes, a byte in each record.
        let head = [1, 0, 0xea, 0x60];
        for at in 0..60_000_usize {
            let byte = head.get(at).copied().unwrap_or_default();
            if client.write_all(&[22, 3, 1, 0, 1, byte]).await.is_err() {
                return;
            }
        }
    });
    let fault = server
        .accept_tls(&termination, &[], &blocks)
        .await
        .expect_err("too long");
    assert!(matches!(fault, HandshakeFault::TooLong), "{fault}");
    drop(server);
    sending.await.expect("no panic");
}

#[test]
fn a_certificate_that_is_no_authority_vouches_for_no_client() {
    let leaf = rcgen::generate_simple_self_signed(vec!["ann".to_owned()]).unwrap();
    let told = super::ClientRules::read(true, leaf.cert.pem().as_bytes()).unwrap_err();
    assert!(told.contains("is no authority"), "{told}");
}
