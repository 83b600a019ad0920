//! HTTP/2 (RFC 9113), with clients and with endpoints: connections, their streams as the sides of exchanges, and what bounds both.
//!
//! Frames, HPACK and flow control are the `h2` crate's. What is ours:
//!
//! ```text
//!  ByteStream ── io: Wire ── h2 ── connection: Connection ── stream: H2Downstream ── exchange
//!                 │ frames: every frame's header, both ways
//!                 └ conduct: one score
//!
//!  exchange ── upstream: H2Upstream ── client: ClientConnection ── h2 ── io: Wire ── ByteStream
//! ```
//!
//! - A request is the HTTP/1.1 head that means the same, written once and read as every head is (`head.rs`), so that rules about
//!   heads exist once and no request can become two at an HTTP/1.1 upstream.
//! - A response's head goes out as we write it, in the place of the one that h2 is told of (`blocks.rs`).
//! - What h2 writes is gathered and sent when it has said all that it can, so that the frames of many streams share a system
//!   call and a TLS record. What h2 takes of a body is known to the byte, by the buffers that it is given (`piece.rs`).
//! - Whose body goes next is decided in front of h2, which takes all streams for equal (`turns.rs`).
//! - The memory of a connection is bounded by [`Limits`]; what h2 itself holds is in the tables of `connection.rs`
//!   and `client.rs`.

mod blocks;
mod client;
mod clients;
mod conduct;
mod connection;
mod frames;
mod head;
mod intake;
mod io;
mod piece;
mod places;
mod priority;
#[cfg(any(test, fuzzing))]
pub mod scripted;
mod since;
mod stream;
#[cfg(test)]
mod tests;
mod turns;
mod upstream;
mod websocket;

pub(crate) use client::{ClientConnection, ClientLimits, FRAME_BYTES_MAX};
pub(crate) use clients::Clients;
pub use connection::End;
pub(crate) use connection::{Connection, Limits, SMALL_FRAMES_MAX};
pub(crate) use io::{COMPACT_BYTES, GATHERED_BYTES_MAX, TURN_BYTES_MAX};
pub(crate) use stream::H2Downstream;
pub(crate) use upstream::H2Upstream;

/// How a client's connection begins (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
