//! An authority of the tests, which issues certificates as they are needed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::{output, stderr};

/// The authority, with a folder for what it issues.
pub(crate) struct Issuer {
    dir: tempfile::TempDir,
}

/// The kind of a key.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Ecdsa,
    Rsa,
}

impl Key {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ecdsa => &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
            Self::Rsa => &["-newkey", "rsa:2048"],
        }
    }
}

impl Issuer {
    /// Its own certificate is in `ca.pem`.
    pub(crate) fn new() -> Self {
        let it = Self { dir: tempfile::Builder::new().prefix("corelane-certificates-").tempdir().unwrap() };
        it.openssl(Key::Ecdsa, "ca", &["-days", "30", "-subj", "/CN=Authority of the tests"]);
        it
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `NAME.pem` and `NAME.key` for these hosts; the subject is `name`.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str], key: Key) {
        let hosts: Vec<_> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        self.issue_with(name, key, "30", &format!("subjectAltName={}", hosts.join(",")));
    }

    /// `NAME.pem` and `NAME.key` of a client.
    pub(crate) fn issue_client(&self, name: &str) {
        self.issue_with(name, Key::Ecdsa, "30", "extendedKeyUsage=clientAuth");
    }

    /// With an extension of its own, for so many days.
    pub(crate) fn issue_with(&self, name: &str, key: Key, days: &str, extension: &str) {
        let (ca, ca_key) = (self.file("ca.pem"), self.file("ca.key"));
        let signed = ["-CA", ca.to_str().unwrap(), "-CAkey", ca_key.to_str().unwrap()];
        let subject = format!("/CN={name}");
        let rest = ["-days", days, "-subj", &subject, "-addext", "basicConstraints=critical,CA:false"];
        self.openssl(key, name, &[&signed[..], &rest, &["-addext", extension]].concat());
    }

    /// `{ cert = "...", key = "..." }` of what was issued under this name.
    pub(crate) fn pair(&self, name: &str) -> String {
        let file = |ending: &str| self.file(&format!("{name}.{ending}")).display().to_string();
        format!("{{ cert = \"{}\", key = \"{}\" }}", file("pem"), file("key"))
    }

    fn openssl(&self, key: Key, name: &str, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-noenc"]).args(key.arguments()).args(arguments);
        // Under other names first: whoever looks at the files never sees half of one.
        let new = |ending: &str| self.file(&format!("{name}.{ending}.new"));
        command.arg("-keyout").arg(new("key")).arg("-out").arg(new("pem"));
        let output = output(&mut command);
        assert!(output.status.success(), "openssl (Debian package openssl): {}", stderr(&output));
        for ending in ["key", "pem"] {
            std::fs::rename(new(ending), self.file(&format!("{name}.{ending}"))).unwrap();
        }
    }
}
