//! Stamped mail that is signed, encrypted and certified all the same (BC10b): GnuPG before the stamp, DKIM before and
//! after it, and `mailstamp filter` at the end. Each of them must still say yes. No recipe belongs to these.

use crate::support::programs::{chmod, program};
use crate::support::{ALICE, Home, letter, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A DKIM key of the sender's domain, and its record in DNS.
struct Domain {
    folder: tempfile::TempDir,
}

impl Domain {
    fn new() -> Self {
        let domain = Self { folder: tempfile::tempdir().unwrap() };
        let openssl = program("openssl", "openssl");
        run(Command::new(&openssl).args(["genrsa", "-out"]).arg(domain.file("key")).arg("2048"), b"").exits(0);
        let mut public = Command::new(&openssl);
        let public =
            run(public.args(["rsa", "-pubout", "-outform", "DER", "-in"]).arg(domain.file("key")), b"").exits(0);
        let record = format!("v=DKIM1; k=rsa; p={}", data_encoding::BASE64.encode(&public.stdout));
        fs::write(domain.file("record"), record).unwrap();
        domain
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The message with a DKIM-Signature over its usual fields.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut command = Command::new(program("dkimsign", "python3-dkim"));
        run(command.args(["sel", "y.example"]).arg(self.file("key")), message).exits(0).stdout
    }

    /// Whether every signature that dkimpy is asked for holds; the only thing replaced is DNS.
    fn verifies(&self, message: &[u8]) -> bool {
        let script = "import dkim, sys; record = open(sys.argv[1], 'rb').read(); \
                      good = dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: record); \
                      sys.exit(0 if good else 3)";
        // Debian's own Python, the one that python3-dkim is for.
        let mut command = Command::new("/usr/bin/python3");
        let verified = run(command.args(["-c", script]).arg(self.file("record")), message);
        assert!([0, 3].contains(&verified.code), "{}", verified.stderr);
        verified.code == 0
    }
}

#[test]
fn dkim_holds_when_the_stamp_is_put_on_after_it() {
    let (home, domain) = (Home::new(), Domain::new());
    let signed = domain.sign(&letter("1"));
    assert!(domain.verifies(&signed));
    let stamped = home.stamped(&signed);
    assert!(domain.verifies(&stamped));
    home.classify(&stamped).exits(0).says("first-class paid");
    assert!(domain.verifies(&home.run(["filter"], &stamped).exits(0).stdout));
    // The signature works: the fields that it covers must not change.
    assert!(!domain.verifies(&String::from_utf8(stamped).unwrap().replace("Dear Alice", "Dear victim").into_bytes()));
}

#[test]
fn dkim_holds_when_the_stamp_is_under_it() {
    let (home, domain) = (Home::new(), Domain::new());
    let signed = domain.sign(&home.stamped(&letter("1")));
    home.classify(&signed).exits(0).says("first-class paid");
    let judged = home.run(["filter"], &signed).exits(0).stdout;
    assert!(domain.verifies(&judged));
    // The stamp is not among the signed fields, so taking it off does no harm either.
    let bare = home.run(["strip"], &signed).exits(0).stdout;
    assert!(domain.verifies(&bare) && !String::from_utf8(bare).unwrap().contains("Digital-Stamp:"));
}

/// GnuPG with a home and a key of its own. Its agent ends with the value.
struct Gnupg {
    home: tempfile::TempDir,
}

impl Gnupg {
    fn new() -> Self {
        let gnupg = Self { home: tempfile::tempdir().unwrap() };
        chmod(gnupg.home.path(), 0o700);
        gnupg.run(&["--passphrase", "", "--quick-gen-key", "bob@y.example", "future-default", "default", "never"], b"");
        gnupg
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn run(&self, args: &[&str], stdin: &[u8]) -> Vec<u8> {
        let mut command = Command::new(program("gpg", "gnupg"));
        command.args(["--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", "--trust-model", "always"]);
        run(command.env("GNUPGHOME", self.path()).args(args), stdin).exits(0).stdout
    }
}

impl Drop for Gnupg {
    fn drop(&mut self) {
        let mut command = Command::new("gpgconf");
        let _ = command.env("GNUPGHOME", self.path()).args(["--kill", "gpg-agent"]).output();
    }
}

/// The parts of a multipart message with this boundary, byte for byte.
fn parts(message: &[u8], boundary: &str) -> Vec<String> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    let line = format!("\n--{boundary}\n");
    let parts: Vec<&str> = text.split(&line).skip(1).collect();
    parts.iter().map(|part| part.split(&format!("\n--{boundary}--")).next().unwrap().to_owned()).collect()
}

fn with_header(content_type: &str, body: &str) -> Vec<u8> {
    let letter = String::from_utf8(letter("1")).unwrap();
    let (header, _) = letter.split_once("\n\n").unwrap();
    format!("{header}\nMIME-Version: 1.0\nContent-Type: {content_type}\n\n{body}").into_bytes()
}

#[test]
fn a_signed_message_stays_signed() {
    // RFC 3156 section 5: the signature is over the first part with CRLF line ends.
    let (home, gnupg) = (Home::new(), Gnupg::new());
    let part = "Content-Type: text/plain\n\nDear Alice,\n\nsigned by my own hand.\n\nBob\n";
    let signature = gnupg.run(&["--armor", "--detach-sign"], part.replace('\n', "\r\n").as_bytes());
    let signature = String::from_utf8(signature).unwrap();
    let kind = "multipart/signed; micalg=pgp-sha512; protocol=\"application/pgp-signature\"; boundary=b1";
    let body = format!("--b1\n{part}\n--b1\nContent-Type: application/pgp-signature\n\n{signature}\n--b1--\n");
    let stamped = home.stamped(&with_header(kind, &format!("\n{body}")));
    let judged = home.run(["filter"], &stamped).exits(0).stdout;
    assert!(String::from_utf8_lossy(&judged).starts_with("Digital-Stamp-Class: first-class; reason=paid;"));
    let arrived = parts(&judged, "b1");
    let (_, signature) = arrived[1].split_once("\n\n").unwrap();
    fs::write(gnupg.path().join("signature"), signature).unwrap();
    let file = gnupg.path().join("signature");
    gnupg.run(&["--verify", file.to_str().unwrap(), "-"], arrived[0].replace('\n', "\r\n").as_bytes());
}

#[test]
fn an_encrypted_message_stays_readable() {
    // RFC 3156 section 4. The stamp is in the header, which is never encrypted.
    let (home, gnupg) = (Home::new(), Gnupg::new());
    let secret = b"Content-Type: text/plain\n\nfor your eyes only\n";
    let sealed = gnupg.run(&["--armor", "--encrypt", "--sign", "--recipient", "bob@y.example"], secret);
    let sealed = String::from_utf8(sealed).unwrap();
    let kind = "multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=b1";
    let body = format!(
        "\n--b1\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n--b1\n\
         Content-Type: application/octet-stream\n\n{sealed}\n--b1--\n"
    );
    let stamped = home.affix(&home.issue(ALICE, []), &with_header(kind, &body));
    let judged = home.run(["filter"], &stamped).exits(0).stdout;
    assert!(String::from_utf8_lossy(&judged).starts_with("Digital-Stamp-Class: first-class; reason=paid;"));
    let arrived = parts(&judged, "b1");
    let (_, sealed) = arrived[1].split_once("\n\n").unwrap();
    assert_eq!(gnupg.run(&["--decrypt"], sealed.as_bytes()), secret);
}
