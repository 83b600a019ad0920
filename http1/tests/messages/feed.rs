//! Bytes given in pieces, as a network does.

use std::fmt::Debug;

use corelane_http1::{ChunkError, ChunkEvent, ChunkedDecoder, HeadError, HeadLimits, HeadScanner};

/// What comes of `bytes` given whole, split at every point, and byte by byte; all must agree. `feed` gets the ends of the
/// pieces; the last one is the length.
#[track_caller]
pub(crate) fn all_ways<T: PartialEq + Debug>(bytes: &[u8], feed: impl Fn(&[usize]) -> T) -> T {
    let whole = feed(&[bytes.len()]);
    for split in 0..bytes.len() {
        assert_eq!(feed(&[split, bytes.len()]), whole, "split at {split}: {}", bytes.escape_ascii());
    }
    let single: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(feed(&single), whole, "byte by byte: {}", bytes.escape_ascii());
    whole
}

/// Ends of pieces of `length` bytes, from arbitrary numbers; the last one is `length`.
pub(crate) fn ends(cuts: &[usize], length: usize) -> Vec<usize> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (length + 1)).chain([length]).collect();
    ends.sort_unstable();
    ends
}

/// Where the head starts and ends; `None` if it is not whole.
pub(crate) fn scan(
    mut scanner: HeadScanner,
    bytes: &[u8],
    limits: &HeadLimits,
    ends: &[usize],
) -> Result<Option<(usize, usize)>, HeadError> {
    for &end in ends {
        if let Some(found) = scanner.scan(&bytes[..end], limits)? {
            return Ok(Some((scanner.start(), found)));
        }
    }
    Ok(None)
}

/// The body so far, and how it ended.
pub(crate) type Decoded = (Vec<u8>, Result<Option<Ended>, ChunkError>);

/// The trailer lines, and how many bytes the body took.
pub(crate) type Ended = (Vec<u8>, usize);

pub(crate) fn decode(bytes: &[u8], ends: &[usize]) -> Decoded {
    let mut decoder = ChunkedDecoder::new();
    let (mut body, mut start) = (Vec::new(), 0);
    for &end in ends {
        let mut input = &bytes[start..end];
        start = end;
        loop {
            match decoder.decode(&mut input) {
                Ok(ChunkEvent::Data(data)) => {
                    assert!(!data.is_empty(), "empty data");
                    body.extend_from_slice(data);
                }
                Ok(ChunkEvent::NeedMore) => {
                    assert!(input.is_empty() && !decoder.is_done());
                    break;
                }
                Ok(ChunkEvent::End) => {
                    return (body, Ok(Some((decoder.trailers().to_vec(), end - input.len()))));
                }
                Err(error) => {
                    assert_eq!(decoder.decode(&mut input), Err(error), "an error stays");
                    return (body, Err(error));
                }
            }
        }
    }
    (body, Ok(None))
}
