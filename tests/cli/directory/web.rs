//! A web server over TLS (`server.py`), with a CA made for the test by openssl(1).

use crate::support::programs::program;
use crate::support::run;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A certificate authority with one certificate for `localhost`.
pub struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Made in `folder`.
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let openssl = |args: &[&str]| {
            let mut command = Command::new(program("openssl", "openssl"));
            run(command.args(args).current_dir(folder), b"").exits(0);
        };
        fs::write(folder.join("ext"), "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n").unwrap();
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let authority = ["req", "-x509", "-subj", "/CN=Test CA", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem"];
        openssl(&[&authority[..], &curve[..]].concat());
        openssl(
            &[&["req", "-subj", "/CN=localhost", "-keyout", "web.key", "-out", "web.csr"][..], &curve[..]].concat(),
        );
        openssl(&[
            "x509",
            "-req",
            "-in",
            "web.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "ext",
            "-out",
            "web.pem",
        ]);
        Self { folder: folder.to_owned() }
    }

    /// For `SSL_CERT_FILE`.
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }
}

/// A server of the files in a folder, until it is dropped.
pub struct Web {
    child: Child,
    /// Its port.
    pub port: u16,
    log: PathBuf,
}

impl Web {
    /// Started with a certificate of `authority`.
    pub fn start(authority: &Authority, files: &Path) -> Self {
        fs::create_dir_all(files).unwrap();
        let log = files.with_extension("log");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/directory/server.py");
        let mut command = Command::new("python3");
        command.arg(script).arg(files).arg(authority.folder.join("web.pem")).arg(authority.folder.join("web.key"));
        let mut child = command.arg(&log).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().unwrap(), log }
    }

    /// An address at this server.
    pub fn address(&self, path: &str) -> String {
        format!("https://localhost:{}/{path}", self.port)
    }

    /// The well-known address at this server.
    pub fn well_known(&self) -> String {
        self.address(".well-known/digital-stamp")
    }

    /// What was asked of it: path, status, and which encodings were accepted.
    pub fn requests(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
