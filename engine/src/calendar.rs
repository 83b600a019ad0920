//! Seconds since 1970 as the dates of HTTP (RFC 9110 §5.6.7) and of the logs (RFC 3339, and the Common Log Format).

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn write_http_date(out: &mut Vec<u8>, unix_seconds: u64) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let date = Civil::new(unix_seconds);
    // 1970-01-01 was a Thursday.
    out.extend_from_slice(pick(&DAYS, (unix_seconds / 86_400) % 7).as_bytes());
    out.extend_from_slice(b", ");
    digits(out, date.day, 2);
    out.push(b' ');
    out.extend_from_slice(pick(&MONTHS, date.month - 1).as_bytes());
    out.push(b' ');
    digits(out, date.year, 4);
    out.push(b' ');
    write_clock(out, unix_seconds);
    out.extend_from_slice(b" GMT");
}

/// Writes `1994-11-06T08:49:37.123Z`.
pub fn write_rfc3339(out: &mut Vec<u8>, unix_ns: u64) {
    let seconds = unix_ns / 1_000_000_000;
    let date = Civil::new(seconds);
    digits(out, date.year, 4);
    out.push(b'-');
    digits(out, date.month, 2);
    out.push(b'-');
    digits(out, date.day, 2);
    out.push(b'T');
    write_clock(out, seconds);
    out.push(b'.');
    digits(out, unix_ns / 1_000_000 % 1000, 3);
    out.push(b'Z');
}

/// Writes `06/Nov/1994:08:49:37 +0000`.
pub fn write_common_log(out: &mut Vec<u8>, unix_seconds: u64) {
    let date = Civil::new(unix_seconds);
    digits(out, date.day, 2);
    out.push(b'/');
    out.extend_from_slice(pick(&MONTHS, date.month - 1).as_bytes());
    out.push(b'/');
    digits(out, date.year, 4);
    out.push(b':');
    write_clock(out, unix_seconds);
    out.extend_from_slice(b" +0000");
}

fn write_clock(out: &mut Vec<u8>, unix_seconds: u64) {
    let second_of_day = unix_seconds % 86_400;
    digits(out, second_of_day / 3600, 2);
    out.push(b':');
    digits(out, second_of_day / 60 % 60, 2);
    out.push(b':');
    digits(out, second_of_day % 60, 2);
}

fn pick<'a>(names: &[&'a str], index: u64) -> &'a str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or_default()
}

fn digits(out: &mut Vec<u8>, number: u64, count: u32) {
    for place in (0..count).rev() {
        let digit = u8::try_from(number / 10u64.pow(place) % 10).unwrap_or_default();
        out.push(b'0' + digit);
    }
}

struct Civil {
    year: u64,
    month: u64,
    day: u64,
}

impl Civil {
    /// Days to a date in the Gregorian calendar, counted in eras of 400 years that begin on 1 March.
    fn new(unix_seconds: u64) -> Self {
        let days = unix_seconds / 86_400 + 719_468;
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self { year: year_of_era + era * 400 + u64::from(month <= 2), month, day }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(unix_seconds: u64) -> [String; 3] {
        let (mut http, mut rfc3339, mut common) = (Vec::new(), Vec::new(), Vec::new());
        write_http_date(&mut http, unix_seconds);
        write_rfc3339(&mut rfc3339, unix_seconds * 1_000_000_000 + 7_999_999);
        write_common_log(&mut common, unix_seconds);
        [http, rfc3339, common].map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn dates() {
        for (seconds, http, rfc3339, common) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.007Z", "01/Jan/1970:00:00:00 +0000"),
            (
                784_111_777,
                "Sun, 06 Nov 1994 08:49:37 GMT",
                "1994-11-06T08:49:37.007Z",
                "06/Nov/1994:08:49:37 +0000",
            ),
            (
                951_782_400,
                "Tue, 29 Feb 2000 00:00:00 GMT",
                "2000-02-29T00:00:00.007Z",
                "29/Feb/2000:00:00:00 +0000",
            ),
            (
                4_107_542_399,
                "Sun, 28 Feb 2100 23:59:59 GMT",
                "2100-02-28T23:59:59.007Z",
                "28/Feb/2100:23:59:59 +0000",
            ),
            (
                4_107_542_400,
                "Mon, 01 Mar 2100 00:00:00 GMT",
                "2100-03-01T00:00:00.007Z",
                "01/Mar/2100:00:00:00 +0000",
            ),
        ] {
            assert_eq!(all(seconds), [http, rfc3339, common]);
        }
    }
}
