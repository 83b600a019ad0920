//! Request heads whose fields say how long the body is, rightly or wrongly.

use corelane_http1::HeadError as E;
use corelane_semantics::FramingError as F;

use crate::request_heads::{check, no, ok};

// The sections are of RFC 9112 where no other RFC is named.

#[test]
fn content_length() {
    check(&[
        ("§6.3 rule 7", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", ok("POST / [Host=a]")),
        (
            "§6.3 rule 6",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            ok("POST / [Host=a, Content-Length=5] length 5 then 5"),
        ),
        (
            "§6.3 rule 6",
            b"GET / HTTP/1.0\r\ncontent-LENGTH:\t007 \r\n\r\n",
            ok("GET / HTTP/1.0 [content-LENGTH=007] length 7"),
        ),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5_0\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 0\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5e1\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5;\r\n\r\n", no(F::LengthInvalid)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2\r\n\r\n", no(F::LengthInvalid)),
        (
            "§6.3 rule 6",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
            ok("POST / [Host=a, Content-Length=9223372036854775807] length 9223372036854775807"),
        ),
        (
            "§6.3 signed readers",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
            no(F::LengthInvalid),
        ),
        (
            "§6.3 rule 5",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
            no(F::LengthInvalid),
        ),
        (
            "§6.3 rule 5",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000005\r\n\r\n",
            no(F::LengthInvalid),
        ),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", no(F::LengthRepeated)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,\r\n\r\n", no(F::LengthRepeated)),
        ("§6.3 rule 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ,5\r\n\r\n", no(F::LengthRepeated)),
        (
            "§6.3 rule 5",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            no(F::LengthRepeated),
        ),
        (
            "§6.3 rule 5",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 6\r\n\r\n",
            no(F::LengthRepeated),
        ),
        (
            "§6.3 rule 5",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\nContent-Length: 5\r\n\r\n",
            no(F::LengthRepeated),
        ),
        // Another field: what becomes of it is for the engine to decide.
        (
            "RFC 9110 §5.1",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n",
            ok("GET / [Host=a, Content_Length=5]"),
        ),
        // CONNECT has no content.
        (
            "RFC 9110 §9.3.6",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n",
            ok("CONNECT a:1 (authority: a:1) [Host=a:1, Content-Length=0] length 0"),
        ),
        (
            "RFC 9110 §9.3.6",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\n",
            no(F::ContentInConnect),
        ),
    ]);
}

#[test]
fn transfer_encoding() {
    check(&[
        (
            "§6.3 rule 4",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            ok("POST / [Host=a, Transfer-Encoding=chunked] chunked then 5"),
        ),
        (
            "§7",
            b"GET / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\tCHUNKED \r\n\r\n",
            ok("GET / [Host=a, transfer-encoding=CHUNKED] chunked"),
        ),
        // Rule 3, in either order, whatever the values.
        (
            "§6.3 rule 3",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            no(F::LengthWithTransferEncoding),
        ),
        (
            "§6.3 rule 3",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            no(F::LengthWithTransferEncoding),
        ),
        (
            "§6.3 rule 3",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\nContent-Length:\r\n\r\n",
            no(F::LengthWithTransferEncoding),
        ),
        (
            "§6.3 rule 3",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            no(F::LengthWithTransferEncoding),
        ),
        ("§6.1", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", no(F::TransferEncodingInHttp10)),
        // Anything but `chunked`, once.
        (
            "§6.3 rule 4",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.3 rule 4",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.3 rule 4",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.3 rule 4",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.1",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.1",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.1",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§6.1",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\nTransfer-Encoding: chunked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;a=b\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xa0\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§7",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chun ked\r\n\r\n",
            no(F::TransferEncodingUnsupported),
        ),
        (
            "§5.5",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            no(E::FieldValueInvalid),
        ),
        ("§5.2", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", no(E::LineFolding)),
        (
            "§5.1",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
            no(E::FieldNameInvalid),
        ),
        (
            "§2.2",
            b"POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n",
            no(E::BareCarriageReturn),
        ),
        (
            "RFC 9110 §5.1",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
            ok("GET / [Host=a, Transfer_Encoding=chunked]"),
        ),
        (
            "RFC 9110 §9.3.6",
            b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n",
            no(F::ContentInConnect),
        ),
    ]);
}
