//! HTTP/1 messages as a test sees them: the bytes as they came, and just enough parsing to look into them.

use std::sync::LazyLock;

/// A message head, raw and taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The bytes up to and with the empty line; one `char` for each byte.
    pub(crate) raw: String,
    /// The request line or the status line.
    pub(crate) first: String,
    /// Names as they were written, values without the spaces around them.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let raw: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = raw.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or((line, ""));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Self { raw, first, fields }
    }

    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_else(|_| panic!("no status in {:?}", self.raw))
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.word(0)
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.word(1)
    }

    fn word(&self, index: usize) -> &str {
        self.first.split(' ').nth(index).unwrap_or_default()
    }

    /// The first field of that name, in any case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every field of that name, in any case.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }

    /// Whether Connection names `option`.
    pub(crate) fn connection_has(&self, option: &str) -> bool {
        self.all("connection")
            .iter()
            .any(|value| value.split(',').any(|given| given.trim().eq_ignore_ascii_case(option)))
    }

    /// How the body ends, for a message that can have one.
    pub(crate) fn framing(&self) -> Framing {
        if self.all("transfer-encoding").iter().any(|value| value.to_ascii_lowercase().contains("chunked")) {
            return Framing::Chunked;
        }
        match self.field("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a Content-Length that is a number")),
            None => Framing::Neither,
        }
    }
}

/// What the head says about the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    /// No body in a request, until the close in a response.
    Neither,
}

/// A message body with what came after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// A request as an origin received it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

/// A response as a client received it.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The 1xx responses before it.
    pub(crate) interim: Vec<Head>,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Response {
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The body as text, one `char` for each byte.
    pub(crate) fn text(&self) -> String {
        self.body.iter().map(|&byte| char::from(byte)).collect()
    }
}

/// The bytes `start..start + length` of the endless test pattern: a lost, doubled or moved byte shows.
pub(crate) fn pattern(start: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        bytes.extend_from_slice(pattern_slice(start + bytes.len() as u64, length - bytes.len()));
    }
    bytes
}

/// At most `length` of those bytes, without a copy.
pub(crate) fn pattern_slice(start: u64, length: usize) -> &'static [u8] {
    /// 251 is prime, so that no power of two hides a shift.
    const PERIOD: u8 = 251;
    static PERIODS: LazyLock<Vec<u8>> = LazyLock::new(|| (0..PERIOD).collect::<Vec<u8>>().repeat(512));
    let skip = usize::try_from(start % u64::from(PERIOD)).unwrap_or(0);
    &PERIODS[skip..][..length.min(PERIODS.len() - skip)]
}

/// `body` in chunks of at most `size` bytes, with the last chunk and no trailers.
pub(crate) fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / size * 8 + 16);
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
