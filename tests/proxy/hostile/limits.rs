//! Limits with answers: how much, how many, how long and how slow.

use std::time::Duration;

use super::case::{Case, End, GET, OK, OK_CLOSE, Received, Seen, Step};
use super::run::Group;

pub(super) const SIZES: Group = Group {
    name: "sizes of heads",
    setup: |setup| {
        setup
            .listener("request_line_bytes_max = 1024")
            .listener("field_bytes_max = 256")
            .listener("head_bytes_max = 4096")
            .listener("fields_max = 50")
    },
    cases: sizes,
};
pub(super) const BODIES: Group =
    Group { name: "sizes of bodies", setup: |setup| setup.route("body_bytes_max = 1000"), cases: bodies };
pub(super) const REQUESTS: Group = Group {
    name: "requests on a connection",
    setup: |setup| setup.listener("requests_max = 2"),
    cases: requests,
};
pub(super) const PIPELINES: Group =
    Group { name: "pipelines", setup: |setup| setup.listener("pipeline_bytes_max = 1024"), cases: pipelines };
pub(super) const HEAD_TIMES: Group = Group {
    name: "times of heads",
    setup: |setup| setup.listener("head_timeout = \"1500ms\"").listener("keepalive_timeout = \"1s\""),
    cases: head_times,
};
pub(super) const BODY_TIMES: Group = Group {
    name: "times of bodies",
    setup: |setup| {
        setup
            .listener("body_idle_timeout = \"1500ms\"")
            .listener("send_timeout = \"1500ms\"")
            .listener("head_timeout = \"1s\"")
    },
    cases: body_times,
};
pub(super) const BODY_RATES: Group = Group {
    name: "rates of request bodies",
    setup: |setup| setup.listener("body_rate_min = 1000"),
    cases: body_rates,
};
pub(super) const SEND_RATES: Group = Group {
    name: "rates of responses",
    setup: |setup| setup.listener("send_rate_min = 1000000"),
    cases: send_rates,
};

fn get_with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn sizes() -> Vec<Case> {
    let line = |bytes: usize| {
        let path = "p".repeat(bytes - "GET / HTTP/1.1".len());
        format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")
    };
    let field = |bytes: usize| format!("X-A: {}\r\n", "v".repeat(bytes - "X-A: ".len()));
    let head = |bytes: usize| {
        let rest = bytes - get_with("").len();
        let lines = field(98).repeat(rest / 100 - 1);
        get_with(&format!("{lines}{}", field(rest - lines.len() - 2)))
    };
    let too_long = |name, bytes: String| Case::new(name, bytes).refused(414, "request_line_too_long");
    let too_large = |name, bytes: String| Case::new(name, bytes).refused(431, "field_too_large");
    vec![
        Case::new("a request line of the limit", line(1024)),
        too_long("a request line of one byte more", line(1025)),
        too_long("a request line of many more", line(60_000)),
        too_long("a request line without end", "G".repeat(5_000)),
        too_long("a target without end", format!("GET /{}", "p".repeat(5_000))),
        too_long("a query without end", format!("GET /?{}", "q=1&".repeat(5_000))),
        Case::new("a field of the limit", get_with(&field(256))),
        too_large("a field of one byte more", get_with(&field(257))),
        too_large("a field without end", format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}", "v".repeat(3_000))),
        too_large("a name without end", format!("GET / HTTP/1.1\r\nHost: a\r\n{}", "N".repeat(3_000))),
        too_large("a Host without end", format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(3_000))),
        Case::new("a head of the limit", head(4096)),
        Case::new("a head of one byte more", head(4097)).refused(431, "head_too_large"),
        Case::new("a head of many more", get_with(&field(200).repeat(300))).refused(431, "head_too_large"),
        Case::new("fields of the limit", get_with(&"X-A: 1\r\n".repeat(49))),
        Case::new("one field more", get_with(&"X-A: 1\r\n".repeat(50))).refused(431, "too_many_fields"),
        Case::new("many fields more", get_with(&"X: 1\r\n".repeat(500))).refused(431, "too_many_fields"),
        Case::new("cookies count like others", get_with(&"Cookie: a=b\r\n".repeat(50)))
            .refused(431, "too_many_fields"),
        Case::new("a large head behind a good request", [GET, line(1025).as_bytes()].concat())
            .arrives(GET)
            .sees_then_refused(OK, 414, "request_line_too_long"),
    ]
}

fn bodies() -> Vec<Case> {
    let length = |length: u64, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let chunked =
        |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let too_large = |name, bytes: String| Case::new(name, bytes).refused(413, "body_too_large");
    let (full, half) = ("x".repeat(1_000), "x".repeat(500));
    vec![
        Case::new("a body of the limit", length(1_000, &full)),
        too_large("a body of one byte more", length(1_001, &full)),
        too_large("a body of which nothing comes", length(1_001, "")),
        too_large("a body of all the bytes there are", length(9_223_372_036_854_775_807, "x")),
        too_large(
            "a body that waits for a 100",
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n".to_owned(),
        ),
        Case::new("chunks of the limit", chunked(&format!("3e8\r\n{full}\r\n0\r\n\r\n"))),
        Case::new("a chunk of one byte more", chunked(&format!("3e9\r\n{full}x\r\n0\r\n\r\n")))
            .fails(413, "body_too_large")
            .end(End::Closed)
            .arrives_cut(chunked(&format!("3e8\r\n{full}\r\n"))),
        Case::new("chunks of one byte more", chunked(&format!("1f4\r\n{half}\r\n1f4\r\n{half}\r\n")))
            .later("1\r\nx\r\n0\r\n\r\n")
            .fails(413, "body_too_large")
            .end(End::Closed)
            .arrives_cut(chunked(&format!("3e8\r\n{full}\r\n"))),
        Case::new("small chunks without end", chunked(&"1\r\nx\r\n".repeat(2_000)))
            .fails(413, "body_too_large")
            .end(End::Closed)
            .received(Received::CutChunks { head: chunked("").into_bytes(), data_max: 1_000 }),
        Case::new("trailers do not count", chunked(&format!("3e8\r\n{full}\r\n0\r\nX-Sum: 1\r\n\r\n"))),
    ]
}

fn requests() -> Vec<Case> {
    let both = [OK, OK_CLOSE].concat();
    vec![
        Case::new("the last request that is allowed closes", [GET, GET].concat())
            .sees(&both)
            .logs(&[(200, None), (200, None)])
            .end(End::Closed),
        Case::new("one request more is not served", [GET, GET, GET].concat())
            .arrives([GET, GET].concat())
            .sees(&both)
            .logs(&[(200, None), (200, None)])
            .end(End::Closed),
        Case::new("refused requests close sooner", "GET / HTTP/1.1\r\n\r\n").refused(400, "host_missing"),
    ]
}

fn pipelines() -> Vec<Case> {
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    vec![
        Case::new("a pipeline beyond the limit waits its turn", GET.repeat(200))
            .sees(OK.repeat(200))
            .logs(&[(200, None); 200]),
        Case::new("bodies in a pipeline wait their turn", post.repeat(60))
            .sees(OK.repeat(60))
            .logs(&[(200, None); 60]),
        Case::new(
            "a pipeline with a refused request in it",
            [GET, GET, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", GET].concat(),
        )
        .arrives([GET, GET].concat())
        .sees_then_refused(&OK.repeat(2), 400, "host_invalid")
        .logs(&[(200, None), (200, None), (400, Some("host_invalid"))]),
    ]
}

fn head_times() -> Vec<Case> {
    let late = |name, bytes: &str| Case::new(name, bytes).refused(408, "head_timeout");
    let slowly = |name, bytes: &str, drip: &str| {
        late(name, bytes).step(Step::Drip(drip.as_bytes().to_vec(), Duration::from_millis(40)))
    };
    vec![
        late("a request line that stands still", "GET /"),
        late("a head that stands still", "GET / HTTP/1.1\r\nHost: a\r\n"),
        late("a head that stands still before its last byte", "GET / HTTP/1.1\r\nHost: a\r\n\r"),
        slowly("a request line that drips", "GET /", &"p".repeat(200)),
        slowly("a value that drips", "GET / HTTP/1.1\r\nHost: a\r\nX-A: ", &"v".repeat(200)),
        slowly("fields that drip", "GET / HTTP/1.1\r\nHost: a\r\n", &"X: 1\r\n".repeat(40)),
        Case::new("a second head that drips", GET)
            .later("GET / HTTP/1.1\r\nX: ")
            .step(Step::Drip(b"v".repeat(200), Duration::from_millis(40)))
            .sees_then_refused(OK, 408, "head_timeout"),
        Case::new("nothing at all", "").received(Received::Nothing).sees("").logs(&[]).end(End::Closed),
        Case::new("nothing behind a response", GET).end(End::Closed),
    ]
}

fn body_times() -> Vec<Case> {
    let length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc";
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let late = |name, bytes: &str| {
        Case::new(name, bytes).fails(408, "request_body_timeout").end(End::Closed).arrives_cut(bytes)
    };
    let endless =
        [b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\nDate: x\r\n\r\n".as_slice(), &[b'x'; 30_000_000]]
            .concat();
    let mut unread = Case::new("a response that nobody reads", GET)
        .replies(&endless)
        .step(Step::AwaitReset)
        .logs(&[(200, Some("send_timeout"))])
        .end(End::Reset)
        .pooled(false);
    unread.seen = Seen::Prefix(endless.clone());
    vec![
        late("a body that stands still", length),
        late("a body of which nothing comes at all", &length[..length.len() - 3]),
        late("a chunked body that stands still", chunked),
        late("a chunk line that stands still", &format!("{chunked}3")).arrives_cut(chunked),
        late("trailers that stand still", &format!("{chunked}0\r\nX-A: 1")).arrives_cut(chunked),
        Case::new(
            "a body that takes its time but moves",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n",
        )
        .step(Step::Drip(b"0123456789".to_vec(), Duration::from_millis(250)))
        .arrives("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"),
        unread,
        Case::new("a response that is read slowly but steadily", GET)
            .replies(&endless)
            // Slower than the kernel's buffers are found to have room again, faster than TCP's window tells of it.
            .step(Step::Sip { bytes_max: 16_384, every: Duration::from_millis(50), times: 60 })
            .sees(&endless),
    ]
}

fn body_rates() -> Vec<Case> {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    vec![
        Case::new("a body that drips", head)
            .step(Step::Drip(vec![b'x'; 400], Duration::from_millis(40)))
            .fails(408, "body_rate")
            .end(End::Closed)
            .arrives_cut(head.to_owned() + &"x".repeat(400)),
    ]
}

fn send_rates() -> Vec<Case> {
    let endless =
        [b"HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\nDate: x\r\n\r\n".as_slice(), &[b'x'; 30_000_000]]
            .concat();
    let mut trickle = Case::new("a response that is read in sips", GET)
        .replies(&endless)
        .step(Step::Sip { bytes_max: 1_000, every: Duration::from_millis(200), times: 60 })
        .logs(&[(200, Some("send_rate"))])
        .end(End::Reset)
        .pooled(false);
    trickle.seen = Seen::Prefix(endless);
    vec![trickle]
}
