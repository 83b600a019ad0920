//! What of a request decides which endpoint of its upstream it goes to: a key that is hashed, or a signed cookie.
//!
//! Both are read while the request's head is at hand, as the client sent it, before filters change anything. A mirrored
//! request has neither.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use corelane_balancer::{CookieKey, CookieToken, fingerprint, mix};
use corelane_semantics::{RequestHead, host_name, parameters};

use crate::action::{CookieValue, SetCookie, StickyCookie};
use crate::limits::ClientKey;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Affinity {
    /// What is hashed, in this order; empty unless the policy is `hash`.
    pub key: Vec<KeyPart>,
    /// Where clients stay. Absent: nowhere.
    pub seats: Option<Seats>,
}

/// A part of the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyPart {
    /// The client's IPv4 address, or the /64 network of its IPv6 address.
    Client,
    /// The host without its port, in lower case.
    Host,
    /// The path in its canonical form, without the query.
    Path,
    /// The first value of a field.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query, as it stands there.
    Query(Box<str>),
}

/// What a request is asked for.
pub(crate) struct Request<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) host: &'a [u8],
    /// The canonical path.
    pub(crate) path: &'a [u8],
    pub(crate) client: Option<IpAddr>,
    /// The client came by TLS, by what a trusted proxy says.
    pub(crate) is_secure: bool,
}

/// What a request brings to the choice.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// What is hashed.
    pub(crate) key: Option<u64>,
    /// The endpoint that its cookie names.
    pub(crate) seat: Option<usize>,
    /// The upstream was asked what it goes by, so that the client may have to be told where it stays.
    pub(crate) is_asked: bool,
    /// The cookie need not be said again.
    is_fresh: bool,
    is_secure: bool,
}

impl Affinity {
    /// Reads the request.
    pub(crate) fn wish(&self, request: &Request<'_>, now_s: u64) -> Wish {
        let (key, is_secure) = (self.key(request), request.is_secure);
        let mut wish = Wish { key, is_secure, is_asked: true, ..Wish::default() };
        if let Some(seats) = &self.seats
            && let Some((seat, is_fresh)) = seats.find(request, now_s)
        {
            (wish.seat, wish.is_fresh) = (Some(seat), is_fresh);
        }
        wish
    }

    /// `None`: the request has none of the parts, and its endpoint is chosen by chance.
    fn key(&self, request: &Request<'_>) -> Option<u64> {
        let mut has_one = false;
        let key = self.key.iter().fold(0_u64, |key, part| {
            let value = part.value(request);
            has_one |= value.is_some();
            // The factor keeps the order of the parts.
            mix(key.wrapping_mul(31) ^ value.unwrap_or(0))
        });
        has_one.then_some(key)
    }
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("client.ip"),
            Self::Host => f.write_str("host"),
            Self::Path => f.write_str("path"),
            Self::Header(name) => write!(f, "header.{}", name.to_ascii_lowercase()),
            Self::Cookie(name) => write!(f, "cookie.{name}"),
            Self::Query(name) => write!(f, "query.{name}"),
        }
    }
}

impl KeyPart {
    /// A number for what the request has of it, the same on every machine.
    fn value(&self, request: &Request<'_>) -> Option<u64> {
        let Request { head, bytes, .. } = *request;
        match self {
            Self::Client => request.client.map(|client| mix(!ClientKey::new(client).bits())),
            Self::Host => Some(lower_case(host_name(request.host))),
            Self::Path => Some(fingerprint(request.path)),
            Self::Header(name) => head.fields.find(name.as_bytes(), bytes).map(fingerprint),
            Self::Cookie(name) => cookie(request, name).map(fingerprint),
            Self::Query(name) => {
                let query = head.query.map(|query| query.bytes(bytes)).unwrap_or_default();
                let mut found = parameters(query).filter(|(key, _)| *key == name.as_bytes());
                found.next().map(|(_, value)| fingerprint(value))
            }
        }
    }
}

/// The cookies that keep clients at an endpoint.
#[derive(Clone)]
pub struct Seats {
    /// Its name, how long it holds, and the paths that clients send it for.
    cookie: StickyCookie,
    max_age: Duration,
    key: CookieKey,
    /// By endpoint.
    tokens: Box<[CookieToken]>,
}

impl fmt::Debug for Seats {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seats").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

impl Seats {
    /// For the upstream that `key` was made for; `names` are those of its endpoints, as the balancer has them. A cookie
    /// holds for the cookie's own `max_age`, or for a day.
    #[must_use]
    pub fn new(cookie: StickyCookie, key: CookieKey, names: &[u64]) -> Self {
        let max_age = cookie.max_age.unwrap_or(A_DAY);
        let tokens = names.iter().map(|&name| key.token(name)).collect();
        Self { cookie, max_age, key, tokens }
    }

    /// The endpoint that the request's cookie names, and whether the cookie holds for long enough yet.
    fn find(&self, request: &Request<'_>, now_s: u64) -> Option<(usize, bool)> {
        let seat = self.key.verify(cookie(request, &self.cookie.name)?, now_s).ok()?;
        let endpoint = self.tokens.iter().position(|&token| token == seat.token)?;
        let is_fresh = seat.ends_s.saturating_sub(now_s) > self.max_age.as_secs() / 2;
        Some((endpoint, is_fresh))
    }

    /// The cookie for a client whose request went to this endpoint, unless it has it already.
    pub(crate) fn cookie_for(&self, wish: &Wish, endpoint: usize, now_s: u64) -> Option<SetCookie<'_>> {
        if wish.seat == Some(endpoint) && wish.is_fresh {
            return None;
        }
        let ends_s = now_s.saturating_add(self.max_age.as_secs());
        let value = CookieValue::Seat(self.key.sign(*self.tokens.get(endpoint)?, ends_s));
        Some(SetCookie { cookie: &self.cookie, value, is_secure: wish.is_secure })
    }
}

/// For how long a cookie holds that ends with the client.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn cookie<'a>(request: &Request<'a>, wanted: &str) -> Option<&'a [u8]> {
    let mut cookies = request.head.fields.cookies(request.bytes);
    cookies.find_map(|(name, value)| value.filter(|_| name == wanted.as_bytes()))
}

/// A fingerprint that does not tell cases apart.
fn lower_case(text: &[u8]) -> u64 {
    text.chunks(64).fold(0, |hash, chunk| {
        let mut lower = [0; 64];
        let lower = &mut lower[..chunk.len()];
        lower.copy_from_slice(chunk);
        lower.make_ascii_lowercase();
        mix(hash ^ fingerprint(lower))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_http1::{HeadLimits, HeadScanner, read_request};

    const NOW_S: u64 = 1_000_000;

    fn wish(affinity: &Affinity, target: &str, host: &str, fields: &str, client: &str) -> Wish {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
        let mut head = RequestHead::default();
        let limits = HeadLimits::default();
        read_request(&mut HeadScanner::new(), text.as_bytes(), &limits, &mut head).unwrap().unwrap();
        let bytes = text.as_bytes();
        let request = Request {
            head: &head,
            bytes,
            host: head.host(bytes).unwrap(),
            path: head.path.bytes(bytes),
            client: client.parse().ok(),
            is_secure: false,
        };
        affinity.wish(&request, NOW_S)
    }

    fn key(parts: &[KeyPart], target: &str, host: &str, fields: &str, client: &str) -> Option<u64> {
        let affinity = Affinity { key: parts.to_vec(), seats: None };
        wish(&affinity, target, host, fields, client).key
    }

    #[test]
    fn keys_are_the_same_where_their_parts_are() {
        let clients = |client| key(&[KeyPart::Client], "/", "h", "", client);
        assert_eq!(clients("192.0.2.1"), clients("::ffff:192.0.2.1"));
        assert_ne!(clients("192.0.2.1"), clients("192.0.2.2"));
        assert_eq!(clients("2001:db8::1"), clients("2001:db8::2:0:0:1"));
        assert_eq!(clients(""), None);
        let hosts = |host| key(&[KeyPart::Host], "/", host, "", "");
        assert_eq!(hosts("A.Example:80"), hosts("a.example"));
        assert_ne!(hosts("b.example"), hosts("a.example"));
        assert_eq!(hosts("[::1]:80"), hosts("[::1]"));
        let paths = |target| key(&[KeyPart::Path], target, "h", "", "");
        assert_eq!(paths("/a?x=1"), paths("/a"));
        assert_ne!(paths("/a"), paths("/A"));
        let queries = |target| key(&[KeyPart::Query("q".into())], target, "h", "", "");
        assert_eq!(queries("/a?x=1&q=2"), queries("/b?q=2"));
        assert_ne!(queries("/?q=1"), queries("/?q=2"));
        assert_eq!(queries("/?Q=1"), None);
        let fields = |part: &KeyPart, fields| key(std::slice::from_ref(part), "/", "h", fields, "");
        let header = KeyPart::Header("X-User".into());
        assert_eq!(fields(&header, "x-user: 7\r\n"), fields(&header, "X-User: 7\r\nx-user: 8\r\n"));
        assert_eq!(fields(&header, ""), None);
        let cookie = KeyPart::Cookie("id".into());
        assert_eq!(fields(&cookie, "Cookie: a=b; id=7\r\n"), fields(&cookie, "Cookie: id=7\r\n"));
        assert_ne!(fields(&cookie, "Cookie: id=7\r\n"), fields(&cookie, "Cookie: id=8\r\n"));
    }

    #[test]
    fn all_parts_count_in_their_order() {
        let parts = [KeyPart::Header("A".into()), KeyPart::Header("B".into())];
        let of = |fields| key(&parts, "/", "h", fields, "");
        assert_ne!(of("A: 1\r\nB: 2\r\n"), of("A: 2\r\nB: 1\r\n"));
        assert_ne!(of("A: 1\r\n"), of("B: 1\r\n"));
        assert_eq!(of(""), None);
    }

    #[test]
    fn a_key_is_the_same_for_ever() {
        // All machines must agree, also while they are upgraded.
        let parts = [KeyPart::Client, KeyPart::Host, KeyPart::Path];
        let key = key(&parts, "/a", "h", "", "192.0.2.1").unwrap();
        assert_eq!(format!("{key:016x}"), "38a43db9dae83e6a");
    }

    fn seats() -> Affinity {
        let cookie =
            StickyCookie { name: "seat".into(), max_age: Some(Duration::from_secs(100)), path: "/".into() };
        let key = CookieKey::new(b"0123456789abcdef", "app");
        Affinity { key: Vec::new(), seats: Some(Seats::new(cookie, key, &[7, 8, 9])) }
    }

    fn set_cookie(affinity: &Affinity, wish: &Wish, endpoint: usize, now_s: u64) -> Option<String> {
        let mut out = Vec::new();
        affinity.seats.as_ref().unwrap().cookie_for(wish, endpoint, now_s)?.write(&mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_client_stays_where_its_cookie_says() {
        let affinity = seats();
        let first = set_cookie(&affinity, &Wish::default(), 1, NOW_S).unwrap();
        assert!(first.starts_with("Set-Cookie: seat=") && first.contains("; Max-Age=100; "), "{first}");
        let value = first["Set-Cookie: ".len()..].split(';').next().unwrap();
        let wish = wish(&affinity, "/", "h", &format!("Cookie: a=b; {value}\r\n"), "");
        assert_eq!(wish.seat, Some(1));
        assert_eq!(set_cookie(&affinity, &wish, 1, NOW_S), None, "it knows");
        assert!(set_cookie(&affinity, &wish, 2, NOW_S).is_some(), "it went elsewhere");
    }

    #[test]
    fn cookies_are_renewed_in_time_and_end() {
        let affinity = seats();
        let cookie_of = |begun_s| {
            let text = set_cookie(&affinity, &Wish::default(), 2, begun_s).unwrap();
            format!("Cookie: {}\r\n", text["Set-Cookie: ".len()..].split(';').next().unwrap())
        };
        let half_over = wish(&affinity, "/", "h", &cookie_of(NOW_S - 50), "");
        assert_eq!(half_over.seat, Some(2));
        assert!(set_cookie(&affinity, &half_over, 2, NOW_S).is_some());
        assert_eq!(wish(&affinity, "/", "h", &cookie_of(NOW_S - 100), "").seat, None);
        let forged = cookie_of(NOW_S).replace("seat=A", "seat=B");
        assert_eq!(wish(&affinity, "/", "h", &forged, "").seat, None);
    }
}
