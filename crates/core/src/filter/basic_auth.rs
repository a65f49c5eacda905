//! `basic-auth`: a name and a password, which a file has the hash of (RFC 7617).

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::authorization::shown;
use super::errand::{Done, Errand, Password, Secret};
use super::held::{self, Contents, Wrong};
use super::{FieldName, FileName, FileUse, Filter, FilterCx, FilterKind, Flow, Held, Keep, RequestView};
use crate::document;
use crate::document::{Decode, Faults, Json, Node, expect_text};
use crate::outcome::Reason;
use crate::reply::Reply;
use crate::route::Fields;

document! {
    /// A name and a password, which a file has the hash of.
    pub struct BasicAuth {
        /// A file with `name:hash` a line, the hash by bcrypt or argon2, as `htpasswd -B` makes it; it is watched.
        file: FileName,
        /// What browsers show to whoever is asked.
        realm: Realm = Realm("restricted".to_owned()),
        /// The field of the request that is set to the name, in place of what the client sent.
        user_header: Option<FieldName>,
        /// Whether the backend gets no `Authorization`.
        remove_authorization: bool = false,
    }
}

/// The longest password that is looked at, in bytes; bcrypt itself sees no more than 72 of them.
const PASSWORD_MAX: usize = 1024;

/// The highest cost of bcrypt: 2^15 rounds take some two seconds of a core.
const BCRYPT_COST_MAX: u32 = 15;

/// The most memory that one argon2 hash may ask for, in KiB, and the most work: passes over that memory.
const ARGON2_MEMORY_MAX: u32 = 256 << 10;
const ARGON2_PASSES_MAX: u32 = 64;
const ARGON2_LANES_MAX: u32 = 16;

/// RFC 7617 §2 has the padding, and some clients do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The name of what is protected.
#[derive(Clone, Debug, PartialEq)]
struct Realm(String);

/// Names and their hashes.
struct Users {
    hashes: BTreeMap<Box<str>, Arc<str>>,
    /// What the passwords of names that nobody has are held against, so that it takes as long to be refused.
    decoy: Option<Arc<str>>,
}

/// The filter.
struct Guard {
    users: Arc<Held<Users>>,
    settings: BasicAuth,
}

impl FilterKind for BasicAuth {
    fn build(&self, keep: &mut dyn Keep) -> Box<dyn Filter> {
        Box::new(Guard {
            users: Held::of(&self.file, keep),
            settings: self.clone(),
        })
    }

    fn files(&mut self) -> Vec<FileUse<'_>> {
        vec![FileUse {
            name: &mut self.file,
            slot: Held::<Users>::slot,
        }]
    }

    fn vouches(&self) -> Vec<&FieldName> {
        self.user_header.iter().collect()
    }
}

impl Filter for Guard {
    fn request(&self, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let Some((name, password)) = credentials(&head.fields()) else {
            cx.say(|| "no name and password are shown".to_owned());
            return self.refuse();
        };
        let users = self.users.now();
        let Some(users) = &*users else {
            cx.say(|| "the file could not be read".to_owned());
            return Flow::Reply(Reply::reason(Reason::AuthUnavailable));
        };
        match users.hashes.get(&*name).or(users.decoy.as_ref()) {
            Some(hash) => Flow::Errand(Errand::Password(Password {
                shown: password,
                hash: hash.clone(),
                client: cx.client,
            })),
            None => self.refuse(),
        }
    }

    fn resume(&self, done: Done, head: &mut RequestView<'_>, cx: &mut FilterCx<'_>) -> Flow {
        let Some((name, _)) = credentials(&head.fields()) else {
            return self.refuse();
        };
        let known = self
            .users
            .now()
            .as_ref()
            .is_some_and(|users| users.hashes.contains_key(&*name));
        match done {
            Done::Password(None) => return Flow::Reply(Reply::reason(Reason::AuthUnavailable)),
            Done::Password(Some(true)) if known => {}
            Done::Assumed if known => cx.say(|| "the password is taken to be right".to_owned()),
            _ => {
                cx.say(|| "they are wrong".to_owned());
                return self.refuse();
            }
        }
        if let Some(FieldName(field)) = &self.settings.user_header {
            cx.say(|| format!("sets {field}"));
            head.changes.request.set(field, name.as_bytes());
        }
        if self.settings.remove_authorization {
            cx.say(|| "removes authorization".to_owned());
            head.changes.request.remove("authorization");
        }
        Flow::Next
    }
}

impl Guard {
    fn refuse(&self) -> Flow {
        let Realm(realm) = &self.settings.realm;
        let challenge = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        Flow::Reply(Reply::reason(Reason::Unauthorized).with("www-authenticate", challenge))
    }
}

/// The name and the password that a request shows (RFC 7617 §2).
fn credentials(fields: &dyn Fields) -> Option<(String, Secret)> {
    let bytes = BASE64.decode(shown(fields, "basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (name, password) = text.split_once(':')?;
    // A name that no file can hold, and that no field may.
    let plain = !name.is_empty() && !name.chars().any(char::is_control);
    (plain && password.len() <= PASSWORD_MAX).then(|| (name.to_owned(), Secret(password.as_bytes().to_vec())))
}

impl Contents for Users {
    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut hashes: BTreeMap<Box<str>, Arc<str>> = BTreeMap::new();
        let mut decoy = None;
        for (at, line) in held::lines(text) {
            let mut parts = line.split(':');
            // What stands behind a second colon is a comment, as in nginx.
            let (Some(name), Some(hash)) = (parts.next().filter(|name| !name.is_empty()), parts.next()) else {
                return Err(Wrong::line(at, "is no `name:hash`"));
            };
            judge_hash(hash).map_err(|why| Wrong::line(at, why))?;
            let hash: Arc<str> = hash.into();
            decoy = decoy.or_else(|| Some(hash.clone()));
            if name.chars().any(char::is_control) {
                return Err(Wrong::line(at, "the name holds control characters"));
            }
            if hashes.insert(name.into(), hash).is_some() {
                return Err(Wrong::line(at, format!("`{}` is there twice", name.escape_debug())));
            }
        }
        Ok(Users { hashes, decoy })
    }

    fn entries(&self) -> usize {
        self.hashes.len()
    }
}

/// What is wrong with a hash; it is not shown.
fn judge_hash(hash: &str) -> Result<(), String> {
    let parts: Vec<&str> = hash.split('$').collect();
    match parts.as_slice() {
        ["", "2a" | "2b" | "2y", cost, rest] => {
            let cost: u32 = cost.parse().map_err(|_| "the cost of the bcrypt hash is no number")?;
            if !(4..=BCRYPT_COST_MAX).contains(&cost) {
                return Err(format!(
                    "the cost of the bcrypt hash is {cost}, and may be 4 to {BCRYPT_COST_MAX}"
                ));
            }
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"./".contains(&byte);
            if rest.len() != 53 || !rest.bytes().all(known) {
                return Err("the bcrypt hash is not whole".into());
            }
            Ok(())
        }
        ["", "argon2id" | "argon2i", "v=19", settings, salt, digest] => {
            judge_argon2(settings)?;
            let known = |text: &&str| {
                text.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
            };
            if !(11..=86).contains(&salt.len())
                || !(16..=86).contains(&digest.len())
                || ![salt, digest].into_iter().all(known)
            {
                return Err("the argon2 hash is not whole".into());
            }
            Ok(())
        }
        _ => Err("is no hash by bcrypt or argon2; make one with `htpasswd -nB NAME`".into()),
    }
}

fn judge_argon2(settings: &str) -> Result<(), String> {
    let number = |name: &str| {
        let mut parts = settings.split(',');
        parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse::<u32>().ok())
    };
    let [Some(memory), Some(passes), Some(lanes)] = ["m", "t", "p"].map(number) else {
        return Err("the argon2 hash does not name m, t and p".into());
    };
    if memory > ARGON2_MEMORY_MAX
        || !(1..=ARGON2_PASSES_MAX).contains(&passes)
        || !(1..=ARGON2_LANES_MAX).contains(&lanes)
        || memory < 8 * lanes
    {
        return Err(format!(
            "the argon2 hash asks for m={memory}, t={passes}, p={lanes}: at most m={ARGON2_MEMORY_MAX}, t={ARGON2_PASSES_MAX}, p={ARGON2_LANES_MAX}"
        ));
    }
    Ok(())
}

impl Decode for Realm {
    fn decode(node: &Node, faults: &mut Faults) -> Option<Self> {
        let text = expect_text(node, "text", faults)?;
        if text.chars().any(|char| char.is_control() || matches!(char, '"' | '\\')) {
            faults.error(node.span, "a realm holds no control characters, quotes or backslashes");
            return None;
        }
        Some(Realm(text.to_owned()))
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^[^\"\\\\]*$" })
    }
}

#[cfg(test)]
#[path = "basic_auth_tests.rs"]
mod tests;
