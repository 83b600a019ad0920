//! What an OCSP response says (RFC 6960 §4.2), as far as it decides whether it can be sent along with a certificate.
//!
//! Whether its signature is good is the client's to say.

use std::path::Path;

use super::der::{
    CONTEXT_0, CONTEXT_1, CONTEXT_2, Der, ENUMERATED, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER,
    OCTET_STRING, SEQUENCE,
};
use super::fault::Fault;
use super::pair;
use super::states::Serving;
use super::x509::Facts;

/// A response that can be sent along.
#[derive(Debug)]
pub(super) struct Staple {
    pub(super) bytes: Vec<u8>,
    /// From when on it holds, in seconds since 1970.
    this_update: u64,
    /// Until when; clients take none that is older.
    pub(super) next_update: u64,
}

impl Staple {
    /// Reads the response about a certificate.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub(super) fn read(file: &Path, of: &Facts) -> Result<Self, Fault> {
        let bytes = pair::contents(file)?;
        let answer = about(&of.serial, &bytes).map_err(|what| Fault::has(file, what))?;
        let Answer { this_update, next_update, .. } = answer;
        Ok(Self { bytes, this_update, next_update })
    }

    pub(super) fn says(&self, issuer: &str) -> Serving {
        Serving {
            subject: String::new(),
            issuer: issuer.to_owned(),
            key: "",
            not_before: self.this_update,
            not_after: self.next_update,
        }
    }
}

/// What is said of one certificate.
struct Answer<'a> {
    serial: &'a [u8],
    is_good: bool,
    this_update: u64,
    next_update: u64,
}

fn about<'a>(serial: &[u8], bytes: &'a [u8]) -> Result<Answer<'a>, &'static str> {
    let mut response = Der(bytes).inside(SEQUENCE).ok_or("is no OCSP response in DER")?;
    let status = response.inside(ENUMERATED).ok_or("is no OCSP response in DER")?;
    if status.0 != SUCCESSFUL {
        return Err("is an OCSP response that says nothing but an error");
    }
    let mut answers = answers(response).ok_or("is an OCSP response that cannot be read")?;
    while !answers.0.is_empty() {
        let found = answer(&mut answers).ok_or("is an OCSP response that cannot be read")?;
        if found.serial == serial {
            return if found.is_good {
                Ok(found)
            } else {
                Err("says that the certificate is revoked or unknown")
            };
        }
    }
    Err("is an OCSP response about another certificate")
}

/// The single responses.
fn answers<'a>(response: Der<'a>) -> Option<Der<'a>> {
    let mut response = response;
    let mut bytes = response.inside(CONTEXT_0)?.inside(SEQUENCE)?;
    if bytes.inside(OBJECT_IDENTIFIER)?.0 != BASIC {
        return None;
    }
    let mut basic = bytes.inside(OCTET_STRING)?.inside(SEQUENCE)?;
    let mut data = basic.inside(SEQUENCE)?;
    let _version = data.inside_if(CONTEXT_0);
    let _by_name = data.inside_if(CONTEXT_1);
    let _by_key = data.inside_if(CONTEXT_2);
    let _produced_at = data.inside(GENERALIZED_TIME)?;
    data.inside(SEQUENCE)
}

/// The next one.
fn answer<'a>(answers: &mut Der<'a>) -> Option<Answer<'a>> {
    let mut answer = answers.inside(SEQUENCE)?;
    let mut about = answer.inside(SEQUENCE)?;
    let _hash = about.inside(SEQUENCE)?;
    let (_name, _key) = (about.inside(OCTET_STRING)?, about.inside(OCTET_STRING)?);
    let serial = about.inside(INTEGER)?.0;
    let (status, _) = answer.element()?;
    let this_update = answer.time()?;
    let next_update = match answer.inside_if(CONTEXT_0) {
        Some(mut next) => next.time()?,
        // §4.2.2.1: there is always a newer one. A day is what browsers allow.
        None => this_update + 86_400,
    };
    Some(Answer { serial, is_good: status == GOOD, this_update, next_update })
}

/// §4.2.1: `successful`
const SUCCESSFUL: &[u8] = &[0];

/// `good` of CertStatus: [0] IMPLICIT NULL
const GOOD: u8 = 0x80;

/// 1.3.6.1.5.5.7.48.1.1
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    /// By `openssl ocsp -index`, for a day.
    const RESPONSE: &[u8] = include_bytes!("tests/good.ocsp");
    const SERIAL: &[u8] = b"\x16\x00\x53\xf2\xff\x0c\xa3\x8f\x30\x9c\xed\x3c\x88\x64\xc7\xce\x9e\xf0\x70\x34";

    #[test]
    fn reads_what_openssl_writes() {
        let answer = about(SERIAL, RESPONSE).unwrap();
        assert!(answer.is_good);
        assert_eq!((answer.this_update, answer.next_update), (1_795_295_882, 1_795_295_882 + 86_400));
        assert_eq!(about(b"1", RESPONSE).err(), Some("is an OCSP response about another certificate"));
        // RFC 6960 §4.2.1: tryLater.
        let later = about(SERIAL, &[SEQUENCE, 3, ENUMERATED, 1, 3]).err();
        assert_eq!(later, Some("is an OCSP response that says nothing but an error"));
    }

    #[test]
    fn what_is_broken_is_never_a_panic() {
        for end in 0..RESPONSE.len() {
            assert!(about(SERIAL, &RESPONSE[..end]).is_err(), "{end} bytes");
        }
        for at in 0..RESPONSE.len() {
            let mut broken = RESPONSE.to_vec();
            broken[at] ^= 0x55;
            let _ = about(SERIAL, &broken);
        }
    }
}
