//! Which endpoint an exchange or a connection goes to. Pure: no I/O, no clock, no chance of its own.
//!
//! A worker holds one [`Picker`] for each upstream and asks it before every attempt; the endpoints that this exchange
//! has tried already are excluded. Nothing is shared between workers. A picker allocates
//! when it is made and never again.
//!
//! | policy | time per pick, n endpoints | memory per endpoint and worker |
//! | --- | --- | --- |
//! | round robin | 1 + endpoints excluded | 8 bytes |
//! | weighted | n | 16 bytes |
//! | least connections | n | 16 bytes |
//!
//! Each multiplied by the number of endpoints excluded (at least 1), which is below the attempts of one exchange.
//!
//! [`rendezvous`] is for choices that must be the same each time: a key belongs to one of some weighted names.
//!
//! # Example
//!
//! ```
//! use corelane_balancer::{Picker, PolicyKind};
//!
//! let mut picker = Picker::new(PolicyKind::RoundRobin, &[1, 1, 0, 1], 0);
//! let first = picker.pick(&[], |_| 0);
//! assert_eq!(first, Some(0));
//! // It could not be reached: another one.
//! assert_eq!(picker.pick(&[0], |_| 0), Some(1));
//! assert_eq!(picker.pick(&[0, 1, 3], |_| 0), None);
//! ```

mod least_connections;
mod policy;
mod rendezvous;
mod round_robin;
mod weighted;

pub use policy::{Picker, PolicyKind};
pub use rendezvous::{fingerprint, mix, rendezvous};
