use super::*;

/// A ClientHello with these extensions, as a message.
fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut listed = Vec::new();
    for (kind, content) in extensions {
        listed.extend(kind.to_be_bytes());
        listed.extend(long(content));
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([32]);
    body.extend([9; 32]);
    body.extend([0, 4, 0x13, 0x01, 0x13, 0x02, 1, 0]);
    body.extend(long(&listed));
    with_header(&body)
}

fn with_header(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], body].concat()
}

fn long(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

fn name(name: &str) -> (u16, Vec<u8>) {
    (0, long(&[&[0], long(name.as_bytes()).as_slice()].concat()))
}

fn offer(protocols: &[&str]) -> (u16, Vec<u8>) {
    let each = protocols.iter().map(|name| {
        let length = u8::try_from(name.len()).unwrap();
        [&[length], name.as_bytes()].concat()
    });
    (16, long(&each.collect::<Vec<_>>().concat()))
}

/// What fills a ClientHello up: an extension that nobody reads.
fn padding(count: usize) -> (u16, Vec<u8>) {
    (21, vec![0; count])
}

/// `message` in records of `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let each = message
        .chunks(size)
        .map(|part| [&[HANDSHAKE, 3, 1], long(part).as_slice()].concat());
    each.collect::<Vec<_>>().concat()
}

fn look(bytes: &[u8]) -> Result<Option<Hello>, HelloFault> {
    HelloScan::default().look(bytes)
}

/// What comes of `bytes` when they come one by one, and how many were needed.
fn drip(bytes: &[u8]) -> (Result<Option<Hello>, HelloFault>, usize) {
    let mut scan = HelloScan::default();
    for count in 1..=bytes.len() {
        match scan.look(&bytes[..count]) {
            Ok(None) => {}
            found => return (found, count),
        }
    }
    (Ok(None), bytes.len())
}

fn of(extensions: &[(u16, Vec<u8>)]) -> Result<Hello, HelloFault> {
    look(&records(&message(extensions), RECORD_BYTES_MAX)).map(|found| found.expect("it is whole"))
}

#[test]
fn name_and_protocols_are_read_however_the_message_is_cut() {
    let message = message(&[
        padding(300),
        name("Shop.Example.COM"),
        offer(&["h2", "http/1.1"]),
        padding(1300),
    ]);
    let expected = Hello {
        sni: Some("shop.example.com".into()),
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    for size in [RECORD_BYTES_MAX, 1000, 200, 64, message.len() / HELLO_RECORDS_MAX + 1] {
        let bytes = records(&message, size);
        assert_eq!(look(&bytes), Ok(Some(expected.clone())), "{size}");
        assert_eq!(drip(&bytes), (Ok(Some(expected.clone())), bytes.len()), "{size}");
        let more = [bytes.as_slice(), b"whatever follows"].concat();
        assert_eq!(drip(&more), (Ok(Some(expected.clone())), bytes.len()), "{size}");
    }
    // Its header may be cut, too.
    let (head, rest) = message.split_at(3);
    let bytes = [records(head, 1), records(rest, RECORD_BYTES_MAX)].concat();
    assert_eq!(drip(&bytes), (Ok(Some(expected)), bytes.len()));
}

#[test]
fn a_name_is_in_lower_case_and_without_a_dot_at_its_end() {
    for (sent, read) in [
        ("A.example.", Some("a.example")),
        ("localhost", Some("localhost")),
        ("_db.x-y.example", Some("_db.x-y.example")),
        ("xn--ksekuchen-v2a.example", Some("xn--ksekuchen-v2a.example")),
        ("10.0.0.1", None),
        ("2001:db8::1", None),
    ] {
        assert_eq!(of(&[name(sent)]).unwrap().sni.as_deref(), read, "{sent}");
    }
    assert_eq!(of(&[]).unwrap(), Hello::default());
    assert_eq!(of(&[name(&["a"; 127].join("."))]).unwrap().sni.unwrap().len(), NAME_MAX);
}

const NAME_MAX: usize = 253;

#[test]
fn what_is_no_name_is_refused() {
    let long_label = "a".repeat(64);
    let long_name = ["a"; 128].join(".");
    for sent in [
        "",
        ".",
        "a..b",
        ".a",
        "a b",
        "a/b",
        "a\0b",
        "*.example",
        "ä",
        "a:443",
        &long_label,
        &long_name,
    ] {
        assert!(matches!(of(&[name(sent)]), Err(HelloFault::Malformed(_))), "{sent:?}");
    }
    let of_two = (
        0,
        long(&[name("a").1[2..].to_vec(), name("b").1[2..].to_vec()].concat()),
    );
    let of_another_type = (0, long(&[1, 0, 1, b'a']));
    for extension in [of_two, of_another_type, (0, vec![]), (0, long(&[])), (0, vec![0, 9, 0])] {
        assert!(
            matches!(of(std::slice::from_ref(&extension)), Err(HelloFault::Malformed(_))),
            "{extension:?}"
        );
    }
    let twice = of(&[name("a"), offer(&["h2"]), name("a")]);
    assert_eq!(twice, Err(HelloFault::Malformed("an extension stands there twice")));
}

#[test]
fn protocols_have_names_and_an_end() {
    for extension in [
        offer(&[]),
        offer(&[""]),
        offer(&["h2", ""]),
        (16, vec![0, 4, 2, b'h', b'2']),
    ] {
        assert!(
            matches!(of(std::slice::from_ref(&extension)), Err(HelloFault::Malformed(_))),
            "{extension:?}"
        );
    }
    assert_eq!(
        of(&[offer(&["h2"; ALPN_NAMES_MAX])]).unwrap().alpn.len(),
        ALPN_NAMES_MAX
    );
    assert_eq!(of(&[offer(&["h2"; ALPN_NAMES_MAX + 1])]), Err(HelloFault::TooLarge));
}

#[test]
fn what_is_no_tls_is_told_by_its_first_bytes() {
    for (bytes, needed) in [
        (&b"GET / HTTP/1.1\r\n"[..], 1),
        (&[0x80, 0x2e, 1, 3, 1], 1),
        (&[HANDSHAKE, 2, 0], 2),
    ] {
        let (found, count) = drip(bytes);
        assert!(matches!(found, Err(HelloFault::NotTls(_))), "{bytes:?}");
        assert_eq!((count, HelloFault::NotTls("").alert()), (needed, None));
    }
}

#[test]
fn what_cannot_become_a_client_hello_is_not_waited_for() {
    let whole = records(&message(&[name("a.example")]), RECORD_BYTES_MAX);
    for (bytes, needed) in [
        // An empty record, one that is too long, another message.
        (vec![HANDSHAKE, 3, 1, 0, 0], 5),
        (vec![HANDSHAKE, 3, 1, 0x40, 1], 5),
        (vec![HANDSHAKE, 3, 1, 0, 100, 2], 6),
        // A record that goes on behind its message.
        (vec![HANDSHAKE, 3, 1, 0, 100, CLIENT_HELLO, 0, 0, 95], 9),
        // Another record within the message, and one of no version.
        (
            [records(&message(&[]), 20)[..25].to_vec(), vec![21, 3, 3, 0, 2, 2, 0]].concat(),
            26,
        ),
        (
            [records(&message(&[]), 20)[..25].to_vec(), vec![HANDSHAKE, 4]].concat(),
            27,
        ),
        // And one that goes on behind it.
        (
            [records(&message(&[]), 20)[..25].to_vec(), vec![HANDSHAKE, 3, 3, 1, 0]].concat(),
            30,
        ),
    ] {
        let (found, count) = drip(&bytes);
        assert!(matches!(found, Err(HelloFault::Malformed(_))), "{bytes:?}: {found:?}");
        assert_eq!(count, needed, "{bytes:?}");
    }
    assert_eq!(drip(&whole[..whole.len() - 1]).0, Ok(None));
    assert_eq!(
        HelloFault::Malformed("").alert().map(Alert::record),
        Some([21, 3, 3, 0, 2, 2, 50])
    );
}

#[test]
fn a_message_ends_where_it_says() {
    let body = message(&[name("a.example")])[MESSAGE_HEADER..].to_vec();
    for count in 0..body.len() {
        let found = look(&records(&with_header(&body[..count]), RECORD_BYTES_MAX));
        // There need be no extensions.
        let bare = count == 2 + 32 + 33 + 6 + 2;
        assert_eq!(found.is_ok(), bare, "{count}: {found:?}");
    }
    let longer = [body.as_slice(), &[0]].concat();
    assert!(look(&records(&with_header(&longer), RECORD_BYTES_MAX)).is_err());
}

#[test]
fn a_large_one_is_read_up_to_the_limit() {
    let room = HELLO_BYTES_MAX - message(&[padding(0)]).len();
    let largest = message(&[padding(room)]);
    let bytes = records(&largest, HELLO_BYTES_MAX / HELLO_RECORDS_MAX);
    assert_eq!((largest.len(), bytes.len()), (HELLO_BYTES_MAX, HELLO_WIRE_MAX));
    assert_eq!(look(&bytes), Ok(Some(Hello::default())));
    let larger = records(&message(&[padding(room + 1)]), RECORD_BYTES_MAX);
    assert_eq!(look(&larger[..9]), Err(HelloFault::TooLarge));
    let cut_small = records(&message(&[]), 1);
    let (found, count) = drip(&cut_small);
    assert_eq!((found, count), (Err(HelloFault::TooLarge), HELLO_RECORDS_MAX * 6 + 5));
}

#[test]
fn no_change_of_a_byte_makes_it_panic() {
    let bytes = records(&message(&[name("a.example"), offer(&["h2"]), padding(5)]), 60);
    for at in 0..bytes.len() {
        for value in [0, 1, 2, 3, 22, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let (found, _) = drip(&changed);
            let whole = look(&changed);
            // It may be told sooner why it is wrong, but not otherwise.
            match (&found, &whole) {
                (Ok(Some(found)), Ok(Some(whole))) => assert_eq!(found, whole, "{at} {value}"),
                (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
                _ => panic!("{at} {value}: {found:?}, {whole:?}"),
            }
        }
    }
}
