//! Large bodies through pipes: every byte arrives, what cannot pass through a pipe is copied, and no pipe is left behind
//! with anything in it.

use super::*;
use crate::io::Pipe;
use crate::io::memory::Piping;

/// Bodies that are mostly larger than what is worth a pipe.
fn large(seed: &mut Seed, bytes_min: usize, first_line: &str) -> Message {
    let size = bytes_min + seed.below(300_000);
    let body: Vec<u8> = (0..size).map(|_| b'a' + u8::try_from(seed.below(26)).unwrap()).collect();
    Message { head: format!("{first_line}\r\nContent-Length: {size}\r\n\r\n"), body, chunked: false }
}

/// Three requests with large bodies both ways on one connection, over streams that do this with pipes. Returns the
/// worker.
fn exchange_large(number: u64, client: Piping, origin: Piping) -> Rc<Core<TestStream>> {
    let mut seed = Seed::new(number);
    let core = worker();
    set_dial_faults(Faults::unsteady(number ^ 0xabcd).piping(origin));
    let mut world = World::on(&core, Faults::unsteady(number ^ 0x1234).piping(client));
    let requests: Vec<Message> =
        (0..3).map(|index| large(&mut seed, 40_000, &format!("POST /{index} HTTP/1.1\r\nHost: h"))).collect();
    let responses: Vec<Message> = (0..3).map(|_| large(&mut seed, 40_000, "HTTP/1.1 200 OK")).collect();
    requests.iter().for_each(|request| world.client.to_send.extend(request.wire(&mut seed)));
    let (mut arrived, mut answered) = (Vec::new(), Vec::new());
    world.run(&mut |client, origins| {
        let mut acted = false;
        for origin in origins.iter_mut() {
            if let Some((_, body)) = take_message(&mut origin.received) {
                origin.to_send.extend(responses[arrived.len()].wire(&mut seed));
                arrived.push(body);
                acted = true;
            }
        }
        if let Some((_, body)) = take_message(&mut client.received) {
            answered.push(body);
            acted = true;
        }
        acted
    });
    assert!(arrived.iter().eq(requests.iter().map(|request| &request.body)), "seed {number}: requests");
    assert!(answered.iter().eq(responses.iter().map(|response| &response.body)), "seed {number}: responses");
    assert!(world.session.is_some() && world.client.received.is_empty(), "seed {number}: kept alive");
    assert_eq!(world.origins.len(), 1, "seed {number}: one upstream connection serves all");
    core
}

#[test]
fn large_bodies_arrive_through_pipes() {
    for number in 0..25 {
        let core = exchange_large(number, Piping::Both, Piping::Both);
        assert!(core.counters().spliced_bytes.value() > 200_000, "seed {number}");
        assert!((1..=2).contains(&core.counters().pipes.value()), "seed {number}: they are used again");
    }
}

#[test]
fn what_does_not_splice_is_copied() {
    for number in 0..8 {
        let core = exchange_large(number, Piping::Unsupported, Piping::Unsupported);
        assert_eq!(core.counters().pipes.value(), 0, "seed {number}: none is opened");
        let core = exchange_large(number, Piping::Both, Piping::Unsupported);
        assert_eq!(core.counters().spliced_bytes.value(), 0, "seed {number}: it takes two");
    }
}

#[test]
fn a_kernel_that_refuses_loses_nothing() {
    for number in 0..8 {
        let core = exchange_large(number, Piping::FillRefused, Piping::FillRefused);
        assert_eq!(core.counters().spliced_bytes.value(), 0, "seed {number}");
        // It is found out when a pipe is full: what it holds is read out again, and no other one is filled.
        let core = exchange_large(number, Piping::DrainRefused, Piping::DrainRefused);
        assert!((1..=48 * 1024).contains(&core.counters().spliced_bytes.value()), "seed {number}");
        assert!(core.pipes.take().is_none(), "seed {number}");
    }
}

#[test]
fn without_a_pipe_bodies_are_copied() {
    let core = worker();
    let all: Vec<_> = std::iter::from_fn(|| core.pipes.take()).collect();
    assert!(!all.is_empty());
    let mut seed = Seed::new(7);
    let response = large(&mut seed, 40_000, "HTTP/1.1 200 OK");
    set_dial_faults(Faults::unsteady(7));
    let mut world = World::on(&core, Faults::unsteady(8));
    world.client.to_send.extend(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut answer = None;
    world.run(&mut |client, origins| {
        let asked = origins.iter_mut().find_map(|origin| Some((take_message(&mut origin.received)?, origin)));
        if let Some((_, origin)) = asked {
            origin.to_send.extend(response.wire(&mut seed));
            return true;
        }
        answer = answer.take().or_else(|| take_message(&mut client.received));
        false
    });
    assert!(answer.unwrap().1 == response.body);
    assert_eq!(core.counters().spliced_bytes.value(), 0);
}

#[test]
fn a_client_that_leaves_takes_its_pipe_with_it() {
    for number in 0..40 {
        let mut seed = Seed::new(number);
        let core = worker();
        set_dial_faults(Faults::unsteady(number ^ 0xabcd));
        let mut world = World::on(&core, Faults::unsteady(number ^ 0x1234));
        let response = large(&mut seed, 300_000, "HTTP/1.1 200 OK");
        world.client.to_send.extend(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let reads_max = seed.below(100_000);
        // It stops reading: what it has not taken is in the sockets and in a pipe.
        let mut stopped = None;
        world.run(&mut |client, origins| {
            for origin in origins.iter_mut() {
                if take_message(&mut origin.received).is_some() {
                    origin.to_send.extend(response.wire(&mut seed));
                    return true;
                }
            }
            if client.received.len() >= reads_max && stopped.is_none() {
                stopped = client.stream.take();
            }
            false
        });
        assert!(world.session.is_some(), "seed {number}: blocked");
        let taken = core.counters().spliced_bytes.value();
        let mut stopped = stopped.unwrap();
        stopped.abort();
        drop(stopped);
        world.run(&mut |_, _| false);
        assert!(world.session.is_none(), "seed {number}: the session ends");
        assert_eq!(core.counters().spliced_bytes.value(), taken, "seed {number}: nothing more was taken");
        let next = [core.pipes.take().unwrap(), core.pipes.take().unwrap()];
        assert!(next.iter().all(Pipe::is_empty_in_kernel), "seed {number}: bytes for somebody else");
    }
}
