//! What others are told of the attempts of one exchange: the log of all of them, and each endpoint which one it gets.

use std::sync::Arc;

use corelane_http1::write_decimal;
use corelane_semantics::Span;

use super::Exchange;
use crate::failure::Failure;
use crate::io::Dial;
use crate::message::Downstream;
use crate::reason::Reason;
use crate::snapshot::Endpoint;

/// The attempts that have failed, for the log. Nothing is allocated until one has.
#[derive(Default)]
pub(super) struct FailedTries(Vec<FailedTry>);

struct FailedTry {
    endpoint: Arc<str>,
    failure: Failure,
    took_ns: u64,
}

/// What an attempt has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Try<'a> {
    /// The endpoint's label.
    pub(crate) endpoint: &'a str,
    pub(crate) outcome: Outcome,
    /// From its beginning, connecting included, to the response's head or its failure.
    pub(crate) took_ns: u64,
}

/// See [`Try`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A response with this status.
    Status(u16),
    /// No response, or none that was whole.
    Failed(Reason),
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// An attempt has failed.
    #[cold]
    pub(super) fn note_try(&mut self, failure: Failure) {
        let local = self.local.clone();
        if let Some((upstream, endpoint)) = self.upstream.zip(self.endpoint) {
            let endpoint = &local.snapshot().upstreams[upstream].endpoints[endpoint];
            self.note_try_at(endpoint, failure, self.times.try_ns());
        }
    }

    /// The same for one that went there.
    pub(super) fn note_try_at(&mut self, endpoint: &Endpoint, failure: Failure, took_ns: u64) {
        if self.snapshot().access_log.is_some() {
            let endpoint = endpoint.label.clone();
            self.failed_tries.0.push(FailedTry { endpoint, failure, took_ns });
        }
    }

    /// All attempts in their order, for a record.
    pub(crate) fn tries(&self) -> impl Iterator<Item = Try<'_>> {
        let failed = &self.failed_tries.0;
        // All others but the last have failed.
        let has_answer = failed.len() < self.attempts as usize;
        let endpoint = self.upstream.zip(self.endpoint).filter(|_| has_answer);
        let answered = endpoint.map(|(upstream, endpoint)| Try {
            endpoint: &self.snapshot().upstreams[upstream].endpoints[endpoint].label,
            outcome: Outcome::Status(self.status),
            took_ns: self.times.try_ns(),
        });
        let failed = failed.iter().map(|it| Try {
            endpoint: &it.endpoint,
            outcome: match it.failure {
                Failure::StatusRetried(status) => Outcome::Status(status),
                failure => Outcome::Failed(failure.reason()),
            },
            took_ns: it.took_ns,
        });
        failed.chain(answered)
    }

    /// Tells the next endpoint which attempt it gets, where that is wanted.
    #[cold]
    pub(super) fn tell_attempt(&mut self, number: u32) {
        let word = self.words.attempt;
        if word.is_empty() {
            return;
        }
        let mut digits = Vec::with_capacity(2);
        write_decimal(&mut digits, u64::from(number));
        // No other word stands behind it, so that it may get longer.
        self.words.attempt = Span::new(word.start as usize, word.start as usize + digits.len());
        self.head.splice(word.start as usize..word.end as usize, digits);
    }
}
