//! What is urgent, as `Priority` fields and PRIORITY_UPDATE frames say it (RFC 9218 §4, §5, §7.1).

use std::cmp::Ordering;

/// How a response is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Priority {
    /// 0, the most urgent, to 7.
    pub(super) urgency: u8,
    /// A part of it is of use: it takes turns with others.
    pub(super) is_incremental: bool,
}

impl Default for Priority {
    /// RFC 9218 §4.
    fn default() -> Self {
        Self { urgency: 3, is_incremental: false }
    }
}

impl Priority {
    /// The same with what a field's value says. What it does not say stays, and what means nothing is nothing (§4).
    pub(super) fn with(self, value: &[u8]) -> Self {
        let mut priority = self;
        for member in value.split(|&byte| byte == b',') {
            // RFC 9651 §3.2: parameters may follow, of which there is none that is known.
            let member = member.split(|&byte| byte == b';').next().unwrap_or_default();
            match member.trim_ascii() {
                [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
                b"i" | b"i=?1" => priority.is_incremental = true,
                b"i=?0" => priority.is_incremental = false,
                _ => {}
            }
        }
        priority
    }

    /// Which of two is to be sent first, as far as they alone say it.
    pub(super) fn compare(self, other: Self) -> Ordering {
        (self.urgency, self.is_incremental).cmp(&(other.urgency, other.is_incremental))
    }
}

/// A longer PRIORITY_UPDATE is left alone: what is known takes ten bytes.
const UPDATE_BYTES_MAX: u32 = 64;

/// PRIORITY_UPDATE frames of one turn; more are left alone.
const UPDATES_MAX: usize = 128;

/// Bytes in front of the value: the stream.
const STREAM_BYTES: usize = 4;

/// PRIORITY_UPDATE frames as they pass.
#[derive(Debug, Default)]
pub(super) struct Updates {
    /// The payload of one, and how much of it is missing.
    payload: Vec<u8>,
    missing: usize,
    whole: Vec<(u32, Priority)>,
}

impl Updates {
    /// A frame begins.
    pub(super) fn begin(&mut self, length: u32) {
        self.payload.clear();
        let is_read = length <= UPDATE_BYTES_MAX && self.whole.len() < UPDATES_MAX;
        self.missing = if is_read { length as usize } else { 0 };
    }

    /// Bytes of whichever frame.
    pub(super) fn note_payload(&mut self, bytes: &[u8]) {
        if self.missing == 0 {
            return;
        }
        self.payload.extend_from_slice(bytes);
        self.missing -= bytes.len();
        if let (0, Some((stream, value))) = (self.missing, self.payload.split_first_chunk::<STREAM_BYTES>()) {
            // What it does not say is as if nothing had ever been said.
            let stream = u32::from_be_bytes(*stream) & (u32::MAX >> 1);
            self.whole.push((stream, Priority::default().with(value)));
        }
    }

    /// Hands on what is whole.
    pub(super) fn take(&mut self, mut take: impl FnMut(u32, Priority)) {
        self.whole.drain(..).for_each(|(stream, priority)| take(stream, priority));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_known() {
        let default = Priority::default();
        for (value, urgency, is_incremental) in [
            ("", 3, false),
            ("u=0", 0, false),
            ("u=7, i", 7, true),
            ("i,u=5", 5, true),
            ("i=?1", 3, true),
            ("i, i=?0", 3, false),
            (" u=1 ;x=y ,\ti;z", 1, true),
            ("u=8", 3, false),
            ("u=-1, u=, u, u=10, u=a", 3, false),
            ("x, y=\"u\", u=2, I", 2, false),
            ("\u{fffd}", 3, false),
        ] {
            assert_eq!(default.with(value.as_bytes()), Priority { urgency, is_incremental }, "{value:?}");
        }
        let said = Priority { urgency: 6, is_incremental: true };
        assert_eq!(said.with(b"u=1"), Priority { urgency: 1, is_incremental: true }, "the rest stays");
    }

    #[test]
    fn reads_updates_however_they_are_cut() {
        let mut updates = Updates::default();
        let mut read = |payload: &[u8], length: u32| {
            let mut read = Vec::new();
            updates.begin(length);
            payload.chunks(3).for_each(|bytes| updates.note_payload(bytes));
            updates.take(|stream, priority| read.push((stream, priority.urgency)));
            read
        };
        assert_eq!(read(b"\x80\0\0\x05u=1, i", 10), [(5, 1)]);
        assert_eq!(read(b"\0\0\x01\0", 4), [(256, 3)]);
        assert_eq!(read(b"\0\0\x01", 3), []);
        assert_eq!(read(&[0; 65], 65), [], "too long");
        assert_eq!(read(b"", 0), []);
        let mut updates = Updates::default();
        for _ in 0..1000 {
            updates.begin(4);
            updates.note_payload(&[0, 0, 0, 1]);
        }
        let mut count = 0;
        updates.take(|_, _| count += 1);
        assert_eq!(count, UPDATES_MAX);
    }

    #[test]
    fn the_more_urgent_comes_first_and_what_is_of_use_whole_before_the_rest() {
        let mut all: Vec<_> = ["u=3, i", "u=7", "u=0, i", "u=3", "u=0"]
            .iter()
            .map(|value| Priority::default().with(value.as_bytes()))
            .collect();
        all.sort_by(|one, other| one.compare(*other));
        let shown: Vec<_> = all.iter().map(|it| (it.urgency, it.is_incremental)).collect();
        assert_eq!(shown, [(0, false), (0, true), (3, false), (3, true), (7, false)]);
    }
}
