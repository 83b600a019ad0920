//! Texts with variables: compiled, or refused at a place inside them; and no value brings a control byte into a field.

#![no_main]

use corelane_filters::filter::{request_fields, respond, rewrite};
use corelane_filters::{Context, Edits, Filters, Purpose, Scope, Settings, Tls, Verdict};
use corelane_http1::{HeadLimits, parse_request};
use corelane_semantics::{RequestHead, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first() else { return };
    let (text, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok(text) = std::str::from_utf8(text) else { return };
    let set = vec![("X-Made".to_owned(), text.to_owned())];
    let all = [
        Settings::RequestFields(request_fields::Settings { set, ..request_fields::Settings::default() }),
        Settings::Rewrite(rewrite::Settings {
            path: Some(rewrite::PathChange::Set(text.to_owned())),
            host: None,
        }),
        Settings::Respond(respond::Settings { body: text.to_owned(), ..respond::Settings::default() }),
    ];
    for settings in all {
        let mut filters = Filters::default();
        let id = match filters.define("f", settings, &|name| Some(name.to_owned())) {
            Ok(id) => id,
            Err(problems) => {
                assert!(!problems.is_empty());
                assert!(problems.iter().filter_map(|one| one.position).all(|place| place <= text.len()));
                continue;
            }
        };
        let scope = Scope { captures: &["id"] };
        let Ok(chain) = filters.chain(&[id], &scope, &|name| Some(name.to_owned())) else { continue };
        let mut bytes = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: a\r\nCookie: a=\"b\"\r\nX: ".to_vec();
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n\r\n");
        let mut head = RequestHead::default();
        if parse_request(&bytes, &HeadLimits::default(), &mut head).is_err() {
            continue;
        }
        let context = Context {
            head: &head,
            bytes: &bytes,
            host: b"a",
            path: b"/a%20b",
            forwarded_path: b"/a%20b",
            captures: &[Some(Span { start: 1, end: 3 })],
            client: None,
            peer: None,
            trusted: true,
            tls: Some(Tls { version: "TLSv1.3", client_subject: value }),
            request_id: b"0",
            listener: "l",
            route: "r",
            upstream: "u",
            now_ns: 0,
            purpose: Purpose::Serve,
        };
        let mut edits = Edits::default();
        let verdict = chain.request(&context, &mut edits);
        assert_eq!(verdict == Verdict::Answer, edits.answer().is_some());
        for (_, value) in edits.request.added() {
            assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
        }
        if let Some(path) = edits.path() {
            assert!(path.starts_with(b"/") && !path.starts_with(b"//"));
            assert!(path.iter().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(byte)));
        }
        assert!(edits.take_carry().is_empty());
    }
});
