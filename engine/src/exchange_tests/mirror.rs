//! Mirrored requests over streams with seeded faults: the mirror gets what the upstream gets, and whatever it does with it,
//! the client gets the same answers from the same connection.

use super::*;
use crate::action::{Mirror, MirrorRule, SHARE_ALL};
use crate::counters::MirrorCounters;
use crate::io::memory::Piping;
use crate::memory_bound::MIRROR_TASK_BYTES;

const BODY_BYTES_MAX: usize = 400_000;

fn worker_mirroring(share: u32, mirrors_max: usize, body_bytes_max: usize) -> Rc<Core<TestStream>> {
    let mut snapshot = snapshot();
    let shadow = Upstream { name: "shadow".into(), ..snapshot.upstreams[0].clone() };
    snapshot.upstreams.push(shadow);
    let rule = MirrorRule { upstream: 1, share, body_bytes_max, mirrors_max };
    snapshot.routes[0].mirror = Some(Mirror { rule, counters: PerWorker::new(1) });
    worker_for(snapshot, None)
}

fn counted<R>(core: &Core<TestStream>, look: impl FnOnce(&MirrorCounters) -> R) -> R {
    let local = core.local.borrow();
    look(local.snapshot().routes[0].mirror.as_ref().unwrap().counters.of(0))
}

fn skipped(core: &Core<TestStream>) -> Vec<(&'static str, u64)> {
    counted(core, |counters| counters.skipped.counted().collect())
}

/// What a mirror does with the requests that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shadow {
    Answers,
    SaysNothing,
    /// It closes or resets at some byte of the request or of its response.
    Leaves,
}

/// Three requests with random bodies on one connection, all mirrored. The first connection that is opened is the
/// upstream's own.
fn exchange_mirrored(number: u64, shadow: Shadow) {
    let mut seed = Seed::new(number);
    let core = worker_mirroring(SHARE_ALL, 64, BODY_BYTES_MAX);
    set_dial_faults(Faults::unsteady(number ^ 0xabcd).piping(Piping::Both));
    let mut world = World::on(&core, Faults::unsteady(number ^ 0x1234));
    let requests: Vec<Message> = (0..3)
        .map(|index| Message::random(&mut seed, &format!("POST /{index} HTTP/1.1\r\nHost: h")))
        .collect();
    let responses: Vec<Message> =
        (0..3).map(|_| Message::random(&mut seed, "HTTP/1.1 200 OK\r\nX-Real: 1")).collect();
    let dropped = Message::random(&mut seed, "HTTP/1.1 500 Oops\r\nX-Shadow: 1").wire(&mut seed);
    requests.iter().for_each(|request| world.client.to_send.extend(request.wire(&mut seed)));
    let (mut arrived, mut mirrored, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    world.run(&mut |client, origins| {
        let mut acted = false;
        for (index, origin) in origins.iter_mut().enumerate() {
            if index > 0 && shadow == Shadow::Leaves && origin.stream.is_some() {
                // Sooner or later.
                acted = true;
                if seed.once_in(8) {
                    let mut stream = origin.stream.take().unwrap();
                    if seed.once_in(2) {
                        stream.abort();
                    }
                    continue;
                }
            }
            let Some(request) = take_message(&mut origin.received) else { continue };
            acted = true;
            if index == 0 {
                origin.to_send.extend(responses[arrived.len()].wire(&mut seed));
                arrived.push(request.1);
                continue;
            }
            mirrored.push(request);
            match shadow {
                Shadow::Answers => origin.to_send.extend(&dropped),
                Shadow::SaysNothing => {}
                Shadow::Leaves => origin.to_send.extend(&dropped[..seed.below(dropped.len())]),
            }
        }
        if let Some((head, body)) = take_message(&mut client.received) {
            assert!(head.contains("X-Real: 1\r\n"), "seed {number}: {head}");
            answered.push(body);
            acted = true;
        }
        acted
    });
    assert!(arrived.iter().eq(requests.iter().map(|it| &it.body)), "seed {number} {shadow:?}: requests");
    assert!(answered.iter().eq(responses.iter().map(|it| &it.body)), "seed {number} {shadow:?}: responses");
    assert!(world.session.is_some() && world.client.received.is_empty(), "seed {number}: kept alive");
    assert_eq!(skipped(&core), [], "seed {number}");
    assert_eq!(counted(&core, |it| it.requests.value()), 3, "seed {number}");
    let (active, failures) =
        counted(&core, |it| (it.active.value(), it.failures.counted().map(|(_, count)| count).sum::<u64>()));
    match shadow {
        Shadow::Answers | Shadow::SaysNothing => {
            // Each by its own task: in whatever order.
            mirrored.sort_by(|a, b| a.0.cmp(&b.0));
            for (index, (head, body)) in mirrored.iter().enumerate() {
                assert!(head.starts_with(&format!("POST /{index} HTTP/1.1\r\n")), "seed {number}: {head}");
                assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "seed {number}");
                assert!(!head.contains("Transfer-Encoding"), "seed {number}");
                assert!(*body == requests[index].body, "seed {number}: the body of the mirror's {index}");
            }
            assert_eq!(mirrored.len(), 3, "seed {number}");
            let waiting = if shadow == Shadow::Answers { 0 } else { 3 };
            assert_eq!((active, failures), (waiting, 0), "seed {number}");
        }
        Shadow::Leaves => assert_eq!((active, world.tasks.len()), (0, 0), "seed {number}: {failures} failed"),
    }
    assert_eq!(world.tasks.len() as u64, active, "seed {number}");
}

#[test]
fn the_mirror_gets_what_the_upstream_gets() {
    (0..60).for_each(|number| exchange_mirrored(number, Shadow::Answers));
}

#[test]
fn a_mirror_that_says_nothing_is_not_felt() {
    (0..30).for_each(|number| exchange_mirrored(number, Shadow::SaysNothing));
}

#[test]
fn a_mirror_that_leaves_is_not_felt() {
    (0..60).for_each(|number| exchange_mirrored(number, Shadow::Leaves));
}

/// Sends these requests on one connection; the upstream answers each, the mirrors never. Returns the heads that mirrors got.
fn mirrored_of(core: &Rc<Core<TestStream>>, requests: &[String]) -> Vec<String> {
    set_dial_faults(Faults::none());
    let mut world = World::on(core, Faults::none());
    requests.iter().for_each(|request| world.client.to_send.extend(request.as_bytes()));
    let (mut mirrored, mut answers) = (Vec::new(), 0);
    world.run(&mut |client, origins| {
        let mut acted = false;
        for (index, origin) in origins.iter_mut().enumerate() {
            let Some((head, _)) = take_message(&mut origin.received) else { continue };
            acted = true;
            if index == 0 {
                origin.to_send.extend(b"HTTP/1.1 204 No Content\r\n\r\n");
            } else {
                mirrored.push(head);
            }
        }
        while take_message(&mut client.received).is_some() {
            answers += 1;
            acted = true;
        }
        acted
    });
    assert_eq!(answers, requests.len());
    mirrored
}

#[test]
fn what_cannot_be_mirrored_is_counted() {
    let post = |framing: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{body}");
    let core = worker_mirroring(SHARE_ALL, 64, 4);
    let requests = [
        post("Content-Length: 4", "1234"),
        post("Content-Length: 5", "12345"),
        post("Transfer-Encoding: chunked", "4\r\n1234\r\n0\r\nX-Trailer: t\r\n\r\n"),
        post("Transfer-Encoding: chunked", "4\r\n1234\r\n1\r\n5\r\n0\r\nX-Trailer: t\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(),
    ];
    // The last one's connection is not used again, so that it comes last.
    assert_eq!(mirrored_of(&core, &requests).len(), 2);
    assert_eq!(skipped(&core), [("body_too_large", 2), ("upgrade", 1)]);

    let core = worker_mirroring(SHARE_ALL, 2, 4);
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned();
    assert_eq!(mirrored_of(&core, &vec![get.clone(); 5]).len(), 2, "no more places");
    assert_eq!(skipped(&core), [("busy", 3)]);
    // The world is gone, and its tasks with it.
    assert_eq!(counted(&core, |it| it.active.value()), 0);
    assert_eq!(mirrored_of(&core, &[get]).len(), 1, "places come back");
}

#[test]
fn the_task_of_a_mirrored_request_is_within_its_bound() {
    let core = worker_mirroring(SHARE_ALL, 64, 0);
    set_dial_faults(Faults::none());
    let mut world = World::on(&core, Faults::none());
    world.client.to_send.extend(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    world.run(&mut |_, _| false);
    let bytes = size_of_val(&*world.tasks[0]) as u64;
    // The rest is for what the runtime puts around it, and what it has of the worker's tables.
    assert!(bytes <= MIRROR_TASK_BYTES / 2, "{bytes}");
}

#[test]
fn a_request_that_is_never_complete_is_not_mirrored() {
    let core = worker_mirroring(SHARE_ALL, 64, 1000);
    set_dial_faults(Faults::none());
    let mut world = World::on(&core, Faults::none());
    world.client.to_send.extend(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345");
    let mut left = false;
    world.run(&mut |client, origins| {
        let leaves = !left && origins.iter().any(|origin| origin.received.ends_with(b"12345"));
        if leaves {
            left = true;
            client.stream = None;
        }
        leaves
    });
    assert!(left && world.session.is_none());
    assert_eq!((world.origins.len(), skipped(&core)), (1, vec![("incomplete", 1)]));
    assert_eq!(counted(&core, |it| it.active.value()), 0);
}

#[test]
fn the_share_is_exact() {
    for (share, requests, expected) in
        [(SHARE_ALL / 10, 200, 20), (SHARE_ALL / 3, 99, 33), (SHARE_ALL / 1000, 400, 0), (SHARE_ALL, 7, 7)]
    {
        let core = worker_mirroring(share, 1000, 0);
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_owned();
        assert_eq!(mirrored_of(&core, &vec![get; requests]).len(), expected, "{share} of {requests}");
    }
}
