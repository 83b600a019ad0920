//! Who is served first (RFC 9218), over a stream that takes less than there is to send.

use super::*;

const BODY_BYTES: usize = 500_000;

/// Answers with a large body; a path behind `/` is the value of its `Priority` field.
fn large() -> Box<Serve> {
    Box::new(|core, mut stream| {
        Box::pin(async move {
            let request = head_of(&core, &mut stream).unwrap();
            let said = request.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
            let mut head = "HTTP/1.1 200 OK\r\n".to_owned();
            if !said.is_empty() {
                head += &format!("Priority: {said}\r\n");
            }
            let head = head + "\r\n";
            let _ = respond(&core, &mut stream, head.as_bytes(), &[7; BODY_BYTES], vec![]).await;
        })
    })
}

/// A client that takes all at once, so that it is the connection that is short.
fn wide() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(1 << 24).initial_connection_window_size(1 << 24);
    builder
}

/// Sends requests, each with a path and the value of a `Priority` field, and returns how much of each response had come when the
/// first of them was complete.
fn when_the_first_ends(faults: Faults, requests: &[(&str, Option<&str>)]) -> Vec<usize> {
    with_client(wide(), faults, requests)
}

fn with_client(client: h2::client::Builder, faults: Faults, requests: &[(&str, Option<&str>)]) -> Vec<usize> {
    let (mut world, sender) = World::with_client(client, false, faults, limits(), large());
    let received: Rc<Vec<Cell<usize>>> = Rc::new(requests.iter().map(|_| Cell::default()).collect());
    let first = Rc::new(RefCell::new(None));
    for (index, (path, priority)) in requests.iter().enumerate() {
        let mut request = get(&format!("http://a/{path}"));
        if let Some(priority) = priority {
            request.headers_mut().insert("priority", priority.parse().unwrap());
        }
        let (sender, received, first) = (sender.clone(), received.clone(), first.clone());
        world.spawn(async move {
            let mut body = sender.get(request).await.unwrap().into_body();
            while let Some(piece) = body.data().await {
                let length = piece.unwrap().len();
                body.flow_control().release_capacity(length).unwrap();
                received[index].set(received[index].get() + length);
            }
            let so_far = || received.iter().map(Cell::get).collect::<Vec<_>>();
            first.borrow_mut().get_or_insert_with(so_far);
        });
    }
    world.run();
    assert!(received.iter().all(|received| received.get() == BODY_BYTES), "{received:?}");
    first.take().unwrap()
}

/// What is on its way when somebody comes who is more urgent: with h2, in the stream, and a batch for each.
const AHEAD: usize = 200_000;

#[test]
fn the_more_urgent_overtakes() {
    // The connection is short by what its stream takes, or by the client's window.
    for client in [wide(), h2::client::Builder::new()] {
        let requests = [("", Some("u=5")), ("", Some("u=7")), ("", Some("u=1"))];
        let received = with_client(client, Faults::none(), &requests);
        assert!(received[2] == BODY_BYTES && received[0] < AHEAD && received[1] < AHEAD, "{received:?}");
    }
}

#[test]
fn what_is_of_use_as_a_whole_is_sent_as_one() {
    let received = when_the_first_ends(Faults::none(), &[("", Some("u=3")), ("", None), ("", None)]);
    assert!(received[0] == BODY_BYTES && received[1] < AHEAD && received[2] < AHEAD, "{received:?}");
}

#[test]
fn what_is_of_use_in_parts_takes_turns() {
    for requests in [[("", Some("i")); 3], [("", None); 3]] {
        let received = when_the_first_ends(Faults::none(), &requests);
        assert!(received.iter().all(|&received| received > BODY_BYTES / 2), "{received:?}");
    }
}

#[test]
fn the_server_has_the_last_word() {
    let received = when_the_first_ends(Faults::none(), &[("", Some("u=1")), ("u=0", Some("u=6"))]);
    assert!(received[1] == BODY_BYTES && received[0] < AHEAD, "{received:?}");
}

#[test]
fn everything_arrives_however_the_connection_behaves() {
    for number in 0..20 {
        let priorities = [None, Some("u=0"), Some("u=7"), Some("i"), Some("u=1, i")];
        let faults = if number % 4 < 3 { Faults::unsteady(number) } else { Faults::edges() };
        let mut seed = crate::io::memory::Seed::new(number);
        let requests: Vec<_> = (0..6).map(|_| ("", priorities[seed.below(5)])).collect();
        when_the_first_ends(faults, &requests);
    }
}
