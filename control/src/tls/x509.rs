//! What a certificate says of itself (RFC 5280 §4.1): as much of it as people and the choice by name ask for.
//!
//! Judges nothing: whether a certificate is good is webpki's to say, in every handshake. What cannot be read is `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corelane_engine::tls::rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};

use super::der::{
    BOOLEAN, CONTEXT_0, CONTEXT_3, Der, IA5_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING,
    PRINTABLE_STRING, SEQUENCE, SET, UTF8_STRING,
};

/// What one certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The subject's distinguished name (RFC 4514).
    pub(crate) subject: String,
    /// The issuer's.
    pub(crate) issuer: String,
    /// From when on it is good, in seconds since 1970.
    pub(crate) not_before: u64,
    /// Until when.
    pub(crate) not_after: u64,
    /// The host names that it is for, in lower case, `*.` before those of which any one stands for it.
    pub(crate) names: Vec<String>,
    /// The addresses that it is for.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether it says where its issuer's certificate is to be had: that is no root then, which nobody fetches.
    pub(crate) has_issuer_elsewhere: bool,
    /// By what its issuer knows it.
    pub(super) serial: Vec<u8>,
    /// Subject and issuer as they are compared.
    encoded_names: (Vec<u8>, Vec<u8>),
}

impl Facts {
    /// What a certificate says.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let mut certificate = Der(certificate.as_ref()).inside(SEQUENCE)?;
        let mut body = certificate.inside(SEQUENCE)?;
        let _version = body.inside_if(CONTEXT_0);
        let serial = body.inside(INTEGER)?;
        let _signature = body.inside(SEQUENCE)?;
        let issuer = body.inside(SEQUENCE)?;
        let mut validity = body.inside(SEQUENCE)?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        let subject = body.inside(SEQUENCE)?;
        let _public_key = body.inside(SEQUENCE)?;
        let mut facts = Self {
            subject: distinguished_name(subject)?,
            issuer: distinguished_name(issuer)?,
            not_before,
            not_after,
            names: Vec::new(),
            addresses: Vec::new(),
            has_issuer_elsewhere: false,
            serial: serial.0.to_vec(),
            encoded_names: (subject.0.to_vec(), issuer.0.to_vec()),
        };
        // The unique identifiers of version 2, [1] and [2], are passed over.
        while !body.0.is_empty() {
            let (tag, inside) = body.element()?;
            if tag == CONTEXT_3 {
                facts.read_extensions(Der(inside))?;
            }
        }
        Some(facts)
    }

    /// Whether it is signed by itself, or at least says so.
    pub(crate) fn is_root(&self) -> bool {
        self.encoded_names.0 == self.encoded_names.1
    }

    /// Whether `other` says that it is the issuer.
    pub(crate) fn is_issued_by(&self, other: &Self) -> bool {
        self.encoded_names.1 == other.encoded_names.0
    }

    /// The subject as it is compared.
    pub(crate) fn encoded_subject(&self) -> &[u8] {
        &self.encoded_names.0
    }

    /// The issuer as it is compared.
    pub(crate) fn encoded_issuer(&self) -> &[u8] {
        &self.encoded_names.1
    }

    /// Of a certificate for these names.
    #[cfg(test)]
    pub(super) fn for_names(names: &[&str]) -> Self {
        Self { names: names.iter().map(ToString::to_string).collect(), ..Self::default() }
    }

    fn read_extensions(&mut self, outer: Der<'_>) -> Option<()> {
        let mut outer = outer;
        let mut extensions = outer.inside(SEQUENCE)?;
        while !extensions.0.is_empty() {
            let mut extension = extensions.inside(SEQUENCE)?;
            let kind = extension.inside(OBJECT_IDENTIFIER)?;
            let _critical = extension.inside_if(BOOLEAN);
            let mut value = extension.inside(OCTET_STRING)?;
            match kind.0 {
                SUBJECT_ALT_NAME => self.read_names(value.inside(SEQUENCE)?)?,
                AUTHORITY_INFORMATION => self.read_places(value.inside(SEQUENCE)?)?,
                _ => {}
            }
        }
        Some(())
    }

    /// RFC 5280 §4.2.2.1
    fn read_places(&mut self, places: Der<'_>) -> Option<()> {
        let mut places = places;
        while !places.0.is_empty() {
            let kind = places.inside(SEQUENCE)?.inside(OBJECT_IDENTIFIER)?;
            self.has_issuer_elsewhere |= kind.0 == CA_ISSUERS;
        }
        Some(())
    }

    /// RFC 5280 §4.2.1.6
    fn read_names(&mut self, names: Der<'_>) -> Option<()> {
        let mut names = names;
        while !names.0.is_empty() {
            match names.element()? {
                (DNS_NAME, name) => {
                    self.names.extend(std::str::from_utf8(name).ok().map(str::to_ascii_lowercase));
                }
                (IP_ADDRESS, bytes) => self.addresses.extend(ip_address(bytes)),
                _ => {}
            }
        }
        Some(())
    }
}

/// SHA-256 of the certificate, in lower-case hexadecimal.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect()
}

const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

/// 1.3.6.1.5.5.7.1.1
const AUTHORITY_INFORMATION: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];

/// 1.3.6.1.5.5.7.48.2
const CA_ISSUERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// RFC 4514 §2: the last part first.
pub(super) fn distinguished_name(name: Der<'_>) -> Option<String> {
    let mut name = name;
    let mut parts = Vec::new();
    while !name.0.is_empty() {
        let mut set = name.inside(SET)?;
        let mut values = Vec::new();
        while !set.0.is_empty() {
            let mut pair = set.inside(SEQUENCE)?;
            let kind = pair.inside(OBJECT_IDENTIFIER)?;
            let (tag, value) = pair.element()?;
            values.push(format!("{}={}", attribute(kind.0), attribute_value(tag, value)));
        }
        // As OpenSSL does, though the parts of a set have no order.
        values.reverse();
        parts.push(values.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// The names of RFC 4514 §3 and RFC 2985; other types are numbers.
fn attribute(kind: &[u8]) -> String {
    let name = match kind {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x05] => "serialNumber",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "STREET",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01] => "emailAddress",
        _ => return dotted(kind),
    };
    name.to_owned()
}

fn dotted(kind: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in kind {
        number = number.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            // X.690 §8.19.4: the first two share a number.
            match numbers.is_empty() {
                true => numbers.extend([(number / 40).min(2), number - 40 * (number / 40).min(2)]),
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

/// RFC 4514 §2.4. What no line may hold is escaped, too: it goes into fields and logs.
fn attribute_value(tag: u8, value: &[u8]) -> String {
    let text = match tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING => std::str::from_utf8(value).ok(),
        _ => None,
    };
    let Some(text) = text else {
        // The whole element (RFC 4514 §2.4); X.690 §8.1.3 on its length.
        let length = match value.len() {
            length @ ..0x80 => format!("{length:02x}"),
            length @ ..0x100 => format!("81{length:02x}"),
            length => format!("84{length:08x}"),
        };
        let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        return format!("#{tag:02x}{length}{digits}");
    };
    let mut escaped = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', c]),
            ' ' if at == 0 || at == last => escaped.push_str("\\ "),
            '#' if at == 0 => escaped.push_str("\\#"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    escaped.push_str(&format!("\\{byte:02X}"));
                }
            }
            c => escaped.push(c),
        }
    }
    escaped
}
