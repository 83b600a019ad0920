//! What HTTP/1 messages cost as bytes: scan, parse and write a head, decode chunks. No I/O.

use std::hint::black_box;

use corelane_http1::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, ChunkEvent, ChunkedDecoder, HeadLimits, HeadScanner, LAST_CHUNK,
    chunk_header, parse_request, parse_response, read_request, write_field, write_fields, write_request_line,
};
use corelane_semantics::{Known, PathBuffers, PathPolicies, RequestHead, ResponseHead};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Ten fields as a browser sends them.
const REQUEST: &[u8] = b"GET /assets/app/main.js?v=20240611&lang=en HTTP/1.1\r\n\
Host: www.example.org\r\n\
Connection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/125.0.0.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\n\
Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n\
Referer: https://www.example.org/app/index.html\r\n\
Cookie: session=3c8a1f0e9b7d4e5fa6b2c1d0e9f8a7b6; theme=dark\r\n\
X-Forwarded-For: 203.0.113.7\r\n\
If-None-Match: \"5f3c-61a2b3c4d5e6f\"\r\n\
\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\n\
Date: Tue, 11 Jun 2024 10:20:30 GMT\r\n\
Server: nginx\r\n\
Content-Type: text/javascript; charset=utf-8\r\n\
Content-Length: 24380\r\n\
Connection: keep-alive\r\n\
Last-Modified: Mon, 10 Jun 2024 08:00:00 GMT\r\n\
ETag: \"5f3c-61a2b3c4d5e6f\"\r\n\
Cache-Control: public, max-age=31536000, immutable\r\n\
\r\n";

/// The four fields of a load generator or a health check.
const REQUEST_SMALL: &[u8] = b"GET / HTTP/1.1\r\n\
Host: 127.0.0.1:8080\r\n\
User-Agent: wrk/4.2\r\n\
Accept: */*\r\n\
Connection: keep-alive\r\n\
\r\n";

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits::default();
    let mut group = criterion.benchmark_group("http1");
    for (name, head) in [("request_10_fields", REQUEST), ("request_4_fields", REQUEST_SMALL)] {
        let mut out = RequestHead::default();
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(format!("scan_{name}"), |bencher| {
            bencher.iter(|| HeadScanner::new().scan(black_box(head), &limits));
        });
        group.bench_function(format!("parse_{name}"), |bencher| {
            bencher.iter(|| {
                parse_request(black_box(head), &limits, &mut out).expect("a valid head");
                out.fields_end
            });
        });
        group.bench_function(format!("read_{name}"), |bencher| {
            bencher.iter(|| {
                let mut scanner = HeadScanner::new();
                let place = read_request(&mut scanner, black_box(head), &limits, &mut out);
                assert_eq!(place, Ok(Some(0..head.len())));
                out.fields_end
            });
        });
    }
    let mut out = ResponseHead::default();
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("parse_response_8_fields", |bencher| {
        bencher.iter(|| {
            parse_response(black_box(RESPONSE), &limits, &mut out).expect("a valid head");
            out.fields_end
        });
    });
    group.finish();
}

/// A request head as it goes upstream: hop-by-hop fields left out, Via and X-Forwarded-* added.
fn writing(criterion: &mut Criterion) {
    let mut request = RequestHead::default();
    parse_request(REQUEST, &HeadLimits::default(), &mut request).expect("a valid head");
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("http1");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("write_request_head", |bencher| {
        bencher.iter(|| {
            out.clear();
            let head = black_box(REQUEST);
            write_request_line(&mut out, request.method_token.bytes(head), request.target.bytes(head));
            write_fields(&mut out, head, &request.fields, request.fields_end, |field| {
                !field.known.is_some_and(|known| known.is_hop_by_hop() || known == Known::XForwardedFor)
            });
            write_field(&mut out, b"x-forwarded-for", b"203.0.113.7, 198.51.100.1");
            write_field(&mut out, b"x-forwarded-proto", b"https");
            write_field(&mut out, b"via", b"1.1 corelane");
            out.extend_from_slice(b"\r\n");
            out.len()
        });
    });
    group.finish();
}

fn chunks(criterion: &mut Criterion) {
    let data = [b'x'; 4096];
    let mut body = Vec::new();
    let mut header = [0; CHUNK_HEADER_BYTES_MAX];
    for _ in 0..16 {
        body.extend_from_slice(chunk_header(&mut header, data.len() as u64));
        body.extend_from_slice(&data);
        body.extend_from_slice(CHUNK_END);
    }
    body.extend_from_slice(LAST_CHUNK);
    body.extend_from_slice(CHUNK_END);
    let mut group = criterion.benchmark_group("http1");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("decode_64_kib_in_4_kib_chunks", |bencher| {
        bencher.iter(|| {
            let mut decoder = ChunkedDecoder::new();
            let mut input = black_box(&body[..]);
            let mut bytes = 0;
            loop {
                match decoder.decode(&mut input).expect("a valid body") {
                    ChunkEvent::Data(data) => bytes += black_box(data).len(),
                    ChunkEvent::End => break bytes,
                    ChunkEvent::NeedMore => unreachable!("the body is whole"),
                }
            }
        });
    });
    group.finish();
}

/// A path as nearly all are, and some that must be rewritten.
fn paths(criterion: &mut Criterion) {
    let policies = PathPolicies::default();
    let mut buffers = PathBuffers::default();
    let mut group = criterion.benchmark_group("path");
    for (name, path) in [
        ("plain_3_bytes", &b"/1k"[..]),
        ("plain_19_bytes", b"/assets/app/main.js"),
        ("plain_74_bytes", b"/api/v2/organisations/4711/projects/corelane/issues/3/comments/17/reactions"),
        ("escapes_31_bytes", b"/files/caf%C3%A9/annual%20report"),
        ("dots_32_bytes", b"/assets/app/../lib/./v1/main.css"),
    ] {
        group.throughput(Throughput::Bytes(path.len() as u64));
        group.bench_function(format!("canonicalise_{name}"), |bencher| {
            bencher.iter(|| {
                let paths = buffers.canonicalise(black_box(path), &policies).expect("a valid path");
                paths.canonical.len() + paths.forwarded.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads, writing, chunks, paths);
criterion_main!(benches);
