//! gRPC-Web as text: decoded, or refused, as by a reader that has all of it at hand; encoded, it is read back, in any pieces.

#![no_main]

use corelane_grpc::web::{TextDecoder, TextEncoder, write_trailers};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&at, data)) = data.split_first() else { return };
    let (first, second) = data.split_at(usize::from(at).min(data.len()));

    let expected = plainly(data);
    assert_eq!(decoded(&[data]), expected, "{}", data.escape_ascii());
    assert_eq!(decoded(&[first, second]), expected, "{}", data.escape_ascii());

    let (mut encoder, mut text) = (TextEncoder::default(), Vec::new());
    encoder.encode(first, &mut text);
    encoder.encode(second, &mut text);
    encoder.end(&mut text);
    assert_eq!(plainly(&text).as_deref(), Some(data));

    let mut frame = Vec::new();
    write_trailers(data, &mut frame);
    let (prefix, lines) = frame.split_at(5);
    assert_eq!(prefix, [&[0x80], &u32::try_from(lines.len()).unwrap().to_be_bytes()[..]].concat());
});

fn decoded(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let (mut decoder, mut out) = (TextDecoder::default(), Vec::new());
    for part in parts {
        decoder.decode(part, &mut out).ok()?;
    }
    decoder.end().ok().map(|()| out)
}

fn plainly(text: &[u8]) -> Option<Vec<u8>> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for group in text.chunks(4) {
        let padding = group.iter().rev().take_while(|&&digit| digit == b'=').count();
        if group.len() < 4 || padding > 2 {
            return None;
        }
        let mut bits = String::new();
        for digit in &group[..4 - padding] {
            bits += &format!("{:06b}", digits.iter().position(|it| it == digit)?);
        }
        let (bytes, rest) = bits.split_at(bits.len() / 8 * 8);
        if rest.contains('1') {
            return None;
        }
        out.extend(bytes.as_bytes().chunks(8).map(|byte| {
            u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap()
        }));
    }
    Some(out)
}
