//! What clients begin with that is no handshake, or none that is taken.

use super::*;

/// What becomes of a server that receives these bytes from a client, and what it answers.
fn answer_to(bytes: &[u8]) -> (Poll<Result<(), TlsFailure>>, Vec<u8>) {
    let (mut stream, mut far) = server(&VERSIONS, Faults::none());
    let mut sent = 0;
    let mut outcome = Poll::Pending;
    for _ in 0..1000 {
        if sent < bytes.len() {
            sent += far.try_send(&[IoSlice::new(&bytes[sent..])]).unwrap_or(0);
        }
        outcome = stream.poll_handshake(&mut context(), None, &mut |_, _| Poll::Ready(()));
        if outcome.is_ready() {
            break;
        }
    }
    let mut answer = vec![0; 1000];
    let count = far.try_recv(&mut answer).unwrap_or(0);
    answer.truncate(count);
    (outcome, answer)
}

#[test]
fn what_is_no_handshake_is_refused_by_name() {
    let alert = |code: u8| vec![0x15, 3, 3, 0, 2, 2, code];
    // A ClientHello of TLS 1.0 with one suite and no extensions.
    let old: Vec<u8> =
        [&[0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1][..], &[9; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let table: [(&[u8], TlsFailure, Vec<u8>); 6] = [
        (b"GET / HTTP/1.1\r\n", TlsFailure::PlainHttp, vec![]),
        (b"SSH-2.0-x", TlsFailure::PlainHttp, vec![]),
        (&[0x80, 0x2e, 1, 0, 2], TlsFailure::NotTls, vec![]),
        (&[0x16, 3, 1, 0xff, 0xff, 1], TlsFailure::HandshakeTooLarge, vec![]),
        (&old, TlsFailure::VersionUnsupported, alert(40)),
        (&[0x16, 3, 1, 0, 4, 9, 0, 0, 0], TlsFailure::MessageInvalid, alert(10)),
    ];
    for (bytes, failure, answer) in table {
        assert_eq!(answer_to(bytes), (Poll::Ready(Err(failure)), answer), "{bytes:x?}");
    }
}

#[test]
fn a_client_hello_in_many_records_is_bounded() {
    // A handshake message that says it has 60 000 bytes, in records of one.
    let mut bytes = vec![0x16, 3, 1, 0, 4, 1, 0, 0xea, 0x60];
    bytes.extend([0x16, 3, 1, 0, 1, 7].repeat(20_000));
    let (outcome, _) = answer_to(&bytes);
    assert_eq!(outcome, Poll::Ready(Err(TlsFailure::HandshakeTooLarge)));
}
