//! Tests of the resolver against a small name server.

use super::*;
use crate::fixtures;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use tokio::net::UdpSocket;

/// Answers every A query with `addresses` (RFC 1035 §4.1), TTL 0, and every AAAA query with none. Without addresses:
/// SERVFAIL to all.
struct DnsServer {
    port: u16,
    addresses: Rc<RefCell<Vec<Ipv4Addr>>>,
}

impl DnsServer {
    async fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let port = socket.local_addr().expect("bound").port();
        let shared = Rc::new(RefCell::new(addresses.to_vec()));
        let addresses = shared.clone();
        tokio::task::spawn_local(async move {
            let mut query = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut query).await {
                let reply = reply(&query[..length], &addresses.borrow());
                let _ = socket.send_to(&reply, peer).await;
            }
        });
        Self { port, addresses: shared }
    }
}

fn reply(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|&byte| byte == 0).expect("a name") + 1;
    let is_a = query[name_end..name_end + 2] == [0, 1];
    let answers = if is_a { addresses } else { &[] };
    let code = if addresses.is_empty() { 2 } else { 0 };
    let mut reply = query[..2].to_vec();
    reply.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(answers.len()).expect("few"), 0, 0, 0, 0]);
    reply.extend(&query[12..name_end + 4]);
    for address in answers {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    reply
}

fn on_control_thread<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
    })
}

fn config(port: u16, host: &str) -> Config {
    let mut config = fixtures::config();
    config.resolver.servers = vec![(Ipv4Addr::LOCALHOST.into(), port)];
    config.resolver.ttl_min = Duration::from_millis(100);
    config.upstreams[0].endpoints = vec![fixtures::name_endpoint(host, 80, 1)];
    config
}

fn status() -> Rc<Status> {
    Rc::new(Status::new(fixtures::registry(1), 1, Arc::default()))
}

#[test]
fn follows_the_answers_and_keeps_the_last_good_one() {
    on_control_thread(async {
        let [one, two] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];
        let server = DnsServer::start(&[one]).await;
        let status = status();
        let mut resolver = Resolver::new(status.clone());
        let config = config(server.port, "app.test");
        let new = resolver.configure(&config);
        assert_eq!(new, ["app.test".into()]);
        resolver.first_answers(&new, Duration::from_secs(10)).await;
        assert_eq!(resolver.answers()["app.test"], [IpAddr::from(one)]);

        *server.addresses.borrow_mut() = vec![two, one];
        resolver.changed().await;
        assert_eq!(resolver.answers()["app.test"], [IpAddr::from(one), IpAddr::from(two)]);
        assert!(resolver.configure(&config).is_empty(), "an unchanged name is not asked anew");

        server.addresses.borrow_mut().clear();
        tokio::select! {
            () = resolver.changed() => panic!("a failure changes nothing"),
            () = async {
                while status.lookups_failed.get() == 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            } => {}
        }
        assert_eq!(resolver.answers()["app.test"].len(), 2);
        assert_eq!((status.names_resolved.get(), status.names_unresolved.borrow().len()), (1, 0));

        *server.addresses.borrow_mut() = vec![two];
        resolver.changed().await;
        assert_eq!(resolver.answers()["app.test"], [IpAddr::from(two)]);
    });
}

#[test]
fn does_not_wait_long_for_a_silent_server() {
    on_control_thread(async {
        let silent = UdpSocket::bind("127.0.0.1:0").await.expect("loopback");
        let status = status();
        let mut resolver = Resolver::new(status.clone());
        let new = resolver.configure(&config(silent.local_addr().expect("bound").port(), "app.test"));
        resolver.first_answers(&new, Duration::from_millis(200)).await;
        assert!(resolver.names["app.test"].state == NameState::Asking, "it did not wait for the outcome");
        assert!(resolver.answers().is_empty());
        assert_eq!((status.names_resolved.get(), status.names_unresolved.borrow().len()), (0, 1));
    });
}

#[test]
fn localhost_resolves_without_a_server() {
    on_control_thread(async {
        let mut resolver = Resolver::new(status());
        let new = resolver.configure(&config(1, "localhost"));
        resolver.first_answers(&new, Duration::from_secs(10)).await;
        assert!(resolver.answers()["localhost"].contains(&IpAddr::from(Ipv4Addr::LOCALHOST)));
    });
}

#[test]
fn reads_the_hosts_file() {
    let ip = |line: &str| hosts_line(line, "app.internal.");
    assert_eq!(ip("10.0.0.1\tother App.Internal # a comment"), Some("10.0.0.1".parse().expect("an address")));
    assert_eq!(ip("::1 app.internal"), Some("::1".parse().expect("an address")));
    for line in
        ["", "# 10.0.0.1 app.internal", "10.0.0.1 app", "10.0.0.1 # app.internal", "nonsense app.internal"]
    {
        assert_eq!(ip(line), None, "{line}");
    }
}
