//! A worker's own state of a route that splits or mirrors.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use corelane_balancer::{Ask, Group, Picker, Policy};

use crate::action::{Action, Split};
use crate::snapshot::{Route, Snapshot};
use crate::spread::Spread;

/// See the module.
pub(crate) struct LocalRoute {
    /// Whose turn it is. Without upstreams for a route that does not split.
    picker: RefCell<Picker>,
    /// Which requests are mirrored.
    spread: Spread,
    /// Mirrored requests that are being received or answered; together with those of earlier snapshots.
    mirrors: Rc<Cell<usize>>,
}

impl LocalRoute {
    fn new(route: &Route, worker: usize) -> Self {
        let weights = match &route.action {
            Action::Upstream(_) | Action::Answer => Vec::new(),
            Action::Split(split) => split.destinations.iter().map(|it| it.weight).collect(),
        };
        let shares = Group::of_weights(Policy::Weighted, &weights);
        Self {
            picker: RefCell::new(Picker::new(&shares, worker as u64)),
            spread: Spread::default(),
            mirrors: Rc::default(),
        }
    }

    /// The destination whose turn it is, as an index.
    pub(crate) fn pick(&self) -> Option<usize> {
        self.picker.borrow_mut().pick(&Ask::default(), &()).ok()
    }

    /// Whether this request is one of those that a share of all takes: spread evenly, and exact over time.
    pub(crate) fn takes(&self, share: u32) -> bool {
        self.spread.takes(share)
    }

    /// Mirrored requests that are being received or answered.
    pub(crate) fn mirrors(&self) -> &Rc<Cell<usize>> {
        &self.mirrors
    }
}

/// The state for each route of a new snapshot: what did not change is taken over, by the route's name.
pub(super) fn local_routes(
    snapshot: &Snapshot,
    (known, locals): (&Snapshot, &[Option<Box<LocalRoute>>]),
    worker: usize,
) -> Vec<Option<Box<LocalRoute>>> {
    let known_routes = known.routes.iter().zip(locals);
    let known_routes: HashMap<&str, _> =
        known_routes.filter_map(|(route, local)| Some((&*route.name, (route, local.as_deref()?)))).collect();
    let local_route = |route: &Route| {
        let is_plain = matches!(route.action, Action::Upstream(_)) && route.mirror.is_none();
        if is_plain {
            return None;
        }
        let mut local = LocalRoute::new(route, worker);
        if let Some((earlier, of_earlier)) = known_routes.get(&*route.name) {
            local.spread = of_earlier.spread.clone();
            local.mirrors = of_earlier.mirrors.clone();
            if shares(known, earlier) == shares(snapshot, route) {
                local.picker = of_earlier.picker.clone();
            }
        }
        Some(Box::new(local))
    };
    snapshot.routes.iter().map(local_route).collect()
}

/// Who takes which part of a route's requests.
fn shares<'a>(snapshot: &'a Snapshot, route: &'a Route) -> Vec<(&'a str, u32)> {
    let Action::Split(Split { destinations, .. }) = &route.action else { return Vec::new() };
    destinations.iter().map(|it| (&*snapshot.upstreams[it.upstream].name, it.weight)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Destination, SHARE_ALL, Token};
    use crate::exchange_tests::snapshot;

    /// A route with this name that splits between two upstreams.
    fn splitting(name: &str, weights: [u32; 2]) -> Snapshot {
        let mut snapshot = snapshot();
        snapshot.upstreams.push(snapshot.upstreams[0].clone());
        snapshot.upstreams[1].name = "other".into();
        let destination = |upstream| Destination {
            upstream,
            weight: weights[upstream],
            token: Token::of(&snapshot.upstreams[upstream].name),
        };
        let destinations = vec![destination(0), destination(1)];
        snapshot.routes[0].action = Action::Split(Split { destinations, sticky: None });
        snapshot.routes[0].name = name.into();
        snapshot
    }

    fn picks(locals: &[Option<Box<LocalRoute>>], count: usize) -> Vec<usize> {
        let local = locals[0].as_ref().unwrap();
        (0..count).map(|_| local.pick().unwrap()).collect()
    }

    #[test]
    fn a_plain_route_has_no_state() {
        assert!(local_routes(&snapshot(), (&Snapshot::default(), &[]), 0)[0].is_none());
    }

    #[test]
    fn turns_go_on_after_a_reload_that_leaves_the_shares() {
        let first = splitting("all", [2, 1]);
        let locals = local_routes(&first, (&Snapshot::default(), &[]), 0);
        assert_eq!(picks(&locals, 4), [0, 1, 0, 0]);
        let again = local_routes(&first, (&first, &locals), 0);
        assert_eq!(picks(&again, 3), [1, 0, 0]);
        for other in [splitting("all", [3, 1]), splitting("renamed", [2, 1])] {
            let fresh = local_routes(&other, (&Snapshot::default(), &[]), 0);
            let taken_over = local_routes(&other, (&first, &locals), 0);
            assert_eq!(picks(&taken_over, 8), picks(&fresh, 8), "it begins anew");
        }
    }

    #[test]
    fn a_share_is_spread_and_exact_and_goes_on_after_a_reload() {
        for share in [1, 3, 10_000, 333_333, 500_000, 999_999, SHARE_ALL] {
            let snapshot = splitting("all", [1, 1]);
            let mut locals = local_routes(&snapshot, (&Snapshot::default(), &[]), 0);
            let mut taken: u64 = 0;
            for request in 1..=50_000 {
                if request % 777 == 0 {
                    locals = local_routes(&snapshot, (&snapshot, &locals), 0);
                }
                taken += u64::from(locals[0].as_ref().unwrap().takes(share));
                let exact = request * u64::from(share);
                let error = (taken * u64::from(SHARE_ALL)).abs_diff(exact);
                assert!(error <= u64::from(SHARE_ALL) / 2, "{taken} of {request} with {share}");
            }
        }
    }

    #[test]
    fn places_are_counted_over_snapshots() {
        let snapshot = splitting("all", [1, 1]);
        let locals = local_routes(&snapshot, (&Snapshot::default(), &[]), 0);
        locals[0].as_ref().unwrap().mirrors().set(5);
        let other = local_routes(&splitting("all", [9, 1]), (&snapshot, &locals), 0);
        assert_eq!(other[0].as_ref().unwrap().mirrors().get(), 5);
    }
}
