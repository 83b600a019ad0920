//! The endpoints of one upstream: its board, and what is told of each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corelane_balancer::health::{Board, BoardRules, Change, CheckRules, Reason, State as Stands, Trip};
use corelane_balancer::{Member, fingerprint};
use corelane_engine::outlier::{FailureRow, OutlierDetection};
use corelane_engine::snapshot::Address;

use super::healths::Key;
use crate::config;
use crate::log;
use crate::snapshot_builder::Located;

/// See the module.
#[derive(Debug)]
pub(super) struct Group {
    panic_percent: u8,
    pub(super) outlier: OutlierDetection,
    /// How long it is not said again that an endpoint is spared.
    quiet_ms: u64,
    pub(super) board: Board,
    /// Indices on the board.
    pub(super) places: BTreeMap<Address, usize>,
    /// By index.
    pub(super) watched: Vec<Watched>,
    pub(super) standing: Standing,
    /// What its settings have changed, until that is in force.
    pub(super) planned: Vec<Change>,
}

/// One endpoint, beside what the board knows.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) address: Address,
    since: SystemTime,
    /// Only with checks.
    checks: Option<Checked>,
    /// Only with outlier detection.
    ejections: Option<Ejections>,
    /// What was wrong with the attempt that it was last ejected for.
    reason: String,
    changes_total: u64,
    /// The count of failures, while it is ejected.
    pub(super) failures: Option<Arc<FailureRow>>,
    /// When it was last said that it is spared.
    spared_ms: Option<u64>,
}

/// How an endpoint stands.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// Whether it takes requests, and why not.
    pub(crate) stands: Stands,
    /// While it is ejected, be it down by its checks as well or not.
    pub(crate) ejected: Option<Ejected>,
    /// Only with checks.
    pub(crate) checks: Option<Checked>,
    /// Only with outlier detection.
    pub(crate) ejections: Option<Ejections>,
    /// How often it came up or went down.
    pub(crate) changes_total: u64,
}

/// What is known of an endpoint's checks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checked {
    /// What was wrong with the last one that failed; empty before.
    pub(crate) reason: String,
    /// In a row, to the last one, that have passed or failed: one of both is 0.
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) passed_total: u64,
    pub(crate) failed_total: u64,
}

/// Why an endpoint is ejected.
#[derive(Clone, Debug)]
pub(crate) struct Ejected {
    pub(crate) trip: Trip,
    /// What was wrong with the last attempt.
    pub(crate) reason: String,
    /// For how long it still is.
    pub(crate) left: Duration,
}

/// How often an endpoint was ejected.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ejections {
    pub(crate) by_row: u64,
    pub(crate) by_rate: u64,
    /// How often it was not, as too few would have been left.
    pub(crate) spared: u64,
}

/// How an upstream's endpoints stand together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Those that are up are used.
    Enough,
    /// Too few are up: all are used.
    Panic,
    /// None is up: requests are answered 503.
    NoneUp,
}

impl Group {
    /// `None`: nothing is known of the endpoints of this upstream but that they are there. `is_checked_as_before` says for
    /// which of them the checks go on.
    pub(super) fn new(
        upstream: &config::Upstream,
        endpoints: &[Located],
        before: Option<&Self>,
        is_checked_as_before: impl Fn(&Located) -> bool,
        now_ms: u64,
    ) -> Option<Self> {
        let checks = upstream.health.as_ref();
        let outlier = &upstream.outlier;
        if checks.is_none() && outlier.detection.is_off() {
            return None;
        }
        let checks = checks.map(|it| CheckRules { rise: it.rise, fall: it.fall, initial: it.initial });
        let rules = BoardRules { checks, ejection: outlier.ejection };
        let members: Vec<_> = endpoints.iter().map(member).collect();
        let mut board = Board::new(rules, &members, before.map(|it| &it.board));
        let mut watched = Vec::with_capacity(endpoints.len());
        for (place, endpoint) in endpoints.iter().enumerate() {
            let known = before.and_then(|it| Some(&it.watched[*it.places.get(&endpoint.address)?]));
            let mut it = known.cloned().unwrap_or_else(|| Watched::new(endpoint.address.clone()));
            it.checks = checks.map(|_| it.checks.unwrap_or_default());
            it.ejections = (!outlier.detection.is_off()).then(|| it.ejections.unwrap_or_default());
            if let Some(checks) = it.checks.as_mut().filter(|_| !is_checked_as_before(endpoint)) {
                board.check_anew(place);
                (checks.passed, checks.failed) = (0, 0);
            }
            watched.push(it);
        }
        if outlier.detection.is_off() {
            board.end_ejections();
        }
        let planned = std::iter::from_fn(|| board.advance(now_ms)).collect();
        let places = endpoints.iter().map(|it| it.address.clone()).zip(0..).collect();
        Some(Self {
            panic_percent: upstream.panic_percent,
            outlier: outlier.detection.clone(),
            quiet_ms: u64::try_from(outlier.ejection.time.as_millis()).unwrap_or(u64::MAX),
            board,
            places,
            watched,
            standing: before.map_or(Standing::Enough, |it| it.standing),
            planned,
        })
    }

    pub(super) fn state(&self, place: usize, now_ms: u64) -> State {
        let watched = &self.watched[place];
        let ejected = self.board.ejection(place).map(|(trip, until_ms)| Ejected {
            trip,
            reason: watched.reason.clone(),
            left: Duration::from_millis(until_ms.saturating_sub(now_ms)),
        });
        State {
            stands: self.board.state(place).unwrap_or(Stands::Available),
            ejected,
            checks: watched.checks.clone(),
            ejections: watched.ejections,
            changes_total: watched.changes_total,
        }
    }

    /// Whether the address takes requests, and why not; `None`: it has none.
    pub(super) fn stands(&self, address: &Address) -> Option<Stands> {
        self.board.state(*self.places.get(address)?)
    }

    /// An endpoint fails, and is not ejected: says so now and then.
    pub(super) fn spare(&mut self, (upstream, endpoint): &Key, place: usize, reason: &str, now_ms: u64) {
        let watched = &mut self.watched[place];
        if let Some(ejections) = &mut watched.ejections {
            ejections.spared += 1;
        }
        if watched.spared_ms.is_some_and(|last_ms| now_ms < last_ms.saturating_add(self.quiet_ms)) {
            return;
        }
        watched.spared_ms = Some(now_ms);
        let (up, all) = self.board.available();
        log::warning!(
            "endpoint fails, and is not ejected: too few would be left",
            upstream = upstream,
            endpoint = endpoint,
            last = reason,
            up = up,
            endpoints = all
        );
    }

    /// What was kept for ejections that are over.
    pub(super) fn forget_ended(&mut self) {
        for (place, watched) in self.watched.iter_mut().enumerate() {
            if self.board.ejection(place).is_none() {
                watched.failures = None;
            }
        }
    }

    /// Says so if the endpoints stand otherwise than before.
    pub(super) fn settle(&mut self, upstream: &str) {
        let standing = self.standing_now();
        if std::mem::replace(&mut self.standing, standing) == standing {
            return;
        }
        let (up, all) = self.board.available();
        match standing {
            Standing::Enough => {
                log::info!("enough endpoints are up", upstream = upstream, up = up, endpoints = all);
            }
            Standing::Panic => log::warning!(
                "too few endpoints are up, all are used",
                upstream = upstream,
                up = up,
                endpoints = all,
                panic_threshold = format_args!("{}%", self.panic_percent)
            ),
            Standing::NoneUp => log::error!(
                "no endpoint is up, requests are answered 503",
                upstream = upstream,
                endpoints = all
            ),
        }
    }

    /// Whether any of them was checked, or is not.
    pub(super) fn is_known(&self) -> bool {
        self.watched.iter().any(Watched::is_known)
    }

    fn standing_now(&self) -> Standing {
        let admission = self.board.admission(self.panic_percent);
        if admission.is_panicking {
            Standing::Panic
        } else if admission.priority.is_none() && self.board.available().1 > 0 {
            Standing::NoneUp
        } else {
            Standing::Enough
        }
    }
}

impl Watched {
    fn new(address: Address) -> Self {
        Self {
            address,
            since: SystemTime::now(),
            checks: None,
            ejections: None,
            reason: String::new(),
            changes_total: 0,
            failures: None,
            spared_ms: None,
        }
    }

    fn is_known(&self) -> bool {
        self.checks.as_ref().is_none_or(|checks| checks.passed + checks.failed > 0)
    }

    /// A check has ended: what was wrong, if it has failed.
    pub(super) fn note_check(&mut self, outcome: Result<(), String>) {
        let Some(checks) = &mut self.checks else { return };
        match outcome {
            Ok(()) => {
                (checks.passed, checks.failed) = (checks.passed + 1, 0);
                checks.passed_total += 1;
            }
            Err(reason) => {
                (checks.passed, checks.failed) = (0, checks.failed + 1);
                checks.failed_total += 1;
                checks.reason = reason;
            }
        }
    }

    pub(super) fn note_ejection(&mut self, trip: Trip, reason: String, failures: Arc<FailureRow>) {
        if let Some(ejections) = &mut self.ejections {
            match trip {
                Trip::ConsecutiveFailures => ejections.by_row += 1,
                Trip::FailureRate => ejections.by_rate += 1,
            }
        }
        (self.reason, self.failures) = (reason, Some(failures));
    }

    /// Counts a change and says so; that it is ejected was said.
    pub(super) fn note(&mut self, upstream: &str, change: Change, now: SystemTime) {
        let is_up = change.to == Stands::Available;
        self.changes_total += u64::from(is_up != (change.from == Stands::Available));
        let before = std::mem::replace(&mut self.since, now);
        let seconds = now.duration_since(before).unwrap_or_default().as_secs();
        let checks = self.checks.as_ref();
        match (change.from, change.to) {
            (from, Stands::Available) if is_ejected(from) => log::info!(
                "endpoint is no longer ejected",
                upstream = upstream,
                endpoint = self.address,
                ejected_seconds = seconds
            ),
            (_, Stands::Available) => log::info!(
                "endpoint is up",
                upstream = upstream,
                endpoint = self.address,
                passed = checks.map_or(0, |it| it.passed),
                down_seconds = seconds
            ),
            (_, Stands::Unavailable(Reason::ChecksFailed)) => log::warning!(
                "endpoint is down",
                upstream = upstream,
                endpoint = self.address,
                reason = checks.map_or("", |it| &it.reason),
                failed = checks.map_or(0, |it| it.failed)
            ),
            (Stands::Unavailable(_), to) if is_ejected(to) => log::info!(
                "endpoint is up, and still ejected",
                upstream = upstream,
                endpoint = self.address,
                passed = checks.map_or(0, |it| it.passed),
                down_seconds = seconds
            ),
            (_, Stands::Unavailable(_)) => {}
        }
    }
}

impl State {
    /// Whether it takes requests.
    pub(crate) fn is_up(&self) -> bool {
        self.stands == Stands::Available
    }

    /// Whether it takes none because it is ejected, and not because of its checks.
    pub(crate) fn is_ejected(&self) -> bool {
        is_ejected(self.stands)
    }

    /// What is wrong while it takes none, in words.
    pub(crate) fn reason(&self) -> String {
        match (&self.ejected, &self.checks) {
            (Some(Ejected { trip: Trip::ConsecutiveFailures, reason, .. }), _) if self.is_ejected() => {
                format!("failures in a row: {reason}")
            }
            (Some(Ejected { reason, .. }), _) if self.is_ejected() => {
                format!("a large share of failures: {reason}")
            }
            (_, Some(checks)) => checks.reason.clone(),
            _ => String::new(),
        }
    }
}

/// Whether it takes no requests because it is ejected.
pub(super) fn is_ejected(stands: Stands) -> bool {
    matches!(stands, Stands::Unavailable(Reason::ConsecutiveFailures | Reason::FailureRate))
}

fn member(it: &Located) -> Member {
    let name = fingerprint(it.address.to_string().as_bytes());
    Member { name, weight: it.weight, priority: it.priority }
}
