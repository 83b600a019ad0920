//! The health of an upstream's endpoints, from both sources: what the control thread keeps.

use super::checks::{CheckRules, Checks, Initial};
use super::ejection::{Ejection, EjectionRules};
use super::outlier::Trip;
use super::standing::{Reason, State};
use crate::group::Member;
use crate::picker::Admission;

/// What is set for an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardRules {
    /// `None`: it is not checked, which is as if every check passed.
    pub checks: Option<CheckRules>,
    /// How long ejections last.
    pub ejection: EjectionRules,
}

/// The endpoints of one upstream, by index.
#[derive(Clone, Debug)]
pub struct Board {
    rules: BoardRules,
    endpoints: Vec<Endpoint>,
    /// All failed: nobody is ejected before this time.
    quiet_until_ms: u64,
}

/// How long nobody is ejected after all have failed.
const QUIET_MS: u64 = 5_000;

#[derive(Clone, Copy, Debug)]
struct Endpoint {
    name: u64,
    priority: u32,
    /// It has a weight.
    takes_work: bool,
    checks: Option<Checks>,
    ejection: Ejection,
    state: State,
}

/// An endpoint became available or unavailable, or is unavailable for another reason: to be logged, counted and published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its index.
    pub endpoint: usize,
    /// What it was.
    pub from: State,
    /// What it is now.
    pub to: State,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The endpoint is ejected.
    Ejected(Change),
    /// It was unavailable already.
    Unavailable,
    /// Too few would be left: to be counted.
    Spared,
    /// It was the last one: those that were ejected come back, as that may be over, and it is ejected instead.
    /// [`Board::advance`] tells all of that.
    Exchanged,
    /// The same, and it has not worked since it came back itself: it is not the endpoints, or all of them. They come back,
    /// and nobody is ejected for a while.
    AllFail,
}

impl Board {
    /// What `previous` knows of members with the same name is taken over; [`Self::advance`] tells what the rules change
    /// about them. One that is new begins as the rules say.
    #[must_use]
    pub fn new(rules: BoardRules, members: &[Member], previous: Option<&Self>) -> Self {
        let endpoint = |member: &Member| {
            let known = previous.and_then(|it| it.endpoints.iter().find(|known| known.name == member.name));
            match known {
                Some(known) => known.with(&rules, member),
                None => Endpoint::new(&rules, member),
            }
        };
        let endpoints = members.iter().map(endpoint).collect();
        Self { rules, endpoints, quiet_until_ms: previous.map_or(0, |it| it.quiet_until_ms) }
    }

    /// An endpoint is checked in another way from now on: it stays what it is until the next result, which decides alone.
    pub fn check_anew(&mut self, endpoint: usize) {
        if let Some(checks) = self.endpoints.get_mut(endpoint).and_then(|it| it.checks.as_mut()) {
            checks.begin_anew();
        }
    }

    /// A check of an endpoint has passed or failed. If that made it unavailable, [`Self::advance`] tells whether others
    /// are needed now. One that was down and is up again is no longer ejected, either: what it was ejected for is over.
    pub fn check(&mut self, endpoint: usize, passed: bool, now_ms: u64) -> Option<Change> {
        let rules = self.rules.checks.as_ref()?;
        let it = self.endpoints.get_mut(endpoint)?;
        let checks = it.checks.as_mut()?;
        let was_down = !checks.is_up();
        checks.record(rules, passed);
        if was_down && checks.is_up() {
            it.ejection.end(now_ms);
        }
        self.settle(endpoint)
    }

    /// A worker wants an endpoint ejected, that has worked since it was ejected last or not.
    pub fn report(&mut self, endpoint: usize, trip: Trip, has_worked: bool, now_ms: u64) -> Reported {
        if self.is_up(endpoint)
            && self.left_without(endpoint) == 0
            && self.endpoints.iter().any(Endpoint::may_come_back)
        {
            self.end_ejections();
            if !has_worked {
                self.quiet_until_ms = now_ms.saturating_add(QUIET_MS);
                return Reported::AllFail;
            }
            self.endpoints[endpoint].ejection.eject(&self.rules.ejection, trip, now_ms);
            return Reported::Exchanged;
        }
        if now_ms < self.quiet_until_ms || !self.may_lose(endpoint) {
            return Reported::Spared;
        }
        if let Some(it) = self.endpoints.get_mut(endpoint) {
            it.ejection.eject(&self.rules.ejection, trip, now_ms);
        }
        self.settle(endpoint).map_or(Reported::Unavailable, Reported::Ejected)
    }

    /// Ends the ejections whose time is over, and all of them if nobody else is left: one that fails often is better than
    /// none. One change for a call, until there is none. To be called at [`Self::next_end_ms`], and when an endpoint has
    /// become unavailable.
    pub fn advance(&mut self, now_ms: u64) -> Option<Change> {
        for endpoint in &mut self.endpoints {
            endpoint.ejection.advance(now_ms);
        }
        if !self.endpoints.iter().any(|it| it.takes_work && it.state_now() == State::Available) {
            self.end_ejections();
        }
        // Those that come first, so that no moment is without any.
        let first = self.endpoints.iter().position(Endpoint::comes_back).unwrap_or(0);
        (first..self.endpoints.len()).find_map(|endpoint| self.settle(endpoint))
    }

    /// When the next ejection ends.
    #[must_use]
    pub fn next_end_ms(&self) -> Option<u64> {
        self.endpoints.iter().filter_map(|endpoint| Some(endpoint.ejection.current()?.1)).min()
    }

    /// Why an endpoint is ejected, and until when; it may be down by its checks as well.
    #[must_use]
    pub fn ejection(&self, endpoint: usize) -> Option<(Trip, u64)> {
        self.endpoints.get(endpoint)?.ejection.current()
    }

    /// What pickers make of it: which priority is asked first, if any is.
    #[must_use]
    pub fn admission(&self, panic_percent: u8) -> Admission {
        let each = |it: &Endpoint| (it.priority, it.takes_work, it.state == State::Available);
        Admission::of(self.endpoints.iter().map(each), panic_percent)
    }

    /// How many of those that take work are available, and how many there are.
    #[must_use]
    pub fn available(&self) -> (usize, usize) {
        let working = || self.endpoints.iter().filter(|it| it.takes_work);
        (working().filter(|it| it.state == State::Available).count(), working().count())
    }

    /// What an endpoint is.
    #[must_use]
    pub fn state(&self, endpoint: usize) -> Option<State> {
        self.endpoints.get(endpoint).map(|endpoint| endpoint.state)
    }

    /// Nobody is ejected any more, nor was: [`Self::advance`] tells who comes back.
    pub fn end_ejections(&mut self) {
        self.endpoints.iter_mut().for_each(|it| it.ejection.forget());
    }

    fn is_up(&self, endpoint: usize) -> bool {
        self.state(endpoint) == Some(State::Available)
    }

    /// How many of those that take work are available beside this one.
    fn left_without(&self, endpoint: usize) -> usize {
        let others = self.endpoints.iter().enumerate().filter(|(index, _)| *index != endpoint);
        others.filter(|(_, it)| it.takes_work && it.state == State::Available).count()
    }

    /// Whether so few are unavailable that this one may become it, too.
    fn may_lose(&self, endpoint: usize) -> bool {
        let all = self.endpoints.iter().filter(|it| it.takes_work).count();
        let left = self.left_without(endpoint);
        let lost_max = all * usize::from(self.rules.ejection.ejected_percent_max) / 100;
        left > 0 && all - left <= lost_max.max(1)
    }

    fn settle(&mut self, endpoint: usize) -> Option<Change> {
        let it = self.endpoints.get_mut(endpoint)?;
        let (from, to) = (it.state, it.state_now());
        if from == to {
            return None;
        }
        it.state = to;
        Some(Change { endpoint, from, to })
    }
}

impl Endpoint {
    fn new(rules: &BoardRules, member: &Member) -> Self {
        let checks = rules.checks.as_ref().map(|checks| Checks::new(checks.initial));
        let mut endpoint = Self {
            name: member.name,
            priority: member.priority,
            takes_work: member.weight > 0,
            checks,
            ejection: Ejection::default(),
            state: State::Available,
        };
        endpoint.state = endpoint.state_now();
        endpoint
    }

    /// The same endpoint under new rules. That checks begin is no reason to take it out: it has served without.
    fn with(&self, rules: &BoardRules, member: &Member) -> Self {
        let checks = rules.checks.as_ref().map(|_| self.checks.unwrap_or(Checks::new(Initial::Up)));
        Self { priority: member.priority, takes_work: member.weight > 0, checks, ..*self }
    }

    /// Whether it is available, and was not when that was told last.
    fn comes_back(&self) -> bool {
        self.state != State::Available && self.state_now() == State::Available
    }

    /// Whether it would take work if it were not ejected.
    fn may_come_back(&self) -> bool {
        let is_ejected = self.state != State::Available && self.checks.is_none_or(|checks| checks.is_up());
        is_ejected && self.takes_work
    }

    fn state_now(&self) -> State {
        match (&self.checks, self.ejection.current()) {
            (Some(checks), _) if !checks.is_up() && checks.is_checked() => {
                State::Unavailable(Reason::ChecksFailed)
            }
            (Some(checks), _) if !checks.is_up() => State::Unavailable(Reason::NotChecked),
            (_, Some((trip, _))) => State::Unavailable(trip.into()),
            _ => State::Available,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Available, Unavailable};
    use std::time::Duration;

    const RULES: BoardRules = BoardRules {
        checks: Some(CheckRules { rise: 1, fall: 2, initial: Initial::Up }),
        ejection: EjectionRules {
            time: Duration::from_secs(10),
            time_max: Duration::from_secs(60),
            ejected_percent_max: 50,
        },
    };
    const TRIP: Trip = Trip::ConsecutiveFailures;
    const EJECTED: State = Unavailable(Reason::ConsecutiveFailures);
    const FAILED: State = Unavailable(Reason::ChecksFailed);

    fn members(names: &[u64]) -> Vec<Member> {
        names.iter().map(|&name| Member { name, weight: 1, priority: 0 }).collect()
    }

    fn board(endpoints: u64) -> Board {
        Board::new(RULES, &members(&(0..endpoints).collect::<Vec<_>>()), None)
    }

    fn ejected(endpoint: usize) -> Reported {
        Reported::Ejected(Change { endpoint, from: Available, to: EJECTED })
    }

    fn change(endpoint: usize, from: State, to: State) -> Option<Change> {
        Some(Change { endpoint, from, to })
    }

    #[test]
    fn neither_source_overrules_the_other() {
        let mut board = board(4);
        assert_eq!(board.report(1, TRIP, true, 1_000), ejected(1));
        assert_eq!(board.report(1, TRIP, true, 1_001), Reported::Unavailable);
        assert_eq!(board.check(1, true, 2_000), None, "its health page still answers");
        assert_eq!(board.check(1, false, 3_000), None);
        assert_eq!(board.check(1, false, 4_000), change(1, EJECTED, FAILED));
        assert_eq!(board.next_end_ms(), Some(11_000));
        assert_eq!(board.advance(11_000), None);
        assert_eq!(board.check(1, true, 12_000), change(1, FAILED, Available));
        assert_eq!((board.state(4), board.check(4, false, 0)), (None, None), "there is none");
        assert_eq!(board.report(4, TRIP, true, 0), Reported::Unavailable);
    }

    #[test]
    fn ejections_end_one_after_the_other() {
        let mut board = board(4);
        board.report(2, TRIP, true, 0);
        board.report(0, Trip::FailureRate, true, 500);
        assert_eq!(board.next_end_ms(), Some(10_000));
        assert_eq!(board.advance(9_999), None);
        assert_eq!(board.advance(10_500), change(0, Unavailable(Reason::FailureRate), Available));
        assert_eq!(board.advance(10_500), change(2, EJECTED, Available));
        assert_eq!((board.advance(10_500), board.next_end_ms()), (None, None));
    }

    #[test]
    fn not_too_many_are_ejected() {
        for (endpoints, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
            let mut board = board(endpoints);
            let reports = (0..10).map(|endpoint| board.report(endpoint, TRIP, true, 0));
            let ejected = reports.filter(|report| matches!(report, Reported::Ejected(_))).count();
            assert_eq!(ejected, most, "of {endpoints}");
        }
        let ejection = EjectionRules { ejected_percent_max: 10, ..RULES.ejection };
        let members = members(&(0..9).collect::<Vec<_>>());
        let mut strict = Board::new(BoardRules { ejection, ..RULES }, &members, None);
        assert_eq!(strict.report(5, TRIP, true, 0), ejected(5), "one may be, though a tenth of nine is none");
        assert_eq!(strict.report(6, TRIP, true, 0), Reported::Spared);
        let mut board = board(4);
        for endpoint in [0, 0, 1, 1, 2, 2, 3, 3] {
            board.check(endpoint, false, 0);
        }
        assert_eq!(board.state(3), Some(FAILED), "checks are believed whatever they say");
    }

    #[test]
    fn endpoints_that_failed_their_checks_count_as_lost() {
        let mut board = board(4);
        for endpoint in [0, 0, 1, 1] {
            board.check(endpoint, false, 0);
        }
        assert_eq!(board.report(2, TRIP, true, 0), Reported::Spared);
        board.check(1, true, 0);
        assert_eq!(board.report(2, TRIP, true, 0), ejected(2));
    }

    #[test]
    fn who_takes_no_work_is_not_counted_on() {
        let mut members = members(&[0, 1]);
        members[0].weight = 0;
        let mut board = Board::new(RULES, &members, None);
        assert_eq!(board.report(1, TRIP, true, 0), Reported::Spared, "it is the only one that works");
        assert_eq!(board.report(0, TRIP, true, 0), ejected(0));
    }

    #[test]
    fn a_reload_changes_nothing_for_those_that_stay() {
        let mut before = board(4);
        before.report(1, TRIP, true, 1_000);
        before.check(3, true, 1_000);
        before.check(3, false, 1_000);
        let mut board = Board::new(RULES, &members(&[3, 9, 1, 0]), Some(&before));
        assert_eq!(
            [0, 1, 2, 3].map(|it| board.state(it)),
            [Available, Available, EJECTED, Available].map(Some)
        );
        assert_eq!(board.check(0, false, 5_000), change(0, Available, FAILED), "the second failure in a row");
        assert_eq!(board.next_end_ms(), Some(11_000));
    }

    #[test]
    fn who_was_down_and_is_up_is_no_longer_ejected() {
        let mut board = board(4);
        board.report(1, TRIP, true, 1_000);
        assert_eq!(board.check(1, false, 2_000), change(1, EJECTED, FAILED));
        assert_eq!(board.check(1, true, 3_000), change(1, FAILED, Available));
        assert_eq!((board.ejection(1), board.next_end_ms()), (None, None));
        // It counts all the same.
        assert_eq!(board.report(1, TRIP, true, 3_500), ejected(1));
        assert_eq!(board.ejection(1), Some((TRIP, 23_500)));
    }

    #[test]
    fn checks_of_another_kind_begin_with_what_is_known() {
        let mut board = board(2);
        board.check(0, false, 0);
        board.check_anew(0);
        board.check_anew(7);
        assert_eq!(board.state(0), Some(FAILED));
        assert_eq!(board.check(0, true, 9), change(0, FAILED, Available));
    }

    #[test]
    fn ejected_ones_are_better_than_none() {
        let mut board = board(2);
        assert_eq!(board.report(0, TRIP, true, 0), ejected(0));
        assert_eq!(board.check(1, false, 5), change(1, Available, FAILED));
        assert_eq!(board.advance(5), change(0, EJECTED, Available));
        assert_eq!((board.advance(5), board.next_end_ms()), (None, None));
        assert_eq!(board.report(0, TRIP, true, 6), Reported::Spared);
        // Who has failed its checks, too, is not worth a try, and is not ejected any more when it has passed them.
        let mut board = self::board(2);
        board.report(0, TRIP, true, 0);
        board.check(0, false, 1);
        board.check(1, false, 1);
        assert_eq!((board.advance(1), board.ejection(0)), (None, None));
        assert_eq!(board.check(0, true, 2), change(0, FAILED, Available));
    }

    #[test]
    fn the_last_one_changes_places_with_the_others_and_when_all_fail_all_come_back() {
        let ejection = EjectionRules { ejected_percent_max: 100, ..RULES.ejection };
        let all = members(&[0, 1, 2]);
        let mut board = Board::new(BoardRules { ejection, ..RULES }, &all, None);
        assert_eq!(
            (board.report(1, TRIP, true, 0), board.report(2, TRIP, true, 0)),
            (ejected(1), ejected(2))
        );
        assert_eq!(board.report(1, TRIP, true, 1), Reported::Unavailable);
        assert_eq!(board.report(0, TRIP, true, 2), Reported::Exchanged);
        let changes =
            [change(1, EJECTED, Available), change(2, EJECTED, Available), change(0, Available, EJECTED)];
        assert_eq!([2; 3].map(|now_ms| board.advance(now_ms)), changes, "those that come first");
        assert_eq!((board.advance(2), board.ejection(0)), (None, Some((TRIP, 10_002))));
        assert_eq!(
            (board.report(1, TRIP, true, 3), board.report(2, TRIP, false, 5_001)),
            (ejected(1), Reported::AllFail)
        );
        assert_eq!(
            [3; 2].map(|now_ms| board.advance(now_ms)),
            [0, 1].map(|it| change(it, EJECTED, Available))
        );
        // For a while that is how it stays; then it begins with the first ejection.
        let others = [Reported::Spared, Reported::Spared, ejected(1)];
        assert_eq!([5_002, 10_000, 10_001].map(|now_ms| board.report(1, TRIP, true, now_ms)), others);
        let mut alone = self::board(1);
        assert_eq!(alone.report(0, TRIP, true, 0), Reported::Spared, "nobody comes back");
    }

    #[test]
    fn pickers_and_the_board_agree_about_panic() {
        let member = |name, priority, weight| Member { name, weight, priority };
        let members = [member(0, 0, 1), member(1, 0, 1), member(2, 1, 1), member(3, 1, 0)];
        let mut board = Board::new(RULES, &members, None);
        assert_eq!((board.admission(60).priority, board.available()), (Some(0), (3, 3)));
        board.check(0, false, 0);
        assert_eq!((board.admission(60).priority, board.admission(50).priority), (Some(1), Some(0)));
        board.check(2, false, 0);
        assert!(board.admission(60).is_panicking && !board.admission(50).is_panicking);
        board.check(1, false, 0);
        assert_eq!((board.admission(0).priority, board.available()), (None, (0, 3)));
    }

    #[test]
    fn checks_that_begin_take_nobody_out() {
        let unchecked = BoardRules { checks: None, ..RULES };
        let strict = CheckRules { rise: 2, fall: 2, initial: Initial::Down };
        let strict = BoardRules { checks: Some(strict), ..RULES };
        let before = Board::new(unchecked, &members(&[0]), None);
        let mut board = Board::new(strict, &members(&[0, 1]), Some(&before));
        assert_eq!(board.state(0), Some(Available));
        assert_eq!(board.state(1), Some(Unavailable(Reason::NotChecked)));
        assert_eq!(board.check(1, true, 7), change(1, Unavailable(Reason::NotChecked), Available));
        assert_eq!(board.check(0, false, 7), change(0, Available, FAILED));
        // And checks that end bring everybody back.
        let mut board = Board::new(unchecked, &members(&[0, 1]), Some(&board));
        assert_eq!((board.advance(8), board.advance(8)), (change(0, FAILED, Available), None));
    }
}
