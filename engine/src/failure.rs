//! Every way in which an exchange can fail, and the one table that says what follows from it.

use corelane_filters::Reason as FilterReason;
use corelane_http1::{ChunkError, HeadError};
use corelane_semantics::{FramingError, HostError, PathError};

use crate::message::ReceiveError;
use crate::reason::Reason;
use crate::reputation::Offence;

/// Why an exchange failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request's head breaks a rule.
    RequestHead(HeadError),
    /// The length of the request's body cannot be told.
    RequestFraming(FramingError),
    /// The request's host cannot be told.
    RequestHost(HostError),
    /// The request's chunked body breaks a rule.
    RequestChunk(ChunkError),
    /// The path is spelt in a way that servers disagree about.
    RequestPath(PathError),
    /// `Connection` names too many options.
    RequestOptions,
    /// `Connection` names a field that is not the hop's own.
    RequestNomination,
    /// A field with `_` in its name, where the listener refuses them.
    UnderscoreField,
    /// The listener refuses the method.
    MethodRefused,
    /// `Expect` is not exactly `100-continue`.
    ExpectationUnsupported,
    /// An https target without TLS.
    SchemeMismatch,
    /// The host is none that the client's TLS connection is for.
    Misdirected,
    /// `Max-Forwards` has run out: this is where the request was to end.
    MaxForwards,
    /// A body on a request to switch protocols.
    UpgradeWithBody,
    /// An extended CONNECT for what the route does not allow.
    UpgradeRefused,
    /// The request's body is larger than the route allows.
    BodyTooLarge,
    /// The request's body comes more slowly than the listener allows.
    BodyTooSlow,
    /// The request's head did not arrive in time.
    HeadTimeout,
    /// The request's body made no progress.
    RequestBodyTimeout,
    /// The client left before it had its answer.
    ClientGone,
    /// The client does not read its answer.
    ClientStalled,
    /// The client reads its answer more slowly than the listener allows.
    ClientTooSlow,
    /// No route matches.
    NoRoute,
    /// A filter answered, with this status.
    Filter(u16, FilterReason),
    /// The upstream has no endpoint that can be chosen.
    NoEndpoint,
    /// Every endpoint that could be chosen is down.
    NoHealthyEndpoint,
    /// Every endpoint that could be chosen has as many requests as it may have.
    EndpointsFull,
    /// The upstream has as many requests as it may have.
    UpstreamFull,
    /// The upstream's breaker lets nothing through, for so many seconds at least.
    BreakerOpen(u16),
    /// All is full, and as many requests wait as may.
    QueueFull,
    /// All is full, and was for as long as a request may wait.
    QueueTimeout,
    /// Descriptors or memory for a connection have run out here.
    Exhausted,
    /// A connection could not be opened.
    ConnectFailed,
    /// A connection did not open in time.
    ConnectTimeout,
    /// TLS could not be begun with the endpoint.
    UpstreamTls,
    /// The endpoint's certificate is not one that is accepted.
    UpstreamCertificate,
    /// The upstream closed or reset the connection before its response head was complete.
    UpstreamClosed,
    /// The upstream does not take the request.
    UpstreamStalled,
    /// The response head did not arrive in time.
    ResponseHeadTimeout,
    /// An attempt has brought nothing for so long that another endpoint is asked.
    TryTimeout,
    /// Of two attempts at once the other one was answered first.
    HedgeLost,
    /// The response was dropped for its status, and another endpoint is asked.
    StatusRetried(u16),
    /// The response's body made no progress.
    ResponseBodyTimeout,
    /// The response's head breaks a rule.
    ResponseHead(HeadError),
    /// The length of the response's body cannot be told.
    ResponseFraming(FramingError),
    /// The response's chunked body breaks a rule.
    ResponseChunk(ChunkError),
    /// `Connection` in the response names too many options.
    ResponseOptions,
    /// More interim responses than [`crate::exchange::INTERIM_RESPONSES_MAX`].
    InterimFlood,
    /// A 101 that nobody asked for.
    UnexpectedSwitch,
    /// A 101 to another protocol than those that were asked for, or to a WebSocket without the answer to its key.
    SwitchMismatch,
    /// The upstream does not speak what an HTTP/2 client asks for, or speaks HTTP/2 and takes no request for it.
    UpgradeUnsupported,
    /// A tunnel carried nothing for too long.
    TunnelIdle,
    /// The response's body ended early.
    ResponseTruncated,
    /// The whole exchange took too long.
    RequestTimeout,
    /// A call of gRPC-Web as text that is no base64.
    CallText,
    /// A call took longer than its client waits for it.
    CallTimeout,
    /// The process ended before the exchange did.
    DrainTimeout,
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The client.
    Downstream,
    /// The endpoint.
    Upstream,
    /// The configuration, or nobody.
    Local,
}

impl Failure {
    /// The status of the answer, the reason in logs and metrics, and who is at fault. 499 is never sent: nobody is there
    /// to read it.
    pub(crate) const fn entry(self) -> (u16, Reason, Fault) {
        use Fault::{Downstream, Local, Upstream};
        match self {
            Self::RequestHead(error) => (error.status(), head_reason(error), Downstream),
            Self::RequestFraming(error) => (400, framing_reason(error), Downstream),
            Self::RequestHost(error) => (400, host_reason(error), Downstream),
            Self::RequestChunk(error) => (error.status(), chunk_reason(error), Downstream),
            Self::RequestPath(error) => (400, path_reason(error), Downstream),
            Self::RequestOptions => (400, Reason::ConnectionOptionsExcess, Downstream),
            Self::RequestNomination => (400, Reason::ConnectionNominatesProtected, Downstream),
            Self::UnderscoreField => (400, Reason::UnderscoreField, Downstream),
            Self::MethodRefused => (405, Reason::MethodRefused, Downstream),
            Self::ExpectationUnsupported => (417, Reason::ExpectationUnsupported, Downstream),
            Self::SchemeMismatch => (421, Reason::SchemeMismatch, Downstream),
            Self::Misdirected => (421, Reason::Misdirected, Downstream),
            Self::MaxForwards => (200, Reason::MaxForwards, Local),
            Self::UpgradeWithBody => (400, Reason::UpgradeWithBody, Downstream),
            Self::UpgradeRefused => (501, Reason::UpgradeRefused, Downstream),
            Self::BodyTooLarge => (413, Reason::BodyTooLarge, Downstream),
            Self::BodyTooSlow => (408, Reason::BodyRate, Downstream),
            Self::HeadTimeout => (408, Reason::HeadTimeout, Downstream),
            Self::RequestBodyTimeout => (408, Reason::RequestBodyTimeout, Downstream),
            Self::ClientGone => (499, Reason::ClientGone, Downstream),
            Self::ClientStalled => (499, Reason::SendTimeout, Downstream),
            Self::ClientTooSlow => (499, Reason::SendRate, Downstream),
            Self::NoRoute => (404, Reason::NoRoute, Local),
            Self::Filter(status, reason) => (status, filter_reason(reason), Local),
            Self::NoEndpoint => (503, Reason::NoEndpoint, Local),
            Self::NoHealthyEndpoint => (503, Reason::NoHealthyEndpoint, Local),
            Self::EndpointsFull => (503, Reason::EndpointsFull, Local),
            Self::UpstreamFull => (503, Reason::UpstreamFull, Local),
            Self::BreakerOpen(_) => (503, Reason::BreakerOpen, Local),
            Self::QueueFull => (503, Reason::QueueFull, Local),
            Self::QueueTimeout => (503, Reason::QueueTimeout, Local),
            Self::Exhausted => (503, Reason::DescriptorsExhausted, Local),
            Self::ConnectFailed => (502, Reason::ConnectFailed, Upstream),
            Self::ConnectTimeout => (504, Reason::ConnectTimeout, Upstream),
            Self::UpstreamTls => (502, Reason::UpstreamTls, Upstream),
            Self::UpstreamCertificate => (502, Reason::UpstreamCertificate, Upstream),
            Self::UpstreamClosed => (502, Reason::UpstreamClosed, Upstream),
            Self::UpstreamStalled => (504, Reason::UpstreamSendTimeout, Upstream),
            Self::ResponseHeadTimeout => (504, Reason::ResponseHeadTimeout, Upstream),
            Self::TryTimeout => (504, Reason::PerTryTimeout, Upstream),
            Self::HedgeLost => (504, Reason::HedgeLost, Local),
            Self::StatusRetried(status) => (status, Reason::StatusRetried, Upstream),
            Self::ResponseBodyTimeout => (504, Reason::ResponseBodyTimeout, Upstream),
            Self::ResponseHead(error) => (502, head_reason(error), Upstream),
            Self::ResponseFraming(error) => (502, framing_reason(error), Upstream),
            Self::ResponseChunk(error) => (502, chunk_reason(error), Upstream),
            Self::ResponseOptions => (502, Reason::ConnectionOptionsExcess, Upstream),
            Self::InterimFlood => (502, Reason::InterimResponsesExcess, Upstream),
            Self::UnexpectedSwitch => (502, Reason::UnexpectedSwitch, Upstream),
            Self::SwitchMismatch => (502, Reason::SwitchMismatch, Upstream),
            // Which a client can bring about at any server.
            Self::UpgradeUnsupported => (502, Reason::UpgradeUnsupported, Local),
            Self::TunnelIdle => (504, Reason::TunnelIdleTimeout, Local),
            Self::ResponseTruncated => (502, Reason::ResponseTruncated, Upstream),
            Self::RequestTimeout => (504, Reason::RequestTimeout, Upstream),
            Self::CallText => (400, Reason::CallText, Downstream),
            Self::CallTimeout => (504, Reason::CallTimeout, Local),
            Self::DrainTimeout => (503, Reason::DrainTimeout, Local),
        }
    }

    /// The status of the answer.
    pub(crate) const fn status(self) -> u16 {
        self.entry().0
    }

    /// When the client may come again.
    pub(crate) const fn retry_after_s(self) -> u16 {
        match self {
            Self::BreakerOpen(seconds) => seconds,
            _ => 1,
        }
    }

    /// The reason in logs and metrics.
    pub(crate) const fn reason(self) -> Reason {
        self.entry().1
    }

    /// Who is at fault.
    pub(crate) const fn fault(self) -> Fault {
        self.entry().2
    }

    /// Whether it is one: a filter may answer what is none, as a redirect.
    pub(crate) const fn is_failure(self) -> bool {
        match self {
            Self::Filter(_, reason) => reason.is_refusal(),
            _ => true,
        }
    }

    /// Whether where the next request begins is unknown, so that the connection closes after the answer.
    pub(crate) const fn ends_connection(self) -> bool {
        // Behind a refused CONNECT the client may already speak another protocol.
        matches!(self.fault(), Fault::Downstream)
    }

    /// Whether no connection came about, so that nothing was sent.
    pub(crate) const fn is_of_connecting(self) -> bool {
        matches!(
            self,
            Self::ConnectFailed | Self::ConnectTimeout | Self::UpstreamTls | Self::UpstreamCertificate
        )
    }

    /// Whether the endpoint has put the connection out of step, and how.
    pub(crate) const fn offence(self) -> Option<Offence> {
        match self {
            Self::ResponseTruncated => Some(Offence::ShortBody),
            Self::ResponseHead(_)
            | Self::ResponseFraming(_)
            | Self::ResponseChunk(_)
            | Self::ResponseOptions
            | Self::InterimFlood
            | Self::UnexpectedSwitch
            | Self::SwitchMismatch => Some(Offence::Malformed(self.reason())),
            _ => None,
        }
    }

    /// What a failure to receive a request means.
    pub(crate) fn from_request(error: &ReceiveError) -> Self {
        match error {
            ReceiveError::Head(error) => Self::RequestHead(*error),
            ReceiveError::Framing(error) => Self::RequestFraming(*error),
            ReceiveError::Chunk(error) => Self::RequestChunk(*error),
            ReceiveError::Closed | ReceiveError::NoTunnel | ReceiveError::Io(_) => Self::ClientGone,
        }
    }

    /// What a failure to receive a response means, before or after its head was complete.
    pub(crate) fn from_response(error: &ReceiveError, head_complete: bool) -> Self {
        match error {
            ReceiveError::Head(error) => Self::ResponseHead(*error),
            ReceiveError::Framing(error) => Self::ResponseFraming(*error),
            ReceiveError::Chunk(error) => Self::ResponseChunk(*error),
            ReceiveError::NoTunnel => Self::UpgradeUnsupported,
            ReceiveError::Closed | ReceiveError::Io(_) if head_complete => Self::ResponseTruncated,
            ReceiveError::Closed | ReceiveError::Io(_) => Self::UpstreamClosed,
        }
    }
}

const fn filter_reason(reason: FilterReason) -> Reason {
    match reason {
        FilterReason::AddressDenied => Reason::AddressDenied,
        FilterReason::UserAgentDenied => Reason::UserAgentDenied,
        FilterReason::ClientCertificateDenied => Reason::ClientCertificateDenied,
        FilterReason::RefererDenied => Reason::RefererDenied,
        FilterReason::RateLimited => Reason::RateLimited,
        FilterReason::ConcurrencyLimited => Reason::ConcurrencyLimited,
        FilterReason::CredentialsMissing => Reason::CredentialsMissing,
        FilterReason::CredentialsWrong => Reason::CredentialsWrong,
        FilterReason::ApiKeyMissing => Reason::ApiKeyMissing,
        FilterReason::ApiKeyWrong => Reason::ApiKeyWrong,
        FilterReason::RewriteInvalid => Reason::RewriteInvalid,
        FilterReason::Maintenance => Reason::Maintenance,
        FilterReason::Redirected | FilterReason::Responded | FilterReason::CorsPreflight => Reason::Responded,
    }
}

const fn head_reason(error: HeadError) -> Reason {
    match error {
        HeadError::BareLineFeed => Reason::BareLineFeed,
        HeadError::BareCarriageReturn => Reason::BareCarriageReturn,
        HeadError::Nul => Reason::Nul,
        HeadError::HeadTooLarge => Reason::HeadTooLarge,
        HeadError::RequestLineTooLong => Reason::RequestLineTooLong,
        HeadError::FieldTooLarge => Reason::FieldTooLarge,
        HeadError::TooManyFields => Reason::TooManyFields,
        HeadError::RequestLineInvalid => Reason::RequestLineInvalid,
        HeadError::MethodInvalid => Reason::MethodInvalid,
        HeadError::TargetInvalid => Reason::TargetInvalid,
        HeadError::VersionInvalid => Reason::VersionInvalid,
        HeadError::VersionUnsupported => Reason::VersionUnsupported,
        HeadError::StatusLineInvalid => Reason::StatusLineInvalid,
        HeadError::FieldNameInvalid => Reason::FieldNameInvalid,
        HeadError::FieldValueInvalid => Reason::FieldValueInvalid,
        HeadError::LineFolding => Reason::LineFolding,
        HeadError::NotOneHead => Reason::NotOneHead,
    }
}

const fn framing_reason(error: FramingError) -> Reason {
    match error {
        FramingError::LengthWithTransferEncoding => Reason::LengthWithTransferEncoding,
        FramingError::LengthRepeated => Reason::LengthRepeated,
        FramingError::LengthInvalid => Reason::LengthInvalid,
        FramingError::TransferEncodingUnsupported => Reason::TransferEncodingUnsupported,
        FramingError::TransferEncodingInHttp10 => Reason::TransferEncodingInHttp10,
        FramingError::TransferEncodingInInterim => Reason::TransferEncodingInInterim,
        FramingError::ContentInConnect => Reason::ContentInConnect,
    }
}

const fn host_reason(error: HostError) -> Reason {
    match error {
        HostError::Missing => Reason::HostMissing,
        HostError::Repeated => Reason::HostRepeated,
        HostError::Invalid => Reason::HostInvalid,
        HostError::Mismatch => Reason::HostMismatch,
    }
}

const fn path_reason(error: PathError) -> Reason {
    match error {
        PathError::EncodedSlash => Reason::PathEncodedSlash,
        PathError::Backslash => Reason::PathBackslash,
        PathError::EncodedControl => Reason::PathEncodedControl,
        PathError::EncodedDelimiter => Reason::PathEncodedDelimiter,
        PathError::DotSegment => Reason::PathDotSegment,
        PathError::Parameter => Reason::PathParameter,
        PathError::EmptySegment => Reason::PathEmptySegment,
        PathError::EscapeInvalid => Reason::PathEscapeInvalid,
        PathError::DotAmbiguous => Reason::PathDotAmbiguous,
        PathError::AboveRoot => Reason::PathAboveRoot,
    }
}

const fn chunk_reason(error: ChunkError) -> Reason {
    match error {
        ChunkError::SizeInvalid => Reason::ChunkSizeInvalid,
        ChunkError::SizeTooLong => Reason::ChunkSizeTooLong,
        ChunkError::ExtensionInvalid => Reason::ChunkExtensionInvalid,
        ChunkError::LineTooLong => Reason::ChunkLineTooLong,
        ChunkError::ExtensionsTooLong => Reason::ChunkExtensionsTooLong,
        ChunkError::BareLineFeed => Reason::ChunkBareLineFeed,
        ChunkError::BareCarriageReturn => Reason::ChunkBareCarriageReturn,
        ChunkError::DataUnterminated => Reason::ChunkDataUnterminated,
        ChunkError::TrailerInvalid => Reason::TrailerInvalid,
        ChunkError::TrailersTooLarge => Reason::TrailersTooLarge,
        ChunkError::TooManyTrailers => Reason::TooManyTrailers,
    }
}
