//! Reading a certificate with its key, and who vouches for clients, from their files.

use std::path::{Path, PathBuf};

use plimsoll_net::tls::{ClientRules, Pair, PairFault, Staple};

use crate::config::{ClientsPlan, PairFiles};
use crate::files::open;

/// Which of a pair's files is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Certificate,
    Key,
}

/// Reads a certificate and its key.
pub(crate) fn read_pair(files: &PairFiles) -> Result<Pair, (Which, String)> {
    let read = |which, path: &Path| bytes(path).map_err(|why| (which, why));
    let certificate = read(Which::Certificate, &files.certificate)?;
    let key = read(Which::Key, &files.key)?;
    Pair::read(&certificate, &key).map_err(|fault| {
        let (which, path, why) = match fault {
            PairFault::Chain(why) => (Which::Certificate, &files.certificate, why),
            PairFault::Key(why) => (Which::Key, &files.key, why),
        };
        (which, format!("{} {why}", path.display()))
    })
}

/// Reads what the authority says of a certificate. It is for the caller to judge whether that may be shown now.
pub(crate) fn read_staple(path: &Path, pair: &Pair) -> Result<Staple, String> {
    Staple::read(bytes(path)?, pair.der()).map_err(|why| format!("{} {why}", path.display()))
}

/// Reads who vouches for clients; what is wrong, and in which file.
pub(crate) fn read_clients(plan: &ClientsPlan) -> Result<ClientRules, (PathBuf, String)> {
    let wrong = |path: &Path, why: String| (path.to_owned(), format!("{} {why}", path.display()));
    let read = |path: &Path| bytes(path).map_err(|why| (path.to_owned(), why));
    let authorities = read(&plan.authorities)?;
    let mut rules = ClientRules::read(plan.required, &authorities).map_err(|why| wrong(&plan.authorities, why))?;
    for path in &plan.revoked {
        rules.revoke(&read(path)?).map_err(|why| wrong(path, why))?;
    }
    Ok(rules)
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let read = open(path).map(|(_, bytes)| bytes);
    read.map_err(|wrong| wrong.told(&path.display().to_string()))
}
