//! How much memory a worker and its connections can take, computed from the limits that bound them.
//!
//! Everything here is an upper bound of the process's own resident memory, and none of it is tight: every connection is
//! taken to be at its worst at once, and every buffer of it to be full, though most pairs of them cannot be. Room that a
//! buffer has reserved and never written is not resident and not counted. What the kernel keeps for sockets is not counted
//! either (`net.ipv4.tcp_rmem` and `tcp_wmem`: some MiB for each socket that is full). What it keeps in a worker's pipes
//! is: how much that may be is decided here.
//!
//! The worst of a connection is a client that sends and does not read, before an endpoint that sends and does not read:
//!
//! ```text
//! client ──▶ held: pipelined requests ──▶ head ──▶ kept: what the endpoint does not take ──▶ endpoint
//!        ◀── kept: what the client does not take ◀── out: response head ◀── held ◀──
//! ```
//!
//! A side that is blocked is not read for, so that each buffer holds at most what one step received (`RECV_BYTES_MAX`),
//! beside a head or what may be pipelined.

use corelane_http1::{CHUNK_HEADER_BYTES_MAX, HeadLimits, TRAILER_BYTES_MAX};

use crate::access_log::BATCH_BYTES;
use crate::buffers::{KEPT_CAPACITY_MAX, KEPT_MAX, RECV_BYTES_MAX, SCRATCH_BYTES};
use crate::exchange::RESEND_BODY_BYTES_MAX;
use crate::h2;
use crate::io::{PIPE_BYTES_MAX, PIPES_MAX};
use crate::mirror::PIECE_BYTES_MAX;
use crate::protocol::{Http2Limits, Http2Rules};
use crate::record::LogFormat;
use crate::retry::ATTEMPTS_MAX;
use crate::tls;
use crate::tracing::protobuf::ATTRIBUTE_BYTES_MAX;

/// The limits that decide how much a connection from a client can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The listener's `head_bytes_max`.
    pub head_bytes_max: usize,
    /// The longest host that a request of the listener can name: a field or a request line, whichever may be longer.
    pub host_bytes_max: usize,
    /// The listener's `pipeline_bytes_max`.
    pub pipeline_bytes_max: usize,
    /// The largest `head_bytes_max` of the upstreams that the listener's routes lead to.
    pub response_head_bytes_max: usize,
    /// The largest body of Corelane's own answers.
    pub answer_bytes_max: usize,
    /// Whether the access log keeps words of heads ([`crate::record::LogFormat::keeps_words`]).
    pub keeps_words: bool,
}

/// What an idle connection takes at most: its session, its task, and its entries in the worker's tables, with the room that
/// those grow by, which a test adds up. Some 850 bytes were measured.
pub const IDLE_CONNECTION_BYTES: u64 = 2 * 1024;

/// What HTTP/2 adds to an idle connection at most: the `h2` crate's buffers and tables. Some 20 KiB were measured.
pub const HTTP2_IDLE_BYTES: u64 = 32 * 1024;

/// What an HTTP/2 connection to an endpoint takes at most, apart from its streams: what it is read into, a frame of the largest
/// size included, what it is written from, the tables of HPACK both ways, and what the endpoint has not taken yet.
pub const HTTP2_UPSTREAM_BYTES: u64 = allocated(
    H2_READ_BYTES
        + h2::FRAME_BYTES_MAX as usize
        + H2_WRITE_BYTES
        + 2 * H2_TABLE_BYTES
        + h2::GATHERED_BYTES_MAX,
);

/// What the `h2` crate reads into and writes from, and a table of HPACK.
const H2_READ_BYTES: usize = 8 * 1024;
const H2_WRITE_BYTES: usize = 16 * 1024;
const H2_TABLE_BYTES: usize = 4 * 1024;

/// What a request to an upstream that speaks HTTP/2 adds at most: a connection of its own, as the endpoint may take one stream at
/// a time, the fields of the response, and what of its body nobody has taken.
#[must_use]
pub fn http2_upstream_bytes(rules: &Http2Rules, response_head_bytes_max: usize) -> u64 {
    let window = rules.stream_window.min(rules.connection_window) as usize;
    HTTP2_UPSTREAM_BYTES + allocated(2 * window + h2::COMPACT_BYTES + 2 * response_head_bytes_max)
}

/// What an idle connection to an endpoint takes at most: its entries in the pool and in the worker's tables.
pub const POOLED_CONNECTION_BYTES: u64 = 512;

/// What TLS adds to an idle connection at most: its keys, what rustls keeps of it, who the client is. Of it 2.7 KiB are on the
/// heap, which a test counts.
pub const TLS_IDLE_BYTES: u64 = 8 * 1024;

/// The certificates that a peer has shown are kept for as long as its connection: those of endpoints, and of clients that are
/// asked for any.
pub const PEER_CHAIN_BYTES: u64 = allocated(tls::MESSAGE_BYTES_MAX);

/// What TLS adds to a connection that is busy, at most: beside that, a message of a handshake that is not whole, plaintext
/// that was not asked for, and records that the peer does not take.
#[must_use]
pub fn tls_busy_bytes() -> u64 {
    TLS_IDLE_BYTES + allocated(tls::HELD_BYTES_MAX + RECV_BYTES_MAX + tls::SEALED_BYTES_MAX)
}

/// What a busy connection takes at most, its upstream connection included.
#[must_use]
pub fn busy_connection_bytes(limits: &ConnectionLimits) -> u64 {
    let held_of_client = limits.head_bytes_max.max(limits.pipeline_bytes_max) + RECV_BYTES_MAX;
    IDLE_CONNECTION_BYTES + exchange_bytes(limits, held_of_client)
}

/// What a connection that speaks HTTP/2 takes at most, with each of its streams an exchange at its worst, and their upstream
/// connections. `fields_max` is the listener's.
#[must_use]
pub fn http2_connection_bytes(limits: &ConnectionLimits, http2: &Http2Limits, fields_max: usize) -> u64 {
    // Bytes of a head as they were decoded or read, and a table of their fields.
    let fields = |bytes: usize, fields_max: usize| 2 * bytes + HTTP2_FIELD_BYTES * fields_max;
    let request = fields(limits.head_bytes_max + 32 * (fields_max + 8), fields_max);
    let response = fields(limits.response_head_bytes_max + HEAD_ADDITIONS, HeadLimits::default().fields_max);
    let stream = exchange_bytes(limits, request) + allocated(response + HTTP2_STREAM_BYTES);
    // Requests whose streams the client has reset wait for a place with as many others.
    let waiting = allocated(request + HTTP2_STREAM_BYTES);
    let connection = HTTP2_CODEC_BYTES + h2::GATHERED_BYTES_MAX + RECV_BYTES_MAX;
    // As they were copied together, with the room that a copy grows by; as they have come since, with all that came with them.
    let bodies = 2 * http2.connection_window as usize + h2::COMPACT_BYTES + h2::TURN_BYTES_MAX;
    let small_frames = h2::SMALL_FRAMES_MAX * HTTP2_FRAME_BYTES;
    IDLE_CONNECTION_BYTES
        + allocated(connection + bodies + small_frames)
        + u64::from(http2.streams_max) * (stream + waiting)
}

/// What an exchange takes at most, with its upstream connection. `held_of_client`: what was received for it and not used yet.
fn exchange_bytes(limits: &ConnectionLimits, held_of_client: usize) -> u64 {
    let request_head = limits.head_bytes_max + HOST_REPEATS * limits.host_bytes_max + HEAD_ADDITIONS;
    let response_head = limits.response_head_bytes_max + HEAD_ADDITIONS;
    let answer = HEAD_ADDITIONS + limits.answer_bytes_max;
    // Each word once: fields and cookies, the first line, and the protocol in it.
    let words = if limits.keeps_words { 2 * limits.head_bytes_max + response_head } else { 0 };
    // The head as it is sent, with a small body, until the response is complete: it may have to be sent again.
    let head = request_head + RESEND_BODY_BYTES_MAX + words;
    // The head, or the answer, that is being written for the client.
    let out = response_head.max(answer);
    let kept_for_endpoint = head - words + RECV_BYTES_MAX + FRAMING;
    let held_of_endpoint = limits.response_head_bytes_max + RECV_BYTES_MAX;
    // An answer of Corelane's own may stand behind an interim response that the client does not take.
    let kept_for_client = response_head + answer.max(RECV_BYTES_MAX + FRAMING);
    let buffers = [head, out, held_of_client, kept_for_endpoint, held_of_endpoint, kept_for_client];
    // The free list gives a buffer as large as it keeps them, however little is needed.
    let buffers: usize = buffers.into_iter().map(|bytes| bytes.max(KEPT_CAPACITY_MAX)).sum();
    // What `Connection` names is kept for the trailers, on both sides.
    let nominated = limits.head_bytes_max + limits.response_head_bytes_max;
    BUSY_TASK_BYTES + allocated(buffers + 2 * TRAILER_BYTES_MAX + nominated)
}

/// What the mirrored requests of one route take at most on one worker, of which there are `mirrors_max` at once. `limits` are
/// those of the listener with the largest heads, with the `head_bytes_max` of the mirror's upstream.
#[must_use]
pub fn mirrors_bytes(limits: &ConnectionLimits, body_bytes_max: usize, mirrors_max: usize) -> u64 {
    let head =
        limits.head_bytes_max + HOST_REPEATS * limits.host_bytes_max + HEAD_ADDITIONS + RESEND_BODY_BYTES_MAX;
    let held = limits.response_head_bytes_max + RECV_BYTES_MAX;
    let buffers = [head, body_bytes_max, held, head + PIECE_BYTES_MAX];
    let buffers: usize = buffers.into_iter().map(|bytes| bytes.max(KEPT_CAPACITY_MAX)).sum();
    // A body that outgrows its buffer is copied to a larger one: one at a time.
    let bytes = mirrors_max * buffers + body_bytes_max;
    allocated(bytes) + mirrors_max as u64 * (MIRROR_TASK_BYTES + POOLED_CONNECTION_BYTES)
}

/// What a worker takes at most apart from its connections: its scratch buffer, those of TLS, its free list, its tables for one head and
/// one path of this size, its ring and its stack, and all its pipes full.
#[must_use]
pub fn worker_bytes(head_bytes_max: usize) -> u64 {
    let tables = HEAD_TABLES_BYTES + PATH_FORMS * head_bytes_max;
    // One more: what HTTP/2 connections gather in.
    allocated(SCRATCH_BYTES + (KEPT_MAX + 1) * KEPT_CAPACITY_MAX + tables + tls::STAGE_BYTES_MAX)
        + RUNTIME_BYTES
        + (PIPES_MAX * PIPE_BYTES_MAX) as u64
}

/// What access-log records on their way take at most, with a channel of `batches_max` batches: full ones and emptied ones,
/// one for each worker, and one for the writer. `head_bytes_max` is the largest of all heads.
#[must_use]
pub fn access_log_bytes(
    batches_max: usize,
    workers: usize,
    head_bytes_max: usize,
    format: &LogFormat,
) -> u64 {
    // The last record of a batch goes beyond its size; a byte of a head becomes at most `\u00XX`.
    let record = 6 * head_bytes_max * format.heads_max() + RECORD_BYTES + format.fixed_bytes();
    allocated((2 * batches_max + workers + 1) * (BATCH_BYTES + record))
}

/// What spans on their way take at most, with a channel of `batches_max` batches: full ones and emptied ones, and those of
/// the workers.
#[must_use]
pub fn spans_bytes(batches_max: usize, workers: usize) -> u64 {
    allocated((2 * batches_max + workers) * (BATCH_BYTES + REQUEST_SPAN_BYTES))
}

/// What a recorded exchange holds at most until it ends, when it is given back.
#[must_use]
pub fn trace_bytes() -> u64 {
    // A vector that grows has up to twice what is in it.
    allocated(2 * (REQUEST_SPAN_BYTES + TRACED_MAX * ATTEMPT_SPAN_BYTES))
}

/// A text of a client in an attribute: cut, and each byte a character of two. With its key.
const CLIENT_TEXT_BYTES: usize = 2 * ATTRIBUTE_BYTES_MAX + 64;

/// Method, path, query, host, user agent; `tracestate`; and twelve short ones.
const REQUEST_SPAN_BYTES: usize = 5 * CLIENT_TEXT_BYTES + 512 + 12 * 128;

/// The URL, and ten short ones.
const ATTEMPT_SPAN_BYTES: usize = CLIENT_TEXT_BYTES + 10 * 128;

/// Endpoints that are tried, and a stale connection for each.
const TRACED_MAX: usize = 2 * ATTEMPTS_MAX as usize;

/// With what an allocator adds when it rounds sizes up: an eighth (mimalloc's size classes).
const fn allocated(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes + bytes / 8
}

/// How often a host stands in a written head beyond the once that it was received: `X-Forwarded-Host`, `Forwarded`, and in
/// front for the access log, where a route sets another one.
const HOST_REPEATS: usize = 3;

/// What else is added to a head: the client's address, `Via`, `Date`, framing. Rounded up.
const HEAD_ADDITIONS: usize = 1024;

/// A chunk's header and end, the last chunk, and trailers.
const FRAMING: usize = CHUNK_HEADER_BYTES_MAX + 16 + TRAILER_BYTES_MAX;

/// The box of an exchange with both of its ends, which a test holds, and that of a tunnel with the part of the snapshot that
/// it keeps. Rounded up.
const BUSY_TASK_BYTES: u64 = 16 * 1024;

/// What the `h2` crate has for a connection: what it reads into and writes into, a frame of each, and the tables of HPACK with
/// what they grow by. Rounded up.
const HTTP2_CODEC_BYTES: usize = 128 * 1024;

/// What it has for a stream, and ours of it. Rounded up.
const HTTP2_STREAM_BYTES: usize = 4 * 1024;

/// A field in its tables.
const HTTP2_FIELD_BYTES: usize = 256;

/// What a DATA frame takes in its queue, with the room that this grows by. Rounded up.
const HTTP2_FRAME_BYTES: usize = 512;

/// The task of a mirrored request with its connection, which a test holds. Rounded up.
pub(crate) const MIRROR_TASK_BYTES: u64 = 4 * 1024;

/// The tables for a request head and a response head of 1000 fields of 20 bytes, with the room that they grow by.
const HEAD_TABLES_BYTES: usize = 2 * 1000 * 2 * 20;

/// How much larger than a path its two forms and the table of its segments are at worst (`PathBuffers`).
const PATH_FORMS: usize = 52;

/// An access-log record without what comes from a head: four names of 100 characters, escaped, and numbers. Rounded up.
const RECORD_BYTES: usize = 8 * 1024;

/// A ring with its completion queue (1.1 MiB), a stack (2 MiB), the runtime's tables. Rounded up.
const RUNTIME_BYTES: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadlines;
    use crate::exchange::serve;
    use crate::exchange_tests::{session_over, worker};
    use crate::io::memory::{Faults, pair};
    use crate::io::readiness;
    use crate::limits::IDLE_ENTRY_BYTES;
    use crate::task::guarded;

    /// What the runtime puts around a task (monoio's `Cell`): state, vtable, thread, scheduler, waker, stage.
    const TASK_HEADER_BYTES: usize = 56;

    const DEFAULTS: ConnectionLimits = ConnectionLimits {
        head_bytes_max: 16 << 10,
        host_bytes_max: 8 << 10,
        pipeline_bytes_max: 16 << 10,
        response_head_bytes_max: 16 << 10,
        answer_bytes_max: 256,
        keeps_words: false,
    };

    #[test]
    fn a_busy_connection_has_no_more_than_six_full_buffers() {
        let full = |limits: ConnectionLimits| busy_connection_bytes(&limits) / 1024;
        assert_eq!(full(DEFAULTS), 713);
        // Each limit counts for every buffer that it bounds.
        assert_eq!(full(ConnectionLimits { pipeline_bytes_max: 1 << 20, ..DEFAULTS }) - 713, 1008 * 9 / 8);
        let answer = ConnectionLimits { answer_bytes_max: 256 << 10, ..DEFAULTS };
        assert!(full(answer) > 713 + 2 * 160, "{}", full(answer));
        assert_eq!(full(ConnectionLimits { keeps_words: true, ..DEFAULTS }) - 713, 47);
    }

    #[test]
    fn a_connection_of_http2_is_as_many_exchanges_as_it_may_have_streams() {
        let http2 = Http2Limits::default();
        let bytes = |http2: &Http2Limits| http2_connection_bytes(&DEFAULTS, http2, 100);
        let of_streams = |streams_max| bytes(&Http2Limits { streams_max, ..http2.clone() });
        let stream = of_streams(2) - of_streams(1);
        assert_eq!(of_streams(100) - of_streams(1), 99 * stream);
        let exchange = busy_connection_bytes(&DEFAULTS);
        assert!((exchange..exchange * 5 / 4).contains(&stream), "{} KiB", stream / 1024);
        // What it is beside them: windows, h2's own, and small frames.
        let beside = of_streams(1) - stream;
        assert!((6 << 20..10 << 20).contains(&beside), "{beside}");
        let window = Http2Limits { connection_window: 9 << 20, ..http2.clone() };
        assert_eq!(bytes(&window) - bytes(&http2), 2 * (9 << 20));
    }

    #[test]
    fn a_larger_limit_is_never_less() {
        let all = |bytes| ConnectionLimits {
            head_bytes_max: bytes,
            host_bytes_max: bytes,
            pipeline_bytes_max: bytes,
            response_head_bytes_max: bytes,
            answer_bytes_max: bytes,
            keeps_words: true,
        };
        for bytes in (1 << 10..64 << 10).step_by(1 << 10) {
            assert!(busy_connection_bytes(&all(bytes)) <= busy_connection_bytes(&all(bytes + (1 << 10))));
        }
    }

    #[test]
    fn an_idle_connection_is_within_its_bound() {
        let core = worker();
        let (near, _far) = pair(Faults::none());
        let session = session_over(&core, near);
        let session_bytes = size_of_val(&session);
        let task_bytes = size_of_val(&guarded(&core, Box::new(session).run()));
        println!("session {session_bytes}, its task {task_bytes}");
        // An exchange's box comes and goes. The figures of the issue are for 1 KiB: what grows here takes of that.
        assert!(session_bytes <= 480 && task_bytes <= 112, "session {session_bytes}, its task {task_bytes}");
        // A table doubles, and the half that it had is freed when the other is filled; so does the table of clients, whose
        // entry is the largest part of 57 bytes then.
        let entries = readiness::ENTRY_BYTES + deadlines::ENTRY_BYTES + IDLE_ENTRY_BYTES + 29;
        let bytes = allocated(session_bytes + TASK_HEADER_BYTES + task_bytes + 3 * entries);
        assert!(bytes <= IDLE_CONNECTION_BYTES, "{bytes}");
    }

    #[test]
    fn the_box_of_an_exchange_is_within_its_bound() {
        let core = worker();
        let (near, _far) = pair(Faults::none());
        let mut session = session_over(&core, near);
        let exchange_bytes = size_of_val(&serve(&mut session.caller())) as u64;
        // The session's own part of the box is a few words.
        assert!(exchange_bytes + 1024 <= BUSY_TASK_BYTES / 4, "{exchange_bytes}");
    }
}
