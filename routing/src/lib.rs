//! Which route a request takes, and why. Pure: no I/O, no clock; nothing is allocated per lookup once a worker's
//! [`Scratch`] has what the regexes need.
//!
//! A [`Router`] is built once per configuration from [`Rule`]s and answers with the index of one of them.
//!
//! # Precedence
//!
//! Of the rules that match a request, the one goes first that, in this order,
//!
//! 1. has the highest priority,
//! 2. is for exactly this host, then for the longest `*.suffix`, then for a regex of hosts, then for any host,
//! 3. is for exactly this path, then for a regex of paths, then for the longest prefix by whole segments,
//! 4. names methods,
//! 5. has more conditions on fields, then on query parameters, then on cookies,
//! 6. names clients, then whether it came over TLS,
//! 7. stands first in the file.
//!
//! **Where the rules of the most specific host do not fit the request, the next less specific host is asked**, so that a
//! catch-all keeps working. nginx answers from the chosen server alone.
//!
//! # What is compared
//!
//! - Hosts: without port, without one trailing dot, ASCII letters in any case. A host with bytes that no pattern can
//!   hold, or longer than a name may be, is matched only by rules for any host.
//! - Paths: the canonical form of both (`corelane_semantics::PathBuffers`), byte for byte. The caller gives a request's
//!   canonical path; a pattern is brought into that form here, and refused if no canonical path could match it. An empty
//!   path is `/` (RFC 9110 §4.2.3).
//! - Fields: several lines of one name are one value, joined by `, `.
//! - Query parameters: the first of a name, decoded: `%41` and `+` as forms write them.
//! - Cookies: the first of a name, as it stands.
//! - Regexes: found anywhere in the value, unless `^` and `$` say where.
//!
//! # Cost
//!
//! One hash lookup for the host and one for each segment of the path, however many rules there are:
//!
//! | bound | by |
//! | --- | --- |
//! | host bytes read | 255 |
//! | host lookups | 1 + labels of the longest wildcard suffix of the listener |
//! | searches in the host | the host regexes of the listener |
//! | path bytes hashed per lookup | the longest pattern of the host's rules |
//! | path lookups per host pattern | 1 + segments of the deepest prefix of the host's rules |
//! | searches in the path per host pattern | the regexes that begin as the path does, by whole segments |
//! | rules tested per host and path pattern | those without an exact value, and those whose exact value is there |
//! | steps of a search | bytes of the text x 64 KiB of states at worst; usually one a byte |
//!
//! Where a rule of the listener has a priority, all hosts and paths that match are visited, not the most specific alone.
//!
//! # Example
//!
//! ```
//! use corelane_routing::{HostPattern, PathPattern, Request, Router, Rule};
//! use corelane_semantics::RequestHead;
//!
//! let site = Rule::new(vec![0], vec![], PathPattern::prefix("/")?);
//! let api = Rule::new(vec![0], vec![HostPattern::parse("*.example.org")?], PathPattern::prefix("/api")?);
//! let router = Router::build(&[site, api], 1).expect("no two rules are alike");
//! let mut scratch = router.scratch();
//! let head = RequestHead::default();
//! let request = |path| Request {
//!     listener: 0,
//!     host: b"eu.example.org:8080",
//!     path,
//!     head: &head,
//!     bytes: b"",
//!     client: None,
//!     tls: false,
//! };
//! assert_eq!(router.route(&request(b"/api/users"), &mut scratch), Some(1));
//! assert_eq!(router.route(&request(b"/apiary"), &mut scratch), Some(0));
//! # Ok::<(), corelane_routing::PatternError>(())
//! ```

mod cell;
mod conditions;
mod explain;
#[cfg(test)]
mod fixtures;
mod host;
mod host_table;
mod key;
mod path;
mod path_table;
mod pattern;
mod pattern_error;
mod request;
mod router;
mod scratch;
mod segment_map;
mod values;

pub use conditions::{Condition, Conditions, Test};
pub use explain::{Mismatch, Outcome, Step};
pub use host::HostPattern;
pub use path::PathPattern;
pub use pattern::{Case, Pattern};
pub use pattern_error::PatternError;
pub use request::Request;
pub use router::{Captures, Conflict, Router, Rule};
pub use scratch::Scratch;
