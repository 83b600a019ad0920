//! Request and response heads against an independent reader: both accept the same heads and read the same from them, and
//! refuse no bytes that could still become a head. What they accept, httparse reads the same way.

#![no_main]

use corelane_fuzz::cursor::{Parsed, Stop};
use corelane_fuzz::framing::Framing;
use corelane_fuzz::head::{Limits, Parts, Request, Response};
use corelane_fuzz::{authority, framing, head};
use corelane_http1::{HeadLimits, HeadScanner, read_request, read_response};
use corelane_semantics::{
    BodyFraming, Fields, Method, RequestHead, ResponseHead, Span, TargetForm, Version, request_framing,
    response_framing,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    let limits = if selector & 1 == 0 {
        Limits { head: 16 * 1024, first_line: 8 * 1024, field_line: 8 * 1024, fields: 100 }
    } else {
        Limits { head: 80, first_line: 30, field_line: 24, fields: 3 }
    };
    // What ends too early is ended.
    let ended = [bytes, b"\r\n\r\n"].concat();
    let method = [&b"GET"[..], b"HEAD", b"CONNECT"].get(usize::from(selector >> 2)).copied();
    for bytes in [bytes, &ended] {
        if selector & 2 == 0 {
            compare(&request(bytes, &limits), strict_request(bytes, &limits));
        } else if let Some(method) = method {
            compare(&response(bytes, &limits, method), strict_response(bytes, &limits, method));
        }
    }
});

fn compare<T: PartialEq + std::fmt::Debug>(ours: &Parsed<T>, strict: Parsed<T>) {
    match (ours, strict) {
        (Ok(ours), Ok(strict)) => assert_eq!(*ours, strict),
        // Corelane looks at most of a head only when it is whole.
        (Err(Stop::More), Err(_)) | (Err(Stop::Refused), Err(Stop::Refused)) => {}
        (ours, strict) => panic!("Corelane: {ours:?}; strictly: {strict:?}"),
    }
}

fn strict_request(bytes: &[u8], limits: &Limits) -> Parsed<(Request, Framing)> {
    let request = head::request(bytes, limits)?;
    if !authority::has_one_host(&request) {
        return Err(Stop::Refused);
    }
    let framing = framing::of_request(&request).ok_or(Stop::Refused)?;
    Ok((request, framing))
}

fn strict_response(bytes: &[u8], limits: &Limits, method: &[u8]) -> Parsed<(Response, Framing)> {
    let response =
        head::response(bytes, &Limits { first_line: limits.head, field_line: limits.head, ..*limits })?;
    let framing = framing::of_response(&response, method).ok_or(Stop::Refused)?;
    Ok((response, framing))
}

fn request(bytes: &[u8], limits: &Limits) -> Parsed<(Request, Framing)> {
    let limits = HeadLimits {
        head_bytes_max: limits.head,
        request_line_bytes_max: limits.first_line,
        field_bytes_max: limits.field_line,
        fields_max: limits.fields,
    };
    let mut head = RequestHead::default();
    let place = read_request(&mut HeadScanner::new(), bytes, &limits, &mut head).map_err(refused)?;
    let (start, end) = place.map(|place| (place.start, place.end)).ok_or(Stop::More)?;
    let bytes = &bytes[start..end];
    let mut lines = [httparse::EMPTY_HEADER; 100];
    let mut other = httparse::Request::new(&mut lines);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(other.method.map(str::as_bytes), Some(head.method_token.bytes(bytes)));
    assert_eq!(other.path.map(str::as_bytes), Some(head.target.bytes(bytes)));
    assert_eq!(other.version, Some(minor(head.version)));
    assert_eq!(pairs(other.headers), fields(&head.fields, bytes));
    head.host(bytes).map_err(refused)?;
    let framing = framing_of(request_framing(&head, bytes).map_err(refused)?);
    let text = |span: Span| span.bytes(bytes).to_vec();
    let (path, query) = (text(head.path), head.query.map(text));
    let parts = match (head.form, head.authority) {
        (TargetForm::Origin, None) => Parts::Origin(path, query),
        (TargetForm::Absolute, Some(authority)) => Parts::Absolute(text(authority), path, query),
        (TargetForm::Authority, Some(authority)) if authority == head.target => Parts::Authority,
        (TargetForm::Asterisk, None) => Parts::Asterisk,
        (form, authority) => panic!("{form:?} with {authority:?}"),
    };
    let request = Request {
        method: text(head.method_token),
        target: text(head.target),
        parts,
        minor: minor(head.version),
        fields: fields(&head.fields, bytes),
        place: (start, end),
    };
    assert_eq!(head.method, Method::from_token(&request.method));
    Ok((request, framing))
}

fn response(bytes: &[u8], limits: &Limits, method: &[u8]) -> Parsed<(Response, Framing)> {
    let limits = HeadLimits {
        head_bytes_max: limits.head,
        request_line_bytes_max: limits.head,
        field_bytes_max: limits.head,
        fields_max: limits.fields,
    };
    let mut head = ResponseHead::default();
    let place = read_response(&mut HeadScanner::for_response(), bytes, &limits, &mut head);
    let end = place.map_err(refused)?.ok_or(Stop::More)?.end;
    let bytes = &bytes[..end];
    let mut lines = [httparse::EMPTY_HEADER; 100];
    let mut other = httparse::Response::new(&mut lines);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!((other.code, other.version), (Some(head.status), Some(minor(head.version))));
    assert_eq!(pairs(other.headers), fields(&head.fields, bytes));
    let method = Method::from_token(method);
    let framing = framing_of(response_framing(&head, bytes, method).map_err(refused)?);
    let response = Response {
        status: head.status,
        reason: head.reason.bytes(bytes).to_vec(),
        minor: minor(head.version),
        fields: fields(&head.fields, bytes),
        end,
    };
    Ok((response, framing))
}

fn refused<E>(_: E) -> Stop {
    Stop::Refused
}

fn fields(fields: &Fields, head: &[u8]) -> Vec<head::Field> {
    let lines = fields.lines().iter();
    let pairs: Vec<head::Field> =
        lines.map(|field| (field.name.bytes(head).to_vec(), field.value.bytes(head).to_vec())).collect();
    assert_eq!(fields.has_underscore(), pairs.iter().any(|(name, _)| name.contains(&b'_')));
    pairs
}

fn pairs(lines: &[httparse::Header<'_>]) -> Vec<head::Field> {
    lines.iter().map(|line| (line.name.into(), line.value.into())).collect()
}

fn minor(version: Version) -> u8 {
    match version {
        Version::Http10 => 0,
        Version::Http11 => 1,
    }
}

fn framing_of(framing: BodyFraming) -> Framing {
    match framing {
        BodyFraming::None => Framing::None,
        BodyFraming::Length(length) => Framing::Length(length),
        BodyFraming::Chunked => Framing::Chunked,
        BodyFraming::UntilClose => Framing::UntilClose,
    }
}
