use std::path::Path;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::*;
use crate::http::testing;

fn open(tls: &Tls) -> Result<Certificates, TlsError> {
    Certificates::open(tls, Clock::movable())
}

fn refused(tls: &Tls) -> String {
    open(tls).err().unwrap().to_string()
}

#[test]
fn a_fault_names_its_key_and_shows_nothing_of_the_file() {
    let good = testing::tls();
    assert!(open(&good).is_ok());
    let gone = refused(&Tls { cert: "missing.pem".into(), ..good.clone() });
    assert!(gone.starts_with("server.tls_cert: cannot read missing.pem"), "{gone}");
    let swapped = refused(&Tls { cert: good.key.clone(), key: good.key.clone() });
    assert!(swapped.starts_with("server.tls_cert:") && swapped.contains("no certificate"), "{swapped}");
    let swapped = refused(&Tls { cert: good.cert.clone(), key: good.cert.clone() });
    assert!(swapped.starts_with("server.tls_key:") && swapped.contains("no private key"), "{swapped}");
    let other = refused(&Tls { key: testing::other_tls().key, ..good });
    assert!(other.starts_with("server.tls_cert, server.tls_key:"), "{other}");
}

fn copy(from: &Tls, to: &Tls) {
    std::fs::copy(&from.cert, &to.cert).unwrap();
    std::fs::copy(&from.key, &to.key).unwrap();
}

fn used(certificates: &Certificates) -> Vec<u8> {
    certificates.0.state.read().pair.key.cert[0].to_vec()
}

fn certificate(path: &Path) -> Vec<u8> {
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

#[test]
fn a_changed_pair_is_used_and_a_broken_one_is_reported_and_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Tls { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
    let (first, second) = (testing::tls(), testing::other_tls());
    copy(&first, &tls);
    let clock = Clock::movable();
    let certificates = Certificates::open(&tls, clock.clone()).unwrap();
    certificates.refresh();
    assert_eq!(used(&certificates), certificate(&first.cert));

    // A renewal writes one file after the other.
    std::fs::copy(&second.cert, &tls.cert).unwrap();
    certificates.refresh();
    assert_eq!(used(&certificates), certificate(&first.cert), "certificate and key do not match");
    assert_eq!(certificates.problem(), None, "the key may be about to follow");
    let before = clock.now();
    certificates.refresh();
    assert_eq!(used(&certificates), certificate(&first.cert), "certificate and key do not match");
    let problem = certificates.problem().unwrap();
    assert!((before..=clock.now()).contains(&problem.since), "{problem:?}");
    assert!(problem.why.starts_with("server.tls_cert, server.tls_key:"), "{problem:?}");
    std::fs::copy(&second.key, &tls.key).unwrap();
    certificates.refresh();
    assert_eq!((used(&certificates), certificates.problem()), (certificate(&second.cert), None));

    clock.advance(1000);
    std::fs::remove_file(&tls.key).unwrap();
    let before = clock.now();
    certificates.refresh();
    certificates.refresh();
    assert_eq!(used(&certificates), certificate(&second.cert));
    let problem = certificates.problem().unwrap();
    assert!((before..=clock.now()).contains(&problem.since), "{problem:?}");
    copy(&first, &tls);
    certificates.refresh();
    assert_eq!((used(&certificates), certificates.problem()), (certificate(&first.cert), None));
}

#[test]
fn other_files_are_used_unless_they_cannot_be() {
    let (first, second) = (testing::tls(), testing::other_tls());
    let certificates = open(&first).unwrap();
    let mixed = Tls { key: first.key.clone(), ..second.clone() };
    assert!(certificates.replace(&mixed).is_err() && certificates.are(&first));
    assert_eq!(used(&certificates), certificate(&first.cert));
    certificates.replace(&second).unwrap();
    certificates.refresh();
    assert!(certificates.are(&second));
    assert_eq!((used(&certificates), certificates.problem()), (certificate(&second.cert), None));
}

#[test]
fn a_certificate_is_a_problem_from_14_days_before_its_end() {
    let clock = Clock::movable();
    let certificates = Certificates::open(&testing::tls(), clock.clone()).unwrap();
    // `openssl x509 -enddate` says Oct 29 11:30:28 2126 GMT.
    let end = Millis(4_948_947_028 * 1000);
    assert_eq!(certificates.end(), Some(end));
    let fourteen_days = 14 * 86_400_000;
    let hour = 3_600_000;
    clock.advance(end.since(clock.now()) - fourteen_days - hour);
    assert_eq!(certificates.problem(), None);
    clock.advance(2 * hour);
    let problem = certificates.problem().unwrap();
    assert_eq!(
        (problem.since, problem.why.as_str()),
        (end.plus(-fourteen_days), "the certificate ends in 13 days")
    );
    clock.advance(fourteen_days);
    assert_eq!(certificates.problem().unwrap().why, "the certificate has ended");
}
