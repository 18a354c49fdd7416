//! Certificates of the servers: without a right one, nothing is sent and nothing is paid.

use super::{PAYEE, Scene};
use crate::support::Home;
use crate::support::emstamp_server::EmstampServer;
use crate::support::submission::Certificates;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

const PRICES: [(&str, u64); 1] = [("b1@y.example", 3)];

fn config(certificates: &Certificates) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(certificates.file("chain.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(certificates.file("key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain, key).unwrap())
}

/// A far side with this certificate, and a gateway that trusts the authority `ca`. The certificate is for `localhost`.
fn scene(tls: Option<Arc<ServerConfig>>, ca: &Certificates) -> Scene {
    let far = EmstampServer::start(PAYEE, &PRICES, tls);
    let route = format!("\"y.example\" = \"localhost:{}\"", far.port());
    Scene::with(100, &format!("ca = {:?}", ca.file("ca.pem")), far, &route)
}

#[test]
fn a_server_with_a_right_certificate_is_paid() {
    let home = Home::bare();
    let certificates = Certificates::make(&home);
    let scene = scene(Some(config(&certificates)), &certificates);
    scene.send("tls", &["b1@y.example"]);
    let line = scene.outcome("b1@y.example", "sent", 1);
    assert!(line.contains("localhost said: 250 taken") && line.contains("paid 3 credits"), "{line}");
    let lines = scene.far.state().lines.clone();
    let verbs: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(verbs[..7], ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "EMST", "DATA"]);
    scene.settled(3);
    scene.clear();
}

#[test]
fn without_a_right_certificate_nothing_is_sent_or_paid() {
    let homes = [Home::bare(), Home::bare()];
    let [right, other] = [0, 1].map(|at| Certificates::make(&homes[at]));
    let stranger = config(&other);
    other.issue("-100d", 90);
    for (tls, ca, said) in [
        (None, &right, "localhost offers no STARTTLS"),
        (Some(stranger), &right, "the certificate of localhost is not accepted"),
        (Some(config(&other)), &other, "it has expired"),
    ] {
        let scene = scene(tls, ca);
        scene.send("none", &["b1@y.example", "free@y.example"]);
        let line = scene.outcome("b1@y.example", "deferred", 1);
        assert!(line.contains("451 4.7.5") && line.contains(said), "{line}");
        scene.outcome("free@y.example", "deferred", 1);
        assert_eq!((scene.far.lines("MAIL").len(), scene.payer.has()), (0, [9_900, 100, 0, 0, 0]));
    }
}
