//! Which upstream a request goes to, and what it brings to the choice of an endpoint there.

use corelane_semantics::{PathError, RequestHead};

use super::Exchange;
use crate::action::{Action, CookieValue, Destination, SetCookie, Split, Sticky};
use crate::affinity;
use crate::heads::Sender;
use crate::io::{Dial, clock};
use crate::local::Local;
use crate::message::Downstream;

/// What a request tells that its upstream may depend on.
pub(super) struct Asker<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) bytes: &'a [u8],
    pub(super) host: &'a [u8],
    /// The canonical path.
    pub(super) path: Result<&'a [u8], PathError>,
    pub(super) sender: Sender,
}

/// A client is to be told where it stays.
#[derive(Clone, Copy)]
pub(super) struct Assigned {
    is_secure: bool,
}

impl<S: Dial, D: Downstream> Exchange<S, D> {
    /// Follows the route's action. A split chooses for requests that are served only, so that its shares are theirs.
    #[inline]
    pub(super) fn choose_upstream(
        &mut self,
        local: &Local<S>,
        route: usize,
        served: bool,
        asker: &Asker<'_>,
    ) {
        match &local.snapshot().routes[route].action {
            Action::Upstream(upstream) => {
                self.upstream = Some(*upstream);
                self.timeouts = local.timeouts(route);
            }
            Action::Split(split) if served => self.choose_share(local, route, split, asker),
            Action::Split(_) | Action::Answer => {}
        }
        if let Some(upstream) = self.upstream.map(|upstream| &local.snapshot().upstreams[upstream])
            && let Some(affinity) = &upstream.affinity
            && served
        {
            self.wish = affinity.wish(&asker.request(), now_s());
        }
    }

    #[cold]
    fn choose_share(&mut self, local: &Local<S>, route: usize, split: &Split, asker: &Asker<'_>) {
        let Some(destination) = self.choose(local, route, split, asker) else { return };
        let snapshot = local.snapshot();
        self.upstream = Some(destination.upstream);
        self.timeouts = snapshot.routes[route].timeouts.towards(&snapshot.upstreams[destination.upstream]);
    }

    fn choose<'a>(
        &mut self,
        local: &Local<S>,
        route: usize,
        split: &'a Split,
        asker: &Asker<'_>,
    ) -> Option<&'a Destination> {
        if let Some(home) = split.home(asker.head, asker.bytes, asker.sender.client) {
            return Some(home);
        }
        let next = local.route_state(route)?.pick()?;
        if let Some(Sticky::Cookie(_)) = split.sticky {
            let is_secure = asker.sender.came_by_https(asker.head, asker.bytes);
            self.assigned = Some(Assigned { is_secure });
        }
        Some(&split.destinations[next])
    }

    /// What the response tells a client that was not told before: of a split, and of its upstream.
    #[inline]
    pub(super) fn set_cookies(&self) -> [Option<SetCookie<'_>>; 2] {
        [self.assigned.and_then(|assigned| self.share_cookie(assigned)), self.seat_cookie()]
    }

    #[inline]
    fn seat_cookie(&self) -> Option<SetCookie<'_>> {
        if !self.wish.is_asked {
            return None;
        }
        let upstream = &self.snapshot().upstreams[self.upstream?];
        let seats = upstream.affinity.as_ref()?.seats.as_ref()?;
        seats.cookie_for(&self.wish, self.endpoint?, now_s())
    }

    #[cold]
    fn share_cookie(&self, Assigned { is_secure }: Assigned) -> Option<SetCookie<'_>> {
        let Action::Split(split) = &self.snapshot().routes[self.route?].action else { return None };
        let Some(Sticky::Cookie(cookie)) = &split.sticky else { return None };
        let destination = split.destinations.iter().find(|it| Some(it.upstream) == self.upstream)?;
        Some(SetCookie { cookie, value: CookieValue::Share(destination.token), is_secure })
    }
}

impl Asker<'_> {
    fn request(&self) -> affinity::Request<'_> {
        affinity::Request {
            head: self.head,
            bytes: self.bytes,
            host: self.host,
            path: self.path.unwrap_or_default(),
            client: self.sender.client,
            is_secure: self.sender.came_by_https(self.head, self.bytes),
        }
    }
}

/// Seconds since 1970 (UTC).
fn now_s() -> u64 {
    clock::unix_coarse_ns() / 1_000_000_000
}
