//! DER (X.690) as far as certificates and what goes with them need it: reads, and never past the end.

/// What is left of DER (X.690).
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;
pub(super) const CONTEXT_2: u8 = 0xa2;
pub(super) const CONTEXT_3: u8 = 0xa3;
impl<'a> Der<'a> {
    /// The next element: its tag and what is in it.
    pub(super) fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        // A tag of several bytes stands nowhere in a certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (inside, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, inside))
    }

    /// What is in the next element, which must have this tag.
    pub(super) fn inside(&mut self, tag: u8) -> Option<Self> {
        let mut rest = *self;
        let (found, inside) = rest.element()?;
        if found != tag {
            return None;
        }
        *self = rest;
        Some(Self(inside))
    }

    /// The same of an element that may be missing.
    pub(super) fn inside_if(&mut self, tag: u8) -> Option<Self> {
        self.inside(tag)
    }

    /// RFC 5280 §4.1.2.5: always in UTC and with seconds.
    pub(super) fn time(&mut self) -> Option<u64> {
        let (tag, text) = self.element()?;
        let digits = text.strip_suffix(b"Z")?;
        let number = |range: std::ops::Range<usize>| {
            let digits = digits.get(range).filter(|it| it.iter().all(u8::is_ascii_digit))?;
            std::str::from_utf8(digits).ok()?.parse::<u64>().ok()
        };
        let (year, rest) = match (tag, digits.len()) {
            // §4.1.2.5.1: 50 to 99 are of the last century.
            (UTC_TIME, 12) => {
                (number(0..2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2)
            }
            (GENERALIZED_TIME, 14) => (number(0..4)?, 4),
            _ => return None,
        };
        let part = |at: usize| number(rest + at..rest + at + 2);
        let (month, day) = (part(0)?, part(2)?);
        let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
        let is_time = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !is_time || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        // What was before 1970 is over, too.
        let days = days_since_1970(year, month, day).unwrap_or(0);
        Some(days * 86_400 + hour * 3600 + minute * 60 + second)
    }
}

/// In the Gregorian calendar; `None` before.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    // Years that begin with March end with the leap day.
    let (year, month) = if month <= 2 { (year.checked_sub(1)?, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}
