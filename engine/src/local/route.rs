//! A worker's own state of a route that splits or mirrors.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use corelane_balancer::{Picker, PolicyKind};

use crate::action::{Action, SHARE_ALL, Split};
use crate::snapshot::{Route, Snapshot};

/// See the module.
pub(crate) struct LocalRoute {
    /// Whose turn it is. Without upstreams for a route that does not split.
    picker: RefCell<Picker>,
    /// What was due to the mirror and not given yet, in the unit of its share.
    due: Cell<u32>,
    /// Mirrored requests that are being received or answered; together with those of earlier snapshots.
    mirrors: Rc<Cell<usize>>,
}

impl LocalRoute {
    fn new(route: &Route, worker: usize) -> Self {
        let weights = match &route.action {
            Action::Upstream(_) => Vec::new(),
            Action::Split(split) => split.destinations.iter().map(|it| it.weight).collect(),
        };
        Self {
            picker: RefCell::new(Picker::new(PolicyKind::Weighted, &weights, worker as u64)),
            // The count is rounded to the nearest then, instead of down on each worker.
            due: Cell::new(SHARE_ALL / 2),
            mirrors: Rc::default(),
        }
    }

    /// The destination whose turn it is, as an index.
    pub(crate) fn pick(&self) -> Option<usize> {
        self.picker.borrow_mut().pick(&[], |_| 0)
    }

    /// Whether this request is one of those that a share of all takes: spread evenly, and exact over time.
    pub(crate) fn takes(&self, share: u32) -> bool {
        let due = self.due.get() + share;
        let takes = due >= SHARE_ALL;
        self.due.set(if takes { due - SHARE_ALL } else { due });
        takes
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
            local.due = of_earlier.due.clone();
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
