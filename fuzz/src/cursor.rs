//! Bytes, read one at a time.

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The bytes end where more could follow.
    More,
    /// Nothing that follows can make it valid.
    Refused,
}

/// What was read, or why not.
pub type Parsed<T> = Result<T, Stop>;

/// A place in bytes.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    /// All bytes.
    pub bytes: &'a [u8],
    /// The place.
    pub at: usize,
    /// No byte is read at this place or behind it.
    pub end_max: usize,
    /// On the line that is being read, only CRLF may stand at this place or behind it.
    pub text_end_max: usize,
}

impl<'a> Cursor<'a> {
    /// At the start, without limits.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end_max: usize::MAX, text_end_max: usize::MAX }
    }

    /// The byte here.
    pub fn peek(&self) -> Parsed<u8> {
        if self.at >= self.end_max {
            return Err(Stop::Refused);
        }
        let byte = *self.bytes.get(self.at).ok_or(Stop::More)?;
        if byte != b'\r' && self.at >= self.text_end_max { Err(Stop::Refused) } else { Ok(byte) }
    }

    /// The byte here if it is one of these, and on to the next.
    pub fn take(&mut self, is_allowed: impl Fn(u8) -> bool) -> Parsed<u8> {
        let byte = self.peek()?;
        if !is_allowed(byte) {
            return Err(Stop::Refused);
        }
        self.at += 1;
        Ok(byte)
    }

    /// This byte.
    pub fn literal(&mut self, byte: u8) -> Parsed<()> {
        self.take(|found| found == byte).map(drop)
    }

    /// All of these bytes that stand here, possibly none.
    pub fn many(&mut self, is_allowed: impl Fn(u8) -> bool) -> Parsed<Vec<u8>> {
        let mut taken = Vec::new();
        while is_allowed(self.peek()?) {
            taken.push(self.bytes[self.at]);
            self.at += 1;
        }
        Ok(taken)
    }

    /// One or more of these bytes.
    pub fn some(&mut self, is_allowed: impl Fn(u8) -> bool) -> Parsed<Vec<u8>> {
        let taken = self.many(is_allowed)?;
        if taken.is_empty() { Err(Stop::Refused) } else { Ok(taken) }
    }

    /// CR and LF.
    pub fn crlf(&mut self) -> Parsed<()> {
        self.literal(b'\r')?;
        self.text_end_max = usize::MAX;
        self.literal(b'\n')
    }

    /// Starts a line of at most so many bytes.
    pub fn line(&mut self, bytes_max: usize) {
        self.text_end_max = self.at + bytes_max;
    }
}

/// RFC 9110 §5.6.2: `tchar`.
pub fn is_tchar(byte: u8) -> bool {
    b"!#$%&'*+-.^_`|~".contains(&byte) || byte.is_ascii_digit() || byte.is_ascii_alphabetic()
}

/// RFC 5234: `VCHAR`.
pub fn is_vchar(byte: u8) -> bool {
    (0x21..=0x7e).contains(&byte)
}

/// RFC 9110 §5.5: `field-vchar`, and the SP and HTAB that may stand between.
pub fn is_field_content(byte: u8) -> bool {
    is_vchar(byte) || byte >= 0x80 || is_blank(byte)
}

/// SP and HTAB.
pub fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}
