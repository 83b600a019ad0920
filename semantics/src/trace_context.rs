//! `traceparent` and `tracestate` (W3C Trace Context §3): which trace a request belongs to.
//!
//! ```text
//! 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//! version trace id                    parent id        flags
//! ```

use crate::{Fields, is_word};

/// Bytes of a `traceparent` of version 00.
pub const TRACE_PARENT_BYTES: usize = 55;

/// Where the trace id stands in it, and the parent id.
const TRACE_ID: usize = 3;
const PARENT_ID: usize = 36;
const FLAGS: usize = 53;

/// What a caller says of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Never 0.
    pub trace_id: u128,
    /// The span that the request was sent from; never 0.
    pub parent_id: u64,
    /// [`TraceParent::SAMPLED`] and [`TraceParent::RANDOM`]; what other bits mean is not known.
    pub flags: u8,
}

impl TraceParent {
    /// The caller may have recorded its span.
    pub const SAMPLED: u8 = 1;
    /// The last 7 bytes of the trace id are random (W3C Trace Context Level 2 §3.2.2.5.2).
    pub const RANDOM: u8 = 2;

    /// Reads a value. Of versions above 00, which may be longer, what 00 has is read (§4.3).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_first_chunk::<TRACE_PARENT_BYTES>()?;
        let version = hexadecimal(&known[..2])?;
        let is_long = match rest.first() {
            None => false,
            Some(b'-') => true,
            Some(_) => return None,
        };
        if version == 0xff || version == 0 && is_long {
            return None;
        }
        if [TRACE_ID, PARENT_ID, FLAGS].iter().any(|&start| known[start - 1] != b'-') {
            return None;
        }
        let trace_id = hexadecimal(&known[TRACE_ID..PARENT_ID - 1]).filter(|id| *id != 0)?;
        let parent_id = hexadecimal(&known[PARENT_ID..FLAGS - 1]).filter(|id| *id != 0)?;
        let flags = hexadecimal(&known[FLAGS..])? & u128::from(Self::SAMPLED | Self::RANDOM);
        Some(Self { trace_id, parent_id: u64::try_from(parent_id).ok()?, flags: u8::try_from(flags).ok()? })
    }

    /// The one that a message has. More than one is as bad as one that is wrong (§3.2.1).
    #[must_use]
    pub fn of(fields: &Fields, bytes: &[u8]) -> Option<Self> {
        let lines = fields.lines().iter().filter(|field| field.known.is_none());
        let mut values = lines.filter(|field| is_trace_parent(field.name.bytes(bytes)));
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.value.bytes(bytes))
    }

    /// Whether the caller may have recorded its span.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }
}

/// Whether a field of this name is `traceparent`.
#[inline]
#[must_use]
pub fn is_trace_parent(name: &[u8]) -> bool {
    is_word(name, b"traceparent")
}

/// Whether a field of this name is `tracestate`, which means nothing without a `traceparent`.
#[inline]
#[must_use]
pub fn is_trace_state(name: &[u8]) -> bool {
    is_word(name, b"tracestate")
}

/// Digits in lower case only (§3.2.2.2: HEXDIGLC), 32 at most.
fn hexadecimal(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    const VALUE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parsed(value: &str) -> Option<TraceParent> {
        TraceParent::parse(value.as_bytes())
    }

    #[test]
    fn reads_what_is_right() {
        let right = TraceParent {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            parent_id: 0x00f0_67aa_0ba9_02b7,
            flags: 1,
        };
        assert_eq!(parsed(VALUE), Some(right));
        assert!(right.is_sampled());
        for (flags, expected) in [("00", 0), ("01", 1), ("02", 2), ("03", 3), ("fd", 1), ("fe", 2), ("ff", 3)]
        {
            let value = format!("{}{flags}", &VALUE[..53]);
            assert_eq!(parsed(&value), Some(TraceParent { flags: expected, ..right }), "{value}");
        }
        // Versions to come, as they must be read.
        let id = &VALUE[2..];
        for value in [format!("01{id}"), format!("cc{id}"), format!("cc{id}-"), format!("cc{id}-what-comes")]
        {
            assert_eq!(parsed(&value), Some(right), "{value}");
        }
    }

    #[test]
    fn refuses_what_is_wrong() {
        let id = &VALUE[2..];
        for value in [
            String::new(),
            "00".to_owned(),
            VALUE[..54].to_owned(),
            format!("{VALUE}-"),
            format!("{VALUE}-extra"),
            format!("{VALUE}1"),
            format!("ff{id}"),
            format!("cc{id}.what-comes"),
            format!("0{id}"),
            format!("000{id}"),
            format!("CC{id}"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            format!("{VALUE},{VALUE}"),
            format!(" {VALUE}"),
        ] {
            assert_eq!(parsed(&value), None, "{value}");
        }
        // At each place, what may not stand there.
        for place in 0..TRACE_PARENT_BYTES {
            for wrong in [b'A', b'F', b'g', b'G', b'.', b'_', b' ', b'/', b':', b'`', 0, 0xff] {
                let mut value = VALUE.as_bytes().to_vec();
                value[place] = wrong;
                assert_eq!(TraceParent::parse(&value), None, "{}", value.escape_ascii());
            }
            if VALUE.as_bytes()[place] == b'-' {
                let mut value = VALUE.as_bytes().to_vec();
                value[place] = b'0';
                assert_eq!(TraceParent::parse(&value), None, "{}", value.escape_ascii());
            }
        }
    }

    #[test]
    fn takes_one_and_not_two() {
        let line = |name: &str, value: &str| format!("{name}: {value}\r\n");
        let of = |lines: &[(&str, &str)]| {
            let (mut text, mut fields) = (String::new(), Fields::default());
            for (name, value) in lines {
                let start = text.len();
                text += &line(name, value);
                let value_start = start + name.len() + 2;
                let (name, value) =
                    (Span::new(start, start + name.len()), Span::new(value_start, value_start + value.len()));
                fields.push(name, value, None);
            }
            TraceParent::of(&fields, text.as_bytes())
        };
        assert_eq!(of(&[("a", "b"), ("TraceParent", VALUE), ("tracestate", "a=1")]), parsed(VALUE));
        assert_eq!(of(&[("traceparent", VALUE), ("traceparent", VALUE)]), None);
        assert_eq!(of(&[("traceparent", "x"), ("TRACEPARENT", VALUE)]), None);
        assert_eq!(of(&[("trace-parent", VALUE), ("traceparent1", VALUE)]), None);
        assert!(is_trace_state(b"TraceState") && !is_trace_state(b"trace-state"));
    }
}
