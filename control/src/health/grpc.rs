//! The kind `grpc`: `grpc.health.v1.Health/Check`, one unary call over HTTP/2.
//!
//! A message has five bytes before it: whether it is compressed, and its length. The request's only field is the service
//! (1, a string), the response's only one the status (1, an enumeration).

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::dial::{Outcome, dial};
use super::http::AGENT;
use super::subject::Subject;
use super::tls::Tls;
use crate::config::GrpcCheck;

pub(super) async fn run(check: &GrpcCheck, tls: Option<&Tls>, subject: &Subject) -> Outcome {
    let stream = dial(subject, tls).await?;
    let tasks = Tasks::default();
    let mut builder = http2::Builder::new(tasks);
    // What it may send beyond the seven bytes of an answer.
    builder.initial_stream_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let handshake = builder.max_header_list_size(WINDOW_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| error.to_string())?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let request = Request::post(format!("{scheme}://{}{METHOD}", subject.authority()))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(Full::new(Bytes::from(request_message(&check.service))))
        .map_err(|error| error.to_string())?;
    let call = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        judge(response).await
    };
    let (mut call, connection) = (pin!(call), pin!(connection));
    tokio::select! {
        outcome = &mut call => return outcome,
        _ = connection => {}
    }
    call.await
}

async fn judge(response: Response<Incoming>) -> Outcome {
    if response.status() != 200 {
        return Err(format!("status {}", response.status().as_u16()).into());
    }
    // An error without a message has its status here already.
    if let Some(status) = grpc_status(response.headers()) {
        return Err(status.into());
    }
    let body = Limited::new(response.into_body(), MESSAGE_BYTES_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?;
    if let Some(status) = body.trailers().and_then(grpc_status) {
        return Err(status.into());
    }
    match serving_status(&body.to_bytes()) {
        Some(SERVING) => Ok(()),
        Some(0) => Err("UNKNOWN".into()),
        Some(2) => Err("NOT_SERVING".into()),
        Some(3) => Err("SERVICE_UNKNOWN".into()),
        Some(other) => Err(format!("serving status {other}").into()),
        None => Err("the answer is no HealthCheckResponse".into()),
    }
}

/// What is wrong, if the call has failed.
fn grpc_status(fields: &HeaderMap) -> Option<String> {
    let status = fields.get("grpc-status")?.to_str().unwrap_or("?");
    let name = match status {
        "0" => return None,
        "5" => " NOT_FOUND",
        "12" => " UNIMPLEMENTED",
        "14" => " UNAVAILABLE",
        _ => "",
    };
    Some(format!("grpc-status {status}{name}"))
}

fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(FIELD_1_BYTES);
        push_varint(&mut message, service.len());
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).expect("the configuration bounds the service's name");
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// The status in a framed HealthCheckResponse; a field that is not there is 0. `None`: it is no such message.
fn serving_status(framed: &[u8]) -> Option<u64> {
    let (head, message) = framed.split_at_checked(5)?;
    let [0, length @ ..] = head else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    if usize::try_from(length).ok()? != message.len() {
        return None;
    }
    match message {
        [] => Some(0),
        [FIELD_1_VARINT, varint @ ..] => {
            let (&last, before) = varint.split_last()?;
            let is_one = last < 0x80 && before.iter().all(|byte| *byte >= 0x80) && varint.len() <= 9;
            let bits = varint.iter().rev().fold(0, |bits, byte| bits << 7 | u64::from(byte & 0x7f));
            is_one.then_some(bits)
        }
        _ => None,
    }
}

fn push_varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Where hyper runs the connection; it ends with the check.
#[derive(Clone, Default)]
pub(super) struct Tasks(Rc<RefCell<JoinSet<()>>>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.borrow_mut().spawn_local(task);
    }
}

const METHOD: &str = "/grpc.health.v1.Health/Check";
const SERVING: u64 = 1;
/// Field 1, a length and so many bytes.
const FIELD_1_BYTES: u8 = 0x0a;
/// Field 1, a number.
const FIELD_1_VARINT: u8 = 0x08;
/// Of data and of fields; the least that HTTP/2 begins with (RFC 9113 §6.9.2) is as much.
pub(super) const WINDOW_BYTES: u32 = 65_535;
/// The answer has seven bytes.
const MESSAGE_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_framed() {
        assert_eq!(request_message(""), [0, 0, 0, 0, 0]);
        assert_eq!(request_message("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request_message(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 3 + 300);
    }

    #[test]
    fn a_status_is_read() {
        for (framed, status) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], Some(1)),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2)),
            (&[0, 0, 0, 0, 0], Some(0)),
            (&[0, 0, 0, 0, 3, 8, 0x80, 1], Some(128)),
            (&[1, 0, 0, 0, 2, 8, 1], None),
            (&[0, 0, 0, 0, 3, 8, 1], None),
            (&[0, 0, 0, 0, 2, 8, 0x80], None),
            (&[0, 0, 0, 0, 1, 8], None),
            (&[0, 0, 0, 0, 3, 8, 1, 1], None),
            (&[0, 0, 0, 0, 2, 0x0a, 0], None),
            (&[0, 0, 0], None),
        ] {
            assert_eq!(serving_status(framed), status, "{framed:?}");
        }
    }
}
