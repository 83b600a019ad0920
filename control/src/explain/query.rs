//! A question as the query of a URL, `method=GET&url=...&header=...&from=...&listener=...&client_subject=...`, and back.

use std::net::IpAddr;

use super::Question;

/// A question as the admin server gets it.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) question: Question,
    /// `format=json` or `format=text`, if it was said.
    pub(super) json: Option<bool>,
}

/// The query of a question.
pub(super) fn written(question: &Question, json: bool) -> String {
    let Question { method, url, fields, from, listener, client_subject } = question;
    let mut query =
        format!("method={}&url={}&from={}", encoded(method), encoded(url), encoded(&from.to_string()));
    for field in fields {
        query += &format!("&header={}", encoded(field));
    }
    if let Some(listener) = listener {
        query += &format!("&listener={}", encoded(listener));
    }
    if let Some(subject) = client_subject {
        query += &format!("&client_subject={}", encoded(subject));
    }
    query + if json { "&format=json" } else { "&format=text" }
}

/// Reads a query.
pub(super) fn read(query: &str) -> Result<Query, String> {
    let (mut method, mut url, mut from, mut listener, mut json) = (None, None, None, None, None);
    let mut client_subject = None;
    let mut fields = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or_else(|| format!("{name} is not percent-encoded UTF-8"))?;
        let is_again = match name {
            "method" => method.replace(value).is_some(),
            "url" => url.replace(value).is_some(),
            "listener" => listener.replace(value).is_some(),
            "client_subject" => client_subject.replace(value).is_some(),
            "header" => {
                fields.push(value);
                false
            }
            "from" => {
                let address = value.parse::<IpAddr>();
                from.replace(address.map_err(|_| format!("from is no IP address: {value:?}"))?).is_some()
            }
            "format" => match &*value {
                "json" => json.replace(true).is_some(),
                "text" => json.replace(false).is_some(),
                _ => return Err(format!("format is text or json, not {value:?}")),
            },
            _ => return Err(format!("unknown parameter {name:?}; there are {NAMES}")),
        };
        if is_again {
            return Err(format!("{name} stands twice"));
        }
    }
    let missing = |name| format!("{name} is missing: /explain?method=GET&url=http://host/path");
    let question = Question {
        method: method.ok_or_else(|| missing("method"))?,
        url: url.ok_or_else(|| missing("url"))?,
        fields,
        from: from.unwrap_or(super::FROM),
        listener,
        client_subject,
    };
    Ok(Query { question, json })
}

const NAMES: &str = "method, url, header, from, listener, client_subject and format";

/// Percent-encodes all but unreserved characters (RFC 3986 §2.3).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out += &format!("%{byte:02X}"),
        }
    }
    out
}

/// `%41` is `A`, `+` is a space, as forms have it.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let question = Question {
            method: "GET".to_owned(),
            url: "https://a.example/%41?b=c&d=+e#é".to_owned(),
            fields: vec!["A: b+c %".to_owned(), "Cookie: x=y; z".to_owned()],
            from: "::1".parse().expect("an address"),
            listener: Some("a b".to_owned()),
            client_subject: Some("CN=a,O=b".to_owned()),
        };
        let read = read(&written(&question, true)).expect("is right");
        assert_eq!((read.question, read.json), (question, Some(true)));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (query, error) in [
            ("", "method is missing: /explain?method=GET&url=http://host/path"),
            ("method=GET", "url is missing: /explain?method=GET&url=http://host/path"),
            ("method=GET&method=GET&url=/", "method stands twice"),
            ("method=GET&url=%", "url is not percent-encoded UTF-8"),
            ("method=GET&url=%+1", "url is not percent-encoded UTF-8"),
            ("method=GET&url=%ff", "url is not percent-encoded UTF-8"),
            ("method=GET&url=/&from=a", "from is no IP address: \"a\""),
            ("method=GET&url=/&format=xml", "format is text or json, not \"xml\""),
            (
                "method=GET&url=/&headers=a",
                "unknown parameter \"headers\"; there are method, url, header, from, listener, client_subject and format",
            ),
        ] {
            assert_eq!(read(query).expect_err(query), error, "{query}");
        }
        let read = read("method=GET&url=/a+b&&header=A:%20b").expect("is right");
        assert_eq!((&*read.question.url, &*read.question.fields[0], read.json), ("/a b", "A: b", None));
    }
}
