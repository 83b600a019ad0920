//! Chunked bodies against an independent reader: the same data, trailers and end, and the same refusals.

#![no_main]

use corelane_fuzz::chunked::{Body, body};
use corelane_fuzz::cursor::{Parsed, Stop};
use corelane_http1::{ChunkEvent, ChunkedDecoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut strict = Body::default();
    let verdict = body(bytes, &mut strict);
    let mut ours = Body::default();
    match (decode(bytes, &mut ours), verdict) {
        (Ok(()), Ok(())) => {
            ours.in_trailers = true;
            assert_eq!(ours, strict);
        }
        (Err(ours), Err(strict)) if ours == strict => {}
        // Corelane looks at a trailer line when it is whole.
        (Err(Stop::More), Err(Stop::Refused)) if strict.in_trailers => {}
        (ours, strict) => panic!("Corelane: {ours:?}; strictly: {strict:?}"),
    }
    assert_eq!(ours.data, strict.data);
});

fn decode(bytes: &[u8], out: &mut Body) -> Parsed<()> {
    let mut decoder = ChunkedDecoder::new();
    let mut input = bytes;
    loop {
        match decoder.decode(&mut input) {
            Ok(ChunkEvent::Data(data)) => out.data.extend_from_slice(data),
            Ok(ChunkEvent::NeedMore) => return Err(Stop::More),
            Ok(ChunkEvent::End) => {
                out.trailers = decoder.trailers().to_vec();
                out.taken = bytes.len() - input.len();
                return Ok(());
            }
            Err(_) => return Err(Stop::Refused),
        }
    }
}
