//! What a route does with its requests: to one upstream, or to several by weight; which of them are mirrored; and the
//! timeouts that it sets itself.

use std::net::IpAddr;
use std::time::Duration;

use corelane_balancer::{CookieText, fingerprint, rendezvous};
use corelane_filters::Limits;
use corelane_http1::write_decimal;
use corelane_semantics::RequestHead;

use crate::core::milliseconds;
use crate::counters::{MirrorCounters, PerWorker};
use crate::limits::ClientKey;
use crate::reason::words;
use crate::request_id::hexadecimal;
use crate::snapshot::Upstream;

/// Where the requests of a route go. Upstreams are indices into [`crate::snapshot::Snapshot::upstreams`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To this upstream.
    Upstream(usize),
    /// To one of several.
    Split(Split),
    /// To none: the last of its filters answers.
    Answer,
}

impl Action {
    /// The upstreams that requests may go to, those of weight 0 included.
    pub fn upstreams(&self) -> impl Iterator<Item = usize> + '_ {
        let (one, several) = match self {
            Self::Upstream(upstream) => (Some(*upstream), &[][..]),
            Self::Split(split) => (None, &split.destinations[..]),
            Self::Answer => (None, &[][..]),
        };
        one.into_iter().chain(several.iter().map(|destination| destination.upstream))
    }
}

/// Upstreams that share the requests of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// No upstream twice, and at least one weight above 0.
    pub destinations: Vec<Destination>,
    /// Whether a client stays where it was. Absent: each request is on its own.
    pub sticky: Option<Sticky>,
}

/// One share of a [`Split`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The upstream.
    pub upstream: usize,
    /// Its share, 0 to 65 535; 0 takes none.
    pub weight: u32,
    /// What stands for it in cookies and in the choice by client; it follows from the upstream's name.
    pub token: Token,
}

/// How a client stays at one of the upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// It is told which one in a cookie.
    Cookie(StickyCookie),
    /// Its address decides: an IPv4 address, or the /64 network of an IPv6 address.
    Client,
}

/// The cookie of [`Sticky::Cookie`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name, a token.
    pub name: Box<str>,
    /// For how long clients keep it. Absent: until they end.
    pub max_age: Option<Duration>,
    /// The paths that clients send it for.
    pub path: Box<str>,
}

/// Stands for an upstream where its name must not be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

/// A token's digits.
const TOKEN_DIGITS: usize = 16;

impl Token {
    /// Of the upstream with this name: the same on every worker, after every reload and in every process.
    #[must_use]
    pub fn of(upstream: &str) -> Self {
        Self(fingerprint(upstream.as_bytes()))
    }

    fn text(self) -> [u8; TOKEN_DIGITS] {
        hexadecimal(self.0)
    }
}

impl Split {
    /// Where the client stays: by the cookie that it sent, or by its address. `None`: it goes to whose turn it is.
    #[must_use]
    pub fn home(&self, head: &RequestHead, bytes: &[u8], client: Option<IpAddr>) -> Option<&Destination> {
        match self.sticky.as_ref()? {
            Sticky::Cookie(cookie) => self.named_by(cookie, head, bytes),
            Sticky::Client => {
                let shares = self.destinations.iter().map(|it| (it.token.0, it.weight));
                // Over a Unix socket all clients look the same.
                let home = rendezvous(shares, ClientKey::new(client?).bits())?;
                self.destinations.get(home)
            }
        }
    }

    /// Which destination the request's cookie names, if it names one that takes requests.
    fn named_by(&self, cookie: &StickyCookie, head: &RequestHead, bytes: &[u8]) -> Option<&Destination> {
        head.fields.cookies(bytes).find_map(|(name, value)| {
            let value = value.filter(|_| name == cookie.name.as_bytes())?;
            self.destinations.iter().find(|it| it.weight > 0 && it.token.text() == value)
        })
    }
}

/// A `Set-Cookie` field.
#[derive(Clone, Copy)]
pub(crate) struct SetCookie<'a> {
    pub(crate) cookie: &'a StickyCookie,
    pub(crate) value: CookieValue,
    /// The client came by TLS: the cookie is not for connections without it.
    pub(crate) is_secure: bool,
}

/// What stands in it.
#[derive(Clone, Copy)]
pub(crate) enum CookieValue {
    /// An upstream.
    Share(Token),
    /// An endpoint, signed.
    Seat(CookieText),
}

impl SetCookie<'_> {
    /// Appends the field line (RFC 6265 §4.1).
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Set-Cookie: ");
        out.extend_from_slice(self.cookie.name.as_bytes());
        out.push(b'=');
        match &self.value {
            CookieValue::Share(token) => out.extend_from_slice(&token.text()),
            CookieValue::Seat(text) => out.extend_from_slice(text),
        }
        out.extend_from_slice(b"; Path=");
        out.extend_from_slice(self.cookie.path.as_bytes());
        if let Some(max_age) = self.cookie.max_age {
            out.extend_from_slice(b"; Max-Age=");
            write_decimal(out, max_age.as_secs());
        }
        out.extend_from_slice(b"; HttpOnly; SameSite=Lax");
        out.extend_from_slice(if self.is_secure { b"; Secure\r\n" } else { b"\r\n" });
    }
}

/// A share of a route's requests that is sent to another upstream too.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// What it is set to.
    pub rule: MirrorRule,
    /// Its counters.
    pub counters: PerWorker<MirrorCounters>,
}

/// The settings of a [`Mirror`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRule {
    /// The other upstream.
    pub upstream: usize,
    /// Of [`SHARE_ALL`] requests, so many.
    pub share: u32,
    /// The largest request body that is mirrored. Default 1 MiB.
    pub body_bytes_max: usize,
    /// Mirrored requests at most that are being received or answered at once, on one worker. Default 64.
    pub mirrors_max: usize,
}

/// A share of everything, in the unit of [`MirrorRule::share`].
pub const SHARE_ALL: u32 = 1_000_000;

words! {
    /// Why a request that was to be mirrored was not.
    MirrorSkip {
        BodyTooLarge = "body_too_large",
        Busy = "busy",
        Incomplete = "incomplete",
        Upgrade = "upgrade",
    }
}

/// Timeouts that a route sets; absent ones are the upstream's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteTimeouts {
    /// The whole exchange must end within this time. Zero: no limit.
    pub request: Option<Duration>,
    /// The response head must arrive within this time after the request was sent. Zero: no limit.
    pub response_head: Option<Duration>,
    /// A response body may make no progress for so long. Zero: no limit.
    pub body_idle: Option<Duration>,
}

/// The timeouts of one exchange, in milliseconds; 0: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timeouts {
    pub(crate) request_ms: u64,
    pub(crate) response_head_ms: u64,
    pub(crate) body_idle_ms: u64,
}

impl Timeouts {
    /// The same with what filters say.
    pub(crate) fn with(self, limits: &Limits) -> Self {
        let or = |timeout: Option<Duration>, ms: u64| timeout.map_or(ms, milliseconds);
        Self {
            request_ms: or(limits.request_timeout, self.request_ms),
            response_head_ms: or(limits.response_head_timeout, self.response_head_ms),
            body_idle_ms: or(limits.body_idle_timeout, self.body_idle_ms),
        }
    }
}

impl RouteTimeouts {
    /// Those that hold for a request of the route to this upstream.
    pub(crate) fn towards(&self, upstream: &Upstream) -> Timeouts {
        Timeouts {
            request_ms: milliseconds(self.request.unwrap_or(upstream.request_timeout)),
            response_head_ms: milliseconds(self.response_head.unwrap_or(upstream.response_head_timeout)),
            body_idle_ms: milliseconds(self.body_idle.unwrap_or(upstream.body_idle_timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_http1::{HeadLimits, HeadScanner, read_request};

    fn cookie() -> StickyCookie {
        StickyCookie { name: "lane".into(), max_age: None, path: "/".into() }
    }

    fn split() -> Split {
        let destination =
            |(upstream, (name, weight))| Destination { upstream, weight, token: Token::of(name) };
        let destinations = [("blue", 9), ("green", 1), ("gone", 0)].into_iter().enumerate();
        let sticky = Some(Sticky::Cookie(cookie()));
        Split { destinations: destinations.map(destination).collect(), sticky }
    }

    /// The upstream that a request with these fields is told to stay at.
    fn named(fields: &str) -> Option<usize> {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        let limits = HeadLimits::default();
        read_request(&mut HeadScanner::new(), request.as_bytes(), &limits, &mut head).unwrap().unwrap();
        split().named_by(&cookie(), &head, request.as_bytes()).map(|it| it.upstream)
    }

    #[test]
    fn reads_its_cookie_among_others() {
        let token = |name| String::from_utf8(Token::of(name).text().to_vec()).unwrap();
        let (blue, green, gone) = (token("blue"), token("green"), token("gone"));
        for (fields, upstream) in [
            (String::new(), None),
            (format!("Cookie: lane={green}\r\n"), Some(1)),
            (format!("cookie: a=b; lane={blue};c=d\r\n"), Some(0)),
            (format!("Cookie: a=b\r\nCookie: lane={green}\r\n"), Some(1)),
            // Of several the first that means something.
            (format!("Cookie: lane=old; lane={green}; lane={blue}\r\n"), Some(1)),
            (format!("Cookie: lane={gone}\r\n"), None),
            (format!("Cookie: Lane={green}\r\n"), None),
            (format!("Cookie: lane2={green}; xlane={green}\r\n"), None),
            (format!("Cookie: lane={}\r\n", green.to_uppercase()), None),
            (format!("Cookie: lane={green}0; lane; lane=; =\r\n"), None),
            (format!("X-Cookie: lane={green}\r\n"), None),
        ] {
            assert_eq!(named(&fields), upstream, "{fields}");
        }
    }

    #[test]
    fn writes_its_cookie() {
        let written = |cookie: &StickyCookie, is_secure| {
            let mut out = Vec::new();
            SetCookie { cookie, value: CookieValue::Share(Token::of("blue")), is_secure }.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(&cookie(), false),
            "Set-Cookie: lane=d6aca0b0b9ba62b1; Path=/; HttpOnly; SameSite=Lax\r\n"
        );
        let cookie =
            StickyCookie { max_age: Some(Duration::from_secs(3600)), path: "/app".into(), ..cookie() };
        assert_eq!(
            written(&cookie, true),
            "Set-Cookie: lane=d6aca0b0b9ba62b1; Path=/app; Max-Age=3600; HttpOnly; SameSite=Lax; Secure\r\n"
        );
    }
}
