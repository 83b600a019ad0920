//! Words of heads that are kept until the record is written: behind each other in the exchange's own buffer.
//!
//! ```text
//! request's words │ the head that goes upstream │ a small body │ response's words      each word: length, bytes
//! ```

use corelane_semantics::{Known, RequestHead, Span};

use super::variable::{RequestWord, WORDS_MAX};
use crate::heads::Sender;

/// Where an exchange has its words, and what of its answer is in no other count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeptWords {
    pub(crate) request: Span,
    pub(crate) response: Span,
    /// Of the body of an answer of Corelane's own.
    pub(crate) own_body_bytes: u64,
}

/// The length of a word that a head does not have.
const ABSENT: [u8; 4] = [0xff; 4];

/// A request whose words are kept.
pub(crate) struct Keeping<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) bytes: &'a [u8],
    pub(crate) sender: Sender,
    /// The client speaks HTTP/2.
    pub(crate) is_http2: bool,
    /// Whom `basic_auth` let in, and whose key `api_key` found.
    pub(crate) user: &'a [u8],
    pub(crate) api_key: &'a [u8],
}

impl Keeping<'_> {
    /// Appends the words.
    pub(crate) fn keep(&self, words: &[RequestWord], out: &mut Vec<u8>) {
        for word in words {
            keep_word(out, |out| self.write(word, out));
        }
    }

    /// Appends one; `false` if the request does not have it.
    fn write(&self, word: &RequestWord, out: &mut Vec<u8>) -> bool {
        let (head, bytes) = (self.head, self.bytes);
        let found = match word {
            RequestWord::ClientIp => match self.sender.client {
                Some(ip) if self.sender.is_trusted => {
                    use std::io::Write as _;
                    // To memory, which takes everything.
                    return write!(out, "{}", ip.to_canonical()).is_ok();
                }
                _ => None,
            },
            RequestWord::Line | RequestWord::Protocol if self.is_http2 => {
                if *word == RequestWord::Line {
                    let line = self.line();
                    out.extend_from_slice(line.strip_suffix(b"HTTP/1.1").unwrap_or(line));
                }
                out.extend_from_slice(b"HTTP/2.0");
                return true;
            }
            RequestWord::Line => Some(self.line()),
            RequestWord::Protocol => self.line().rsplit(|&byte| byte == b' ').next(),
            RequestWord::Scheme => {
                Some(if self.sender.came_by_https(head, bytes) { &b"https"[..] } else { b"http" })
            }
            RequestWord::RemoteUser => {
                let value = head.fields.first(Known::Authorization, bytes);
                return value.is_some_and(|value| corelane_filters::user_name(value, out));
            }
            RequestWord::User => Some(self.user).filter(|user| !user.is_empty()),
            RequestWord::ApiKey => Some(self.api_key).filter(|key| !key.is_empty()),
            RequestWord::Header(name) => head.fields.find(name, bytes),
            RequestWord::Cookie(name) => {
                let found = head.fields.cookies(bytes).find(|(other, _)| *other == &**name);
                found.map(|(_, value)| value.unwrap_or_default())
            }
        };
        out.extend_from_slice(found.unwrap_or_default());
        found.is_some()
    }

    /// The first line as it came, without its end.
    fn line(&self) -> &[u8] {
        let line = self.head.method_token.start as usize..self.head.fields_start as usize;
        self.bytes.get(line).unwrap_or_default().trim_ascii_end()
    }
}

/// Appends the values of these fields in a head that was written by us.
pub(crate) fn keep_response(head: &[u8], names: &[Box<[u8]>], out: &mut Vec<u8>) {
    for name in names {
        keep_word(out, |out| {
            let value = field_of(head, name);
            out.extend_from_slice(value.unwrap_or_default());
            value.is_some()
        });
    }
}

/// The value of the first line with this name, without the white space around it.
fn field_of<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    lines.skip(1).take_while(|line| !line.is_empty()).find_map(|line| {
        let (field, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        field.eq_ignore_ascii_case(name).then(|| value[1..].trim_ascii())
    })
}

fn keep_word(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> bool) {
    let start = out.len();
    out.extend_from_slice(&ABSENT);
    let is_there = write(out);
    let length = u32::try_from(out.len() - start - ABSENT.len());
    if let (true, Ok(length)) = (is_there, length) {
        out[start..start + ABSENT.len()].copy_from_slice(&length.to_le_bytes());
    } else {
        out.truncate(start + ABSENT.len());
    }
}

/// The words again.
pub(crate) struct Kept<'a> {
    request: [Option<&'a [u8]>; WORDS_MAX],
    response: [Option<&'a [u8]>; WORDS_MAX],
}

impl<'a> Kept<'a> {
    pub(crate) fn of(buffer: &'a [u8], words: KeptWords) -> Self {
        Self { request: read(words.request.bytes(buffer)), response: read(words.response.bytes(buffer)) }
    }

    /// The word with this index.
    pub(crate) fn request(&self, index: usize) -> Option<&'a [u8]> {
        *self.request.get(index)?
    }

    /// The same of the response.
    pub(crate) fn response(&self, index: usize) -> Option<&'a [u8]> {
        *self.response.get(index)?
    }
}

fn read(mut kept: &[u8]) -> [Option<&[u8]>; WORDS_MAX] {
    let mut words = [None; WORDS_MAX];
    for word in &mut words {
        let Some((length, rest)) = kept.split_first_chunk::<4>() else { break };
        kept = rest;
        if *length != ABSENT {
            let length = u32::from_le_bytes(*length) as usize;
            (*word, kept) =
                kept.split_at_checked(length).map_or((None, &[][..]), |(word, rest)| (Some(word), rest));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_http1::{HeadLimits, parse_request};

    fn kept(request: &str, sender: Sender, words: &[RequestWord]) -> Vec<Option<String>> {
        kept_of(request, sender, false, words)
    }

    fn kept_of(request: &str, sender: Sender, is_http2: bool, words: &[RequestWord]) -> Vec<Option<String>> {
        let mut head = RequestHead::default();
        parse_request(request.as_bytes(), &HeadLimits::default(), &mut head).unwrap();
        let keeping =
            Keeping { head: &head, bytes: request.as_bytes(), sender, is_http2, user: b"", api_key: b"ci" };
        let mut out = b"before".to_vec();
        keeping.keep(words, &mut out);
        let request = Span::new(6, out.len());
        out.extend_from_slice(b"behind");
        let kept = Kept::of(&out, KeptWords { request, ..KeptWords::default() });
        let text = |index| kept.request(index).map(|word| String::from_utf8(word.to_vec()).unwrap());
        assert_eq!(text(words.len()), None);
        (0..words.len()).map(text).collect()
    }

    #[test]
    fn words_of_a_request_are_found_again() {
        let header = |name: &str| RequestWord::Header(name.as_bytes().into());
        let cookie = |name: &str| RequestWord::Cookie(name.as_bytes().into());
        let words = [
            RequestWord::Line,
            header("user-agent"),
            header("x-empty"),
            header("x-absent"),
            RequestWord::Protocol,
            RequestWord::RemoteUser,
            RequestWord::User,
            RequestWord::ApiKey,
            cookie("b"),
            cookie("none"),
            RequestWord::Scheme,
            RequestWord::ClientIp,
        ];
        let request = "GET http://a/x?y HTTP/1.0\r\nHost: a\r\nUSER-AGENT:  one \r\nUser-Agent: two\r\nX-Empty:\r\n\
            Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\nCookie: a=1; b=2\r\nX-Forwarded-Proto: https\r\n\r\n";
        let client = Some("192.0.2.1".parse().unwrap());
        let sender = Sender { is_trusted: false, client, is_tls: false };
        let expected = [
            Some("GET http://a/x?y HTTP/1.0"),
            Some("one"),
            Some(""),
            None,
            Some("HTTP/1.0"),
            Some("Aladdin"),
            None,
            Some("ci"),
            Some("2"),
            None,
            Some("http"),
            None,
        ];
        let expected = expected.map(|word| word.map(str::to_owned));
        assert_eq!(kept(request, sender, &words), expected);
        let trusted = Sender { is_trusted: true, ..sender };
        let shown = kept(request, trusted, &words[10..]);
        assert_eq!(shown, [Some("https".to_owned()), Some("192.0.2.1".to_owned())]);
        let words = [RequestWord::Line, RequestWord::Protocol];
        let shown = kept_of("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", sender, true, &words);
        assert_eq!(shown, [Some("GET /x HTTP/2.0".to_owned()), Some("HTTP/2.0".to_owned())]);
    }

    #[test]
    fn fields_of_a_written_response_are_found_again() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html \r\nX-A:\r\nx-a: 2\r\n\r\nX-Body: 1\r\n";
        let names: [Box<[u8]>; 4] = [
            b"content-type"[..].into(),
            b"x-a"[..].into(),
            b"x-body"[..].into(),
            b"http/1.1 200 ok"[..].into(),
        ];
        let mut out = Vec::new();
        keep_response(head, &names, &mut out);
        let kept = Kept::of(&out, KeptWords { response: Span::new(0, out.len()), ..KeptWords::default() });
        let words: Vec<_> = (0..4).map(|index| kept.response(index)).collect();
        assert_eq!(words, [Some(&b"text/html"[..]), Some(b""), None, None]);
    }
}
