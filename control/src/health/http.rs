//! The kinds `http` and `https`: one request, and what its answer must be like.

use std::pin::pin;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::dial::{Outcome, dial};
use super::found::is_found;
use super::subject::Subject;
use super::tls::Tls;
use crate::config::HttpCheck;

pub(super) async fn run(check: &HttpCheck, tls: Option<&Tls>, subject: &Subject) -> Outcome {
    let stream = dial(subject, tls).await?;
    let handshake = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let request = request(check, subject)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
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

fn request(check: &HttpCheck, subject: &Subject) -> Result<Request<Empty<Bytes>>, String> {
    let host = check.host.as_deref().map_or_else(|| subject.authority(), ToOwned::to_owned);
    let mut request = Request::builder()
        .method(&*check.method)
        .uri(&*check.path)
        .header(HOST, host)
        .header(CONNECTION, "close");
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
