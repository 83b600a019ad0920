//! Requests and responses for tests.

use std::time::Duration;

use corelane_http1::{HeadLimits, parse_request, parse_response};
use corelane_semantics::{RequestHead, ResponseHead, Span};

use crate::{
    Body, Carry, Chain, Context, Edits, Filters, Problem, Purpose, ResponseContext, Scope, Settings, Verdict,
};

/// A request, and what the engine would know of it.
pub(crate) struct Sent {
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: RequestHead,
    pub(crate) client: &'static str,
    pub(crate) tls: bool,
    pub(crate) trusted: bool,
    pub(crate) now_ns: u64,
    pub(crate) captures: Vec<Option<Span>>,
    pub(crate) purpose: Purpose,
}

impl Sent {
    /// `GET target`, for the host a.example.
    pub(crate) fn get(target: &str) -> Self {
        Self::new(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n"))
    }

    /// The same with more field lines, each with its end.
    pub(crate) fn with(target: &str, lines: &str) -> Self {
        Self::new(&format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"))
    }

    pub(crate) fn new(text: &str) -> Self {
        let mut head = RequestHead::default();
        parse_request(text.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
        Self {
            bytes: text.as_bytes().to_vec(),
            head,
            client: "192.0.2.7",
            tls: false,
            trusted: false,
            now_ns: 0,
            captures: Vec::new(),
            purpose: Purpose::Serve,
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        let path = self.head.path.bytes(&self.bytes);
        let client = (!self.client.is_empty()).then(|| self.client.parse().unwrap());
        Context {
            head: &self.head,
            bytes: &self.bytes,
            host: self.head.host(&self.bytes).unwrap(),
            path,
            forwarded_path: path,
            captures: &self.captures,
            client,
            peer: client,
            trusted: self.trusted,
            tls: self.tls.then_some(crate::Tls {
                version: "TLSv1.3",
                client_subject: b"CN=me\r\nX: y",
                ..crate::Tls::default()
            }),
            request_id: b"0123456789abcdef0123456789abcdef",
            listener: "web",
            route: "users",
            upstream: "api",
            now_ns: self.now_ns,
            purpose: self.purpose,
        }
    }

    /// Runs a chain over it.
    pub(crate) fn through(&self, chain: &Chain) -> Seen {
        let mut edits = Edits::default();
        let verdict = chain.request(&self.context(), &mut edits);
        let carry = edits.take_carry();
        Seen { verdict, edits, carry, fields: self.lines() }
    }

    fn lines(&self) -> Vec<(String, String)> {
        let text = |span: Span| String::from_utf8_lossy(span.bytes(&self.bytes)).into_owned();
        self.head.fields.lines().iter().map(|field| (text(field.name), text(field.value))).collect()
    }
}

/// What a chain made of a request.
pub(crate) struct Seen {
    pub(crate) verdict: Verdict,
    pub(crate) edits: Edits,
    pub(crate) carry: Carry,
    fields: Vec<(String, String)>,
}

impl Seen {
    /// The fields that the upstream gets, without Host, as `name: value` lines.
    pub(crate) fn upstream_fields(&self) -> String {
        let kept = self.fields.iter().enumerate().filter(|(index, _)| !self.edits.request.drops(*index));
        let mut text: String = kept
            .filter(|(_, (name, _))| name != "Host")
            .map(|(_, (name, value))| format!("{name}: {value}\n"))
            .collect();
        for (name, value) in self.edits.request.added() {
            text.push_str(&format!(
                "{}: {}\n",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            ));
        }
        text
    }

    /// The answer as `status reason`, its fields, and its body behind an empty line.
    pub(crate) fn answer(&self) -> String {
        let Some(answer) = self.edits.answer() else { return String::new() };
        let mut text = format!("{} {}\n", answer.status, answer.reason.name());
        for (name, value) in self.edits.response.added() {
            text.push_str(&format!(
                "{}: {}\n",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            ));
        }
        if let Body::Text(body) = answer.body {
            text.push_str(&format!("\n{}", String::from_utf8_lossy(body)));
        }
        text
    }
}

/// The fields that the client gets of a response with these lines, after the filters.
pub(crate) fn response_fields(chain: &Chain, carry: &Carry, lines: &str) -> String {
    let bytes = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
    let mut head = ResponseHead::default();
    parse_response(bytes.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
    let context = ResponseContext {
        head: &head,
        bytes: bytes.as_bytes(),
        carry,
        endpoint: "10.0.0.1:80",
        duration: Duration::from_millis(12),
    };
    let mut edits = Edits::default();
    chain.response(&context, &mut edits);
    let mut text = String::new();
    for (index, field) in head.fields.lines().iter().enumerate() {
        if !edits.response.drops(index) {
            let (name, value) = (field.name.bytes(bytes.as_bytes()), field.value.bytes(bytes.as_bytes()));
            text.push_str(&format!(
                "{}: {}\n",
                String::from_utf8_lossy(name),
                String::from_utf8_lossy(value)
            ));
        }
    }
    for (name, value) in edits.response.added() {
        text.push_str(&format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value)));
    }
    text
}

/// The only variable of the environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    (name == "REGION").then(|| "eu {1}".to_owned())
}

/// A chain of these filters, for a route whose path has the group `id`.
pub(crate) fn chain(settings: impl IntoIterator<Item = Settings>) -> Chain {
    let mut filters = Filters::default();
    let settings = settings.into_iter().enumerate();
    let ids: Vec<_> =
        settings.map(|(n, one)| filters.define(&format!("f{n}"), one, &environment).unwrap()).collect();
    filters.chain(&ids, &Scope { captures: &["id"] }, &environment).unwrap()
}

/// What is wrong with settings, a line each.
pub(crate) fn problems(settings: Settings) -> String {
    let problems: Vec<Problem> = Filters::default().define("f", settings, &environment).unwrap_err();
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
