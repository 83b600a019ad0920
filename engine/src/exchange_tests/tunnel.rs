//! Tunnels over streams with seeded faults: every byte arrives, each direction ends by itself, a reset goes on as one.

use super::*;

const ASK: &[u8] = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
const GRANT: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

fn random_bytes(seed: &mut Seed) -> Vec<u8> {
    let size = if seed.once_in(3) { 0 } else { seed.below(400_000) };
    (0..size).map(|_| u8::try_from(seed.below(256)).unwrap()).collect()
}

/// Takes a head off the front.
fn take_head(wire: &mut Vec<u8>) -> Option<String> {
    let end = wire.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    Some(String::from_utf8(wire.drain(..end).collect()).unwrap())
}

#[test]
fn every_byte_arrives_and_each_direction_ends_by_itself() {
    for number in 0..300 {
        let mut seed = Seed::new(number);
        let (up, down) = (random_bytes(&mut seed), random_bytes(&mut seed));
        // Some of the client's bytes come with the request, some of the origin's with the 101.
        let (early_up, early_down) = (seed.below(up.len() + 1), seed.below(down.len() + 1));
        // Who goes on sending when the other has closed its sending side.
        let client_is_first = seed.once_in(2);
        let mut world = World::new(number);
        world.client.to_send.extend(ASK);
        world.client.to_send.extend(&up[..early_up]);
        let (mut asked, mut granted) = (false, false);
        let (mut client_done, mut origin_done) = (false, false);
        world.run(&mut |client, origins| {
            let Some(origin) = origins.first_mut() else { return false };
            if !asked {
                let Some(head) = take_head(&mut origin.received) else { return false };
                assert!(head.contains("\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"), "{head}");
                assert!(origin.received.is_empty(), "seed {number}: bytes go on before the 101");
                asked = true;
                origin.to_send.extend(GRANT);
                origin.to_send.extend(&down[..early_down]);
                return true;
            }
            if !granted {
                let Some(head) = take_head(&mut client.received) else { return false };
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                granted = true;
                client.to_send.extend(&up[early_up..]);
                if !client_is_first {
                    origin.to_send.extend(&down[early_down..]);
                }
                return true;
            }
            let may_end = |first: bool, other_ended: bool| first || other_ended;
            if !client_done && client.to_send.is_empty() && may_end(client_is_first, client.ended) {
                client.stream.as_mut().unwrap().shutdown_write();
                client_done = true;
                return true;
            }
            if client_is_first && origin.ended && !origin_done && origin.to_send.is_empty() {
                // The half-closed client still gets what comes now.
                origin.to_send.extend(&down[early_down..]);
                origin_done = true;
                return true;
            }
            if !client_is_first && !origin_done && origin.to_send.is_empty() {
                origin.stream.as_mut().unwrap().shutdown_write();
                origin_done = true;
                return true;
            }
            if client_is_first
                && origin_done
                && origin.to_send.is_empty()
                && let Some(stream) = &mut origin.stream
            {
                stream.shutdown_write();
            }
            false
        });
        assert!(world.origins[0].received == up, "seed {number}: upwards");
        assert!(world.client.received == down, "seed {number}: downwards");
        assert!(world.client.ended && world.origins[0].ended, "seed {number}: both ends are told");
        assert!(world.session.is_none(), "seed {number}: the session ends with its tunnel");
        assert_eq!(world.origins.len(), 1);
    }
}

#[test]
fn a_side_that_leaves_anywhere_takes_the_other_with_it() {
    for number in 0..300 {
        let mut seed = Seed::new(number);
        let (up, down) = (random_bytes(&mut seed), random_bytes(&mut seed));
        let client_leaves = seed.once_in(2);
        let after = seed.below(100_000);
        let mut world = World::new(number);
        world.client.to_send.extend(ASK);
        let mut asked = false;
        world.run(&mut |client, origins| {
            let Some(origin) = origins.first_mut() else { return false };
            if !asked {
                asked = take_head(&mut origin.received).is_some();
                if asked {
                    origin.to_send.extend(GRANT);
                    origin.to_send.extend(&down);
                    client.to_send.extend(&up);
                }
                return asked;
            }
            // A switch that was never granted is another story.
            if !client.received.starts_with(b"HTTP/1.1 101 ") {
                return false;
            }
            let (leaver, moved) = if client_leaves {
                (&mut *client, origin.received.len())
            } else {
                let moved = client.received.len();
                (&mut *origin, moved)
            };
            let is_time = moved >= after || leaver.to_send.is_empty();
            if is_time && let Some(mut stream) = leaver.stream.take() {
                stream.abort();
                return true;
            }
            false
        });
        assert!(world.session.is_none(), "seed {number}: the session ends");
        let other_ended = if client_leaves { world.origins[0].ended } else { world.client.ended };
        assert!(other_ended, "seed {number}: the other side is told");
    }
}

#[test]
fn what_is_no_switch_leaves_a_request_behind_it() {
    for number in 0..200 {
        let mut seed = Seed::new(number);
        let response = Message::random(&mut seed, "HTTP/1.1 200 OK");
        let mut world = World::new(number);
        world.client.to_send.extend(ASK);
        world.client.to_send.extend(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut heads = Vec::new();
        let mut answers = 0;
        world.run(&mut |client, origins| {
            let mut acted = false;
            for origin in origins.iter_mut() {
                if let Some(head) = take_head(&mut origin.received) {
                    heads.push(head);
                    origin.to_send.extend(response.wire(&mut seed));
                    acted = true;
                }
            }
            while let Some((_, body)) = take_message(&mut client.received) {
                assert!(body == response.body);
                answers += 1;
                acted = true;
            }
            acted
        });
        assert_eq!(answers, 2, "seed {number}: both are answered");
        assert!(heads[1].starts_with("GET /next "), "seed {number}");
        assert_eq!(
            world.origins.len(),
            2,
            "seed {number}: the connection that might have switched is not used again"
        );
    }
}
