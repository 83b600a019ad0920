//! gRPC-Web: calls of clients that cannot read trailers, and where the body is text, of those that cannot read bytes.
//!
//! A message has five bytes before it: flags, and its length. gRPC-Web ends a response with one more such frame, whose flag is
//! 0x80 and which holds the trailers as field lines. Everything else of the body is gRPC's.
//!
//! The text form is base64 (RFC 4648 §4) of that. Whoever writes it may end a run with padding at any place, and begin
//! another one: [`TextDecoder`] takes that anywhere, [`TextEncoder`] does it at the end of a message, so that none waits for the
//! next.

mod text;

pub use text::{TextDecoder, TextEncoder, TextError};

/// The flag of the frame with the trailers.
const TRAILERS: u8 = 0x80;

/// Before each message: flags, and the length.
const PREFIX_BYTES: usize = 5;

/// Appends the frame that ends a response. `trailers`: field lines, each with its CRLF.
///
/// Names are written in lower case, as HTTP/2 has them.
pub fn write_trailers(trailers: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([TRAILERS, 0, 0, 0, 0]);
    for line in trailers.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        out.extend(line[..colon].iter().map(u8::to_ascii_lowercase));
        out.push(b':');
        out.extend_from_slice(line[colon + 1..].trim_ascii());
        out.extend_from_slice(b"\r\n");
    }
    // Trailers are bounded far below 4 GiB.
    let length = u32::try_from(out.len() - start - PREFIX_BYTES).unwrap_or(u32::MAX);
    out[start + 1..start + PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Where the frames of a body end.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of it that have come.
    prefix_bytes: usize,
    /// Bytes of the message that are to come.
    left: usize,
}

impl Frames {
    /// Takes further bytes of the body.
    pub fn skip(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (taken, _) = self.step(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Whether a frame may begin here.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.prefix_bytes == 0
    }

    /// How many of the bytes belong to the frame that is going on, and whether it ends with them.
    fn step(&mut self, bytes: &[u8]) -> (usize, bool) {
        let of_prefix = bytes.len().min(PREFIX_BYTES - self.prefix_bytes);
        let place = self.prefix_bytes..self.prefix_bytes + of_prefix;
        self.prefix[place].copy_from_slice(&bytes[..of_prefix]);
        self.prefix_bytes += of_prefix;
        if self.prefix_bytes < PREFIX_BYTES {
            return (of_prefix, false);
        }
        if of_prefix > 0 {
            let [_, length @ ..] = self.prefix;
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        }
        let of_message = (bytes.len() - of_prefix).min(self.left);
        self.left -= of_message;
        let is_end = self.left == 0;
        if is_end {
            self.prefix_bytes = 0;
        }
        (of_prefix + of_message, is_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_are_a_frame() {
        let mut out = b"x".to_vec();
        write_trailers(b"Grpc-Status:  0 \r\ngrpc-message: \r\nno line\r\n", &mut out);
        assert_eq!(out, b"x\x80\0\0\0\x1egrpc-status:0\r\ngrpc-message:\r\n");
        assert_eq!(out.len(), 1 + PREFIX_BYTES + 0x1e);
        out.clear();
        write_trailers(b"", &mut out);
        assert_eq!(out, b"\x80\0\0\0\0");
    }

    #[test]
    fn frames_end_where_their_lengths_say() {
        let body = [&b"\0\0\0\0\x02ab"[..], b"\0\0\0\0\0", b"\x01\0\0\x01\0", &[b'x'; 256]].concat();
        for split in 0..body.len() {
            let (mut frames, mut ends, mut at) = (Frames::default(), Vec::new(), 0);
            for part in [&body[..split], &body[split..]] {
                let mut part = part;
                while !part.is_empty() {
                    let (taken, is_end) = frames.step(part);
                    (part, at) = (&part[taken..], at + taken);
                    if is_end {
                        ends.push(at);
                    }
                }
            }
            assert_eq!(ends, [7, 12, 273], "split at {split}");
            let mut frames = Frames::default();
            frames.skip(&body[..split]);
            assert_eq!(frames.is_between(), [0, 7, 12].contains(&split), "split at {split}");
            frames.skip(&body[split..]);
            assert!(frames.is_between());
        }
    }
}
