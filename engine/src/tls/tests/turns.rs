//! What a handshake asks its worker for before it does anything that takes long.

use rustls::crypto::aws_lc_rs::kx_group;

use super::*;
use crate::io::Work;
use crate::tls::altered::certificate_and_key;

/// Drives the handshake; what it has asked for, in this order, and how it ended.
fn asked(stream: &mut TlsStream<MemoryStream>, peer: &mut Peer) -> (Vec<Work>, Result<(), TlsFailure>) {
    let mut asked = Vec::new();
    for _ in 0..1000 {
        let shaken = stream.poll_handshake(&mut context(), None, &mut |_, work| {
            asked.push(work);
            Poll::Ready(())
        });
        let _ = peer.turn();
        if let Poll::Ready(shaken) = shaken {
            return (asked, shaken);
        }
    }
    panic!("the handshake does not end");
}

#[test]
fn every_message_of_a_client_waits_for_its_turn() {
    for (version, group, works) in [
        (&version::TLS13, None, &[Work::New, Work::Begun][..]),
        (&version::TLS12, None, &[Work::New, Work::Begun]),
        // A client that is asked for another key share has its signature with its second message.
        (&version::TLS13, Some(kx_group::SECP384R1), &[Work::New, Work::Begun, Work::Begun]),
    ] {
        let (near, far) = pair(Faults::none());
        let mut config = server_config(&[version]);
        if let Some(group) = group {
            let crypto = rustls::crypto::CryptoProvider { kx_groups: vec![group], ..provider() };
            let builder = ServerConfig::builder_with_provider(Arc::new(crypto));
            let builder = builder.with_protocol_versions(&[version]).unwrap().with_no_client_auth();
            config = builder.with_cert_resolver(config.cert_resolver.clone());
        }
        let mut stream = TlsStream::server(&noting_names(&config), near).unwrap();
        let mut peer = Peer::client(client_config(&[version]), far);
        assert_eq!(asked(&mut stream, &mut peer), (works.to_vec(), Ok(())));
    }
}

#[test]
fn a_hello_that_is_not_whole_takes_nobodys_turn() {
    let (mut stream, mut far) = server(&VERSIONS, Faults::none());
    for byte in [0x16, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3] {
        far.try_send(&[IoSlice::new(&[byte])]).unwrap();
        let shaken = stream.poll_handshake(&mut context(), None, &mut |_, _| panic!("it is not whole"));
        assert!(shaken.is_pending());
    }
}

#[test]
fn nothing_is_done_before_the_turn() {
    let (mut stream, far) = server(&VERSIONS, Faults::none());
    let mut peer = Peer::client(client_config(&VERSIONS), far);
    peer.turn().unwrap();
    let mut asked = 0;
    for _ in 0..10 {
        let shaken = stream.poll_handshake(&mut context(), None, &mut |_, _| {
            asked += 1;
            Poll::Pending
        });
        assert!(shaken.is_pending());
    }
    let mut answer = [0; 10];
    assert_eq!(peer.stream.try_recv(&mut answer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(asked, 10);
    assert_eq!(shake_hands(&mut stream, &mut peer), Ok(()));
}

#[test]
fn a_long_chain_is_received_in_few_pieces() {
    let (near, far) = pair(Faults::none());
    let mut stream = TlsStream::client(&client_tls(client_config(&VERSIONS)), near).unwrap();
    let (certificate, key) = certificate_and_key();
    let chain = vec![certificate.clone(); 50_000 / certificate.len()];
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_protocol_versions(&VERSIONS).unwrap().with_no_client_auth();
    let config = builder.with_single_cert(chain, key).unwrap();
    let (asked, shaken) = asked(&mut stream, &mut Peer::server(config, far));
    assert_eq!(shaken, Ok(()));
    // Each piece is processed again with all that came before it.
    assert!(asked.len() <= 10, "{} pieces", asked.len());
}
