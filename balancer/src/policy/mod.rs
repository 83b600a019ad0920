//! The policies, each over the entries of one priority. A pick is a position among them.

mod chance;
mod least;
mod round_robin;
mod weighted;

pub(crate) use chance::Chance;
pub(crate) use least::{Least, Quotient};
pub(crate) use round_robin::RoundRobin;
pub(crate) use weighted::Weighted;
