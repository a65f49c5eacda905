//! A certificate that nobody vouches for, for trying things out: made at the start, and never on a disk.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustix::fs::{MemfdFlags, memfd_create};

/// A certificate and its key, in memory that can be opened like files for as long as this lives.
pub struct OwnPair {
    certificate: File,
    key: File,
}

impl OwnPair {
    /// A new one for these hosts and addresses.
    ///
    /// # Errors
    /// One of them is no name, or there is no memory of that kind.
    pub fn new(names: &[String]) -> io::Result<OwnPair> {
        let made = || {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(names)?;
            params
                .distinguished_name
                .push(DnType::CommonName, "Plimsoll, signed by itself");
            Ok::<_, rcgen::Error>((params.self_signed(&key)?.pem(), key.serialize_pem()))
        };
        let (certificate, key) = made().map_err(io::Error::other)?;
        Ok(OwnPair {
            certificate: hold(&certificate)?,
            key: hold(&key)?,
        })
    }

    /// Where the certificate can be read, by this process alone.
    pub fn certificate(&self) -> PathBuf {
        path(&self.certificate)
    }

    /// Where its key can be.
    pub fn key(&self) -> PathBuf {
        path(&self.key)
    }
}

fn hold(pem: &str) -> io::Result<File> {
    let mut file = File::from(memfd_create("plimsoll-tls", MemfdFlags::CLOEXEC)?);
    file.write_all(pem.as_bytes())?;
    Ok(file)
}

/// Opened anew, it is read from its beginning.
fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use plimsoll_net::tls::Pair;

    use super::*;

    #[test]
    fn it_is_a_pair_that_can_be_read_twice() {
        let own = OwnPair::new(&["localhost".into(), "127.0.0.1".into()]).unwrap();
        for _ in 0..2 {
            let [certificate, key] = [own.certificate(), own.key()].map(|path| std::fs::read(path).unwrap());
            let facts = Pair::read(&certificate, &key).unwrap().facts;
            assert_eq!(facts.names, ["localhost", "127.0.0.1"]);
        }
    }
}
