//! Which endpoint an exchange or a connection goes to. Pure: no I/O, no clock, no chance of its own.
//!
//! # Choosing
//!
//! The endpoints of an upstream are a [`Group`]: made with the snapshot, shared by all workers, never changed. Each worker
//! has a [`Picker`] for it and asks it before every attempt, with what the request brings ([`Ask`]: the endpoints that it
//! tried already, a key, chance) and what the worker knows of the endpoints now ([`View`]). A picker allocates when it is
//! made and never again; what is available it is told by [`Picker::admit`], when that changes.
//!
//! | policy | time per pick, n endpoints | memory per endpoint and worker | asks the view for |
//! | --- | --- | --- | --- |
//! | round robin | 1 + those passed over | 50 bytes | - |
//! | weighted | n | 56 bytes | - |
//! | least connections | n | 64 bytes | each: outstanding requests |
//! | random | log n | 56 bytes | - |
//! | p2c, ewma | log n | 56 bytes | two: outstanding requests; ewma latency, too |
//! | least bandwidth | log n | 56 bytes | two: bytes per second |
//! | hash | 1 | 56 bytes, and a [`Maglev`] table of 256 KiB for all workers | - |
//!
//! The time is multiplied by the number of endpoints excluded (at least 1), which is below the attempts of one exchange. Where
//! nearly all endpoints may not be picked it is n for every policy.
//!
//! Time is `now_ms`, monotonic milliseconds; chance is a `u64`, all of whose bits are even.
//!
//! # Knowing
//!
//! - What a worker measures: [`PeakEwma`], [`Bandwidth`].
//! - Health ([`health`]): [`Outlier`](health::Outlier) on each worker, a [`Board`](health::Board) on the control thread, a
//!   [`Standing`](health::Standing) for each endpoint from the one to the others, [`SlowStart`] for those that come back.
//! - What keeps a failing upstream from being made worse: [`RetryBudget`], [`Backoff`], [`Breaker`], [`Limits`].
//! - Who stays where: [`CookieKey`] signs; [`rendezvous`] is for choices that must be the same each time, without a table.
//!
//! # Example
//!
//! ```
//! use corelane_balancer::{Ask, Group, NoEndpoint, Picker, Policy};
//!
//! let group = Group::of_weights(Policy::RoundRobin, &[1, 1, 0, 1]);
//! let mut picker = Picker::new(&group, 0);
//! assert_eq!(picker.pick(&Ask::default(), &()), Ok(0));
//! // It could not be reached: another one.
//! assert_eq!(picker.pick(&Ask { excluded: &[0], ..Ask::default() }, &()), Ok(1));
//! assert_eq!(picker.pick(&Ask { excluded: &[0, 1, 3], ..Ask::default() }, &()), Err(NoEndpoint::Tried));
//! ```

mod breaker;
mod cookie;
mod group;
pub mod health;
mod maglev;
mod meter;
mod picker;
mod policy;
mod rendezvous;
mod retry;
mod slow_start;
mod tier;
mod view;
mod window;

pub use breaker::{Breaker, BreakerRules, BreakerState, PROBES_MAX, Passage, Refused, Tripper};
pub use cookie::{BadCookie, CookieKey, CookieText, CookieToken, Seat};
pub use group::{Group, GroupRules, Member, Policy};
pub use maglev::{Maglev, TableSize};
pub use meter::{BANDWIDTH_TIME_CONSTANT_MS, Bandwidth, FAILURE_US, LATENCY_TIME_CONSTANT_MS, PeakEwma};
pub use picker::{Admission, Picker};
pub use rendezvous::{combined, fingerprint, mix, rendezvous};
pub use retry::{Backoff, BudgetRules, RetryBudget};
pub use slow_start::SlowStart;
pub use view::{Ask, NoEndpoint, Share, View};
