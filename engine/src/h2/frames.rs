//! The headers of HTTP/2 frames as they pass (RFC 9113 §4.1), in either direction and however the bytes are cut.
//!
//! Payloads are skipped, not looked at, but for the number that a reset or an update of a window has. That the frames obey the rules is for the connection to
//! see; what is read here is only counted.

/// What every connection starts with on its client's side (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER_BYTES: usize = Frame::HEADER_BYTES;

/// The payload of a reset is its error code (RFC 9113 §6.4), that of an update by how much a window grows (§6.9).
const CODE_BYTES: usize = 4;

/// A HEADERS frame is held until it is whole if its payload has at most so many bytes: a status, and changes of a table's size.
const HELD_HEAD_BYTES_MAX: usize = 16;

/// The kinds of frames (RFC 9113 §6, RFC 9218 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    PriorityUpdate,
    Unknown,
}

impl From<u8> for Kind {
    fn from(kind: u8) -> Self {
        match kind {
            0x00 => Self::Data,
            0x01 => Self::Headers,
            0x02 => Self::Priority,
            0x03 => Self::Reset,
            0x04 => Self::Settings,
            0x05 => Self::PushPromise,
            0x06 => Self::Ping,
            0x07 => Self::GoAway,
            0x08 => Self::WindowUpdate,
            0x09 => Self::Continuation,
            0x10 => Self::PriorityUpdate,
            _ => Self::Unknown,
        }
    }
}

/// What is known of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    flags: u8,
    pub(super) stream: u32,
    /// Bytes of its payload.
    pub(super) length: u32,
    /// The error code of a reset, or by how much a window grows.
    pub(super) code: Option<u32>,
}

impl Frame {
    pub(super) const HEADER_BYTES: usize = 9;

    /// Whether it acknowledges (SETTINGS and PING).
    pub(super) fn is_acknowledgement(self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Whether its stream ends with it (DATA and HEADERS).
    pub(super) fn ends_stream(self) -> bool {
        self.flags & 0x1 != 0
    }

    /// Whether the field block ends with it (HEADERS and CONTINUATION).
    pub(super) fn ends_fields(self) -> bool {
        self.flags & 0x4 != 0
    }
}

/// What passes a scanner.
pub(super) enum Passing<'b> {
    /// Bytes between one header and the next.
    Payload(&'b [u8]),
    /// A frame's header, with what is held of its payload.
    Frame(Frame, &'b [u8]),
}

/// Finds the frames in one direction of a connection.
#[derive(Debug)]
pub(super) struct FrameScanner {
    /// The header in progress, and the code behind it, or a short head.
    held: [u8; HEADER_BYTES + HELD_HEAD_BYTES_MAX],
    held_bytes: usize,
    holds_heads: bool,
    /// How many bytes to skip before the next header.
    skip: usize,
    /// They are a body's.
    is_in_data: bool,
    /// A field block has begun and not ended.
    is_in_fields: bool,
    /// Frames whose header has been read, but for those that leave a field block open.
    frames: u64,
}

impl FrameScanner {
    /// For what a client sends: the preface comes first.
    pub(super) fn of_client() -> Self {
        Self { skip: PREFACE.len(), ..Self::of_server() }
    }

    /// For what a server sends.
    pub(super) fn of_server() -> Self {
        let held = [0; HEADER_BYTES + HELD_HEAD_BYTES_MAX];
        let (held_bytes, holds_heads) = (0, false);
        Self { held, held_bytes, holds_heads, skip: 0, is_in_data: false, is_in_fields: false, frames: 0 }
    }

    /// Meets a short HEADERS frame when it is whole, together with its payload.
    pub(super) fn holding_heads(self) -> Self {
        Self { holds_heads: true, ..self }
    }

    /// Whether something has begun that nobody can use before its end: the preface, a frame, or a field block of several. A
    /// body is not, which may be slow.
    pub(super) fn is_amid(&self) -> bool {
        self.held_bytes > 0 || self.is_in_fields || (self.skip > 0 && !self.is_in_data)
    }

    /// Changes when [`Self::is_amid`] begins to speak of something else.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// As [`Self::relay`], for frames alone.
    #[cfg(test)]
    pub(super) fn scan(&mut self, bytes: &[u8], mut meet: impl FnMut(Frame)) {
        self.relay(bytes, |passing| {
            if let Passing::Frame(frame, _) = passing {
                meet(frame);
            }
        });
    }

    /// Looks at the next bytes, and lets them pass: those of a header with its frame when it is complete, the others as they come.
    pub(super) fn relay(&mut self, mut bytes: &[u8], mut pass: impl FnMut(Passing<'_>)) {
        loop {
            let skipped;
            (skipped, bytes) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            if !skipped.is_empty() {
                pass(Passing::Payload(skipped));
            }
            if bytes.is_empty() {
                return;
            }
            let taken = (self.wanted() - self.held_bytes).min(bytes.len());
            self.held[self.held_bytes..self.held_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.held_bytes += taken;
            bytes = &bytes[taken..];
            if self.held_bytes == self.wanted() {
                let held_bytes = self.held_bytes;
                let frame = self.end_header();
                pass(Passing::Frame(frame, &self.held[..held_bytes]));
            }
        }
    }

    /// How many bytes make what is held complete, as far as they tell.
    fn wanted(&self) -> usize {
        let length = self.length() as usize;
        let of_payload = match Kind::from(self.held[3]) {
            _ if self.held_bytes < HEADER_BYTES => 0,
            Kind::Reset | Kind::WindowUpdate if length >= CODE_BYTES => CODE_BYTES,
            Kind::Headers if self.holds_heads && length <= HELD_HEAD_BYTES_MAX => length,
            _ => 0,
        };
        HEADER_BYTES + of_payload
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.held[0], self.held[1], self.held[2]])
    }

    fn end_header(&mut self) -> Frame {
        let (header, payload) = self.held[..self.held_bytes].split_at(HEADER_BYTES);
        let kind = Kind::from(header[3]);
        let has_code = matches!(kind, Kind::Reset | Kind::WindowUpdate);
        let code = payload.first_chunk().filter(|_| has_code).map(|code| u32::from_be_bytes(*code));
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & (u32::MAX >> 1);
        let frame = Frame { kind, flags: header[4], stream, length: self.length(), code };
        self.skip = frame.length as usize - payload.len();
        self.held_bytes = 0;
        self.is_in_data = frame.kind == Kind::Data;
        if matches!(frame.kind, Kind::Headers | Kind::PushPromise | Kind::Continuation) {
            self.is_in_fields = !frame.ends_fields();
        }
        self.frames += u64::from(!self.is_in_fields);
        frame
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A frame as bytes.
    pub(in crate::h2) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn scanned(scanner: &mut FrameScanner, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        scanner.scan(bytes, |frame| frames.push(frame));
        frames
    }

    #[test]
    fn finds_every_frame_wherever_the_bytes_are_cut() {
        let wire = [
            PREFACE,
            &frame(0x4, 0, 0, &[]),
            &frame(0x1, 0x5, 1, b"fields"),
            &frame(0x0, 0x1, 1, &[7; 300]),
            &frame(0x3, 0, 3, &[0, 0, 0, 8]),
            // One that is too short, and one that is too long: the connection ends for them.
            &frame(0x3, 0, 5, &[0, 8]),
            &frame(0x3, 0, 5, &[0, 0, 1, 0, 0]),
            &frame(0x10, 0, 0, b"u=3"),
            &frame(0x77, 0xff, 0, b"?"),
        ]
        .concat();
        let of = |kind, flags, stream, length, code| Frame { kind, flags, stream, length, code };
        let expected = [
            of(Kind::Settings, 0, 0, 0, None),
            of(Kind::Headers, 5, 1, 6, None),
            of(Kind::Data, 1, 1, 300, None),
            of(Kind::Reset, 0, 3, 4, Some(8)),
            of(Kind::Reset, 0, 5, 2, None),
            of(Kind::Reset, 0, 5, 5, Some(256)),
            of(Kind::PriorityUpdate, 0, 0, 3, None),
            of(Kind::Unknown, 0xff, 0, 1, None),
        ];
        for cut in 0..=wire.len() {
            let mut scanner = FrameScanner::of_client();
            let mut frames = scanned(&mut scanner, &wire[..cut]);
            frames.extend(scanned(&mut scanner, &wire[cut..]));
            assert_eq!(frames, expected, "cut at {cut}");
        }
        let mut scanner = FrameScanner::of_client();
        let frames: Vec<_> = wire.chunks(1).flat_map(|byte| scanned(&mut scanner, byte)).collect();
        assert_eq!(frames, expected, "byte by byte");
        assert!(!scanner.is_amid());
    }

    #[test]
    fn knows_when_something_is_not_whole() {
        let mut scanner = FrameScanner::of_client();
        assert!(scanner.is_amid(), "no preface");
        scanned(&mut scanner, PREFACE);
        assert!(!scanner.is_amid());
        scanned(&mut scanner, &[0]);
        assert!(scanner.is_amid(), "a header");
        scanned(&mut scanner, &[0, 2, 0x1, 0x1, 0, 0, 0, 1, b'a']);
        assert!(scanner.is_amid(), "a payload");
        scanned(&mut scanner, b"b");
        assert!(scanner.is_amid(), "fields without their end");
        scanned(&mut scanner, &frame(0x9, 0, 1, b"c"));
        assert!(scanner.is_amid(), "fields without their end");
        let before = scanner.frames();
        scanned(&mut scanner, &frame(0x9, 0x4, 1, b"d"));
        assert!(!scanner.is_amid() && scanner.frames() > before);
        scanned(&mut scanner, &[0, 0, 2, 0x0, 0x1, 0, 0, 0, 1, b'a']);
        assert!(!scanner.is_amid(), "a body may be slow");
    }
}
