//! Which upstream a request goes to.

use corelane_balancer::rendezvous;
use corelane_semantics::{Known, RequestHead};

use super::Exchange;
use crate::action::{Action, Destination, SetCookie, Split, Sticky, Token};
use crate::heads::Sender;
use crate::io::Dial;
use crate::limits::ClientKey;
use crate::local::Local;

/// What a request tells that its upstream may depend on.
pub(super) struct Asker<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) bytes: &'a [u8],
    pub(super) sender: Sender,
}

/// A client is to be told where it stays.
#[derive(Clone, Copy)]
pub(super) struct Assigned {
    token: Token,
    is_secure: bool,
}

impl<S: Dial> Exchange<S> {
    /// Follows the route's action. A split chooses for requests that are served only, so that its shares are theirs.
    pub(super) fn choose_upstream(
        &mut self,
        local: &Local<S>,
        route: usize,
        served: bool,
        asker: &Asker<'_>,
    ) {
        let snapshot = local.snapshot();
        let route_config = &snapshot.routes[route];
        let upstream = match &route_config.action {
            Action::Upstream(upstream) => *upstream,
            Action::Answer => return,
            Action::Split(_) if !served => return,
            Action::Split(split) => match self.choose(local, route, split, asker) {
                Some(destination) => destination.upstream,
                None => return,
            },
        };
        self.upstream = Some(upstream);
        self.timeouts = route_config.timeouts.towards(&snapshot.upstreams[upstream]);
    }

    fn choose<'a>(
        &mut self,
        local: &Local<S>,
        route: usize,
        split: &'a Split,
        asker: &Asker<'_>,
    ) -> Option<&'a Destination> {
        let next = || local.route_state(route)?.pick().map(|index| &split.destinations[index]);
        match &split.sticky {
            None => next(),
            Some(Sticky::Cookie(cookie)) => {
                if let Some(destination) = split.named_by(cookie, asker.head, asker.bytes) {
                    return Some(destination);
                }
                let destination = next()?;
                self.assigned = Some(Assigned { token: destination.token, is_secure: asker.came_by_tls() });
                Some(destination)
            }
            Some(Sticky::Client) => match asker.sender.client {
                // Over a Unix socket all look the same.
                None => next(),
                Some(ip) => {
                    let shares = split.destinations.iter().map(|it| (it.token.bits(), it.weight));
                    rendezvous(shares, ClientKey::new(ip).bits()).map(|index| &split.destinations[index])
                }
            },
        }
    }

    /// What the response tells a client that was not told before.
    pub(super) fn set_cookie(&self) -> Option<SetCookie<'_>> {
        let Assigned { token, is_secure } = self.assigned?;
        match &self.snapshot().routes[self.route?].action {
            Action::Split(Split { sticky: Some(Sticky::Cookie(cookie)), .. }) => {
                Some(SetCookie { cookie, token, is_secure })
            }
            _ => None,
        }
    }
}

impl Asker<'_> {
    /// Whether a trusted proxy in front says so.
    fn came_by_tls(&self) -> bool {
        let proto = self.head.fields.first(Known::XForwardedProto, self.bytes).unwrap_or_default();
        let nearest_client = proto.split(|&byte| byte == b',').next().unwrap_or_default();
        self.sender.is_trusted && nearest_client.trim_ascii().eq_ignore_ascii_case(b"https")
    }
}
