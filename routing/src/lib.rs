//! Which route a request takes. Pure: no I/O, no clock; nothing is allocated per lookup.
//!
//! A [`Router`] is built once per configuration from [`Rule`]s and answers with the index of one of them.
//!
//! # Precedence
//!
//! 1. The host: a rule for exactly this host, then the longest `*.suffix`, then rules for any host.
//! 2. Within one host pattern the path: an exact path, then the longest prefix by whole segments.
//!
//! The order of the rules never matters. **Where the rules of the most specific host have no path for the request, the
//! next less specific host is asked**, so that a catch-all keeps working. nginx answers from the chosen server alone.
//!
//! # What is compared
//!
//! - Hosts: without port, without one trailing dot, ASCII letters in any case. A host with bytes that no pattern can
//!   hold, or longer than a name may be, is matched only by rules for any host.
//! - Paths: the canonical form of both (`corelane_semantics::PathBuffers`), byte for byte. The caller gives a request's
//!   canonical path; a pattern is brought into that form here, and refused if no canonical path could match it. An empty
//!   path is `/` (RFC 9110 §4.2.3).
//!
//! # Cost
//!
//! One hash lookup for the host and one for each segment of the path, however many rules there are:
//!
//! | bound | by |
//! | --- | --- |
//! | host bytes read | 255 |
//! | host lookups | 1 + labels of the longest wildcard suffix of the listener |
//! | path bytes hashed per lookup | the longest pattern of the host's rules |
//! | path lookups per host pattern | 1 + segments of the deepest prefix of the host's rules |
//!
//! # Example
//!
//! ```
//! use corelane_routing::{HostPattern, PathPattern, Router, Rule};
//!
//! let site = Rule { listeners: vec![0], hosts: vec![], path: PathPattern::prefix("/")? };
//! let api = Rule {
//!     listeners: vec![0],
//!     hosts: vec![HostPattern::parse("*.example.org")?],
//!     path: PathPattern::prefix("/api")?,
//! };
//! let router = Router::build(&[site, api], 1).expect("no two rules are alike");
//! assert_eq!(router.route(0, b"eu.example.org:8080", b"/api/users"), Some(1));
//! assert_eq!(router.route(0, b"eu.example.org:8080", b"/apiary"), Some(0));
//! # Ok::<(), corelane_routing::PatternError>(())
//! ```

mod host;
mod host_table;
mod key;
mod path;
mod path_table;
mod pattern_error;
mod router;

pub use host::HostPattern;
pub use path::PathPattern;
pub use pattern_error::PatternError;
pub use router::{Conflict, Router, Rule};
