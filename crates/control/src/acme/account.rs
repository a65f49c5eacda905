//! The account with an authority: one for each storage and directory, made when it is first needed.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde_json::{Value, json};

use super::Store;
use super::fault::Fault;
use super::nonces::again;
use super::stored::Places;
use super::transport::Transport;
use crate::config::AcmePlan;
use crate::files::open;

/// Where the account of a plan is, and whom it is with.
pub(super) struct Accounts<'a> {
    pub(super) plan: &'a AcmePlan,
    pub(super) places: &'a Places,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) transport: &'a Transport,
}

impl Accounts<'_> {
    /// The account that is kept, or else a new one.
    pub(super) async fn open(&self) -> Result<Account, Fault> {
        match self.kept()? {
            Some(kept) => self.resume(kept).await,
            None => self.register().await,
        }
    }

    /// The account that is kept, if there is one.
    pub(super) async fn existing(&self) -> Result<Option<Account>, Fault> {
        match self.kept()? {
            Some(kept) => self.resume(kept).await.map(Some),
            None => Ok(None),
        }
    }

    /// Registers another one in place of one that the authority does not know any more.
    pub(super) async fn register(&self) -> Result<Account, Fault> {
        let binding = match &self.plan.binding {
            Some(binding) => {
                let key = binding_key(&binding.key).map_err(|why| {
                    let path = binding.key.display();
                    Fault::ours(format!("the key of the external account: {path} {why}"))
                })?;
                Some(ExternalAccountKey::new(binding.kid.clone(), &key))
            }
            None => None,
        };
        let contact = self.contact();
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = again!("registering an account", self.transport, {
            let builder = Account::builder_with_http(Box::new(self.transport.clone()));
            builder.create(&wanted, self.plan.directory.clone(), binding.as_ref())
        })?;
        tracing::info!(
            directory = self.plan.directory,
            account = account.id(),
            "an account was registered"
        );
        let credentials = serde_json::to_value(&credentials).map_err(|error| Fault::ours(error.to_string()))?;
        self.keep(credentials).await?;
        Ok(account)
    }

    async fn resume(&self, kept: Kept) -> Result<Account, Fault> {
        let wanted = self.contact();
        let account = again!("asking for the directory", self.transport, {
            let credentials = serde_json::from_value::<AccountCredentials>(kept.credentials.clone());
            let builder = Account::builder_with_http(Box::new(self.transport.clone()));
            async { builder.from_credentials(credentials?).await }
        })?;
        if kept.contact != wanted {
            let contact: Vec<&str> = wanted.iter().map(String::as_str).collect();
            again!(
                "changing whom the account belongs to",
                self.transport,
                account.update_contacts(&contact)
            )?;
            self.keep(kept.credentials).await?;
        }
        Ok(account)
    }

    /// Whom an authority may write to (RFC 8555 §7.3).
    fn contact(&self) -> Vec<String> {
        self.plan.email.iter().map(|email| format!("mailto:{email}")).collect()
    }

    fn kid(&self) -> Option<&str> {
        self.plan.binding.as_ref().map(|binding| binding.kid.as_str())
    }

    /// What is kept, unless it is of no use.
    fn kept(&self) -> Result<Option<Kept>, Fault> {
        let name = &self.places.account;
        let read = self.store.get(name);
        let Some(bytes) = read.map_err(|error| Fault::ours(format!("{name} cannot be read: {error}")))? else {
            return Ok(None);
        };
        let Some(kept) = Kept::read(&bytes) else {
            tracing::warn!(name, "what is kept as an account is none: another one is registered");
            return Ok(None);
        };
        // Another key of another customer is another account.
        Ok((kept.kid.as_deref() == self.kid()).then_some(kept))
    }

    async fn keep(&self, credentials: Value) -> Result<(), Fault> {
        let text = json!({ "kid": self.kid(), "contact": self.contact(), "credentials": credentials });
        let bytes = format!("{text:#}\n").into_bytes();
        super::put(self.store, &self.places.account, bytes).await
    }
}

/// An account as it is kept.
struct Kept {
    kid: Option<String>,
    contact: Vec<String>,
    credentials: Value,
}

impl Kept {
    fn read(bytes: &[u8]) -> Option<Kept> {
        let mut text: Value = serde_json::from_slice(bytes).ok()?;
        let credentials = text.get_mut("credentials")?.take();
        // Read here to know that it can be.
        let _ = serde_json::from_value::<AccountCredentials>(credentials.clone()).ok()?;
        Some(Kept {
            kid: text["kid"].as_str().map(str::to_owned),
            contact: (text["contact"].as_array()?.iter())
                .filter_map(|contact| contact.as_str().map(str::to_owned))
                .collect(),
            credentials,
        })
    }
}

/// The key of an external account, of its file.
///
/// # Errors
/// There is none, in words behind the file's name.
pub(crate) fn binding_key(path: &Path) -> Result<Vec<u8>, String> {
    let (_, bytes) = open(path).map_err(|wrong| wrong.message)?;
    // RFC 8555 §7.3.4 wants base64url; authorities show it with and without padding, and some in the other alphabet.
    let text = String::from_utf8_lossy(&bytes)
        .trim()
        .replace('+', "-")
        .replace('/', "_");
    let either = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let decoder = GeneralPurpose::new(&base64::alphabet::URL_SAFE, either);
    match decoder.decode(text) {
        Ok(key) if !key.is_empty() => Ok(key),
        Ok(_) => Err("is empty".into()),
        Err(_) => Err("holds no key in base64".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_either_alphabet() {
        let path = std::env::temp_dir().join(format!("plimsoll-eab-{}", std::process::id()));
        for (text, key) in [
            ("-_-_\n", Ok(vec![0xfb, 0xff, 0xbf])),
            ("+/+/", Ok(vec![0xfb, 0xff, 0xbf])),
            ("YQ", Ok(vec![b'a'])),
            (" YQ==\n", Ok(vec![b'a'])),
            ("", Err("is empty")),
            ("no key", Err("holds no key in base64")),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(binding_key(&path), key.map_err(str::to_owned), "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(binding_key(&path).is_err());
    }

    #[test]
    fn garbage_is_no_account() {
        for text in [
            "",
            "{}",
            "[]",
            r#"{"credentials": {}}"#,
            r#"{"credentials": {"id": "x", "key_pkcs8": 1}, "contact": []}"#,
        ] {
            assert!(Kept::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
