//! When an attempt that failed is made again at another endpoint.

use std::time::Duration;

use corelane_balancer::{Backoff, BudgetRules};
use corelane_semantics::{Method, MethodSet};

use crate::failure::Failure;

/// The settings of an upstream. An attempt is made again only while nothing of a response has gone to the client, and
/// only if nothing of the request left, or it may be done twice and is still at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// After which failures.
    pub causes: Causes,
    /// After which statuses, 400 to 599.
    pub statuses: Box<[u16]>,
    /// Which requests may be done twice. Absent: those with an idempotent method (RFC 9110 §9.2.2).
    pub methods: Option<MethodSet>,
    /// For how long an attempt may bring nothing of a response, connecting included, where another one can be made. Zero: no
    /// limit.
    pub per_try_timeout: Duration,
    /// After how long a read without a response goes to a second endpoint as well. Zero: never.
    pub hedge_after: Duration,
    /// How long to wait before. Default: not at all, as it is another endpoint that is asked.
    pub backoff: Backoff,
    /// How many there may be.
    pub budget: BudgetRules,
    /// Whether the upstream is told which attempt it gets, in `X-Corelane-Attempt`.
    pub attempt_header: bool,
}

/// Endpoints that a request is sent to at most, whatever is configured.
pub const ATTEMPTS_MAX: u32 = 16;

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Causes {
    /// A connection could not be opened, or not in time.
    pub connect: bool,
    /// A connection ended without a byte of a response.
    pub reset: bool,
    /// The request was not taken, or the response's head did not come, in time.
    pub timeout: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            causes: Causes { connect: true, reset: true, timeout: false },
            statuses: Box::default(),
            methods: None,
            per_try_timeout: Duration::ZERO,
            hedge_after: Duration::ZERO,
            backoff: Backoff { first: Duration::ZERO, ..Backoff::default() },
            budget: BudgetRules::default(),
            attempt_header: false,
        }
    }
}

impl Retry {
    /// Whether a request may be done twice; `token` is its method's name.
    #[inline]
    pub(crate) fn may_repeat<'a>(&self, method: Method, token: impl FnOnce() -> &'a [u8]) -> bool {
        match &self.methods {
            None => method.is_idempotent(),
            Some(methods) => methods.contains(method, token()),
        }
    }

    /// Whether an attempt is made again after this failure.
    pub(crate) fn is_after(&self, failure: Failure) -> bool {
        match failure {
            Failure::ConnectFailed | Failure::ConnectTimeout => self.causes.connect,
            Failure::UpstreamClosed => self.causes.reset,
            Failure::ResponseHeadTimeout | Failure::UpstreamStalled => self.causes.timeout,
            // It is there for nothing else.
            Failure::TryTimeout => true,
            Failure::StatusRetried(status) => self.statuses.contains(&status),
            _ => false,
        }
    }
}
