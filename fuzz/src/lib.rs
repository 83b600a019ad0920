//! What the fuzz targets compare Corelane with: readers of HTTP/1 that are slow and plain, written from the grammar of
//! RFC 9110, RFC 9112 and RFC 3986 and from what Corelane documents on top of it, and sharing no code with it.
//!
//! They say only whether a message is valid and what it holds; they do not say which rule one breaks.

pub mod authority;
pub mod chunked;
pub mod cursor;
pub mod framing;
pub mod head;
pub mod path;
