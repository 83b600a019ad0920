//! Endpoints by name: resolved, resolved again by TTL, and kept when an answer fails.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Origin, Setup, eventually, free_port, ok};

/// What the name server says of any name.
#[derive(Clone)]
enum Answer {
    Addresses(Vec<Ipv4Addr>),
    /// RCODE 2.
    ServerFailure,
    /// RCODE 3.
    NoSuchName,
}

/// A name server on loopback with one answer for every name, TTL 1 s (RFC 1035 §4).
struct NameServer {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    fn start(answer: Answer) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let port = socket.local_addr().unwrap().port();
        let (answer, stop) = (Arc::new(Mutex::new(answer)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (answer, stop) = (Arc::clone(&answer), Arc::clone(&stop));
            move || {
                let mut query = [0; 512];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                    let reply = reply(&query[..length], &answer.lock().unwrap().clone());
                    socket.send_to(&reply, from).unwrap();
                }
            }
        });
        Self { port, answer, stop, thread: Some(thread) }
    }

    fn say(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn resolver(&self) -> String {
        format!(
            "[resolver]\nservers = [\"127.0.0.1:{}\"]\nttl_min = \"200ms\"\nttl_max = \"1s\"\n",
            self.port
        )
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn reply(query: &[u8], answer: &Answer) -> Vec<u8> {
    // The question: labels up to the root's empty one, then type and class.
    let labels_end = 12 + query[12..].iter().position(|&byte| byte == 0).unwrap() + 1;
    let question = &query[12..labels_end + 4];
    let asks_for_a = query[labels_end..labels_end + 2] == [0, 1];
    let (code, addresses) = match answer {
        Answer::Addresses(addresses) if asks_for_a => (0, &addresses[..]),
        Answer::Addresses(_) => (0, &[][..]),
        Answer::ServerFailure => (2, &[][..]),
        Answer::NoSuchName => (3, &[][..]),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).unwrap(), 0, 0, 0, 0]);
    reply.extend(question);
    for address in addresses {
        // A pointer to the question's name, type A, class IN, TTL 1, 4 bytes.
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Two origins on the same port of two addresses, and an upstream that knows them by name.
fn named(names: &NameServer) -> ([Origin; 2], Setup) {
    let port = free_port();
    let origin = |address: Ipv4Addr, text: &'static str| {
        Origin::script_at(&format!("{address}:{port}"), move |connection| {
            while connection.request().is_ok_and(|request| request.is_some()) {
                connection.send(ok(text)).unwrap();
            }
        })
    };
    let origins = [origin(ONE, "one"), origin(TWO, "two")];
    let setup = Setup::to(&[&format!("app.test:{port}")]).more(&names.resolver());
    (origins, setup)
}

#[test]
fn each_address_of_a_name_is_an_endpoint() {
    let names = NameServer::start(Answer::Addresses(vec![ONE, TWO]));
    let (_origins, setup) = named(&names);
    let proxy = setup.start();
    let mut client = proxy.client();
    let answers: Vec<String> = (0..10).map(|_| client.get("/").text()).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "one").count(), 5, "{answers:?}");
}

#[test]
fn follows_a_name_by_its_ttl_and_keeps_the_last_good_answer() {
    let names = NameServer::start(Answer::Addresses(vec![ONE]));
    let (origins, setup) = named(&names);
    let proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "one");

    names.say(Answer::Addresses(vec![TWO]));
    eventually("the new address serves", || client.get("/").text() == "two");
    eventually("the pool of the old one is closed", || origins[0].open_connections() == 0);

    for failure in [Answer::ServerFailure, Answer::NoSuchName] {
        let failed = || proxy.metric("corelane_dns_resolutions_total", &[("result", "failed")]);
        let before = failed();
        names.say(failure);
        eventually("lookups fail", || failed() >= before + 2);
        assert_eq!(client.get("/").text(), "two", "the last good answer is kept");
    }

    names.say(Answer::Addresses(vec![ONE]));
    eventually("it is followed again", || client.get("/").text() == "one");
    assert_eq!(proxy.listener("connections_total"), 1, "one client connection through it all");
}

#[test]
fn a_name_that_resolves_later_begins_to_serve() {
    let names = NameServer::start(Answer::NoSuchName);
    let (_origins, setup) = named(&names);
    let proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 503);
    assert_eq!(proxy.record()["reason"], "no_endpoint");
    names.say(Answer::Addresses(vec![ONE]));
    eventually("it serves", || client.get("/").status() == 200);
}

#[test]
fn checks_follow_the_addresses_of_a_name() {
    let names = NameServer::start(Answer::Addresses(vec![ONE]));
    let (origins, setup) = named(&names);
    let proxy =
        setup.upstream("health = { kind = \"http\", path = \"/health\", interval = \"100ms\" }").start();
    let [one, two] = [origins[0].address(), origins[1].address()];
    let checked = |address: &str| {
        let line = format!("corelane_endpoint_healthy{{upstream=\"origin\",endpoint=\"{address}\"}} 1");
        proxy.metrics().contains(&line)
    };
    let checks = |origin: &Origin| origin.requests().len();
    eventually("the first is checked", || checks(&origins[0]) > 2);
    assert!(checked(one) && !checked(two));
    let port = one.rsplit_once(':').unwrap().1;
    assert_eq!(origins[0].requests()[0].head.field("host"), Some(&*format!("app.test:{port}")));

    names.say(Answer::Addresses(vec![ONE, TWO]));
    eventually("the second is checked, too", || checks(&origins[1]) > 2 && checked(one) && checked(two));
    names.say(Answer::Addresses(vec![TWO]));
    eventually("the first is not", || !checked(one));
    let before = checks(&origins[0]);
    let others = checks(&origins[1]);
    eventually("the second is checked on", || checks(&origins[1]) > others + 5);
    // One may have been under way.
    assert!(checks(&origins[0]) <= before + 1);
}
