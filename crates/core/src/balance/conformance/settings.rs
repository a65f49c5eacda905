//! What users write for a policy, and what they are told when it makes no sense.

use super::*;
use crate::balance::HashKey;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn a_name_alone_and_a_table_of_kind_alone_mean_the_same() {
    for name in NAMES {
        let short = decode(&node(text(name))).unwrap();
        assert_eq!(short.name(), *name);
        assert_eq!(short, decode(&table(&[("kind", text(name))])).unwrap());
        assert_eq!(short, PolicyConfig::named(name).unwrap());
    }
}

#[test]
fn every_policy_of_the_contract_is_there() {
    let contract = [
        "round-robin",
        "least-connections",
        "least-response-time",
        "peak-ewma",
        "power-of-two",
        "random",
        "ip-hash",
        "ring-hash",
        "maglev",
        "rendezvous",
        "prequal",
    ];
    for name in contract {
        assert!(NAMES.contains(&name), "{name}");
    }
    assert_eq!(decode(&node(text("consistent-hash"))).unwrap().name(), "ring-hash");
    assert_eq!(PolicyConfig::default().name(), "least-connections");
    assert_eq!(PolicyConfig::absent(), Some(PolicyConfig::default()));
}

#[test]
fn hash_policies_take_a_key_and_a_load_factor() {
    for policy in hashing() {
        assert_eq!(policy.key(), Some(&HashKey::ClientIp), "{}", policy.name());
        let kind = ("kind", text(policy.name()));
        for factor in [Value::Float(1.5), Value::Integer(2), Value::Float(1.0)] {
            let bounded = decode(&table(&[kind.clone(), ("load_factor", factor)])).unwrap();
            assert_ne!(bounded, policy);
        }
        assert_eq!(
            decode(&table(&[kind.clone(), ("key", text("client-ip"))])).unwrap(),
            policy
        );
        let by_user = decode(&table(&[kind, ("key", text("header:X-User-Id"))]));
        match policy.name() {
            "ip-hash" => assert!(
                by_user
                    .unwrap_err()
                    .contains("kind = \"ring-hash\", key = \"header:x-user-id\"")
            ),
            _ => assert_eq!(by_user.unwrap().key(), Some(&HashKey::Header("x-user-id".into()))),
        }
    }
}

#[test]
fn maglev_takes_a_prime_as_its_tables_size() {
    let sized = |size| {
        decode(&table(&[
            ("kind", text("maglev")),
            ("table_size", Value::Integer(size)),
        ]))
    };
    assert_eq!(sized(65_537).unwrap(), PolicyConfig::named("maglev").unwrap());
    assert_ne!(sized(655_373).unwrap(), PolicyConfig::named("maglev").unwrap());
    assert!(sized(65_536).unwrap_err().contains("65537"));
    assert!(sized(1).unwrap_err().contains("the next one is 2"));
    for size in [-1, 0, 100_000_007, i64::MAX] {
        assert!(sized(size).is_err(), "{size}");
    }
}

#[test]
fn nonsense_is_refused_with_what_to_write_instead() {
    let refused = |entries: &[(&str, Value)]| decode(&table(entries)).unwrap_err();
    for factor in [
        Value::Float(0.99),
        Value::Integer(0),
        Value::Float(f64::NAN),
        text("150%"),
    ] {
        for policy in hashing() {
            let kind = ("kind", text(policy.name()));
            assert!(!refused(&[kind, ("load_factor", factor.clone())]).is_empty());
        }
    }
    assert!(refused(&[("kind", text("maglev")), ("load_factor", Value::Float(0.5))]).contains("1.0"));
    assert!(refused(&[("kind", text("maglev")), ("key", text("heder:x"))]).contains("header:NAME"));
    assert!(refused(&[("kind", text("maglev")), ("tabel_size", Value::Integer(7))]).contains("table_size"));
    assert!(refused(&[("kind", text("random")), ("key", text("path"))]).contains("unknown key"));
    assert!(refused(&[("key", text("path"))]).contains("kind"));
    assert!(refused(&[("kind", text("prequal")), ("hot_quantile", Value::Float(1.5))]).contains("0 to 1"));
    assert!(
        decode(&node(text("least-connection")))
            .unwrap_err()
            .contains("least-connections")
    );
    assert!(decode(&node(Value::Integer(3))).is_err());
}

#[test]
fn the_schema_knows_every_policy_and_its_keys() {
    let schema = PolicyConfig::schema().to_string();
    for word in NAMES
        .iter()
        .chain(&["consistent-hash", "load_factor", "table_size", "client-ip"])
    {
        assert!(schema.contains(word), "{word}");
    }
}

/// The same on every node and after every restart: these owners must never change, or an upgrade moves every key.
#[test]
fn owners_are_what_they_were_in_the_first_release() {
    let owners = |name: &str| {
        let policy = PolicyConfig::named(name).unwrap();
        let mut worker = Worker::new(&policy, members(&[1, 2, 1, 4, 1]), 1);
        let keys = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
        keys.map(|key| worker.owner(hash_bytes(key.as_bytes())).0)
    };
    assert_eq!(owners("ring-hash"), owners("ip-hash"));
    assert_eq!(owners("ring-hash"), [3, 3, 2, 1, 2, 0, 3, 1]);
    assert_eq!(owners("maglev"), [0, 3, 3, 3, 1, 4, 3, 4]);
    assert_eq!(owners("rendezvous"), [2, 3, 0, 0, 3, 0, 0, 1]);
}
