//! Every way in which an exchange can fail, and the one table that says what follows from it.

use corelane_http1::{ChunkError, HeadError};
use corelane_semantics::{FramingError, HostError};

use crate::message::ReceiveError;

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
    /// `Connection` names more options than [`crate::heads::CONNECTION_OPTIONS_MAX`].
    RequestOptions,
    /// CONNECT and TRACE are refused.
    MethodRefused,
    /// The request's head did not arrive in time.
    HeadTimeout,
    /// The request's body made no progress.
    RequestBodyTimeout,
    /// The client left before it had its answer.
    ClientGone,
    /// The client does not read its answer.
    ClientStalled,
    /// No route matches.
    NoRoute,
    /// The upstream has no endpoint that can be chosen.
    NoEndpoint,
    /// Descriptors or memory for a connection have run out here.
    Exhausted,
    /// A connection could not be opened.
    ConnectFailed,
    /// A connection did not open in time.
    ConnectTimeout,
    /// The upstream closed or reset the connection before its response head was complete.
    UpstreamClosed,
    /// The upstream does not take the request.
    UpstreamStalled,
    /// The response head did not arrive in time.
    ResponseHeadTimeout,
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
    /// The response's body ended early.
    ResponseTruncated,
    /// The whole exchange took too long.
    RequestTimeout,
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
    /// The status of the answer, the reason in the access log and who is at fault. 499 is never sent: nobody is there
    /// to read it.
    pub(crate) const fn entry(self) -> (u16, &'static str, Fault) {
        use Fault::{Downstream, Local, Upstream};
        match self {
            Self::RequestHead(error) => (error.status(), error.reason(), Downstream),
            Self::RequestFraming(error) => (400, framing_reason(error), Downstream),
            Self::RequestHost(error) => (400, host_reason(error), Downstream),
            Self::RequestChunk(error) => (error.status(), error.reason(), Downstream),
            Self::RequestOptions => (400, "connection_options_excess", Downstream),
            Self::MethodRefused => (405, "method_refused", Downstream),
            Self::HeadTimeout => (408, "head_timeout", Downstream),
            Self::RequestBodyTimeout => (408, "request_body_timeout", Downstream),
            Self::ClientGone => (499, "client_gone", Downstream),
            Self::ClientStalled => (499, "send_timeout", Downstream),
            Self::NoRoute => (404, "no_route", Local),
            Self::NoEndpoint => (503, "no_endpoint", Local),
            Self::Exhausted => (503, "descriptors_exhausted", Local),
            Self::ConnectFailed => (502, "connect_failed", Upstream),
            Self::ConnectTimeout => (504, "connect_timeout", Upstream),
            Self::UpstreamClosed => (502, "upstream_closed", Upstream),
            Self::UpstreamStalled => (504, "upstream_send_timeout", Upstream),
            Self::ResponseHeadTimeout => (504, "response_head_timeout", Upstream),
            Self::ResponseBodyTimeout => (504, "response_body_timeout", Upstream),
            Self::ResponseHead(error) => (502, error.reason(), Upstream),
            Self::ResponseFraming(error) => (502, framing_reason(error), Upstream),
            Self::ResponseChunk(error) => (502, error.reason(), Upstream),
            Self::ResponseOptions => (502, "connection_options_excess", Upstream),
            Self::InterimFlood => (502, "interim_responses_excess", Upstream),
            Self::UnexpectedSwitch => (502, "unexpected_switch", Upstream),
            Self::ResponseTruncated => (502, "response_truncated", Upstream),
            Self::RequestTimeout => (504, "request_timeout", Upstream),
        }
    }

    /// The status of the answer.
    pub(crate) const fn status(self) -> u16 {
        self.entry().0
    }

    /// The reason in the access log.
    pub(crate) const fn reason(self) -> &'static str {
        self.entry().1
    }

    /// Who is at fault.
    pub(crate) const fn fault(self) -> Fault {
        self.entry().2
    }

    /// Whether where the next request begins is unknown, so that the connection closes after the answer.
    pub(crate) const fn ends_connection(self) -> bool {
        // Behind a refused CONNECT the client may already speak another protocol.
        matches!(self.fault(), Fault::Downstream)
    }

    /// What a failure to receive a request means.
    pub(crate) fn from_request(error: &ReceiveError) -> Self {
        match error {
            ReceiveError::Head(error) => Self::RequestHead(*error),
            ReceiveError::Framing(error) => Self::RequestFraming(*error),
            ReceiveError::Chunk(error) => Self::RequestChunk(*error),
            ReceiveError::Closed | ReceiveError::Io(_) => Self::ClientGone,
        }
    }

    /// What a failure to receive a response means, before or after its head was complete.
    pub(crate) fn from_response(error: &ReceiveError, head_complete: bool) -> Self {
        match error {
            ReceiveError::Head(error) => Self::ResponseHead(*error),
            ReceiveError::Framing(error) => Self::ResponseFraming(*error),
            ReceiveError::Chunk(error) => Self::ResponseChunk(*error),
            ReceiveError::Closed | ReceiveError::Io(_) if head_complete => Self::ResponseTruncated,
            ReceiveError::Closed | ReceiveError::Io(_) => Self::UpstreamClosed,
        }
    }
}

const fn framing_reason(error: FramingError) -> &'static str {
    match error {
        FramingError::LengthWithTransferEncoding => "length_with_transfer_encoding",
        FramingError::LengthRepeated => "length_repeated",
        FramingError::LengthInvalid => "length_invalid",
        FramingError::TransferEncodingUnsupported => "transfer_encoding_unsupported",
        FramingError::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
        FramingError::TransferEncodingInInterim => "transfer_encoding_in_interim",
        FramingError::ContentInConnect => "content_in_connect",
    }
}

const fn host_reason(error: HostError) -> &'static str {
    match error {
        HostError::Missing => "host_missing",
        HostError::Repeated => "host_repeated",
        HostError::Invalid => "host_invalid",
        HostError::Mismatch => "host_mismatch",
    }
}
