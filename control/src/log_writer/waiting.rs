//! Records that wait for a syslog server, in one buffer: how many batches they came in does not matter.

use std::time::Instant;

use super::{REPORT_INTERVAL, lines_of};
use crate::log;

/// Lines in the order in which they came, [`WAITING_BYTES_MAX`] at most.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    lines: Vec<u8>,
    /// So many bytes of them have gone out.
    sent: usize,
    /// The lines behind that.
    records: u64,
    /// When it was last said that some found no room.
    reported: Option<Instant>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Adds those lines that have room. Returns how many have none; says so at first and then once a minute.
    pub(super) fn add(&mut self, lines: &[u8], now: Instant) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        if self.lines.capacity() == 0 {
            // All at once: memory is taken when it is written to, and never twice for a larger buffer.
            self.lines.reserve_exact(WAITING_BYTES_MAX);
        }
        if self.lines.len() + lines.len() > WAITING_BYTES_MAX {
            self.lines.drain(..self.sent);
            self.sent = 0;
        }
        let room = WAITING_BYTES_MAX - self.lines.len();
        let (kept, others) = lines.split_at(whole_lines(lines, room));
        self.lines.extend_from_slice(kept);
        self.records += lines_of(kept);
        let lost = lines_of(others);
        if lost > 0 && self.reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
            self.reported = Some(now);
            log::error!(
                "access-log records are lost",
                error = "too many wait for the server",
                records = lost
            );
        }
        lost
    }

    /// The next lines to be sent, few enough to look at the channel in between; one at least.
    pub(super) fn piece(&self) -> &[u8] {
        let lines = &self.lines[self.sent..];
        match whole_lines(lines, PIECE_BYTES) {
            0 => &lines[..lines.iter().position(|&byte| byte == b'\n').map_or(lines.len(), |end| end + 1)],
            length => &lines[..length],
        }
    }

    /// So many bytes of them have gone out. When all have, the memory is given back.
    pub(super) fn remove(&mut self, bytes: usize) {
        self.records -= lines_of(&self.lines[self.sent..self.sent + bytes]);
        self.sent += bytes;
        if self.sent == self.lines.len() {
            *self = Self::default();
        }
    }
}

/// How many bytes of whole lines fit into so many.
fn whole_lines(lines: &[u8], bytes_max: usize) -> usize {
    if lines.len() <= bytes_max {
        return lines.len();
    }
    lines[..bytes_max].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}

/// How much may wait: 40 000 records of 400 bytes.
pub(crate) const WAITING_BYTES_MAX: usize = 16 << 20;

/// As much as a batch.
const PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_bytes_however_few_records_come_at_a_time() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let line = [&[b'x'; 399][..], b"\n"].concat();
        let fit = (WAITING_BYTES_MAX / line.len()) as u64;
        for _ in 0..fit {
            assert_eq!(waiting.add(&line, now), 0);
        }
        assert_eq!((waiting.records(), waiting.reported), (fit, None));
        assert_eq!(waiting.add(&[&line[..], &line].concat(), now), 2);
        assert_eq!((waiting.records(), waiting.reported), (fit, Some(now)));
        assert_eq!(waiting.lines.capacity(), WAITING_BYTES_MAX);

        let piece = waiting.piece().len();
        assert_eq!(piece, PIECE_BYTES / 400 * 400);
        waiting.remove(piece);
        assert_eq!(waiting.add(&line, now), 0, "what went out makes room");
        assert_eq!(waiting.records(), fit - (piece / 400) as u64 + 1);
        while !waiting.is_empty() {
            waiting.remove(waiting.piece().len());
        }
        assert_eq!((waiting.records(), waiting.lines.capacity()), (0, 0));
    }

    #[test]
    fn keeps_whole_lines_in_their_order() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let long = [&[b'x'; 2 * PIECE_BYTES][..], b"\n"].concat();
        assert_eq!(waiting.add(b"", now), 0);
        assert!(waiting.is_empty());
        waiting.add(b"one\ntwo\n", now);
        waiting.add(&long, now);
        assert_eq!(waiting.piece(), b"one\ntwo\n");
        waiting.remove(4);
        assert_eq!((waiting.piece(), waiting.records()), (&b"two\n"[..], 2));
        waiting.remove(4);
        assert_eq!(waiting.piece(), long, "a line that is longer than a piece is one");

        let many = b"1234567\n".repeat(WAITING_BYTES_MAX / 8);
        let room = WAITING_BYTES_MAX - long.len();
        assert_eq!(waiting.add(&many, now), ((WAITING_BYTES_MAX - room / 8 * 8) / 8) as u64);
    }
}
