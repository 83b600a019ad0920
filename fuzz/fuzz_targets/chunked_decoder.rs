//! Chunked bodies: no panic, and the same body, trailers and error however the input is split.

#![no_main]

use corelane_http1::{ChunkError, ChunkEvent, ChunkedDecoder, TRAILER_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&selector, bytes)) = data.split_first() else { return };
    let whole = decode(bytes, [bytes.len()].into_iter());
    let split = usize::from(selector) % (bytes.len() + 1);
    assert_eq!(decode(bytes, [split, bytes.len()].into_iter()), whole);
    assert_eq!(decode(bytes, 0..=bytes.len()), whole);
    if let Ok(Some((trailers, taken))) = &whole.1 {
        assert!(bytes[..*taken].ends_with(b"\r\n"));
        assert!(trailers.len() <= TRAILER_BYTES_MAX);
        assert!(trailers.is_empty() || trailers.ends_with(b"\r\n"));
        assert!(whole.0.len() < *taken);
    }
});

type Decoded = (Vec<u8>, Result<Option<(Vec<u8>, usize)>, ChunkError>);

/// The body, and either the trailers and the bytes taken, or nothing of an unfinished body, or the error.
fn decode(bytes: &[u8], ends: impl Iterator<Item = usize>) -> Decoded {
    let mut decoder = ChunkedDecoder::new();
    let (mut body, mut start) = (Vec::new(), 0);
    for end in ends {
        let mut input = &bytes[start..end];
        start = end;
        loop {
            match decoder.decode(&mut input) {
                Ok(ChunkEvent::Data(data)) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(data);
                }
                Ok(ChunkEvent::NeedMore) => {
                    assert!(input.is_empty());
                    break;
                }
                Ok(ChunkEvent::End) => {
                    assert!(decoder.is_done());
                    return (body, Ok(Some((decoder.trailers().to_vec(), end - input.len()))));
                }
                Err(error) => return (body, Err(error)),
            }
        }
    }
    (body, Ok(None))
}
