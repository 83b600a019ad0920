//! As much HTTP/1.1 as canned messages need. Nothing here is fit for messages from strangers.

/// The end of a head: the offset behind its empty line.
pub(crate) fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a field in a head, without spaces around it.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    let mut values = lines.filter_map(|line| {
        let (given, rest) = line.split_at_checked(name.len())?;
        let is_it = given.eq_ignore_ascii_case(name.as_bytes()) && rest.first() == Some(&b':');
        is_it.then(|| rest[1..].trim_ascii())
    });
    values.next()
}

/// The Content-Length of a head.
pub(crate) fn content_length(head: &[u8]) -> Option<u64> {
    let value = field(head, "content-length")?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A size as the workloads' names say it: 64k, 1m or bytes.
pub(crate) fn size(text: &str) -> Option<usize> {
    let (number, unit) = match text.strip_suffix('k') {
        Some(number) => (number, 1 << 10),
        None => text.strip_suffix('m').map_or((text, 1), |number| (number, 1 << 20)),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}
