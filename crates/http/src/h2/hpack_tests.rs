use proptest::prelude::*;

use super::*;

type Fields = Vec<(String, String)>;

fn read(decoder: &mut Decoder, section: &[u8]) -> Result<Fields, Unreadable> {
    let mut fields = Vec::new();
    decoder.read(section, |field| {
        assert_eq!(field.kind, Kind::of(field.name));
        assert_eq!(field.sound, is_sound(field.value));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push((text(field.name), text(field.value)));
    })?;
    Ok(fields)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const FIRST: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "www.example.com"),
];

/// RFC 7541 §C.3 and §C.4: the same requests, without and with Huffman's code.
#[test]
fn requests_of_the_standard_are_read() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for sections in [plain, coded] {
        let mut decoder = Decoder::new();
        assert_eq!(read(&mut decoder, &bytes(sections[0])).unwrap(), owned(FIRST));
        let second = [FIRST, &[("cache-control", "no-cache")]].concat();
        assert_eq!(read(&mut decoder, &bytes(sections[1])).unwrap(), owned(&second));
        let third = [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ];
        assert_eq!(read(&mut decoder, &bytes(sections[2])).unwrap(), owned(&third));
        assert_eq!(decoder.entries.size, 164);
    }
}

/// RFC 7541 §C.5: a table of 256 bytes, whose entries make room for others.
#[test]
fn entries_are_evicted_as_the_standard_has_it() {
    let mut decoder = Decoder::new();
    decoder.entries.resize(256);
    for (section, size, count) in [
        (
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e \
             1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            222,
            4,
        ),
        ("4803 3330 37c1 c0bf", 222, 4),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d \
             4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 \
             7369 6f6e 3d31",
            215,
            3,
        ),
    ] {
        assert!(read(&mut decoder, &bytes(section)).is_ok());
        assert_eq!((decoder.entries.size, decoder.entries.entries.len()), (size, count));
    }
}

#[test]
fn a_table_changes_its_size_at_the_beginning_alone_and_within_limits() {
    let mut decoder = Decoder::new();
    read(
        &mut decoder,
        &bytes("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"),
    )
    .unwrap();
    assert_eq!(read(&mut decoder, b"\xbe").unwrap().len(), 1);
    assert_eq!(
        read(&mut decoder, b"\x20\x3f\xe1\x1f\xbe"),
        Err(Unreadable),
        "it was emptied"
    );
    for section in [
        &b"\x3f\xe2\x1f"[..],
        b"\x82\x20",
        b"\x80",
        b"\xc0",
        b"\x40",
        b"\x00\x01",
    ] {
        assert_eq!(read(&mut Decoder::new(), section), Err(Unreadable), "{section:?}");
    }
}

#[test]
fn what_is_larger_than_the_table_empties_it() {
    let mut decoder = Decoder::new();
    read(&mut decoder, b"\x40\x01a\x01b").unwrap();
    let mut section = b"\x40\x01a".to_vec();
    write_string(&mut section, 0, 7, &[b'x'; 5000]);
    assert_eq!(read(&mut decoder, &section).unwrap().len(), 1);
    assert_eq!((decoder.entries.size, decoder.entries.entries.len()), (0, 0));
    assert_eq!(read(&mut decoder, b"\xbe"), Err(Unreadable));
}

#[test]
fn a_name_of_an_entry_that_goes_is_kept_for_the_one_that_comes() {
    let mut decoder = Decoder::new();
    let mut section = b"\x40\x03one".to_vec();
    write_string(&mut section, 0, 7, &[b'x'; 4000]);
    // Named by the entry that has to go for it.
    section.push(0b0100_0000 | 62);
    write_string(&mut section, 0, 7, &[b'y'; 4000]);
    section.push(0x80 | 62);
    let fields = read(&mut decoder, &section).unwrap();
    assert_eq!(fields[1], fields[2]);
    assert_eq!(fields[2].0, "one");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        status in 100u16..600,
        written in prop::collection::vec(("[a-z-]{1,40}|vary|content-type|set-cookie|date", "[ -~]{0,200}"), 0..20),
    ) {
        let mut section = Vec::new();
        write_status(&mut section, status);
        for (name, value) in &written {
            write_field(&mut section, name.to_uppercase().as_bytes(), value.as_bytes());
        }
        let mut expected = vec![(":status".to_owned(), status.to_string())];
        expected.extend(written);
        prop_assert_eq!(read(&mut Decoder::new(), &section).unwrap(), expected);
    }

    #[test]
    fn a_table_stays_within_its_size(sections in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let mut decoder = Decoder::new();
        for section in sections {
            let _ = read(&mut decoder, &section);
            prop_assert!(decoder.entries.size <= TABLE_MAX && decoder.entries.bytes.len() <= 2 * TABLE_MAX);
            let sum: usize = decoder.entries.entries.iter().map(|entry| entry.name + entry.value + ENTRY).sum();
            prop_assert_eq!(sum, decoder.entries.size);
        }
    }
}
