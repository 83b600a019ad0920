//! What a list of revoked certificates says of itself (RFC 5280 §5.1), as far as people ask for it.
//!
//! Judges nothing: what is revoked is webpki's to say, in every handshake.

use corelane_engine::tls::rustls::pki_types::CertificateRevocationListDer;

use super::der::{BIT_STRING, Der, INTEGER, SEQUENCE};
use super::states::Serving;
use super::x509::distinguished_name;

/// Whose list it is, from when, and when the next one is due.
pub(super) fn says(list: &CertificateRevocationListDer<'_>) -> Option<Serving> {
    let mut list = Der(list.as_ref()).inside(SEQUENCE)?;
    let mut body = list.inside(SEQUENCE)?;
    let _signature_algorithm = list.inside(SEQUENCE)?;
    let _signature = list.inside(BIT_STRING)?;
    let _version = body.inside_if(INTEGER);
    let _algorithm = body.inside(SEQUENCE)?;
    let issuer = distinguished_name(body.inside(SEQUENCE)?)?;
    let (this_update, next_update) = (body.time()?, body.time()?);
    Some(Serving { subject: String::new(), issuer, key: "", not_before: this_update, not_after: next_update })
}

#[cfg(test)]
mod tests {
    use corelane_engine::tls::rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn reads_what_openssl_writes() {
        let list = include_bytes!("tests/none-revoked.crl");
        let list = CertificateRevocationListDer::from_pem_slice(list).unwrap();
        let told = says(&list).unwrap();
        assert_eq!(
            (&*told.issuer, told.not_before, told.not_after),
            ("CN=Test authority of clients", 1_795_283_588, 4_948_883_588)
        );
        for end in 0..list.len() {
            assert_eq!(says(&list[..end].into()), None, "{end} bytes");
        }
    }
}
