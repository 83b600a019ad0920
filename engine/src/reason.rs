//! The words that logs and metrics have for what went wrong.
//!
//! A set of words is an enum without gaps, so that a [`crate::counters::Tally`] of it is one small array. What each word
//! means, and what to do about it, is in docs/observability.md, and what becomes of the connections in
//! docs/threat-model.md; a test holds them together.

/// A set of words, numbered from 0 in the order of [`Word::ALL`].
pub trait Word: Copy + 'static {
    /// Every word of the set.
    const ALL: &'static [Self];

    /// Its place in [`Word::ALL`].
    fn index(self) -> usize;

    /// As it stands in logs, metrics and answers.
    fn name(self) -> &'static str;
}

macro_rules! words {
    ($(#[$meta:meta])* $set:ident { $($variant:ident = $name:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $set {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
        }

        impl $crate::reason::Word for $set {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn index(self) -> usize {
                usize::from(self as u8)
            }

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

pub(crate) use words;

words! {
    /// Why Corelane ended an exchange. `crate::failure` says which failure has which, and what follows.
    Reason {
        HeadTimeout = "head_timeout",
        RequestBodyTimeout = "request_body_timeout",
        ClientGone = "client_gone",
        SendTimeout = "send_timeout",
        BodyRate = "body_rate",
        SendRate = "send_rate",
        MethodRefused = "method_refused",
        BodyTooLarge = "body_too_large",
        UpgradeWithBody = "upgrade_with_body",
        UpgradeRefused = "upgrade_refused",
        ExpectationUnsupported = "expectation_unsupported",
        SchemeMismatch = "scheme_mismatch",
        Misdirected = "misdirected",

        HeadTooLarge = "head_too_large",
        RequestLineTooLong = "request_line_too_long",
        FieldTooLarge = "field_too_large",
        TooManyFields = "too_many_fields",
        RequestLineInvalid = "request_line_invalid",
        MethodInvalid = "method_invalid",
        TargetInvalid = "target_invalid",
        VersionInvalid = "version_invalid",
        VersionUnsupported = "version_unsupported",
        StatusLineInvalid = "status_line_invalid",
        FieldNameInvalid = "field_name_invalid",
        FieldValueInvalid = "field_value_invalid",
        LineFolding = "line_folding",
        BareLineFeed = "bare_line_feed",
        BareCarriageReturn = "bare_carriage_return",
        Nul = "nul",
        NotOneHead = "not_one_head",
        ConnectionOptionsExcess = "connection_options_excess",
        ConnectionNominatesProtected = "connection_nominates_protected",
        UnderscoreField = "underscore_field",
        HostMissing = "host_missing",
        HostRepeated = "host_repeated",
        HostInvalid = "host_invalid",
        HostMismatch = "host_mismatch",

        PathEncodedSlash = "path_encoded_slash",
        PathBackslash = "path_backslash",
        PathEncodedControl = "path_encoded_control",
        PathEncodedDelimiter = "path_encoded_delimiter",
        PathDotSegment = "path_dot_segment",
        PathParameter = "path_parameter",
        PathEmptySegment = "path_empty_segment",
        PathEscapeInvalid = "path_escape_invalid",
        PathDotAmbiguous = "path_dot_ambiguous",
        PathAboveRoot = "path_above_root",

        LengthWithTransferEncoding = "length_with_transfer_encoding",
        LengthRepeated = "length_repeated",
        LengthInvalid = "length_invalid",
        TransferEncodingUnsupported = "transfer_encoding_unsupported",
        TransferEncodingInHttp10 = "transfer_encoding_in_http10",
        TransferEncodingInInterim = "transfer_encoding_in_interim",
        ContentInConnect = "content_in_connect",
        ChunkSizeInvalid = "chunk_size_invalid",
        ChunkSizeTooLong = "chunk_size_too_long",
        ChunkExtensionInvalid = "chunk_extension_invalid",
        ChunkLineTooLong = "chunk_line_too_long",
        ChunkExtensionsTooLong = "chunk_extensions_too_long",
        ChunkBareLineFeed = "chunk_bare_line_feed",
        ChunkBareCarriageReturn = "chunk_bare_carriage_return",
        ChunkDataUnterminated = "chunk_data_unterminated",
        TrailerInvalid = "trailer_invalid",
        TrailersTooLarge = "trailers_too_large",
        TooManyTrailers = "too_many_trailers",

        ConnectFailed = "connect_failed",
        ConnectTimeout = "connect_timeout",
        UpstreamTls = "upstream_tls",
        UpstreamCertificate = "upstream_certificate",
        UpstreamClosed = "upstream_closed",
        PerTryTimeout = "per_try_timeout",
        HedgeLost = "hedge_lost",
        StatusRetried = "status_retried",
        UpstreamSendTimeout = "upstream_send_timeout",
        ResponseHeadTimeout = "response_head_timeout",
        ResponseBodyTimeout = "response_body_timeout",
        ResponseTruncated = "response_truncated",
        InterimResponsesExcess = "interim_responses_excess",
        UnexpectedSwitch = "unexpected_switch",
        SwitchMismatch = "switch_mismatch",
        UpgradeUnsupported = "upgrade_unsupported",
        RequestTimeout = "request_timeout",

        NoRoute = "no_route",
        AddressDenied = "address_denied",
        UserAgentDenied = "user_agent_denied",
        ClientCertificateDenied = "client_certificate_denied",
        RefererDenied = "referer_denied",
        RateLimited = "rate_limited",
        ConcurrencyLimited = "concurrency_limited",
        CredentialsMissing = "credentials_missing",
        CredentialsWrong = "credentials_wrong",
        ApiKeyMissing = "api_key_missing",
        ApiKeyWrong = "api_key_wrong",
        RewriteInvalid = "rewrite_invalid",
        Maintenance = "maintenance",
        Responded = "responded",
        NoEndpoint = "no_endpoint",
        NoHealthyEndpoint = "no_healthy_endpoint",
        EndpointsFull = "endpoints_full",
        UpstreamFull = "upstream_full",
        BreakerOpen = "breaker_open",
        QueueFull = "queue_full",
        QueueTimeout = "queue_timeout",
        DescriptorsExhausted = "descriptors_exhausted",
        MaxForwards = "max_forwards",
        CallText = "grpc_web_text",
        CallTimeout = "grpc_timeout",
        TunnelIdleTimeout = "tunnel_idle_timeout",
        DrainTimeout = "drain_timeout",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::TlsFailure;
    use crate::tripwire::Tripwire;
    use std::collections::BTreeSet;

    /// The words of the first column of every table below this heading of a page, each of which stands there once.
    fn documented(page: &str, heading: &str) -> BTreeSet<String> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/");
        let page = std::fs::read_to_string(format!("{path}{page}")).unwrap();
        let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut words = BTreeSet::new();
        let first_columns = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        for word in first_columns.flat_map(|column| column.trim_end_matches('`').split("`, `")) {
            assert!(words.insert(word.to_owned()), "{word} stands twice below {heading}");
        }
        words
    }

    fn names<W: Word>() -> BTreeSet<String> {
        W::ALL.iter().map(|word| word.name().to_owned()).collect()
    }

    #[test]
    fn words_are_numbered_without_gaps_and_differ() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        let all = names::<Reason>().union(&names::<Tripwire>()).count();
        assert_eq!(all, Reason::ALL.len() + Tripwire::ALL.len());
    }

    #[test]
    fn every_word_is_documented_and_nothing_else_is() {
        assert_eq!(documented("observability.md", "Reasons"), names::<Reason>());
        assert_eq!(documented("observability.md", "Tripwires"), names::<Tripwire>());
        assert_eq!(documented("observability.md", "TLS failures"), names::<TlsFailure>());
        let answers = documented("threat-model.md", "Every refused input and its answer");
        assert_eq!(answers, names::<Reason>());
    }
}
