//! The interface contract: every word of it is known.

use plimsoll_core::document::Json;

use super::super::schema;
use super::{told, toml};

/// The samples of the contract, and the pools that they name and leave to the reader.
const CONTRACT: &str = concat!(
    include_str!("contract.toml"),
    "[pools.postgres]\nbackends = [\"10.0.0.3:5432\"]\n[pools.tenant-db]\nbackends = [\"10.0.0.4:5432\"]\n\
     [pools.shadow]\nbackends = [\"10.0.0.5:80\"]\n\
     [pools.sorry]\nbackends = [\"10.0.0.6:80\"]\n"
);

#[test]
fn the_whole_contract_is_known_and_what_is_not_built_says_so() {
    let told = told(&toml(CONTRACT));
    let other: Vec<&String> = told
        .iter()
        .filter(|line| !line.contains("is not built yet in Plimsoll"))
        .collect();
    assert!(other.is_empty(), "{other:#?}");
    for key in ["source", "cluster"] {
        let marked = format!("«{key}» `{key}` is not built yet");
        assert!(told.iter().any(|line| line.contains(&marked)), "{key}: {told:#?}");
    }
}

/// What stands in the contract's comments, each put into a configuration that is otherwise right.
#[test]
fn each_alternative_of_the_contract_is_accepted_or_not_built_yet() {
    let cases: [(&str, bool); 25] = [
        (
            "[pools.p]\npolicy = { kind = \"maglev\", key = \"header:x-user-id\", table_size = 65537 }\nbackends = [\"10.0.0.1:80\"]",
            true,
        ),
        (
            "[pools.p]\npolicy = { kind = \"maglev\", key = \"sni\" }\nbackends = [\"10.0.0.1:80\"]",
            true,
        ),
        (
            "[pools.p]\npolicy = { kind = \"ring-hash\", key = \"5-tuple\" }\nbackends = [\"10.0.0.1:80\"]",
            true,
        ),
        ("[pools.p]\ndiscover = { dns = \"api.internal:8080\" }", false),
        ("[pools.p]\nbackends = [\"10.0.0.1:80\"]\nhealth = { tcp = true }", true),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nhealth = { grpc = \"package.Service\" }",
            true,
        ),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nhealth = { send = \"PING\\r\\n\", expect_bytes = \"+PONG\" }",
            true,
        ),
        ("[pools.p]\nbackends = [\"10.0.0.1:80\"]\nhealth = false", true),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nhealth = { http = \"/\", initial = \"healthy\" }",
            true,
        ),
        ("[pools.p]\nbackends = [\"10.0.0.1:80\"]\nprotocol = \"h2\"", true),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nprotocol = \"auto\"\ntls = true",
            true,
        ),
        (
            "[pools.p]\nbackends = [\"10.0.0.1:80\"]\nlimits = { requests = \"auto\" }",
            true,
        ),
        ("[pools.p]\nbackends = [\"10.0.0.1:80\"]\nmode = \"primary\"", false),
        ("[pools.p]\nbackends = [\"unix:/run/app.sock\"]", false),
        ("[pools.p]\nbackends = [\"app.internal:8080\"]", false),
        ("[pools.p]\nbackends = [\"10.0.0.1:80\"]\npolicy = \"prequal\"", true),
        ("[admin]\nbind = \"unix:/run/plimsoll.sock\"", true),
        ("[admin]\nbind = \"off\"\nmetrics_bind = \"0.0.0.0:9901\"", true),
        ("[admin]\nbind = \"0.0.0.0:9900\"\ntoken_file = \"admin.token\"", true),
        ("[listeners.l]\nbind = \":53\"\nprotocol = \"udp\"", false),
        ("[[routes]]\nsplit = [{ pool = \"api\", weight = 95 }]", true),
        ("[[routes]]\nredirect = { scheme = \"https\", status = 308 }", true),
        (
            "[[routes]]\nrespond = { status = 503, body = \"back soon\", headers = { retry-after = \"60\" } }",
            true,
        ),
        ("[[routes]]\npool = \"api\"\nhost = \"api.internal\"", true),
        (
            "[[routes]]\npool = \"api\"\nretry = { on = [\"grpc:unavailable\"] }",
            true,
        ),
    ];
    for (text, accepted) in cases {
        let result = toml(&format!("{}{text}", super::SOUND));
        assert_eq!(result.is_ok(), accepted, "{text}: {:#?}", told(&result));
        if !accepted {
            let told = told(&result);
            let not_built = |line: &String| line.contains("is not built yet in Plimsoll 0.");
            assert!(told.iter().all(not_built), "{text}: {told:#?}");
        }
    }
}

#[test]
fn the_schema_describes_every_table_and_admits_no_other_key() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "Plimsoll configuration");
    let pool = &schema["properties"]["pools"]["additionalProperties"];
    assert_eq!(pool["properties"]["panic_threshold"]["maximum"], 100);
    let backend = &pool["properties"]["backends"]["anyOf"][0]["anyOf"][1];
    assert_eq!(backend["required"], Json::from(vec!["address"]));
    let route = &schema["properties"]["routes"]["items"];
    assert!(route["properties"]["match"]["anyOf"].is_array());
    every_object(&schema, &mut |object| {
        if object.get("properties").is_some() {
            assert_eq!(object["additionalProperties"], false, "{object}");
        }
    });
}

fn every_object(value: &Json, visit: &mut dyn FnMut(&Json)) {
    match value {
        Json::Object(map) => {
            visit(value);
            map.values().for_each(|inner| every_object(inner, visit));
        }
        Json::Array(items) => items.iter().for_each(|item| every_object(item, visit)),
        _ => {}
    }
}
