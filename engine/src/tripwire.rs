//! What is suspicious about an exchange but no reason to refuse it: it goes on, and an operator is told.

use crate::reason::{Word, words};

words! {
    /// What was seen. Which side it came from is said by `Tripwire::is_of_upstream`.
    Tripwire {
        UnderscoreFieldDropped = "underscore_field_dropped",
        UpgradeStripped = "upgrade_stripped",
        H2cUpgradeStripped = "h2c_upgrade_stripped",
        RequestTrailerDropped = "request_trailer_dropped",
        ConnectionNominationIgnored = "connection_nomination_ignored",
        ResponseTrailerDropped = "response_trailer_dropped",
        EarlyResponse = "early_response",
        ShortBody = "short_body",
        SurplusBytes = "surplus_bytes",
        UnsolicitedTimeout = "unsolicited_timeout",
    }
}

impl Tripwire {
    /// Whether an endpoint tripped it, so that it is counted there too.
    pub(crate) const fn is_of_upstream(self) -> bool {
        match self {
            Self::UnderscoreFieldDropped
            | Self::UpgradeStripped
            | Self::H2cUpgradeStripped
            | Self::RequestTrailerDropped => false,
            Self::ConnectionNominationIgnored
            | Self::ResponseTrailerDropped
            | Self::EarlyResponse
            | Self::ShortBody
            | Self::SurplusBytes
            | Self::UnsolicitedTimeout => true,
        }
    }
}

/// The tripwires of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tripwires(u16);

const _: () = assert!(Tripwire::ALL.len() <= 16, "a bit for each");

impl Tripwires {
    pub(crate) fn add(&mut self, tripwire: Tripwire) {
        self.0 |= 1 << tripwire.index();
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the order of the enum.
    pub(crate) fn iter(self) -> impl Iterator<Item = Tripwire> {
        Tripwire::ALL.iter().copied().filter(move |tripwire| self.0 & 1 << tripwire.index() != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_each_tripwire_once() {
        let mut tripwires = Tripwires::default();
        assert!(tripwires.is_empty());
        for tripwire in [Tripwire::SurplusBytes, Tripwire::UnderscoreFieldDropped, Tripwire::SurplusBytes] {
            tripwires.add(tripwire);
        }
        let seen: Vec<_> = tripwires.iter().map(Word::name).collect();
        assert_eq!(seen, ["underscore_field_dropped", "surplus_bytes"]);
    }
}
