//! Why TLS failed, in words for logs and metrics.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::reason::words;

words! {
    /// Why TLS with a peer failed: its handshake, or what came after.
    TlsFailure {
        HandshakeTimeout = "handshake_timeout",
        HandshakesExcess = "handshakes_excess",
        PeerGone = "peer_gone",
        PlainHttp = "plain_http",
        NotTls = "not_tls",
        HandshakeTooLarge = "handshake_too_large",
        Alert = "alert",
        VersionUnsupported = "version_unsupported",
        NoSharedCipherSuite = "no_shared_cipher_suite",
        NoSharedGroup = "no_shared_group",
        NoSharedSignature = "no_shared_signature",
        NoSharedProtocol = "no_shared_protocol",
        NoCertificate = "no_certificate",
        CertificateMissing = "certificate_missing",
        CertificateExpired = "certificate_expired",
        CertificateUnknownIssuer = "certificate_unknown_issuer",
        CertificateRevoked = "certificate_revoked",
        CertificateOtherName = "certificate_other_name",
        CertificateInvalid = "certificate_invalid",
        RecordTooLarge = "record_too_large",
        RecordUndecipherable = "record_undecipherable",
        MessageInvalid = "message_invalid",
        Internal = "internal",
    }
}

impl TlsFailure {
    /// Whether the peer's certificate is why.
    pub(crate) const fn is_certificate(self) -> bool {
        matches!(
            self,
            Self::CertificateMissing
                | Self::CertificateExpired
                | Self::CertificateUnknownIssuer
                | Self::CertificateRevoked
                | Self::CertificateOtherName
                | Self::CertificateInvalid
        )
    }
}

impl From<&Error> for TlsFailure {
    fn from(error: &Error) -> Self {
        match error {
            Error::AlertReceived(_) => Self::Alert,
            Error::PeerIncompatible(incompatible) => match incompatible {
                PeerIncompatible::NoCipherSuitesInCommon => Self::NoSharedCipherSuite,
                PeerIncompatible::NoKxGroupsInCommon
                | PeerIncompatible::NamedGroupsExtensionRequired
                | PeerIncompatible::NoEcPointFormatsInCommon => Self::NoSharedGroup,
                PeerIncompatible::NoSignatureSchemesInCommon
                | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => Self::NoSharedSignature,
                // What came before TLS 1.2 has no such extension.
                PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled => Self::VersionUnsupported,
                _ => Self::MessageInvalid,
            },
            Error::NoApplicationProtocol => Self::NoSharedProtocol,
            Error::NoCertificatesPresented => Self::CertificateMissing,
            Error::InvalidCertificate(invalid) => match invalid {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::CertificateExpired,
                CertificateError::UnknownIssuer => Self::CertificateUnknownIssuer,
                CertificateError::Revoked => Self::CertificateRevoked,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::CertificateOtherName
                }
                _ => Self::CertificateInvalid,
            },
            // The one general error that a server can meet: no certificate for this ClientHello.
            Error::General(_) => Self::NoCertificate,
            Error::PeerSentOversizedRecord => Self::RecordTooLarge,
            Error::DecryptError => Self::RecordUndecipherable,
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::InvalidMessage(_)
            | Error::PeerMisbehaved(_) => Self::MessageInvalid,
            _ => Self::Internal,
        }
    }
}

impl From<TlsFailure> for io::Error {
    fn from(failure: TlsFailure) -> Self {
        use crate::reason::Word as _;
        Self::new(io::ErrorKind::InvalidData, failure.name())
    }
}

words! {
    /// The fatal alerts of peers, by their names in RFC 8446 §6.
    Alert {
        UnexpectedMessage = "unexpected_message",
        BadRecordMac = "bad_record_mac",
        RecordOverflow = "record_overflow",
        HandshakeFailure = "handshake_failure",
        BadCertificate = "bad_certificate",
        UnsupportedCertificate = "unsupported_certificate",
        CertificateRevoked = "certificate_revoked",
        CertificateExpired = "certificate_expired",
        CertificateUnknown = "certificate_unknown",
        IllegalParameter = "illegal_parameter",
        UnknownCa = "unknown_ca",
        AccessDenied = "access_denied",
        DecodeError = "decode_error",
        DecryptError = "decrypt_error",
        ProtocolVersion = "protocol_version",
        InsufficientSecurity = "insufficient_security",
        InternalError = "internal_error",
        InappropriateFallback = "inappropriate_fallback",
        UserCanceled = "user_canceled",
        MissingExtension = "missing_extension",
        UnsupportedExtension = "unsupported_extension",
        UnrecognizedName = "unrecognized_name",
        BadCertificateStatusResponse = "bad_certificate_status_response",
        UnknownPskIdentity = "unknown_psk_identity",
        CertificateRequired = "certificate_required",
        NoApplicationProtocol = "no_application_protocol",
        Other = "other",
    }
}

impl From<AlertDescription> for Alert {
    fn from(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::UnexpectedMessage => Self::UnexpectedMessage,
            AlertDescription::BadRecordMac => Self::BadRecordMac,
            AlertDescription::RecordOverflow => Self::RecordOverflow,
            AlertDescription::HandshakeFailure => Self::HandshakeFailure,
            AlertDescription::BadCertificate => Self::BadCertificate,
            AlertDescription::UnsupportedCertificate => Self::UnsupportedCertificate,
            AlertDescription::CertificateRevoked => Self::CertificateRevoked,
            AlertDescription::CertificateExpired => Self::CertificateExpired,
            AlertDescription::CertificateUnknown => Self::CertificateUnknown,
            AlertDescription::IllegalParameter => Self::IllegalParameter,
            AlertDescription::UnknownCA => Self::UnknownCa,
            AlertDescription::AccessDenied => Self::AccessDenied,
            AlertDescription::DecodeError => Self::DecodeError,
            AlertDescription::DecryptError => Self::DecryptError,
            AlertDescription::ProtocolVersion => Self::ProtocolVersion,
            AlertDescription::InsufficientSecurity => Self::InsufficientSecurity,
            AlertDescription::InternalError => Self::InternalError,
            AlertDescription::InappropriateFallback => Self::InappropriateFallback,
            AlertDescription::UserCanceled => Self::UserCanceled,
            AlertDescription::MissingExtension => Self::MissingExtension,
            AlertDescription::UnsupportedExtension => Self::UnsupportedExtension,
            AlertDescription::UnrecognisedName => Self::UnrecognizedName,
            AlertDescription::BadCertificateStatusResponse => Self::BadCertificateStatusResponse,
            AlertDescription::UnknownPSKIdentity => Self::UnknownPskIdentity,
            AlertDescription::CertificateRequired => Self::CertificateRequired,
            AlertDescription::NoApplicationProtocol => Self::NoApplicationProtocol,
            _ => Self::Other,
        }
    }
}
