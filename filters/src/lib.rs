//! What is done to requests and responses on their way: filters, named in the configuration and listed by listeners,
//! routes and upstreams.
//!
//! [`Filters`] holds those of a configuration. From it come [`Chain`]s, one for each list that a request can meet. A worker
//! has one [`Edits`] for each configuration: [`Chain::request`] and [`Chain::response`] write there what is to change, and
//! the engine applies it. What an exchange keeps between its request and its end is its [`Carry`].
//!
//! This package never does I/O, reads no clock and starts no thread. After a worker's first requests it allocates nothing.
//! No input makes it panic.

mod carry;
mod chain;
mod context;
mod edits;
mod field_edits;
mod field_name;
pub mod filter;
mod filters;
mod key;
mod pattern;
mod problem;
mod reason;
mod secret;
pub mod settings;
mod table;
mod template;
mod text;
mod variable;

#[cfg(test)]
mod fixtures;

pub use carry::Carry;
pub use chain::{Chain, FilterStep};
pub use context::{Context, Purpose, ResponseContext, Tls};
pub use edits::{Answer, Body, Edits, Event, Limits, Outcome, Verdict};
pub use field_edits::FieldEdits;
pub use filter::Settings;
pub use filter::basic_auth::{decode_base64, user_name};
pub use filters::{Environment, FilterId, Filters, Scope};
pub use key::KeyPart;
pub use problem::Problem;
pub use reason::Reason;
pub use secret::SecretHash;
pub use template::{Piece, TemplateError, pieces};
