//! Every type of filter over any head: no panic; what comes out can be sent; all places are given back.

#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use corelane_filters::filter::{
    api_key, basic_auth, body_limit, client_addresses, concurrency_limit, cors, query, rate_limit, redirect,
    referer, request_fields, request_id, respond, rewrite, security_headers, timeouts, user_agent,
};
use corelane_filters::{
    Chain, Context, Edits, FieldEdits, Filters, Purpose, ResponseContext, Scope, SecretHash, Settings,
    Verdict,
};
use corelane_http1::{HeadLimits, HeadScanner, read_request, read_response};
use corelane_semantics::{PathBuffers, PathPolicies, RequestHead, ResponseHead, is_authority};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static STATE: RefCell<(Vec<Chain>, Edits, u64)> = RefCell::new((chains(), Edits::default(), 0));
}

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first() else { return };
    let mut head = RequestHead::default();
    let read = read_request(&mut HeadScanner::new(), rest, &HeadLimits::default(), &mut head);
    let Ok(Some(place)) = read else { return };
    let (bytes, rest) = (&rest[place.clone()], &rest[place.end..]);
    let Ok(host) = head.host(bytes) else { return };
    let mut buffers = PathBuffers::default();
    let Ok(paths) = buffers.canonicalise(head.path.bytes(bytes), &PathPolicies::default()) else { return };
    let mut response = ResponseHead::default();
    let read = read_response(&mut HeadScanner::new(), rest, &HeadLimits::default(), &mut response);
    let response_bytes = match read {
        Ok(Some(place)) => &rest[place],
        _ => {
            response = ResponseHead { status: 502, ..ResponseHead::default() };
            &[]
        }
    };
    STATE.with_borrow_mut(|(chains, edits, now_ns)| {
        *now_ns += 1_000_000;
        let context = Context {
            head: &head,
            bytes,
            host,
            path: paths.canonical,
            forwarded_path: paths.forwarded,
            captures: &[],
            client: Some([10, 0, 0, selector & 7].into()),
            peer: None,
            trusted: selector & 8 != 0,
            tls: None,
            request_id: b"0123",
            listener: "web",
            route: "r",
            upstream: "u",
            now_ns: *now_ns,
            purpose: if selector & 16 != 0 { Purpose::Explain } else { Purpose::Serve },
        };
        let chain = &chains[usize::from(selector >> 5) % chains.len()];
        let verdict = chain.request(&context, edits);
        assert_eq!(verdict == Verdict::Answer, edits.answer().is_some());
        check_fields(&edits.request);
        check_fields(&edits.response);
        if let Some(path) = edits.path() {
            assert!(path.starts_with(b"/") && !path.starts_with(b"//"));
            assert!(path.iter().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(byte)));
        }
        if let Some(Some(query)) = edits.query() {
            assert!(
                query.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'),
                "{}",
                query.escape_ascii()
            );
        }
        assert!(edits.host().is_none_or(is_authority));
        let mut carry = edits.take_carry();
        let context = ResponseContext {
            head: &response,
            bytes: response_bytes,
            carry: &carry,
            endpoint: "10.0.0.1:80",
            duration: Duration::from_millis(1),
        };
        if verdict == Verdict::Answer {
            chain.own_response(&context, edits);
        } else {
            chain.response(&context, edits);
        }
        check_fields(&edits.response);
        chain.finish(&mut carry);
        edits.give_back(carry);
    });
});

/// Names are tokens, values have no control byte.
fn check_fields(edits: &FieldEdits) {
    for (name, value) in edits.added() {
        assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':'));
        assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// SHA-256 of `abc`.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// Some lists that have every type in them.
fn chains() -> Vec<Chain> {
    let fields = request_fields::Settings {
        rename: pairs(&[("X-Old", "X-New"), ("X-New", "X-Newer")]),
        remove: vec!["X-Gone".to_owned()],
        set: pairs(&[(
            "X-All",
            "{client.ip}{header.X-New}{cookie.a}{query.a}{path}{query}{host}{method}{scheme}",
        )]),
        add: pairs(&[("Cookie", "a={header.X-All}")]),
        append: pairs(&[("Via", "{header.Via}"), ("Cookie", "{cookie.a}")]),
    };
    let regex = |pattern: &str, with: &str| {
        let path = Some(rewrite::PathChange::Regex { pattern: pattern.into(), with: with.into() });
        Settings::Rewrite(rewrite::Settings { path, host: Some("{host}".into()) })
    };
    let values = vec![user_agent::Values::Regex("(?i)bot$".into()), user_agent::Values::Exact("x".into())];
    let key = vec![
        rate_limit::KeyPart::CLIENT,
        rate_limit::KeyPart::Host,
        rate_limit::KeyPart::Cookie("a".into()),
        rate_limit::KeyPart::Query("a".into()),
    ];
    let lists = vec![
        vec![
            Settings::RequestFields(fields.clone()),
            regex("^/(.*)/([^/]*)$", "/{match.2}/{match.1}{header.X-New}"),
            Settings::Query(query::Settings {
                remove: vec!["b".into()],
                rename: pairs(&[("a", "c d")]),
                set: pairs(&[("v", "{header.X-New}{query}")]),
                ..query::Settings::default()
            }),
            Settings::Redirect(redirect::Settings {
                path: Some("{path}".into()),
                host: Some("{header.X-Host}".into()),
                query: Some("{query}{header.X-New}".into()),
                ..redirect::Settings::default()
            }),
        ],
        vec![
            Settings::RequestId(request_id::Settings {
                keep: request_id::Keep::Always,
                ..Default::default()
            }),
            Settings::Cors(cors::Settings {
                origins: vec![cors::Origin::Regex("https://.*".into())],
                credentials: true,
                ..cors::Settings::default()
            }),
            Settings::SecurityHeaders(security_headers::Settings::default()),
            Settings::ResponseFields(fields),
            Settings::BodyLimit(body_limit::Settings { bytes_max: 1 }),
            Settings::Timeouts(timeouts::Settings {
                request_timeout: Some(Duration::from_secs(1)),
                ..timeouts::Settings::default()
            }),
        ],
        vec![
            Settings::ConcurrencyLimit(concurrency_limit::Settings {
                key: key.clone(),
                requests_max: 1,
                keys_max: 1,
            }),
            Settings::RateLimit(rate_limit::Settings { key, requests: 1, keys_max: 1, ..Default::default() }),
            Settings::UserAgent(user_agent::Settings { allow: vec![], deny: values.clone() }),
            Settings::Referer(referer::Settings { allow: vec![], deny: values }),
            Settings::ClientAddresses(client_addresses::Settings {
                allow: vec![],
                deny: vec!["10.0.0.7".into()],
            }),
        ],
        vec![Settings::BasicAuth(basic_auth::Settings {
            users: vec![("a".into(), SecretHash::new(format!("sha256:0123456789abcdef:{ABC}")))],
            ..basic_auth::Settings::default()
        })],
        vec![Settings::ApiKey(api_key::Settings {
            place: api_key::Place::Query("a".into()),
            keys: vec![("a".into(), SecretHash::new(format!("sha256:{ABC}")))],
            forward: false,
        })],
        vec![
            Settings::Rewrite(rewrite::Settings {
                path: Some(rewrite::PathChange::StripPrefix("/a".into())),
                host: None,
            }),
            Settings::Respond(respond::Settings {
                content_type: "application/json".into(),
                body: "{{\"a\": \"{path}{header.X-New}\"}}".into(),
                ..respond::Settings::default()
            }),
        ],
    ];
    let lists = lists.into_iter().map(|list| {
        let mut filters = Filters::default();
        let ids = list.into_iter().enumerate();
        let ids: Vec<_> = ids
            .map(|(n, one)| filters.define(&format!("f{n}"), one, &|_| None).expect("valid settings"))
            .collect();
        filters.chain(&ids, &Scope::default(), &|_| None).expect("no groups are asked for")
    });
    lists.collect()
}
