//! After a worker's first requests, filters allocate nothing.

#![allow(unsafe_code, reason = "an allocator that counts must be one")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test, which is what it is for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use corelane_filters::filter::{
    api_key, basic_auth, body_limit, client_addresses, client_certificate, concurrency_limit, cors,
    maintenance, query, rate_limit, redirect, referer, request_fields, request_id, respond, rewrite,
    security_headers, timeouts, user_agent,
};
use corelane_filters::{
    Chain, Context, Edits, Filters, Purpose, ResponseContext, Scope, SecretHash, Settings, Tls, Verdict,
};
use corelane_http1::{HeadLimits, parse_request, parse_response};
use corelane_semantics::{RequestHead, ResponseHead, Span};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; only a number of this thread is changed.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the same, and the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// SHA-256 of nothing: nobody's password and the key of nobody.
const NOBODY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn changing() -> Vec<Settings> {
    let fields = request_fields::Settings {
        rename: pairs(&[("X-Old", "X-New")]),
        remove: vec!["X-Gone".to_owned()],
        set: pairs(&[(
            "X-Client",
            "{client.ip} {path.id} {cookie.a} {query.b} {header.X-New} {tls.version}",
        )]),
        add: pairs(&[("X-More", "{request_id}")]),
        append: pairs(&[("Via", "{listener}")]),
    };
    let regex =
        rewrite::PathChange::Regex { pattern: "^/u/([0-9]+)".into(), with: "/users/{match.1}".into() };
    vec![
        Settings::RequestId(request_id::Settings::default()),
        Settings::ClientAddresses(client_addresses::Settings {
            allow: vec!["0.0.0.0/0".into()],
            deny: vec![],
        }),
        Settings::ClientCertificate(client_certificate::Settings {
            allow: vec![client_certificate::Values::Regex("^CN=".into())],
            deny: vec![],
        }),
        Settings::UserAgent(user_agent::Settings {
            allow: vec![],
            deny: vec![user_agent::Values::Regex("(?i)bot".into())],
        }),
        Settings::Referer(referer::Settings {
            allow: vec![],
            deny: vec![referer::Values::Exact("x".into())],
        }),
        Settings::RateLimit(rate_limit::Settings { requests: 1_000_000, ..rate_limit::Settings::default() }),
        Settings::ConcurrencyLimit(concurrency_limit::Settings {
            requests_max: 9,
            ..concurrency_limit::Settings::default()
        }),
        Settings::ApiKey(api_key::Settings {
            keys: vec![("one".into(), SecretHash::new(format!("sha256:{ABC}")))],
            ..api_key::Settings::default()
        }),
        Settings::RequestFields(fields.clone()),
        Settings::Rewrite(rewrite::Settings { path: Some(regex), host: Some("{host}".into()) }),
        Settings::Query(query::Settings { set: pairs(&[("v", "{host}")]), ..query::Settings::default() }),
        Settings::BodyLimit(body_limit::Settings { bytes_max: 10 }),
        Settings::Timeouts(timeouts::Settings {
            request_timeout: Some(Duration::from_secs(1)),
            ..timeouts::Settings::default()
        }),
        Settings::Cors(cors::Settings {
            origins: vec![cors::Origin::Regex("https://.*".into())],
            ..cors::Settings::default()
        }),
        Settings::SecurityHeaders(security_headers::Settings::default()),
        Settings::ResponseFields(request_fields::Settings {
            set: pairs(&[("X-Time", "{duration_ms} {host} {status}")]),
            ..fields
        }),
    ]
}

fn answering() -> Vec<Settings> {
    vec![
        Settings::Redirect(redirect::Settings {
            path: Some("/new{path}".into()),
            query: Some("{query}".into()),
            ..redirect::Settings::default()
        }),
        Settings::Respond(respond::Settings {
            body: "<p>{host}{path}</p>".into(),
            content_type: "text/html".into(),
            fields: pairs(&[("X-A", "{method}")]),
            ..respond::Settings::default()
        }),
        Settings::Maintenance(maintenance::Settings { retry_after: Some(Duration::from_secs(300)) }),
        Settings::BasicAuth(basic_auth::Settings {
            users: vec![("a".into(), SecretHash::new(format!("sha256:0123456789abcdef:{NOBODY}")))],
            ..basic_auth::Settings::default()
        }),
    ]
}

struct Exchange {
    bytes: &'static [u8],
    head: RequestHead,
    response: ResponseHead,
}

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nVary: Accept\r\nServer: x\r\n\r\n";

impl Exchange {
    fn new() -> Self {
        let bytes = b"GET /u/42/x?b=2&v=1 HTTP/1.1\r\nHost: a.example\r\nX-Old: 1\r\nX-Gone: 1\r\nVia: x\r\n\
            Cookie: a=b\r\nX-Api-Key: abc\r\nOrigin: https://b.example\r\nUser-Agent: curl/8\r\n\
            Authorization: Basic YTpi\r\n\r\n";
        let (mut head, mut response) = (RequestHead::default(), ResponseHead::default());
        parse_request(bytes, &HeadLimits::default(), &mut head).unwrap();
        parse_response(RESPONSE, &HeadLimits::default(), &mut response).unwrap();
        Self { bytes, head, response }
    }

    fn run(&self, chain: &Chain, edits: &mut Edits, now_ns: u64) -> Verdict {
        let path = self.head.path.bytes(self.bytes);
        let context = Context {
            head: &self.head,
            bytes: self.bytes,
            host: b"a.example",
            path,
            forwarded_path: path,
            captures: &[Some(Span { start: 3, end: 5 })],
            client: Some([192, 0, 2, 1].into()),
            peer: Some([192, 0, 2, 1].into()),
            trusted: false,
            tls: Some(Tls { version: "TLSv1.3", client_subject: b"CN=me", ..Tls::default() }),
            request_id: b"0123",
            listener: "web",
            route: "r",
            upstream: "u",
            now_ns,
            purpose: Purpose::Serve,
        };
        let verdict = chain.request(&context, edits);
        let mut carry = edits.take_carry();
        let context = ResponseContext {
            head: &self.response,
            bytes: RESPONSE,
            carry: &carry,
            endpoint: "10.0.0.1:80",
            duration: Duration::from_millis(3),
        };
        chain.response(&context, edits);
        chain.finish(&mut carry);
        edits.give_back(carry);
        verdict
    }
}

#[test]
fn no_filter_allocates_once_it_is_warm() {
    let exchange = Exchange::new();
    let mut lists = vec![(changing(), Verdict::Continue)];
    lists.extend(answering().into_iter().map(|one| (vec![one], Verdict::Answer)));
    lists.extend(changing().into_iter().map(|one| (vec![one], Verdict::Continue)));
    let covered: Vec<_> = lists.iter().flat_map(|(list, _)| list).map(Settings::kind).collect();
    let missing = Settings::KINDS.iter().filter(|kind| !covered.contains(kind));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
    for (list, expected) in lists {
        let kinds: Vec<_> = list.iter().map(Settings::kind).collect();
        let mut filters = Filters::default();
        let ids = list.into_iter().enumerate();
        let ids: Vec<_> =
            ids.map(|(n, one)| filters.define(&format!("f{n}"), one, &|_| None).unwrap()).collect();
        let chain = filters.chain(&ids, &Scope { captures: &["id"] }, &|_| None).unwrap();
        let mut edits = Edits::default();
        for turn in 0..20 {
            assert_eq!(exchange.run(&chain, &mut edits, turn * 1_000_000), expected, "{kinds:?}");
        }
        let before = ALLOCATIONS.get();
        for turn in 20..120 {
            let _ = exchange.run(&chain, &mut edits, turn * 1_000_000);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{kinds:?}");
    }
}
