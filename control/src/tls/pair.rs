//! A certificate and its key, from files to what a handshake needs.

use std::path::Path;
use std::sync::Arc;

use corelane_engine::tls::rustls::crypto::CryptoProvider;
use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use corelane_engine::tls::rustls::sign::CertifiedKey;
use corelane_engine::tls::rustls::{Error, InconsistentKeys, SignatureAlgorithm};

use super::x509::Facts;
use crate::config::CertificateFiles;
use crate::config::read_regular;

/// A certificate that handshakes can use.
#[derive(Debug)]
pub(crate) struct Pair {
    /// What a handshake needs.
    pub(crate) key: Arc<CertifiedKey>,
    /// What the certificate says.
    pub(crate) facts: Facts,
    /// What those behind it say.
    pub(crate) chain: Vec<Facts>,
    /// Those who offer several kinds of keys are given the lowest that they can verify.
    pub(crate) rank: u8,
}

/// The largest file of certificates or of a key; a chain is some 6 KiB.
const FILE_BYTES_MAX: usize = 1 << 20;

/// The most certificates of a chain. A guess: four are many.
const CHAIN_MAX: usize = 32;

impl Pair {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub(crate) fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, String> {
        let chain = certificates(&files.cert)?;
        if chain.len() > CHAIN_MAX {
            return Err(format!("{} has more than {CHAIN_MAX} certificates", files.cert.display()));
        }
        let key = private_key(&files.key)?;
        let ocsp = files.ocsp.as_deref().map(contents).transpose()?;
        let in_cert = |why: &dyn std::fmt::Display| format!("{}: {why}", files.cert.display());
        let mut facts = chain.iter().map(Facts::of);
        let facts_of_first = facts.next().flatten();
        let facts_of_first =
            facts_of_first.ok_or_else(|| in_cert(&"the first certificate cannot be read"))?;
        let chain_facts = facts.collect::<Option<Vec<_>>>();
        let chain_facts =
            chain_facts.ok_or_else(|| in_cert(&"a certificate behind the first cannot be read"))?;
        let loaded = provider.key_provider.load_private_key(key);
        let signing = loaded.map_err(|error| format!("{}: {error}", files.key.display()))?;
        let rank = rank(signing.algorithm());
        let mut key = CertifiedKey::new(chain, signing);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(format!(
                    "{}: the key is not that of the certificate in {}",
                    files.key.display(),
                    files.cert.display()
                ));
            }
            Err(error) => return Err(in_cert(&error)),
        }
        key.ocsp = ocsp;
        Ok(Self { key: Arc::new(key), facts: facts_of_first, chain: chain_facts, rank })
    }

    /// The kind of its key, as it is called.
    pub(crate) fn kind(&self) -> &'static str {
        match self.key.key.algorithm() {
            SignatureAlgorithm::ECDSA => "ECDSA",
            SignatureAlgorithm::RSA => "RSA",
            SignatureAlgorithm::ED25519 => "Ed25519",
            _ => "another kind",
        }
    }

    /// Whether each certificate is followed by that of its issuer, up to a root or to one that a root may have signed.
    pub(crate) fn chain_problem(&self) -> Option<String> {
        let mut of = &self.facts;
        for next in &self.chain {
            if !of.is_issued_by(next) {
                let (subject, issuer, next) = (&of.subject, &of.issuer, &next.subject);
                return Some(format!("\"{subject}\" is issued by \"{issuer}\", and \"{next}\" follows it"));
            }
            of = next;
        }
        None
    }
}

/// Verifying ECDSA and Ed25519 costs clients little, and signing costs us a sixth of RSA. Those who know Ed25519 say so, so
/// it can go first.
fn rank(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ED25519 => 0,
        SignatureAlgorithm::ECDSA => 1,
        _ => 2,
    }
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
///
/// What is wrong with the file.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = contents(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| format!("{} is not PEM", path.display()))?;
    if found.is_empty() { Err(format!("{} has no certificate", path.display())) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = contents(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted(&pem) => {
            format!("{}: the key has a password; store it without one", path.display())
        }
        pem::Error::NoItemsFound => format!("{} has no private key", path.display()),
        _ => format!("{} is not PEM", path.display()),
    })
}

fn is_encrypted(pem: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    marks.iter().any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

/// The bytes of a file.
///
/// # Errors
///
/// Why it has none.
pub(crate) fn contents(path: &Path) -> Result<Vec<u8>, String> {
    read_regular(path, FILE_BYTES_MAX).map_err(|error| format!("{}: {error}", path.display()))
}
