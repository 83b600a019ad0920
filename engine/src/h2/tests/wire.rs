//! What h2 writes, however it is cut into writes: it arrives in its order.

use std::io::IoSlice;

use tokio::io::AsyncWrite as _;

use super::*;
use crate::h2::conduct::{Conduct, SCORE_MAX};
use crate::h2::frames::tests::frame;
use crate::h2::io::GATHERED_BYTES_MAX;
use crate::io::ByteStream as _;

const DATA: u8 = 0x0;

/// A header that has no room any more is held back, and its payload must not take that room.
#[test]
fn frames_arrive_in_their_order_wherever_there_is_no_room() {
    for missing in 1..12 {
        let (near, mut far) = pair(Faults::none());
        let core = worker();
        let conduct = Conduct::of_client(SCORE_MAX, 0);
        let wire = Wire::of_server(&core, Transport::Plain(near), Vec::new(), conduct);
        let wire = Rc::new(RefCell::new(wire));
        let mut cx = Context::from_waker(Waker::noop());
        let first = frame(DATA, 0, 1, &vec![b'a'; GATHERED_BYTES_MAX - 9 - missing]);
        let second = frame(DATA, 0, 3, &[b'b'; 100]);
        let (mut io, mut received) = (Io::new(&wire), Vec::new());
        // As h2 does: the header and the payload are two slices.
        for sent in [&first, &second] {
            let mut done = 0;
            while done < sent.len() {
                let header = &sent[done.min(9)..9];
                let slices = [IoSlice::new(header), IoSlice::new(&sent[done.max(9)..])];
                match Pin::new(&mut io).poll_write_vectored(&mut cx, &slices) {
                    Poll::Ready(written) => done += written.unwrap(),
                    Poll::Pending => receive_all(&mut far, &mut received),
                }
            }
        }
        while received.len() < first.len() + second.len() {
            let _ = wire.borrow_mut().poll_send(&mut cx);
            receive_all(&mut far, &mut received);
        }
        assert!(received == [first, second].concat(), "{missing} bytes short of room");
    }
}

fn receive_all(stream: &mut crate::io::memory::MemoryStream, received: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.try_recv(&mut buffer) {
        received.extend_from_slice(&buffer[..count]);
    }
}
