//! Files in PEM that TLS with backends takes: read, watched, and judged.

use std::any::Any;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use plimsoll_core::document::Span;
use plimsoll_core::filter::{FileName, Slot, Wrong};
use plimsoll_net::tls::{Demands, Origination, Pair, PairFault, Trust, Validity, Version, certificates, has_key};
use rustls::pki_types::CertificateDer;

use crate::files::{self, Files};

/// What stands in a file, unless it could not be read.
pub(super) type Text = Option<Arc<Vec<u8>>>;

/// Certificates that the machine has for whoever asks.
///
/// # Errors
/// There are none.
pub(crate) fn system_roots() -> Result<Vec<CertificateDer<'static>>, String> {
    // Those that nobody can read are not ours to judge; without any there is nobody to trust.
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err("the machine has no certificates to trust (SSL_CERT_FILE names a file with some)".into());
    }
    Ok(found.certs)
}

/// The certificates of a text that are to vouch for backends.
///
/// # Errors
/// They cannot.
pub(crate) fn authorities(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let authorities = certificates(text).map_err(Wrong::whole)?;
    believing(&authorities)?;
    Ok(authorities)
}

/// From when until when each of the certificates of a text may vouch for backends.
///
/// # Errors
/// They cannot.
pub(crate) fn validities(text: &[u8]) -> Result<Vec<Validity>, Wrong> {
    let authorities = certificates(text).map_err(Wrong::whole)?;
    believing(&authorities).map(|origination| origination.authorities().cloned().collect())
}

fn believing(authorities: &[CertificateDer<'static>]) -> Result<Origination, Wrong> {
    let demands = Demands {
        name: None,
        alpn: Vec::new(),
        min_version: Version::Tls12,
        trust: Trust::Authorities(authorities.to_vec()),
    };
    Origination::new(demands, None, SystemTime::now()).map_err(Wrong::whole)
}

/// A certificate that is shown to backends, with its key. Its dates are for the caller to judge.
///
/// # Errors
/// What is wrong, and whether that is with the key.
pub(crate) fn pair(chain: &[u8], key: &[u8]) -> Result<Pair, (bool, Wrong)> {
    Pair::read(chain, key).map_err(|fault| match fault {
        PairFault::Key(wrong) => (true, Wrong::whole(wrong)),
        PairFault::Chain(wrong) => (false, Wrong::whole(wrong)),
    })
}

/// What is wrong with a certificate's dates.
pub(crate) fn untimely(pair: &Pair) -> Option<Wrong> {
    let (facts, now) = (&pair.facts, SystemTime::now());
    let date = |time: SystemTime| humantime::format_rfc3339_seconds(time).to_string();
    let wrong = if facts.is_expired(now) {
        format!("the certificate ended {}", date(facts.not_after))
    } else if facts.is_early(now) {
        format!("the certificate begins {}", date(facts.not_before))
    } else {
        return None;
    };
    Some(Wrong::whole(wrong))
}

/// What the file at `path` holds, of the kind `K`.
///
/// # Errors
/// It cannot be read, or is of another kind.
pub(crate) fn read<K: Kind>(path: &Path) -> Result<Vec<u8>, Wrong> {
    let slot = PemFile::<K>::default();
    files::take(path, &slot)?;
    Ok(slot.0.load_full().map(|text| text.to_vec()).unwrap_or_default())
}

/// What a file in PEM is read for.
pub(crate) trait Kind: Send + Sync + 'static {
    /// How many of them stand in `text`.
    ///
    /// # Errors
    /// None.
    fn count(text: &[u8]) -> Result<usize, Wrong>;
}

/// Certificates.
#[derive(Debug)]
pub(crate) struct Certificates;

impl Kind for Certificates {
    fn count(text: &[u8]) -> Result<usize, Wrong> {
        certificates(text).map(|found| found.len()).map_err(Wrong::whole)
    }
}

/// A private key.
#[derive(Debug)]
pub(crate) struct Key;

impl Kind for Key {
    /// What kind of key it is, and whose, is seen beside its certificate.
    fn count(text: &[u8]) -> Result<usize, Wrong> {
        has_key(text).map(|()| 1).map_err(Wrong::whole)
    }
}

/// The text of a file in PEM, as it was last when it could be read.
#[derive(Debug)]
pub(crate) struct PemFile<K>(ArcSwapOption<Vec<u8>>, PhantomData<K>);

impl<K> Default for PemFile<K> {
    fn default() -> Self {
        PemFile(ArcSwapOption::empty(), PhantomData)
    }
}

impl<K: Kind> PemFile<K> {
    /// The file at `path`, watched.
    pub(super) fn watched(path: &Path, files: &Files) -> Arc<Self> {
        let name = FileName {
            written: path.display().to_string(),
            span: Span::default(),
            path: path.to_path_buf(),
        };
        let slot: Arc<dyn Any + Send + Sync> = files.slot(&name, Arc::new(PemFile::<K>::default()));
        slot.downcast().unwrap_or_default()
    }

    /// What stands in it.
    pub(super) fn text(&self) -> Text {
        self.0.load_full()
    }
}

impl<K: Kind> Slot for PemFile<K> {
    fn take(&self, bytes: &[u8]) -> Result<usize, Wrong> {
        let count = K::count(bytes)?;
        self.0.store(Some(Arc::new(bytes.to_vec())));
        Ok(count)
    }

    fn is_missed(&self) -> bool {
        false
    }
}
