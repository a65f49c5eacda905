//! A certificate authority, played by openssl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Scratch;
use crate::plimsoll::Output;
use crate::tools::run;

const CONFIG: &str = "\
[ca]\ndefault_ca = here\n\
[here]\ndatabase = index.txt\nnew_certs_dir = .\nserial = serial\ncrlnumber = crlnumber\ndefault_md = sha256\n\
policy = any\ndefault_days = 30\ndefault_crl_days = 30\nunique_subject = no\ncopy_extensions = copy\n\
x509_extensions = leaf\n\
[any]\norganizationName = optional\ncommonName = supplied\n\
[leaf]\nbasicConstraints = CA:FALSE\nauthorityKeyIdentifier = keyid\n\
extendedKeyUsage = serverAuth, clientAuth\n\
[root]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n\
[req]\ndistinguished_name = none\n[none]\n";

/// A certificate authority with its own directory: `ca.pem`, and a pair `NAME.pem` and `NAME.key` for each certificate.
pub struct Authority(Scratch);

/// When a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From now on, for a month.
    Now,
    /// In the year 2020.
    Past,
    /// In the year 2090.
    Future,
}

impl Authority {
    /// A new one of this name.
    #[track_caller]
    pub fn new(name: &str) -> Authority {
        let authority = Authority(Scratch::new());
        for (file, content) in [
            ("ca.cnf", CONFIG),
            ("index.txt", ""),
            ("serial", "1000"),
            ("crlnumber", "01"),
        ] {
            authority.0.write(file, content);
        }
        let subject = format!("/CN={name}");
        let arguments = [
            "req -x509 -config ca.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30",
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
            "-addext subjectKeyIdentifier=hash",
        ]
        .join(" ");
        authority.openssl(&[&arguments.split(' ').collect::<Vec<_>>()[..], &["-subj", &subject]].concat());
        authority
    }

    /// Signs its own certificate anew, with the same key: `FILE` is it at another time.
    #[track_caller]
    pub fn sign_itself(&self, file: &str, name: &str, when: When) {
        let subject = format!("/CN={name}");
        let line = "req -new -config ca.cnf -key ca.key -out ca.csr";
        self.openssl(&[&line.split(' ').collect::<Vec<_>>()[..], &["-subj", &subject]].concat());
        let line = "ca -batch -notext -config ca.cnf -selfsign -keyfile ca.key -extensions root -in ca.csr -out";
        let words: Vec<&str> = line.split(' ').collect();
        self.openssl(&[&words[..], &[file], dates(when)].concat());
    }

    /// Issues `NAME.pem` with `NAME.key` to these hosts, with an ECDSA key.
    #[track_caller]
    pub fn issue(&self, name: &str, hosts: &[&str]) {
        self.issue_with("ec -pkeyopt ec_paramgen_curve:P-256", name, hosts, When::Now);
    }

    /// The same with another key or another time: `key` is what openssl's `-newkey` takes.
    #[track_caller]
    pub fn issue_with(&self, key: &str, name: &str, hosts: &[&str], when: When) {
        let (request, certificate) = (format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/O=Shop/CN={name}");
        let mut names: Vec<String> = hosts.iter().map(|host| alternative(host)).collect();
        names.extend((hosts.is_empty()).then(|| format!("email:{name}@shop.test")));
        let names = format!("subjectAltName={}", names.join(","));
        let line = format!("req -new -config ca.cnf -nodes -keyout {name}.key -out {request} -newkey {key}");
        let words: Vec<&str> = line.split(' ').collect();
        self.openssl(&[&words[..], &["-subj", &subject, "-addext", &names]].concat());
        let mut words: Vec<&str> = "ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key"
            .split(' ')
            .collect();
        words.extend(["-in", &request, "-out", &certificate]);
        words.extend(dates(when));
        self.openssl(&words);
    }

    /// Revokes `NAME.pem`, and writes what is revoked to `crl.pem`.
    #[track_caller]
    pub fn revoke(&self, name: &str) {
        let line = format!("ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke {name}.pem");
        self.openssl(&line.split(' ').collect::<Vec<_>>());
        self.list_revoked();
    }

    /// Writes what is revoked to `crl.pem`.
    #[track_caller]
    pub fn list_revoked(&self) {
        self.list_revoked_with("crl.pem", "");
    }

    /// Writes what is revoked to a file, with more options for openssl.
    #[track_caller]
    pub fn list_revoked_with(&self, file: &str, options: &str) {
        let line = format!("ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -out {file} {options}");
        self.openssl(&line.split_whitespace().collect::<Vec<_>>());
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Where a file of it is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text, for configurations and command lines.
    pub fn named(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// What a file holds.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        self.0.read(name)
    }

    /// The configuration of a pair of it.
    pub fn pair(&self, name: &str) -> String {
        let (cert, key) = (self.named(&format!("{name}.pem")), self.named(&format!("{name}.key")));
        format!("{{ cert = \"{cert}\", key = \"{key}\" }}")
    }

    /// What openssl says, in that directory; panics when it fails.
    #[track_caller]
    pub fn openssl(&self, arguments: &[&str]) -> Output {
        let done = self.try_openssl(arguments);
        assert_eq!(done.code, Some(0), "openssl {arguments:?}: {done:?}");
        done
    }

    /// The same, which may fail.
    #[track_caller]
    pub fn try_openssl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.0.path());
        run(&mut command, Duration::from_secs(60))
    }
}

fn dates(when: When) -> &'static [&'static str] {
    match when {
        When::Now => &[],
        When::Past => &["-startdate", "20200101000000Z", "-enddate", "20201231000000Z"],
        When::Future => &["-startdate", "20900101000000Z", "-enddate", "20901231000000Z"],
    }
}

/// A host, or an address, as openssl wants it.
fn alternative(host: &str) -> String {
    let kind = if host.parse::<std::net::IpAddr>().is_ok() {
        "IP"
    } else {
        "DNS"
    };
    format!("{kind}:{host}")
}
