//! One worker's state of one upstream's policy.

use std::collections::BTreeMap;

use crate::group::Group;
use crate::tier::Tier;
use crate::view::{Ask, NoEndpoint, Share, View};

/// Chooses. Made when a worker gets a snapshot; a pick changes nothing but this and allocates nothing.
#[derive(Clone, Debug)]
pub struct Picker {
    tiers: Box<[Tier]>,
    /// By endpoint.
    shares: Box<[Share]>,
    panic_percent: u8,
    /// The tier that is asked first.
    first: usize,
}

/// What [`Picker::admit`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The priority that is asked first; `None` if no endpoint is available.
    pub priority: Option<u32>,
    /// Too few are available at every priority: all of the first are used.
    pub is_panicking: bool,
    /// Some have less than their full share: to be called again in a while.
    pub is_ramping: bool,
}

impl Admission {
    /// What [`Picker::admit`] makes of endpoints, each of whose priority is known, whether it has a weight, and whether it
    /// is available: for who only tells about it.
    #[must_use]
    pub fn of(endpoints: impl Iterator<Item = (u32, bool, bool)>, panic_percent: u8) -> Self {
        let mut tiers = BTreeMap::<u32, (usize, usize)>::new();
        for (priority, _, is_available) in endpoints.filter(|(_, has_weight, _)| *has_weight) {
            let (available, all) = tiers.entry(priority).or_default();
            *available += usize::from(is_available);
            *all += 1;
        }
        let mut enough =
            tiers.iter().filter(|(_, (available, all))| is_enough(*available, *all, panic_percent));
        let enough = enough.next().map(|(priority, _)| *priority);
        let first = tiers.keys().next().copied().filter(|_| panic_percent > 0);
        Self {
            priority: enough.or(first),
            is_panicking: enough.is_none() && first.is_some(),
            is_ramping: false,
        }
    }
}

/// Whether so many of the endpoints of a priority are enough.
fn is_enough(available: usize, all: usize, panic_percent: u8) -> bool {
    available > 0 && available * 100 >= all * usize::from(panic_percent)
}

impl Picker {
    /// `start` moves the start of the cycle of policies that go in turn, so that workers with different ones do not send
    /// their first requests to the same endpoint; 0 starts at the first. Every endpoint is available.
    #[must_use]
    pub fn new(group: &Group, start: u64) -> Self {
        let policy = group.rules.policy;
        let mut picker = Self {
            tiers: group.levels.iter().map(|level| Tier::new(policy, level, start)).collect(),
            shares: vec![Share::FULL; group.members].into(),
            panic_percent: group.rules.panic_percent,
            first: 0,
        };
        picker.admit(|_| Share::FULL);
        picker
    }

    /// Goes on where `previous` was, for a group that replaces its group: turns and credits of endpoints that stay, by
    /// their names. What is available is not taken over.
    pub fn take_over(&mut self, previous: &Self) {
        for tier in &mut self.tiers {
            if let Some(previous) = previous.tiers.iter().find(|it| it.priority == tier.priority) {
                tier.take_over(previous);
            }
        }
    }

    /// Takes note of what is available. To be called whenever that has changed, and while some ramp, ten times a second,
    /// say; not for each pick. Linear in the number of endpoints.
    pub fn admit(&mut self, share: impl Fn(usize) -> Share) -> Admission {
        let mut enough = None;
        let mut is_ramping = false;
        for (index, tier) in self.tiers.iter_mut().enumerate() {
            let (mut available, mut all) = (0_usize, 0_usize);
            for entry in &mut tier.entries {
                entry.share = share(entry.endpoint);
                self.shares[entry.endpoint] = entry.share;
                is_ramping |= entry.share > Share::NONE && entry.share < Share::FULL;
                all += usize::from(entry.weight > 0);
                available += usize::from(entry.weight > 0 && entry.share > Share::NONE);
            }
            if enough.is_none() && is_enough(available, all, self.panic_percent) {
                enough = Some(index);
            }
        }
        let used = enough.or_else(|| self.panic());
        self.first = used.unwrap_or(0);
        for tier in &mut self.tiers {
            tier.weigh();
        }
        let priority = used.map(|tier| self.tiers[tier].priority);
        Admission { priority, is_panicking: used.is_some() && enough.is_none(), is_ramping }
    }

    /// Uses all endpoints of the first priority that has one with a weight, if that is what is wanted.
    fn panic(&mut self) -> Option<usize> {
        let has_weight = |tier: &Tier| tier.entries.iter().any(|entry| entry.weight > 0);
        let first = self.tiers.iter().position(has_weight).filter(|_| self.panic_percent > 0)?;
        for entry in &mut self.tiers[first].entries {
            entry.share = Share::FULL;
            self.shares[entry.endpoint] = Share::FULL;
        }
        Some(first)
    }

    /// Whether clients that stay at this endpoint (by a [cookie](crate::CookieKey)) may go on: it is available,
    /// though it may have weight 0. Whether it is full is for the caller to see.
    #[must_use]
    pub fn keeps_sessions(&self, endpoint: usize) -> bool {
        self.shares.get(endpoint).is_some_and(|&share| share > Share::NONE)
    }

    /// The endpoint for the next attempt, of the first priority that has one.
    ///
    /// # Errors
    ///
    /// [`NoEndpoint`] says why there is none: answer 503 at once, give up, or wait.
    #[inline]
    pub fn pick(&mut self, ask: &Ask<'_>, view: &impl View) -> Result<usize, NoEndpoint> {
        if let Some(tier) = self.tiers.get_mut(self.first)
            && let Some(endpoint) = tier.pick(ask, view)
        {
            return Ok(endpoint);
        }
        self.pick_elsewhere(ask, view)
    }

    #[cold]
    fn pick_elsewhere(&mut self, ask: &Ask<'_>, view: &impl View) -> Result<usize, NoEndpoint> {
        let (before, from_first) = self.tiers.split_at_mut(self.first);
        let mut others = from_first.iter_mut().skip(1).chain(before);
        let picked = others.find_map(|tier| tier.pick(ask, view));
        picked.ok_or_else(|| self.why_none(ask))
    }

    fn why_none(&self, ask: &Ask<'_>) -> NoEndpoint {
        let entries = || self.tiers.iter().flat_map(|tier| &tier.entries).filter(|entry| entry.scaled > 0);
        if entries().next().is_none() {
            NoEndpoint::Down
        } else if entries().all(|entry| ask.excluded.contains(&entry.endpoint)) {
            NoEndpoint::Tried
        } else {
            NoEndpoint::Full
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GroupRules, Member, Policy, mix};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn picker(policy: Policy, weights: &[u32], start: u64) -> Picker {
        Picker::new(&Group::of_weights(policy, weights), start)
    }

    /// A request with a key and chance of its own.
    fn ask(number: u64, excluded: &[usize]) -> Ask<'_> {
        Ask { excluded, key: Some(mix(number ^ 7)), random: mix(number) }
    }

    /// Endpoints that are picked in so many picks.
    fn picked(picker: &mut Picker, excluded: &[usize]) -> Vec<usize> {
        let picks = (0..400).filter_map(|number| picker.pick(&ask(number, excluded), &()).ok());
        let mut picked: Vec<_> = picks.collect::<HashSet<_>>().into_iter().collect();
        picked.sort_unstable();
        picked
    }

    /// Two endpoints of priority 1, two of 5, one of 9.
    fn with_backups(policy: Policy, panic_percent: u8) -> Picker {
        let priorities = [1, 5, 1, 9, 5];
        let member = |(name, &priority)| Member { name, weight: 1, priority };
        let members: Vec<_> = (0..).zip(&priorities).map(member).collect();
        Picker::new(&Group::new(GroupRules { policy, panic_percent, ..GroupRules::default() }, &members), 0)
    }

    fn only<const N: usize>(available: [usize; N]) -> impl Fn(usize) -> Share {
        move |endpoint| if available.contains(&endpoint) { Share::FULL } else { Share::NONE }
    }

    #[test]
    fn no_endpoints_no_pick() {
        for policy in Policy::ALL {
            for weights in [&[][..], &[0], &[0, 0, 0]] {
                let mut picker = picker(policy, weights, 7);
                assert_eq!(picker.pick(&ask(1, &[]), &()), Err(NoEndpoint::Down), "{policy:?} {weights:?}");
            }
        }
    }

    #[test]
    fn a_single_endpoint_takes_everything_until_excluded() {
        for policy in Policy::ALL {
            let mut picker = picker(policy, &[0, 3], u64::MAX);
            for number in 0..10 {
                assert_eq!(picker.pick(&ask(number, &[]), &|_| u64::MAX), Ok(1), "{policy:?}");
                assert_eq!(picker.pick(&ask(number, &[1]), &()), Err(NoEndpoint::Tried), "{policy:?}");
                assert_eq!(picker.pick(&ask(number, &[0, 9, usize::MAX]), &()), Ok(1), "{policy:?}");
            }
        }
    }

    #[test]
    fn starts_are_spread_over_equal_endpoints() {
        for policy in [Policy::RoundRobin, Policy::Weighted, Policy::LeastConnections] {
            let first = |start| picker(policy, &[1; 4], start).pick(&Ask::default(), &());
            let firsts: Vec<_> = (0..8).map(first).collect();
            assert_eq!(firsts, [0, 1, 2, 3, 0, 1, 2, 3].map(Ok), "{policy:?}");
        }
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        for policy in Policy::ALL {
            let mut picker = picker(policy, &[u32::MAX; 100], 3);
            for step in 0..1_000_usize {
                let excluded = [step % 100, (step + 1) % 100];
                let picked = picker.pick(&ask(step as u64, &excluded), &|_| u64::MAX);
                assert!(picked.is_ok_and(|endpoint| endpoint < 100 && !excluded.contains(&endpoint)));
            }
        }
    }

    #[test]
    fn backups_are_for_when_no_other_is_available() {
        for policy in Policy::ALL {
            let mut picker = with_backups(policy, 0);
            assert_eq!(picked(&mut picker, &[]), [0, 2], "{policy:?}");
            assert_eq!(picker.admit(only([2, 1, 3, 4])).priority, Some(1));
            assert_eq!(picked(&mut picker, &[]), [2]);
            assert_eq!(picker.admit(only([1, 3, 4])).priority, Some(5));
            assert_eq!(picked(&mut picker, &[]), [1, 4]);
            assert_eq!(picker.admit(only([3])).priority, Some(9));
            assert_eq!(picked(&mut picker, &[]), [3]);
            let nobody = Admission { priority: None, is_panicking: false, is_ramping: false };
            assert_eq!(picker.admit(only([])), nobody);
            assert_eq!(picker.pick(&ask(1, &[]), &()), Err(NoEndpoint::Down));
        }
    }

    #[test]
    fn a_retry_goes_to_backups_when_the_others_were_tried() {
        for policy in Policy::ALL {
            let mut picker = with_backups(policy, 0);
            assert_eq!(picked(&mut picker, &[0]), [2], "{policy:?}");
            assert_eq!(picked(&mut picker, &[0, 2]), [1, 4]);
            assert_eq!(picked(&mut picker, &[0, 2, 4, 1]), [3]);
            let all = ask(1, &[0, 2, 4, 1, 3]);
            assert_eq!(picker.pick(&all, &()), Err(NoEndpoint::Tried));
        }
    }

    #[test]
    fn too_few_give_way_to_backups_and_then_all_are_used() {
        for policy in Policy::ALL {
            let mut picker = with_backups(policy, 60);
            assert_eq!(
                picker.admit(only([0, 1, 4, 3])).priority,
                Some(5),
                "{policy:?}: one of two is too few"
            );
            assert_eq!(picked(&mut picker, &[]), [1, 4]);
            assert_eq!(picked(&mut picker, &[1, 4]), [3]);
            assert_eq!(picked(&mut picker, &[1, 4, 3]), [0], "better than none");
            let panic = Admission { priority: Some(1), is_panicking: true, is_ramping: false };
            assert_eq!(picker.admit(only([1])), panic);
            assert_eq!(picked(&mut picker, &[]), [0, 2]);
            assert_eq!(picked(&mut picker, &[0, 2]), [1]);
            assert!(picker.keeps_sessions(0) && !picker.keeps_sessions(4));
            assert!(!picker.admit(only([0, 2])).is_panicking);
        }
    }

    #[test]
    fn those_without_weight_are_no_reason_to_panic() {
        let rules = GroupRules { panic_percent: 100, ..GroupRules::default() };
        let member = |name, weight| Member { name, weight, priority: 0 };
        let mut picker = Picker::new(&Group::new(rules, &[member(0, 0), member(1, 1)]), 0);
        assert!(!picker.admit(only([1])).is_panicking);
        let mut picker = Picker::new(&Group::new(rules, &[member(0, 0)]), 0);
        assert_eq!(picker.admit(only([])).priority, None);
        assert!(!picker.keeps_sessions(0));
    }

    #[test]
    fn who_is_full_gets_nothing_and_all_full_is_told_apart() {
        struct Full(Vec<usize>);
        impl View for Full {
            fn outstanding(&self, _endpoint: usize) -> u64 {
                0
            }
            fn is_full(&self, endpoint: usize) -> bool {
                self.0.contains(&endpoint)
            }
        }
        for policy in Policy::ALL {
            let mut picker = picker(policy, &[1, 1, 1, 0], 0);
            let mut pick = |full: &[usize], excluded| picker.pick(&ask(3, excluded), &Full(full.to_vec()));
            assert_eq!(pick(&[0, 1], &[]), Ok(2), "{policy:?}");
            assert_eq!(pick(&[0, 1, 2], &[]), Err(NoEndpoint::Full));
            assert_eq!(pick(&[0, 1], &[2]), Err(NoEndpoint::Full), "one of them may be free soon");
            assert_eq!(pick(&[0, 1], &[0, 1, 2]), Err(NoEndpoint::Tried));
        }
    }

    #[test]
    fn no_weight_keeps_sessions_and_takes_no_work() {
        let mut picker = picker(Policy::Random, &[0, 1], 0);
        assert!(picker.keeps_sessions(0) && picker.keeps_sessions(1) && !picker.keeps_sessions(2));
        assert_eq!(picked(&mut picker, &[]), [1]);
        let _ = picker.admit(only([1]));
        assert!(!picker.keeps_sessions(0), "it is down");
    }

    #[test]
    fn tells_while_some_ramp() {
        let mut picker = picker(Policy::Weighted, &[1, 1], 0);
        let mut is_ramping = |share| picker.admit(|_| share).is_ramping;
        assert!(is_ramping(Share::new(1)) && is_ramping(Share::new(255)));
        assert!(!is_ramping(Share::FULL) && !is_ramping(Share::NONE));
    }

    proptest! {
        #[test]
        fn picks_an_eligible_endpoint_if_and_only_if_there_is_one(
            policy in 0..Policy::ALL.len(),
            weights in vec(prop_oneof![Just(0_u32), 1..4_u32, Just(65_535), any::<u32>()], 0..9),
            start in any::<u64>(),
            rounds in vec((vec(0..10_usize, 0..6), vec((any::<u64>(), 0..4_u16), 9)), 1..40),
        ) {
            let mut picker = picker(Policy::ALL[policy], &weights, start);
            for (number, (excluded, endpoints)) in (start..).zip(rounds) {
                let share = |endpoint: usize| Share::new(endpoints[endpoint].1 * 100);
                let _ = picker.admit(share);
                let eligible = |&endpoint: &usize| {
                    weights[endpoint] > 0 && !excluded.contains(&endpoint) && share(endpoint) > Share::NONE
                };
                match picker.pick(&ask(number, &excluded), &|endpoint: usize| endpoints[endpoint].0) {
                    Ok(endpoint) => prop_assert!(eligible(&endpoint), "{} is not eligible", endpoint),
                    Err(_) => prop_assert!(!(0..weights.len()).any(|endpoint| eligible(&endpoint))),
                }
            }
        }

        #[test]
        fn who_tells_about_it_tells_the_same(
            endpoints in vec((0..3_u32, 0..2_u32, any::<bool>()), 0..8),
            panic_percent in prop_oneof![Just(0_u8), Just(50), Just(100)],
        ) {
            let member = |(name, &(priority, weight, _)): (u64, &(u32, u32, bool))| Member { name, weight, priority };
            let members: Vec<_> = (0..).zip(&endpoints).map(member).collect();
            let rules = GroupRules { panic_percent, ..GroupRules::default() };
            let mut picker = Picker::new(&Group::new(rules, &members), 0);
            let admitted = picker.admit(|it| if endpoints[it].2 { Share::FULL } else { Share::NONE });
            let each = endpoints.iter().map(|&(priority, weight, is_available)| (priority, weight > 0, is_available));
            prop_assert_eq!(Admission::of(each, panic_percent), admitted);
        }

        #[test]
        fn the_same_begin_and_the_same_chance_give_the_same_picks(
            policy in 0..Policy::ALL.len(),
            weights in vec(0..9_u32, 1..6),
            start in any::<u64>(),
        ) {
            let mut one = picker(Policy::ALL[policy], &weights, start);
            let mut other = picker(Policy::ALL[policy], &weights, start);
            for number in 0..50 {
                prop_assert_eq!(one.pick(&ask(number, &[]), &()), other.pick(&ask(number, &[]), &()));
            }
        }
    }
}
