//! What a worker counts of attempts that fail at one upstream's endpoints, and when it tells the control thread.

use std::cell::RefCell;
use std::collections::HashMap;

use corelane_balancer::health::{Outcome, Outlier, OutlierRules, Trip};

use super::choice::Choice;
use crate::command::Event;
use crate::event::EventSender;
use crate::failure::Failure;
use crate::io::clock;
use crate::reason::Word as _;
use crate::snapshot::{Address, Upstream};

/// See the module. One for each upstream of a snapshot.
pub(crate) struct Outliers {
    worker: usize,
    events: EventSender,
    /// By endpoint; empty where no share of failures is too large.
    shares: RefCell<Box<[Outlier]>>,
}

/// An attempt that has ended.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    /// The index of its endpoint.
    pub(crate) endpoint: usize,
    /// When it began.
    pub(crate) began_ms: u64,
}

/// What was wrong with an attempt, as it is told.
#[derive(Clone, Copy)]
enum Wrong {
    Failure(Failure),
    Status(u16),
}

impl Outliers {
    /// Goes on where `previous` was.
    pub(super) fn new(
        upstream: &Upstream,
        previous: Option<(&Upstream, &Self)>,
        worker: usize,
        events: EventSender,
    ) -> Self {
        let known = previous.map(|(upstream, it)| (upstream, it.shares.borrow()));
        let known = known.iter().flat_map(|(upstream, shares)| upstream.endpoints.iter().zip(&***shares));
        let known: HashMap<&Address, &Outlier> = known.map(|(it, share)| (&it.address, share)).collect();
        let share = |address| known.get(address).map_or_else(Outlier::default, |known| **known);
        let shares = match upstream.outlier.rules.failure_share {
            Some(_) => upstream.endpoints.iter().map(|it| share(&it.address)).collect(),
            None => Box::default(),
        };
        Self { worker, events, shares: RefCell::new(shares) }
    }

    /// An attempt got a response with this status.
    #[inline(always)]
    pub(crate) fn note_answer(&self, upstream: &Upstream, choice: &Choice, attempt: Attempt, status: u16) {
        let is_quiet = upstream.endpoints[attempt.endpoint].failures.is_over();
        if status >= 400 || !is_quiet || upstream.outlier.rules.failure_share.is_some() {
            self.judge(upstream, choice, attempt, upstream.outlier.of_status(status), Wrong::Status(status));
        }
    }

    /// An attempt has failed.
    #[cold]
    pub(crate) fn note_failure(
        &self,
        upstream: &Upstream,
        choice: &Choice,
        attempt: Attempt,
        failure: Failure,
    ) {
        if let Some(outcome) = upstream.outlier.of_failure(failure) {
            let wrong = match failure {
                Failure::StatusRetried(status) => Wrong::Status(status),
                failure => Wrong::Failure(failure),
            };
            self.judge(upstream, choice, attempt, outcome, wrong);
        }
    }

    #[inline(never)]
    fn judge(&self, upstream: &Upstream, choice: &Choice, attempt: Attempt, outcome: Outcome, wrong: Wrong) {
        let (rules, row) = (&upstream.outlier.rules, &upstream.endpoints[attempt.endpoint].failures);
        // What was sent before it was ejected, or while it is, says nothing about what it is now.
        if outcome == Outcome::Failure && !choice.is_available_since(attempt.endpoint, attempt.began_ms) {
            return;
        }
        let now_ms = clock::coarse_ms();
        let by_row = match outcome {
            Outcome::Failure => rules.is_too_long(row.add()).then_some(Trip::ConsecutiveFailures),
            Outcome::Success => {
                row.end();
                None
            }
        };
        let by_share = self.shares.borrow_mut().get_mut(attempt.endpoint).and_then(|it| {
            let rules = OutlierRules { consecutive_failures: None, ..*rules };
            it.record(&rules, outcome, now_ms)
        });
        if let Some(trip) = by_row.or(by_share)
            && row.may_tell(now_ms)
        {
            self.tell(upstream, attempt.endpoint, trip, wrong);
        }
    }

    #[cold]
    fn tell(&self, upstream: &Upstream, endpoint: usize, trip: Trip, wrong: Wrong) {
        let endpoint = &upstream.endpoints[endpoint];
        endpoint.failures.suspect();
        self.events.send(Event::EndpointFailing {
            worker: self.worker,
            upstream: upstream.name.clone(),
            address: endpoint.address.clone(),
            trip,
            reason: match wrong {
                Wrong::Failure(failure) => failure.reason().name().to_owned(),
                Wrong::Status(status) => format!("status {status}"),
            },
            failures: endpoint.failures.clone(),
        });
    }
}
