//! The text form: base64 that comes and goes in pieces.

use super::Frames;

/// What is no base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// A byte that is none of its digits, or not where it stands.
    Digit,
    /// The text ends within a group.
    Truncated,
}

/// Base64 to bytes.
#[derive(Clone, Debug, Default)]
pub struct TextDecoder {
    /// The digits of the group that is going on, six bits each.
    bits: u32,
    digits: u8,
    /// Of which so many are padding.
    padding: u8,
}

impl TextDecoder {
    /// Appends the bytes of what is complete.
    ///
    /// # Errors
    ///
    /// The text is no base64, and the call cannot go on.
    pub fn decode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
        out.reserve(text.len() / 4 * 3 + 3);
        for &digit in text {
            self.push(digit)?;
            if self.digits == 4 {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    /// The text ends here.
    ///
    /// # Errors
    ///
    /// Not between two groups.
    pub fn end(&self) -> Result<(), TextError> {
        if self.digits == 0 { Ok(()) } else { Err(TextError::Truncated) }
    }

    fn push(&mut self, digit: u8) -> Result<(), TextError> {
        let value = VALUES[usize::from(digit)];
        if digit == b'=' && self.digits >= 2 {
            self.padding += 1;
            self.bits <<= 6;
        } else if value < 64 && self.padding == 0 {
            self.bits = self.bits << 6 | u32::from(value);
        } else {
            return Err(TextError::Digit);
        }
        self.digits += 1;
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), TextError> {
        let [_, bytes @ ..] = self.bits.to_be_bytes();
        let count = 3 - usize::from(self.padding);
        // Two spellings of the same bytes are one too many.
        if bytes[count..].iter().any(|&byte| byte != 0) {
            return Err(TextError::Digit);
        }
        out.extend_from_slice(&bytes[..count]);
        *self = Self::default();
        Ok(())
    }
}

/// A body of frames to base64.
#[derive(Clone, Debug, Default)]
pub struct TextEncoder {
    frames: Frames,
    /// Bytes of a group that is not complete.
    held: [u8; 2],
    held_bytes: usize,
}

impl TextEncoder {
    /// Appends the text of complete groups, and of complete frames.
    pub fn encode(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        out.reserve(bytes.len() / 3 * 4 + 8);
        while !bytes.is_empty() {
            let (taken, is_end) = self.frames.step(bytes);
            self.push(&bytes[..taken], out);
            if is_end {
                self.end(out);
            }
            bytes = &bytes[taken..];
        }
    }

    /// Appends what is held, with padding.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        let group = match (self.held_bytes, self.held) {
            (0, _) => return,
            (1, [first, _]) => [first, 0, 0],
            (_, [first, second]) => [first, second, 0],
        };
        let digits = self.held_bytes + 1;
        out.extend_from_slice(&digits_of(group)[..digits]);
        out.extend_from_slice(&b"=="[..4 - digits]);
        self.held_bytes = 0;
    }

    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.held_bytes > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            if self.held_bytes == 2 {
                out.extend_from_slice(&digits_of([self.held[0], self.held[1], byte]));
                self.held_bytes = 0;
            } else {
                self.held[1] = byte;
                self.held_bytes = 2;
            }
        }
        let (groups, rest) = bytes.as_chunks();
        groups.iter().for_each(|group| out.extend_from_slice(&digits_of(*group)));
        self.held[..rest.len()].copy_from_slice(rest);
        self.held_bytes = rest.len();
    }
}

fn digits_of([first, second, third]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_be_bytes([0, first, second, third]);
    [18, 12, 6, 0].map(|shift| DIGITS[(bits >> shift & 63) as usize])
}

const DIGITS: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a digit is worth; 64 and more: it is none.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 64 {
        values[DIGITS[value as usize] as usize] = value;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(parts: &[&[u8]]) -> Result<Vec<u8>, TextError> {
        let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
        for part in parts {
            decoder.decode(part, &mut out)?;
        }
        decoder.end().map(|()| out)
    }

    #[test]
    fn text_is_taken_in_any_pieces() {
        // RFC 4648 §10, and padding in the middle.
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9vYmE=", "fooba"),
            ("Zm9vYmFy", "foobar"),
            ("Zg==Zm8=Zm9v", "ffofoo"),
        ] {
            for split in 0..=text.len() {
                let (first, second) = text.as_bytes().split_at(split);
                assert_eq!(decoded(&[first, second]), Ok(bytes.as_bytes().to_vec()), "{text} at {split}");
            }
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for (text, error) in [
            ("Zg", TextError::Truncated),
            ("Zg=", TextError::Truncated),
            ("Zm9vZ", TextError::Truncated),
            ("=", TextError::Digit),
            ("Z===", TextError::Digit),
            ("Zg=v", TextError::Digit),
            ("Zh==", TextError::Digit),
            ("Zm9=", TextError::Digit),
            ("Zm9v====", TextError::Digit),
            ("Zm9-", TextError::Digit),
            ("Zm9v\r\n", TextError::Digit),
            ("Zm 9v", TextError::Digit),
        ] {
            assert_eq!(decoded(&[text.as_bytes()]), Err(error), "{text}");
        }
    }

    #[test]
    fn a_message_does_not_wait_for_the_next() {
        let (mut encoder, mut out) = (TextEncoder::default(), Vec::new());
        encoder.encode(b"\0\0\0\0\x02a", &mut out);
        assert_eq!(out, b"AAAAAAJh");
        encoder.encode(b"b\0\0", &mut out);
        assert_eq!(out, b"AAAAAAJhYg==", "two bytes of the next message are no group");
        encoder.encode(b"\0\0\0", &mut out);
        assert_eq!(out, b"AAAAAAJhYg==AAAAAAA=", "an empty one");
        encoder.encode(b"\0", &mut out);
        encoder.end(&mut out);
        assert_eq!(out, b"AAAAAAJhYg==AAAAAAA=AA==", "one that is cut off");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            body in prop::collection::vec(0_u8..4, 0..200),
            at in prop::collection::vec(0_usize..300, 2),
        ) {
            let (mut encoder, mut text) = (TextEncoder::default(), Vec::new());
            let at = body.len().min(at[0]);
            encoder.encode(&body[..at], &mut text);
            encoder.encode(&body[at..], &mut text);
            encoder.end(&mut text);
            prop_assert_eq!(decoded(&[&text]), Ok(body));
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in prop::collection::vec(any::<u8>(), 0..40), at in 0_usize..40) {
            let (first, second) = text.split_at(at.min(text.len()));
            prop_assert_eq!(decoded(&[first, second]), decoded(&[&text]));
        }
    }
}
