//! A certificate and its key, from files to what a handshake needs.

use std::path::Path;
use std::sync::Arc;

use corelane_engine::tls::rustls::crypto::CryptoProvider;
use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;
use corelane_engine::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use corelane_engine::tls::rustls::sign::CertifiedKey;
use corelane_engine::tls::rustls::{Error, InconsistentKeys, SignatureAlgorithm};

use super::fault::Fault;
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
    pub(crate) fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, Fault> {
        let chain = certificates(&files.cert)?;
        if chain.len() > CHAIN_MAX {
            return Err(Fault::has(&files.cert, &format!("has more than {CHAIN_MAX} certificates")));
        }
        let key = private_key(&files.key)?;
        let mut all = chain.iter().map(Facts::of);
        let facts = all.next().flatten();
        let facts = facts.ok_or_else(|| Fault::of(&files.cert, "the first certificate cannot be read"))?;
        let behind = all.collect::<Option<Vec<_>>>();
        let behind =
            behind.ok_or_else(|| Fault::of(&files.cert, "a certificate behind the first cannot be read"))?;
        let loaded = provider.key_provider.load_private_key(key);
        let signing = loaded.map_err(|error| Fault::of(&files.key, error))?;
        let rank = rank(signing.algorithm());
        let key = CertifiedKey::new(chain, signing);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                let cert = files.cert.display();
                return Err(Fault::of(
                    &files.key,
                    format!("the key is not that of the certificate in {cert}"),
                ));
            }
            Err(error) => return Err(Fault::of(&files.cert, error)),
        }
        Ok(Self { key: Arc::new(key), facts, chain: behind, rank })
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
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let pem = contents(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| Fault::has(path, NO_PEM))?;
    if found.is_empty() { Err(Fault::has(path, "has no certificate")) } else { Ok(found) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let pem = contents(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound if is_encrypted(&pem) => {
            Fault::of(path, "the key has a password; store it without one")
        }
        pem::Error::NoItemsFound => Fault::has(path, "has no private key"),
        _ => Fault::has(path, NO_PEM),
    })
}

pub(super) const NO_PEM: &str = "is not PEM";

fn is_encrypted(pem: &[u8]) -> bool {
    let marks: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];
    marks.iter().any(|mark| pem.windows(mark.len()).any(|window| window == *mark))
}

/// The bytes of a file.
///
/// # Errors
///
/// Why it has none.
pub(super) fn contents(path: &Path) -> Result<Vec<u8>, Fault> {
    read_regular(path, FILE_BYTES_MAX).map_err(|error| Fault::of(path, error))
}
