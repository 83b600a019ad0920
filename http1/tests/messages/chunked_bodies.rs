//! Chunked bodies: raw bytes, and what they decode to or why they are refused.

use corelane_http1::ChunkError as E;

use crate::feed::{all_ways, decode};

// The sections are of RFC 9112 where no other RFC is named.

/// The rule and the bytes; the body, its trailers, and how much is left for the next message.
type Row<'a> = (&'a str, &'a [u8], &'a [u8], &'a [u8], usize);

#[test]
fn whole_bodies() {
    let table: &[Row<'_>] = &[
        ("§7.1", b"0\r\n\r\n", b"", b"", 0),
        ("§7.1", b"5\r\nhello\r\n0\r\n\r\n", b"hello", b"", 0),
        ("§7.1", b"5\r\nhello\r\n006\r\n world\r\n000\r\n\r\n", b"hello world", b"", 0),
        ("§7.1 digits", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", b"", 0),
        ("§7.1 16 digits", b"0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", b"x", b"", 0),
        ("§7.1 any data", b"4\r\n\r\n0\r\r\n0\r\n\r\n", b"\r\n0\r", b"", 0),
        ("§7.1 any data", b"3\r\n\0\n\xff\r\n0\r\n\r\n", b"\0\n\xff", b"", 0),
        ("§9.3.2", b"1\r\nx\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"x", b"", 18),
        ("§9.3.2", b"0\r\n\r\n0\r\n\r\n", b"", b"", 5),
        ("§9.3.2", b"0\r\n\r\n\r\n", b"", b"", 2),
        // Extensions are read and forgotten.
        ("§7.1.1", b"1;a\r\nx\r\n0;b=c\r\n\r\n", b"x", b"", 0),
        ("§7.1.1", b"1;a;b=c;d=\"e\"\r\nx\r\n0\r\n\r\n", b"x", b"", 0),
        ("§7.1.1", b"1;a=\"\"\r\nx\r\n0\r\n\r\n", b"x", b"", 0),
        ("§7.1.1 BWS", b"1 \t; a = \"\xff;0\" ; b\r\nx\r\n0\r\n\r\n", b"x", b"", 0),
        ("§7.1.1 BWS", b"1;\ta\t=\tb\t;\tc\r\nx\r\n0 ;a\r\n\r\n", b"x", b"", 0),
        ("RFC 9110 §5.6.4", b"1;a=\"\\\"\\\\\\ \\\t;,=\"\r\nx\r\n0\r\n\r\n", b"x", b"", 0),
        ("RFC 9110 §5.6.2", b"1;!#$%&'*+-.^_`|~0A=!#$%&'*+-.^_`|~0A\r\nx\r\n0\r\n\r\n", b"x", b"", 0),
        // Trailers.
        ("§7.1.2", b"0\r\nA: b\r\n\r\n", b"", b"A: b\r\n", 0),
        ("§7.1.2", b"0\r\nA: b\r\nGrpc-Status:0\r\nE:\r\n\r\n", b"", b"A: b\r\nGrpc-Status:0\r\nE:\r\n", 0),
        ("§7.1.2", b"0\r\nA: \xff\t \r\n\r\n", b"", b"A: \xff\t \r\n", 0),
        ("§7.1.2", b"0;a\r\nA: b\r\n\r\nC: d\r\n\r\n", b"", b"A: b\r\n", 8),
        ("RFC 9110 §6.5.1", b"0\r\nContent-Length: 5\r\nA: b\r\n\r\n", b"", b"A: b\r\n", 0),
        ("RFC 9110 §6.5.1", b"0\r\ntransfer_encoding: chunked\r\n\r\n", b"", b"", 0),
        (
            "RFC 9110 §6.5.1",
            b"0\r\nIf-Match: a\r\nB: c\r\nVary: *\r\nLocation: /\r\n\r\n",
            b"",
            b"B: c\r\n",
            0,
        ),
        ("RFC 9110 §6.5.1", b"0\r\nHost: b\r\nCookie: c\r\nAuthorization: d\r\n\r\n", b"", b"", 0),
    ];
    for (rule, bytes, body, trailers, left) in table {
        let decoded = all_ways(bytes, |ends| decode(bytes, ends));
        let expected = (body.to_vec(), Ok(Some((trailers.to_vec(), bytes.len() - left))));
        assert_eq!(decoded, expected, "{rule}: {}", bytes.escape_ascii());
    }
}

#[test]
fn unfinished_bodies() {
    let table: &[(&[u8], &[u8])] = &[
        (b"", b""),
        (b"5", b""),
        (b"5;a=\"", b""),
        (b"5\r", b""),
        (b"5\r\n", b""),
        (b"5\r\nhel", b"hel"),
        (b"5\r\nhello", b"hello"),
        (b"5\r\nhello\r", b"hello"),
        (b"5\r\nhello\r\n", b"hello"),
        (b"5\r\nhello\r\n0", b"hello"),
        (b"5\r\nhello\r\n0\r\n", b"hello"),
        (b"5\r\nhello\r\n0\r\n\r", b"hello"),
        (b"0\r\nA: b", b""),
        (b"0\r\nA: b\r\n", b""),
        // RFC 9112 §8: more is announced than there will ever be.
        (b"ffffffffffffffff\r\nx", b"x"),
    ];
    for (bytes, body) in table {
        let decoded = all_ways(bytes, |ends| decode(bytes, ends));
        assert_eq!(decoded, (body.to_vec(), Ok(None)), "{}", bytes.escape_ascii());
    }
}

#[track_caller]
fn refuses(table: &[(&str, &[u8], E)]) {
    for (rule, bytes, error) in table {
        let (_, result) = all_ways(bytes, |ends| decode(bytes, ends));
        assert_eq!(result, Err(*error), "{rule}: {}", bytes.escape_ascii());
    }
}

#[test]
fn chunk_sizes() {
    refuses(&[
        // 1*HEXDIG, without sign, prefix, separator or white space.
        ("§7.1", b"\r\n", E::SizeInvalid),
        ("§7.1", b"g\r\n", E::SizeInvalid),
        ("§7.1", b"-1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"+1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"0x1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"0X1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"x1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1h\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1_0\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1,0\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1.0\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b" 1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"\t1\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"\"1\"\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b";a\r\n", E::SizeInvalid),
        ("§7.1", b"=1\r\n", E::SizeInvalid),
        ("§7.1", b"1\0\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"\xb2\r\nxx\r\n", E::SizeInvalid),
        ("§7.1", b"\xef\xbc\x91\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1\x0b\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1\x0c\r\nx\r\n", E::SizeInvalid),
        ("§7.1", b"1\r\nx\r\n\r\n", E::SizeInvalid),
        ("§7.1", b"1\r\nx\r\nGET / HTTP/1.1\r\n", E::SizeInvalid),
        // More than 64 bits, leading zeros or not.
        ("§7.1", b"00000000000000001\r\nx\r\n", E::SizeTooLong),
        ("§7.1", b"10000000000000000\r\nx\r\n", E::SizeTooLong),
        ("§7.1", b"fffffffffffffffff\r\nx\r\n", E::SizeTooLong),
        ("§7.1", b"00000000000000000\r\n\r\n", E::SizeTooLong),
        // The data is as long as it says.
        ("§7.1", b"1\r\nxy\r\n", E::DataUnterminated),
        ("§7.1", b"5\r\nhell\r\n0\r\n\r\n", E::DataUnterminated),
        ("§7.1", b"1\r\nx0\r\n\r\n", E::DataUnterminated),
        ("§7.1", b"1\r\nx \r\n0\r\n\r\n", E::DataUnterminated),
    ]);
}

#[test]
fn line_ends() {
    refuses(&[
        ("§2.2", b"1\nx\n0\n\n", E::BareLineFeed),
        ("§2.2", b"1\nx\r\n", E::BareLineFeed),
        ("§2.2", b"0\n\r\n", E::BareLineFeed),
        ("§2.2", b"0\r\n\n", E::BareLineFeed),
        ("§2.2", b"1;a\nx\r\n", E::BareLineFeed),
        ("§2.2", b"1 \nx\r\n", E::BareLineFeed),
        ("§2.2", b"1\rx\r\n", E::BareCarriageReturn),
        ("§2.2", b"1\r\r\nx\r\n", E::BareCarriageReturn),
        ("§2.2", b"1\r \nx\r\n", E::BareCarriageReturn),
        ("§2.2", b"1;a\rx\r\n", E::BareCarriageReturn),
        ("§2.2", b"0\r\r\n\r\n", E::BareCarriageReturn),
        ("§2.2", b"0\r\n\r\r\n", E::BareCarriageReturn),
        ("§2.2", b"0\r\n\rX", E::BareCarriageReturn),
        ("§7.1", b"1\r\nx\n0\r\n\r\n", E::DataUnterminated),
        ("§7.1", b"1\r\nx\r0\r\n\r\n", E::DataUnterminated),
        ("§7.1", b"1\r\nx\n\r0\r\n\r\n", E::DataUnterminated),
    ]);
}

#[test]
fn extensions() {
    refuses(&[
        // White space that no extension follows.
        ("§7.1.1", b"1 \r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1\t\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1 1\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"0 \r\n\r\n", E::ExtensionInvalid),
        // `;` token [ `=` ( token / quoted-string ) ].
        ("§7.1.1", b"1;\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1; \r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;;a\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a;\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;=a\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a= \r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=;b\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a==b\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=b=c\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a \r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a b\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a,b\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=b \r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=b c\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=(b)\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a=\xff\r\nx\r\n", E::ExtensionInvalid),
        ("§7.1.1", b"1;a\0\r\nx\r\n", E::ExtensionInvalid),
        // A quoted string is a whole value, and ends on its line.
        ("RFC 9110 §5.6.4", b"1;\"a\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a\"b\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=b\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"b\"c\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"b\"\"c\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"b\" \r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a='b c'\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"b\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\r\n\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\\\r\n\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\\\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\r\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\n\"\r\nx\r\n", E::BareLineFeed),
        ("RFC 9110 §5.6.4", b"1;a=\"\\\n\"\r\nx\r\n", E::BareLineFeed),
        ("RFC 9110 §5.6.4", b"1;a=\"\0\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\\\x7f\"\r\nx\r\n", E::ExtensionInvalid),
        ("RFC 9110 §5.6.4", b"1;a=\"\x01\"\r\nx\r\n", E::ExtensionInvalid),
    ]);
}

#[test]
fn trailers() {
    refuses(&[
        ("§7.1.2", b"0\r\nA\r\n\r\n", E::TrailerInvalid),
        ("§7.1.2", b"0\r\nA : b\r\n\r\n", E::TrailerInvalid),
        ("§7.1.2", b"0\r\nA\t: b\r\n\r\n", E::TrailerInvalid),
        ("§7.1.2", b"0\r\n: b\r\n\r\n", E::TrailerInvalid),
        ("§5.2", b"0\r\nA: b\r\n c\r\n\r\n", E::TrailerInvalid),
        ("§5.2", b"0\r\n A: b\r\n\r\n", E::TrailerInvalid),
        ("§5.2", b"0\r\n \r\n\r\n", E::TrailerInvalid),
        ("RFC 9110 §5.1", b"0\r\nA b: c\r\n\r\n", E::TrailerInvalid),
        ("RFC 9110 §5.1", b"0\r\nA\xff: b\r\n\r\n", E::TrailerInvalid),
        ("RFC 9110 §5.1", b"0\r\nA\x7f: b\r\n\r\n", E::TrailerInvalid),
        ("RFC 9110 §5.5", b"0\r\nA: \0\r\n\r\n", E::TrailerInvalid),
        ("RFC 9110 §5.5", b"0\r\nA: \x7f\r\n\r\n", E::TrailerInvalid),
        ("RFC 9110 §5.5", b"0\r\nA: \x01\r\n\r\n", E::TrailerInvalid),
        ("§2.2", b"0\r\nA: b\n\r\n", E::BareLineFeed),
        ("§2.2", b"0\r\nA: b\r\n\n", E::BareLineFeed),
        ("§2.2", b"0\r\nA: b\rC: d\r\n\r\n", E::BareCarriageReturn),
        ("§2.2", b"0\r\nA: b\r\r\n\r\n", E::BareCarriageReturn),
        // Those that are left out obey the same rules.
        ("§7.1.2", b"0\r\nCookie : b\r\n\r\n", E::TrailerInvalid),
        ("§5.2", b"0\r\nCookie: b\r\n c\r\n\r\n", E::TrailerInvalid),
        // The next message in place of the empty line.
        ("§7.1", b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", E::TrailerInvalid),
        ("§7.1", b"0\r\nHTTP/1.1 200 OK\r\n\r\n", E::TrailerInvalid),
        ("§7.1", b"0\r\n0\r\n\r\n", E::TrailerInvalid),
    ]);
}
