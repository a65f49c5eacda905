//! What a token's claims have to say (RFC 7519 §4.1).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::document::{Decode, Faults, Json, Node, Value as Written};

/// The claims of a token.
pub(super) type Claims = Map<String, Value>;

/// What is wrong with claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// The token is not, or no longer, or not for us: 401.
    Invalid(String),
    /// It is good, and does not allow this: 403 (RFC 6750 §3.1).
    Insufficient(String),
}

/// One text, or several of which any suffices.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts(pub(super) Vec<String>);

/// What a claim may be: any of these.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted(Vec<Value>);

/// What claims are held against.
#[derive(Clone, Copy)]
pub(super) struct Rules<'r> {
    pub(super) issuer: &'r Texts,
    pub(super) audience: &'r Texts,
    pub(super) require: &'r [String],
    pub(super) claims: &'r BTreeMap<String, Wanted>,
    pub(super) leeway: Duration,
}

/// Claims that are lists in one text, its words parted by spaces (RFC 8693 §4.2; `scp` is Microsoft's and Okta's name).
const WORDS: [&str; 2] = ["scope", "scp"];

impl Rules<'_> {
    /// Judges `claims` at `at`, in seconds since 1970; `None` when nobody knows what time it is.
    pub(super) fn judge(&self, claims: &Claims, at: Option<u64>) -> Result<(), Misfit> {
        self.judge_times(claims, at).map_err(Misfit::Invalid)?;
        let invalid = |why: &str| Err(Misfit::Invalid(why.to_owned()));
        let issuer = claims.get("iss").and_then(Value::as_str);
        let is_issuer = |known: &String| issuer == Some(known);
        if !self.issuer.0.is_empty() && !self.issuer.0.iter().any(is_issuer) {
            return invalid("it is from another issuer");
        }
        let is_meant = |known: &String| {
            claims
                .get("aud")
                .is_some_and(|meant| holds(meant, &Value::from(known.as_str())))
        };
        if !self.audience.0.is_empty() && !self.audience.0.iter().any(is_meant) {
            return invalid("it is for another audience");
        }
        if let Some(name) = self.require.iter().find(|name| find(claims, name).is_none()) {
            return invalid(&format!("it has no claim `{name}`"));
        }
        let fits = |(name, wanted): &(&String, &Wanted)| {
            let found = find(claims, name);
            found.is_some_and(|found| wanted.0.iter().any(|wanted| grants(name, found, wanted)))
        };
        match self.claims.iter().find(|claim| !fits(claim)) {
            Some((name, _)) => Err(Misfit::Insufficient(format!("its claim `{name}` does not suffice"))),
            None => Ok(()),
        }
    }

    fn judge_times(&self, claims: &Claims, at: Option<u64>) -> Result<(), String> {
        let time = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(time) => match time.as_f64().filter(|time| time.is_finite()) {
                Some(time) => Ok(Some(time)),
                None => Err(format!("its claim `{name}` is no time")),
            },
        };
        let (ends, begins, made) = (time("exp")?, time("nbf")?, time("iat")?);
        let Some(at) = at else { return Ok(()) };
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
        let at = at as f64;
        let leeway = self.leeway.as_secs_f64();
        if ends.is_some_and(|ends| at >= ends + leeway) {
            return Err("it has expired".into());
        }
        if [begins, made].into_iter().flatten().any(|begins| at < begins - leeway) {
            return Err("it is not valid yet".into());
        }
        Ok(())
    }
}

/// The claim `name`; where there is none, the one that is found along its dots (`realm_access.roles`).
pub(super) fn find<'c>(claims: &'c Claims, name: &str) -> Option<&'c Value> {
    let along = || {
        let (first, rest) = name.split_once('.')?;
        let inner = claims.get(first)?;
        rest.split('.').try_fold(inner, |value, part| value.get(part))
    };
    claims.get(name).or_else(along)
}

fn grants(name: &str, found: &Value, wanted: &Value) -> bool {
    let words = || match (found, wanted) {
        (Value::String(list), Value::String(wanted)) if WORDS.contains(&name) => {
            list.split(' ').any(|word| word == wanted)
        }
        _ => false,
    };
    holds(found, wanted) || words()
}

/// Whether `found` is `wanted`, or a list with it.
fn holds(found: &Value, wanted: &Value) -> bool {
    match found {
        Value::Array(list) => list.contains(wanted),
        single => single == wanted,
    }
}

/// A claim's value as a field has it: the text, the number, or the texts of a list with commas.
pub(super) fn as_field(value: &Value) -> Option<String> {
    let single = |value: &Value| match value {
        Value::String(text) if !text.chars().any(char::is_control) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    };
    match value {
        Value::Array(list) => {
            let parts: Option<Vec<String>> = list.iter().map(single).collect();
            parts.map(|parts| parts.join(","))
        }
        value => single(value),
    }
}

impl Decode for Texts {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        match &node.value {
            Written::Array(_) => Vec::decode(node, faults).map(Texts),
            _ => String::decode(node, faults).map(|one| Texts(vec![one])),
        }
    }

    fn absent() -> Option<Self> {
        Some(Texts::default())
    }

    fn schema() -> Json {
        serde_json::json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

impl Decode for Wanted {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let single = |node: &Node, faults: &mut Faults| match &node.value {
            Written::Text(text) | Written::Variable(text) => Some(Value::from(text.as_str())),
            Written::Bool(yes) => Some(Value::from(*yes)),
            Written::Integer(number) => Some(Value::from(*number)),
            _ => {
                faults.expected(node, "text, a whole number, true or false, or a list of such");
                None
            }
        };
        match &node.value {
            Written::Array(items) => {
                let values: Vec<Value> = items.iter().filter_map(|item| single(item, faults)).collect();
                if items.is_empty() {
                    faults.error(node.span, "no value of the claim would suffice");
                }
                Some(Wanted(values))
            }
            _ => single(node, faults).map(|one| Wanted(vec![one])),
        }
    }

    fn schema() -> Json {
        let single = serde_json::json!({ "type": ["string", "integer", "boolean"] });
        serde_json::json!({ "anyOf": [single, { "type": "array", "items": single }] })
    }
}
