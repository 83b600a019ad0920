//! What gRPC says over HTTP, as far as a proxy has to know it: which requests are calls ([`Dialect`]), how they end
//! ([`Status`]), when they are to ([`deadline`]), and gRPC-Web's other spelling of the same ([`web`]).
//!
//! The rules are those of <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md> and `PROTOCOL-WEB.md` beside it.
//! This package never does I/O, reads no clock and starts no thread. No input makes it panic. What it is given it passes on
//! while it comes: it holds three bytes of a message at most.
//!
//! ```
//! use corelane_grpc::{Dialect, Status, deadline};
//!
//! assert_eq!(Dialect::of(b"application/grpc+proto"), Some(Dialect::Grpc));
//! assert_eq!(Status::parse(b"14"), Status::Unavailable);
//! assert_eq!(deadline::milliseconds(b"250m"), Some(250));
//! ```

pub mod deadline;
mod dialect;
mod status;
pub mod web;

pub use dialect::Dialect;
pub use status::{Status, write_message};
