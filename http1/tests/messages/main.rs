//! HTTP/1 messages from the outside: tables of raw bytes with the rule beside each, and properties of any bytes.
//!
//! The tables are tests of what is decided about a message as a whole (where it ends, what it means, why it is refused),
//! so they go through scanner, parser, host, path and framing as a listener with default settings does.

mod chunked_bodies;
mod feed;
mod properties;
mod request_framing;
mod request_heads;
mod response_heads;
