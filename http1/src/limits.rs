//! How large a message head may be.

/// The limits of one head. The worst case of memory that a head takes is `head_bytes_max` of received bytes plus
/// `fields_max` parsed lines of 20 bytes.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// The whole head with its empty line, in bytes. Default 16 KiB.
    pub head_bytes_max: usize,
    /// The first line without its CRLF, in bytes. Default 8 KiB (RFC 9112 §3 asks for at least 8000). For responses the
    /// caller sets it to `head_bytes_max`.
    pub request_line_bytes_max: usize,
    /// One field line without its CRLF, in bytes. Default 8 KiB. For responses the caller sets it to `head_bytes_max`.
    pub field_bytes_max: usize,
    /// How many field lines. Default 100.
    pub fields_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            request_line_bytes_max: 8 * 1024,
            field_bytes_max: 8 * 1024,
            fields_max: 100,
        }
    }
}
