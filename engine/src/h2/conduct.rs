//! How the peer of an HTTP/2 connection behaves: one score of what costs us more than it costs the peer.
//!
//! Each frame that does nothing for a request has a price. The score goes down with time, and with each DATA frame that is sent,
//! so that a busy connection may say more than an idle one. A score above the limit ends the connection.
//! What is paid while the score is above a tenth of the limit is excess: of that the sum over a client's connections is kept
//! (`clients.rs`).
//!
//! | frame | price | burst |
//! | --- | --- | --- |
//! | RST_STREAM of the peer | 10 | 1000 |
//! | RST_STREAM that the peer has provoked | 10 | 1000 |
//! | PING | 10 | 1000 |
//! | SETTINGS, GOAWAY | 100 | 100 |
//! | PRIORITY, PRIORITY_UPDATE, a type that nobody knows | 5 | 2000 |
//! | WINDOW_UPDATE, CONTINUATION | 1 | 10 000 |
//! | DATA that brings nothing and ends nothing, an empty part of a field block | 100 | 100 |
//!
//! An upstream's resets cost nothing, each HEADERS of it 5, and each request that it is sent takes off 40.
//!
//! The counts of `h2` stay behind it: they know what a frame header does not say.

use super::frames::{Frame, Kind};

/// Resets at once, times their price: what nghttp2 allows (its limits are 1000 resets, 33 more a second).
pub(super) const SCORE_MAX: u32 = 10_000;

/// In so many seconds a score that is at its limit is forgiven.
const FORGIVEN_IN: u32 = 30;

/// What a DATA frame that is sent takes off: a PING, or ten updates of windows, as many as Envoy allows.
const SENT_WORTH: u32 = 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Conduct {
    peer: Peer,
    score: Score,
    score_max: u32,
    excess: u32,
}

/// A sum of prices that time takes off from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub(super) sum: u32,
    /// Until when time has been taken into account.
    forgiven_ms: u64,
}

/// Who the peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Client,
    Server,
}

impl Score {
    /// Beginning at a time in milliseconds.
    pub(super) fn at(now_ms: u64) -> Self {
        Self { sum: 0, forgiven_ms: now_ms }
    }

    /// What is left of it, at a time that never goes back. `sum_max` is its limit.
    pub(super) fn forgive(&mut self, now_ms: u64, sum_max: u32) -> u32 {
        let seconds = now_ms.saturating_sub(self.forgiven_ms) / 1000;
        if seconds > 0 {
            self.forgiven_ms += seconds * 1000;
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.sum = self.sum.saturating_sub(seconds.saturating_mul(sum_max / FORGIVEN_IN));
        }
        self.sum
    }
}

impl Conduct {
    /// For a client: what it costs, which is too bad above so much. From a time in milliseconds on.
    pub(super) fn of_client(score_max: u32, now_ms: u64) -> Self {
        Self { peer: Peer::Client, score: Score::at(now_ms), score_max, excess: 0 }
    }

    /// For a server, which can do most things no more often than it is sent requests.
    pub(super) fn of_server(now_ms: u64) -> Self {
        Self { peer: Peer::Server, ..Self::of_client(SCORE_MAX, now_ms) }
    }

    /// Notes a frame that the peer has sent.
    pub(super) fn note_received(&mut self, frame: Frame) {
        let price = match (self.peer, frame.kind) {
            // At most one for each request.
            (Peer::Server, Kind::Reset) => 0,
            (Peer::Server, Kind::Headers) if frame.length > 0 => HEAD_PRICE,
            _ => price(frame),
        };
        self.charge(price);
    }

    fn charge(&mut self, price: u32) {
        self.score.sum = self.score.sum.saturating_add(price);
        if self.score.sum > self.score_max / 10 {
            self.excess = self.excess.saturating_add(price);
        }
    }

    /// The excess since the last call.
    pub(super) fn take_excess(&mut self) -> u32 {
        std::mem::take(&mut self.excess)
    }

    /// Notes a frame that is sent.
    pub(super) fn note_sent(&mut self, frame: Frame) {
        match frame.kind {
            Kind::Data => self.score.sum = self.score.sum.saturating_sub(SENT_WORTH),
            Kind::Headers if self.peer == Peer::Server => {
                self.score.sum = self.score.sum.saturating_sub(REQUEST_WORTH);
            }
            Kind::Reset if frame.code.is_some_and(is_the_peers_fault) => self.charge(RESET_PRICE),
            _ => {}
        }
    }

    /// Whether it is enough, at a time in milliseconds that never goes back.
    pub(super) fn is_bad(&mut self, now_ms: u64) -> bool {
        self.score.forgive(now_ms, self.score_max) > self.score_max
    }
}

const RESET_PRICE: u32 = 10;

/// Of an upstream's heads: interim ones cost it nothing.
const HEAD_PRICE: u32 = 5;

/// What a request takes off: a head, trailers, and six interim heads.
const REQUEST_WORTH: u32 = 40;

fn price(frame: Frame) -> u32 {
    match frame.kind {
        Kind::Settings | Kind::Ping if frame.is_acknowledgement() => 0,
        Kind::Settings | Kind::GoAway => 100,
        Kind::Ping => 10,
        Kind::Reset => RESET_PRICE,
        Kind::Priority | Kind::PriorityUpdate | Kind::Unknown => 5,
        Kind::Data if frame.length == 0 && !frame.ends_stream() => 100,
        Kind::Headers | Kind::Continuation if frame.length == 0 && !frame.ends_fields() => 100,
        Kind::Continuation | Kind::WindowUpdate => 1,
        // The connection ends for what a client may not push.
        Kind::Data | Kind::Headers | Kind::PushPromise => 0,
    }
}

/// Whether a reset answers something that the peer did: what is reset by an upstream's fault, or because it is no longer
/// wanted, is not (RFC 9113 §7).
fn is_the_peers_fault(code: u32) -> bool {
    const INTERNAL_ERROR: u32 = 2;
    const CANCEL: u32 = 8;
    !matches!(code, INTERNAL_ERROR | CANCEL)
}

#[cfg(test)]
mod tests {
    use super::super::frames::FrameScanner;
    use super::super::frames::tests::frame;
    use super::*;

    fn one(bytes: &[u8]) -> Frame {
        let mut found = None;
        FrameScanner::of_server().scan(bytes, |frame| found = Some(frame));
        found.unwrap()
    }

    /// How many of a frame are tolerated at once.
    fn burst(bytes: &[u8]) -> Option<u32> {
        let (frame, mut conduct) = (one(bytes), Conduct::of_client(SCORE_MAX, 0));
        (1..=20_000).find(|_| {
            conduct.note_received(frame);
            conduct.is_bad(0)
        })
    }

    #[test]
    fn a_burst_of_each_kind_is_too_much_at_some_point() {
        for (name, bytes, expected) in [
            ("RST_STREAM", frame(0x3, 0, 1, &[0, 0, 0, 8]), Some(1001)),
            ("PING", frame(0x6, 0, 0, &[0; 8]), Some(1001)),
            ("PING acknowledged", frame(0x6, 1, 0, &[0; 8]), None),
            ("SETTINGS", frame(0x4, 0, 0, &[]), Some(101)),
            ("SETTINGS acknowledged", frame(0x4, 1, 0, &[]), None),
            ("GOAWAY", frame(0x7, 0, 0, &[0; 8]), Some(101)),
            ("PRIORITY", frame(0x2, 0, 1, &[0; 5]), Some(2001)),
            ("PRIORITY_UPDATE", frame(0x10, 0, 0, &[0; 5]), Some(2001)),
            ("unknown", frame(0x60, 0, 0, &[]), Some(2001)),
            ("WINDOW_UPDATE", frame(0x8, 0, 0, &[0, 0, 0, 1]), Some(10_001)),
            ("CONTINUATION", frame(0x9, 0, 1, b"a"), Some(10_001)),
            ("CONTINUATION without fields", frame(0x9, 0, 1, b""), Some(101)),
            ("HEADERS without fields", frame(0x1, 0, 1, b""), Some(101)),
            ("DATA without data", frame(0x0, 0, 1, b""), Some(101)),
            ("DATA that ends", frame(0x0, 1, 1, b""), None),
            ("DATA", frame(0x0, 0, 1, b"a"), None),
            ("HEADERS", frame(0x1, 4, 1, b"a"), None),
        ] {
            assert_eq!(burst(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn resets_that_the_peer_provokes_count_as_its_own() {
        for (code, counts) in [(1, true), (3, true), (5, true), (7, true), (0, true), (2, false), (8, false)]
        {
            let mut conduct = Conduct::of_client(SCORE_MAX, 0);
            for _ in 0..1001 {
                conduct.note_sent(one(&frame(0x3, 0, 1, &[0, 0, 0, code])));
            }
            assert_eq!(conduct.is_bad(0), counts, "code {code}");
        }
    }

    #[test]
    fn time_and_responses_make_up_for_it() {
        let (ping, data) = (one(&frame(0x6, 0, 0, &[0; 8])), one(&frame(0x0, 0, 1, b"a")));
        let mut conduct = Conduct::of_client(SCORE_MAX, 0);
        for second in 0..1000 {
            (0..33).for_each(|_| conduct.note_received(ping));
            assert!(!conduct.is_bad(second * 1000), "33 a second are tolerated for ever");
        }
        for _ in 0..100_000 {
            conduct.note_received(ping);
            conduct.note_sent(data);
        }
        assert!(!conduct.is_bad(1_000_000), "one for each DATA frame, too");
        (0..1001).for_each(|_| conduct.note_received(ping));
        assert!(conduct.is_bad(1_000_000));
        assert!(conduct.is_bad(1_000_999), "a part of a second is nothing yet");
        assert!(!conduct.is_bad(1_002_000));
    }

    #[test]
    fn excess_is_what_is_paid_above_a_tenth_of_the_limit() {
        let ping = one(&frame(0x6, 0, 0, &[0; 8]));
        let mut conduct = Conduct::of_client(2000, 0);
        (0..20).for_each(|_| conduct.note_received(ping));
        assert_eq!(conduct.take_excess(), 0);
        (0..5).for_each(|_| conduct.note_received(ping));
        assert_eq!((conduct.take_excess(), conduct.take_excess()), (50, 0));
        (0..175).for_each(|_| conduct.note_received(ping));
        assert!(!conduct.is_bad(0));
        conduct.note_received(ping);
        assert!(conduct.is_bad(0) && !conduct.is_bad(1000));
    }
}
