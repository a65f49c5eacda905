//! Who is let in, by the dates of authorities and of their lists.

use std::time::Duration;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::*;
use crate::tls::HandshakeFault;

struct People {
    key: KeyPair,
    ann: Certificate,
}

fn params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

impl People {
    fn new() -> People {
        let key = KeyPair::generate().expect("a key");
        let mut leaf = params("ann", (2000, 2100));
        leaf.serial_number = Some(SerialNumber::from(7));
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = KeyPair::generate().expect("a key");
        let root = Self::root_params((2000, 2100));
        let ann = leaf.signed_by(&own, &Issuer::from_params(&root, &key)).expect("signed");
        People { key, ann }
    }

    fn root_params(years: (i32, i32)) -> CertificateParams {
        let mut root = params("People", years);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        root
    }

    /// The authority's certificate, valid in these years.
    fn root(&self, years: (i32, i32)) -> String {
        Self::root_params(years).self_signed(&self.key).expect("signed").pem()
    }

    /// What it has revoked, valid in these years; 7 is ann's number.
    fn list(&self, years: (i32, i32), serials: &[u64]) -> Vec<u8> {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(years.0, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(years.0, 1, 1),
            next_update: date_time_ymd(years.1, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let root = Self::root_params((2000, 2100));
        let list = list.signed_by(&Issuer::from_params(&root, &self.key)).expect("signed");
        list.der().to_vec()
    }

    /// Whether ann is let in in `year`, or the cause that she is not.
    fn judged(&self, year: u64, rules: &ClientRules) -> &'static str {
        let since = Duration::from_secs((year - 1970) * 31_556_952 + 86_400);
        let verifier = rules.verifier(SystemTime::UNIX_EPOCH + since).expect("a verifier");
        match verifier.verify_client_cert(self.ann.der(), &[], UnixTime::since_unix_epoch(since)) {
            Ok(_) => "in",
            Err(error) => HandshakeFault::Tls(error).cause(),
        }
    }
}

#[test]
fn an_authority_vouches_within_its_dates() {
    let people = People::new();
    let stranger = People::new();
    let old_and_new = people.root((2010, 2020)) + &people.root((2018, 2030));
    let strange = stranger.root((2000, 2040));
    for (authorities, year, wanted) in [
        (people.root((2010, 2020)), 2015, "in"),
        (people.root((2010, 2020)), 2021, "expired_authority"),
        (people.root((2010, 2020)), 2009, "early_authority"),
        // With the same name and key, as authorities renew themselves.
        (old_and_new.clone(), 2025, "in"),
        (old_and_new.clone(), 2015, "in"),
        (old_and_new, 2031, "expired_authority"),
        (people.root((2010, 2020)) + &strange, 2025, "expired_authority"),
        (strange, 2025, "bad_certificate"),
    ] {
        let rules = ClientRules::read(true, authorities.as_bytes()).expect("authorities");
        assert_eq!(people.judged(year, &rules), wanted, "{year}");
    }
}

#[test]
fn a_list_counts_within_its_dates_and_nobody_comes_in_without_one() {
    let people = People::new();
    let old = people.list((2010, 2020), &[]);
    let new = people.list((2019, 2030), &[7]);
    let clear = people.list((2019, 2030), &[8]);
    for (lists, year, wanted) in [
        (vec![&old], 2015, "in"),
        (vec![&old], 2021, "expired_revocation"),
        (vec![&old], 2009, "unknown_revocation"),
        (vec![&old, &new], 2025, "revoked_certificate"),
        (vec![&old, &clear], 2025, "in"),
        (vec![&clear, &old], 2015, "in"),
        (vec![&new, &old], 2015, "in"),
        (vec![&old, &clear], 2031, "expired_revocation"),
    ] {
        let mut rules = ClientRules::read(true, people.root((2000, 2100)).as_bytes()).expect("an authority");
        for list in lists {
            rules.revoke(list).expect("a list");
        }
        assert_eq!(people.judged(year, &rules), wanted, "{year}");
    }
}

#[test]
fn what_holds_changes_when_something_begins_or_ends() {
    let people = People::new();
    let mut rules = ClientRules::read(true, people.root((2010, 2030)).as_bytes()).expect("an authority");
    rules.revoke(&people.list((2015, 2020), &[])).expect("a list");
    let standing = |year: u64| rules.standing(SystemTime::UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600));
    assert_eq!(standing(2012), [true, false]);
    assert_eq!(standing(2017), [true, true]);
    assert_eq!(standing(2025), [true, false]);
    assert_eq!(standing(2035), [false, false]);
}
