//! Floods through the whole proxy: each ends its own connections, takes little memory until then, and is not noticed by a client
//! beside it. The prices of frames are in docs/http2.md.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ended;
use super::neighbours::Neighbours;
use crate::support::http2::{
    CONTINUATION, DATA, END_STREAM, HEADERS, Http2, PADDED, PING, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, get, headers, plain, setting,
};
use crate::support::wire::Wire;
use crate::support::{Client, Origin, Proxy, Setup, eventually, ok, process};

const ENHANCE_YOUR_CALM: u32 = 11;

/// What is sent for ever, by its number.
type Flood = fn(u32) -> Vec<u8>;

/// How many connections send it at once.
const FLOODERS: u8 = 4;

/// Bytes of a flood at most before its connection has ended.
const FLOOD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How much the proxy may grow by all floods of a test: 4 MiB were seen.
const GROWTH_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn number(number: u32) -> u32 {
    2 * number + 1
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, 8_u32.to_be_bytes())
}

/// A stream whose body does not come.
fn upload(stream: u32) -> Vec<u8> {
    headers(stream, 0, &block(&plain("/held")))
}

/// One whose second frames come for ever.
fn upload_of(index: u32, then: Vec<u8>) -> Vec<u8> {
    if index == 0 { upload(1) } else { then }
}

/// One head of which further parts come for ever.
fn head_of(index: u32, then: &[u8]) -> Vec<u8> {
    let begun = || frame(HEADERS, END_STREAM, 1, block(&plain("/held")));
    if index == 0 { begun() } else { frame(CONTINUATION, 0, 1, then) }
}

/// A field of 3900 bytes in the table of HPACK (RFC 7541 §2.3.2), and so many references to it.
fn bomb(index: u32, references: usize) -> Vec<u8> {
    let mut fields = block(&plain("/held"));
    if index == 0 {
        // `cookie` has the index 32.
        fields.extend([0x40 | 0x20, 0x7f, 0xbd, 0x1d]);
        fields.extend([b'x'; 3900]);
    }
    fields.extend(vec![0x80 | 62; references]);
    headers(number(index), END_STREAM, &fields)
}

#[rustfmt::skip]
const STREAMS: &[(&str, Flood)] = &[
    ("rapid reset", |index| [get(number(index), "/held"), reset(number(index))].concat()),
    ("resets of uploads", |index| [upload(number(index)), reset(number(index))].concat()),
    ("MadeYouReset, by a window", |index| [get(number(index), "/held"), frame(WINDOW_UPDATE, 0, number(index), [0x7f, 0xff, 0xff, 0xff])].concat()),
    ("MadeYouReset, by a length", |index| {
        let fields = block(&[&plain("/held")[..], &[("content-length", "1")]].concat());
        [headers(number(index), 0, &fields), frame(DATA, 0, number(index), "ab")].concat()
    }),
    ("streams above the limit", |index| get(number(index), "/held")),
];

#[rustfmt::skip]
const FRAMES: &[(&str, Flood)] = &[
    ("SETTINGS", |_| frame(SETTINGS, 0, 0, [])),
    ("SETTINGS of windows", |index| setting(4, 65_535 - index % 2)),
    ("SETTINGS of tables", |index| setting(1, if index % 2 == 0 { 0 } else { u32::MAX })),
    ("PING", |_| frame(PING, 0, 0, [0; 8])),
    ("PRIORITY", |index| frame(PRIORITY, 0, number(index), [0, 0, 0, 0, 16])),
    ("PRIORITY_UPDATE", |_| frame(0x10, 0, 0, [0, 0, 0, 1, b'u'])),
    ("WINDOW_UPDATE", |_| frame(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1])),
    ("WINDOW_UPDATE of a stream", |index| upload_of(index, frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]))),
    ("unknown frames", |_| frame(0x42, 0, 0, [0; 100])),
    ("empty DATA", |index| upload_of(index, frame(DATA, 0, 1, []))),
    ("DATA of padding", |index| upload_of(index, frame(DATA, PADDED, 1, [0]))),
];

#[rustfmt::skip]
const FIELDS: &[(&str, Flood)] = &[
    ("CONTINUATION", |index| head_of(index, &block(&[("x", "y")]))),
    ("CONTINUATION of a byte", |index| head_of(index, &block(&[("x", "y")])[index as usize % 5..][..1])),
    ("empty CONTINUATION", |index| head_of(index, &[])),
    ("header bomb", |index| bomb(index, 12_000)),
    ("header bomb of many requests", |index| bomb(index, 9)),
];

#[test]
fn floods_of_streams_end_their_connections_and_nobody_else_notices() {
    flood_all(STREAMS);
}

#[test]
fn floods_of_frames_do_so_too() {
    flood_all(FRAMES);
}

#[test]
fn floods_of_fields_do_so_too() {
    flood_all(FIELDS);
}

fn flood_all(floods: &[(&str, Flood)]) {
    let (near, held) = (Origin::answering(ok("ok")), Origin::script(|connection| connection.wait_for_end()));
    let proxy = proxy(&near, &held);
    // What the first connections allocate, and the worker.
    flood(&proxy, 1, STREAMS[0].1);
    let neighbours = Neighbours::beside(&proxy);
    let before = process::rss_bytes(proxy.pid());
    for (index, (name, next)) in floods.iter().enumerate() {
        let before_it = counted(&proxy);
        let ends = flood(&proxy, u8::try_from(index).unwrap() + 2, *next);
        assert_eq!(ends, [Some(ENHANCE_YOUR_CALM); FLOODERS as usize], "{name}");
        eventually(&format!("{name}: each is counted"), || {
            counted(&proxy) == before_it + u64::from(FLOODERS)
        });
        eventually(&format!("{name}: nothing of it is left"), || {
            proxy.listener("connections_active") <= neighbours.count()
                && proxy.endpoints("requests_active") <= neighbours.count()
        });
        let grown = process::rss_peak_bytes(proxy.pid()).saturating_sub(before);
        assert!(grown <= GROWTH_BYTES_MAX, "{name}: {grown} bytes more");
    }
    neighbours.finish();
}

/// Connections that were ended for misconduct, or not taken because of their client's.
fn counted(proxy: &Proxy) -> u64 {
    ended(proxy, "misconduct") + proxy.listener("http2_connections_refused_total")
}

/// `/held` goes to an origin that never answers.
fn proxy(near: &Origin, held: &Origin) -> Proxy {
    let more = format!(
        "[[routes]]\nname = \"held\"\nupstream = \"held\"\npath = {{ exact = \"/held\" }}\n\
         [upstreams.held]\nendpoints = [\"{}\"]\n",
        held.address()
    );
    Setup::origin(near).listener("http2 = true").more(&more).start()
}

/// Floods by [`FLOODERS`] connections from an address of its own: how they end.
fn flood(proxy: &Proxy, source: u8, next: Flood) -> Vec<Option<u32>> {
    let address = proxy.address("web");
    let connect = || Http2::greet(Client::connect_from(&format!("127.0.1.{source}"), &address));
    let flooders: Vec<_> = (0..FLOODERS)
        .map(|_| {
            let client = connect();
            std::thread::spawn(move || flood_one(client, next))
        })
        .collect();
    flooders.into_iter().map(|flooder| flooder.join().unwrap()).collect()
}

fn flood_one(mut client: Http2, next: Flood) -> Option<u32> {
    let mut sender = Wire::new(client.stream().try_clone().unwrap()).unwrap();
    let is_over = Arc::<AtomicBool>::default();
    let sending = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let (mut sent, mut index) = (0, 0);
            while sent < FLOOD_BYTES_MAX && !is_over.load(Ordering::Relaxed) {
                let mut bytes = Vec::new();
                while bytes.len() < 8192 {
                    bytes.extend(next(index));
                    index += 1;
                }
                sent += bytes.len();
                if sender.send(&bytes).is_err() {
                    break;
                }
            }
        }
    });
    let end = client.goaway();
    is_over.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    end
}
