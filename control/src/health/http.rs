//! The kinds `http` and `https`: one request, and what its answer must be like.

use std::pin::pin;

use corelane_engine::protocol::UpstreamProtocol;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::http::request;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::dial::{Outcome, dial_asking};
use super::found::is_found;
use super::grpc::{Tasks, WINDOW_BYTES};
use super::subject::Subject;
use super::tls::Tls;
use crate::config::HttpCheck;

pub(super) async fn run(check: &HttpCheck, tls: Option<&Tls>, subject: &Subject) -> Outcome {
    let (stream, is_agreed) = dial_asking(subject, tls).await?;
    let is_http2 = match check.protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2ClearText => true,
        UpstreamProtocol::Negotiated => is_agreed,
        UpstreamProtocol::Http2 if is_agreed => true,
        UpstreamProtocol::Http2 => return Err("TLS: HTTP/2 was not agreed on".into()),
    };
    let host = check.host.as_deref().map_or_else(|| subject.authority(), ToOwned::to_owned);
    let request = Request::builder().method(&*check.method);
    if is_http2 {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let request = with_fields(check, request.uri(format!("{scheme}://{host}{}", check.path)))?;
        let mut builder = http2::Builder::new(Tasks::default());
        builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let handshake = builder.max_header_list_size(WINDOW_BYTES).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
        return finish(check, sender.send_request(request), connection).await;
    }
    let request = request.uri(&*check.path).header(HOST, host).header(CONNECTION, "close");
    let request = with_fields(check, request)?;
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    finish(check, sender.send_request(request), connection).await
}

/// Judges the answer, while the connection runs.
async fn finish(
    check: &HttpCheck,
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    connection: impl Future,
) -> Outcome {
    let exchange = async {
        let response = response.await.map_err(|error| error.to_string())?;
        judge(check, response).await
    };
    let (mut exchange, connection) = (pin!(exchange), pin!(connection));
    tokio::select! {
        outcome = &mut exchange => return outcome,
        // The endpoint has closed: what it sent before is still to be read.
        _ = connection => {}
    }
    exchange.await
}

fn with_fields(check: &HttpCheck, mut request: request::Builder) -> Result<Request<Empty<Bytes>>, String> {
    let has_agent = check.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(USER_AGENT.as_str()));
    if !has_agent {
        request = request.header(USER_AGENT, AGENT);
    }
    for (name, value) in &check.headers {
        request = request.header(&**name, &**value);
    }
    request.body(Empty::new()).map_err(|error| error.to_string())
}

async fn judge(check: &HttpCheck, response: Response<Incoming>) -> Outcome {
    let status = response.status().as_u16();
    if !check.statuses.iter().any(|&(first, last)| (first..=last).contains(&status)) {
        return Err(format!("status {status}").into());
    }
    let Some(expected) = &check.body else { return Ok(()) };
    let mut seen = Vec::new();
    let mut body = response.into_body();
    while seen.len() < BODY_BYTES_MAX {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| error.to_string())?;
        if let Some(data) = frame.data_ref() {
            seen.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - seen.len())]);
        }
    }
    if is_found(expected, &seen) { Ok(()) } else { Err("body does not match".into()) }
}

/// What the endpoints' logs show.
pub(super) const AGENT: &str = concat!("corelane-health/", env!("CARGO_PKG_VERSION"));

/// Of an answer's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Of an answer's body, that are looked at.
const BODY_BYTES_MAX: usize = 64 * 1024;
