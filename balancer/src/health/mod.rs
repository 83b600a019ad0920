//! Whether an endpoint is available, and why not.
//!
//! ```text
//! workers, one for each endpoint:  outcomes of attempts ── Outlier ── Trip ─┐
//!                                                                           ▼
//! control thread, one for each upstream:  results of checks ────────────  Board ── Change: log, count, publish Standing
//!                                                                                                      │
//! workers:  SlowStart ── Share ── Picker::admit  ◄─────────────────────────────────────────────────────┘
//! ```
//!
//! An endpoint is available while its checks let it be and it is not ejected: neither source overrules the other, as a
//! health page that answers says little about requests that fail, and the other way round.

mod board;
mod checks;
mod ejection;
mod outlier;
mod standing;

pub use board::{Board, BoardRules, Change, Reported};
pub use checks::{CheckRules, Initial, jittered};
pub use ejection::EjectionRules;
pub(crate) use outlier::milliseconds;
pub use outlier::{FailureShare, Outcome, Outlier, OutlierRules, Trip};
pub use standing::{Reason, Standing, State};
