//! HTTP/1 messages over a byte stream: the two ends of an exchange.

mod body;
mod connection;
mod downstream;
mod inbox;
mod outbox;
mod splice;
mod upstream;

pub(crate) use downstream::H1Downstream;
pub(crate) use upstream::{H1Upstream, Leftover};
