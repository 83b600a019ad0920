//! HTTP/1 messages as bytes (RFC 9112): find the end of a head, parse it, decode chunked bodies, write both.
//!
//! This crate never does I/O, reads no clock and never panics on a peer's bytes. It does not decide how long a body is
//! (`corelane_semantics::request_framing`) nor which fields are forwarded (the caller of [`write_fields`]).
//!
//! [`read_request`] and [`read_response`] turn received bytes into spans, however they arrive:
//!
//! ```
//! use corelane_http1::{HeadLimits, HeadScanner, read_request};
//! use corelane_semantics::{Known, RequestHead};
//!
//! let limits = HeadLimits::default();
//! let received = b"GET /a?b HTTP/1.1\r\nHost: example.org\r\n\r\n";
//! let (mut scanner, mut request) = (HeadScanner::new(), RequestHead::default());
//! assert_eq!(read_request(&mut scanner, &received[..20], &limits, &mut request), Ok(None));
//! let place = read_request(&mut scanner, received, &limits, &mut request)?.expect("the head is complete");
//! let head = &received[place];
//! assert_eq!(request.path.bytes(head), b"/a");
//! assert_eq!(request.fields.first(Known::Host, head), Some(&b"example.org"[..]));
//! # Ok::<(), corelane_http1::HeadError>(())
//! ```
//!
//! Nearly every head is there as a whole and breaks no rule: it is read in one pass. For any other, [`HeadScanner`] looks at
//! each byte once as it arrives and finds where the head ends; [`parse_request`] or [`parse_response`] then reads exactly
//! those bytes, or says which rule they break.
//!
//! | limit | default | past it |
//! | --- | --- | --- |
//! | [`HeadLimits::head_bytes_max`] | 16 KiB | [`HeadError::HeadTooLarge`], 431 |
//! | [`HeadLimits::request_line_bytes_max`] | 8 KiB | [`HeadError::RequestLineTooLong`], 414 |
//! | [`HeadLimits::field_bytes_max`] | 8 KiB | [`HeadError::FieldTooLarge`], 431 |
//! | [`HeadLimits::fields_max`] | 100 | [`HeadError::TooManyFields`], 431 |
//! | [`CHUNK_SIZE_DIGITS_MAX`] | 16 | [`ChunkError::SizeTooLong`] |
//! | [`CHUNK_LINE_BYTES_MAX`] | 4 KiB | [`ChunkError::LineTooLong`] |
//! | [`CHUNK_EXTENSIONS_EXCESS_MAX`] | 16 KiB | [`ChunkError::ExtensionsTooLong`] |
//! | [`TRAILER_BYTES_MAX`] | 8 KiB | [`ChunkError::TrailersTooLarge`] |
//! | [`TRAILER_FIELDS_MAX`] | 100 | [`ChunkError::TooManyTrailers`] |

mod block;
mod bytes;
mod chunk_error;
mod chunk_extension;
mod chunked;
mod error;
mod field_lines;
mod limits;
mod one_pass;
mod request;
mod response;
mod scan;
mod trailers;
mod write;

pub use bytes::is_token;
pub use chunk_error::ChunkError;
pub use chunked::{
    CHUNK_EXTENSIONS_EXCESS_MAX, CHUNK_LINE_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, ChunkEvent, ChunkedDecoder,
};
pub use error::HeadError;
pub use limits::HeadLimits;
pub use request::{parse_request, read_request};
pub use response::{parse_response, read_response};
pub use scan::HeadScanner;
pub use trailers::{TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX, read_trailers};
pub use write::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, LAST_CHUNK, chunk_header, reason_phrase, write_decimal, write_field,
    write_fields, write_lines, write_request_line, write_request_line_in_parts, write_status_line,
};
