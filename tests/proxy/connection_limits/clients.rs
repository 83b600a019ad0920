//! `client_connections_max`: the share of one client, over all workers.

use super::*;

/// So many connections, without those that end at once.
fn try_clients(count: usize, address: &str) -> Vec<Client> {
    (0..count).filter_map(|_| Client::try_connect(address).ok()).collect()
}

/// How many of these connections the proxy has left open.
fn count_open(clients: &mut [Client]) -> u64 {
    let open = clients.iter_mut().filter_map(|client| client.silent_for(Duration::from_millis(1)).ok());
    open.map(u64::from).sum()
}

#[test]
fn a_client_has_its_share_and_no_more_over_all_workers() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).listener("client_connections_max = 10").start();
    let address = proxy.address("web");
    for round in 1..=2 {
        let burst = |source: &'static str| {
            let address = address.clone();
            thread::spawn(move || {
                (0..100).map(|_| Client::connect_from(source, &address)).collect::<Vec<Client>>()
            })
        };
        let bursts = [burst("127.0.0.1"), burst("127.0.0.2")];
        let mut bursts = bursts.map(|burst| burst.join().unwrap());
        settles_at(180 * round, || proxy.listener("connections_refused_total"));
        for clients in &mut bursts {
            settles_at(10, || count_open(clients));
        }
        // Those that are in are served.
        for client in bursts.iter_mut().flatten() {
            if client.silent_for(Duration::from_millis(1)).unwrap_or(false) {
                assert_eq!(client.get("/").status(), 200);
            }
        }
        assert_eq!(proxy.listener("connections"), 20);
        drop(bursts);
        settles_at(0, || proxy.listener("connections"));
    }
}

#[test]
fn a_refused_connection_is_reset() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).listener("client_connections_max = 1").start();
    let mut first = proxy.client();
    assert_eq!(first.get("/").status(), 200);
    for _ in 0..10 {
        let refused = Client::try_connect(&proxy.address("web")).and_then(|mut client| {
            client.send(client::get("/"))?;
            client.try_response(true)
        });
        assert!(refused.is_err());
    }
    assert_eq!(first.get("/").status(), 200);
    settles_at(10, || proxy.listener("connections_refused_total"));
    assert_eq!(proxy.listener("connections_total"), 1, "they are not counted as accepted");
    drop(first);
    settles_at(0, || proxy.listener("connections"));
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn refused_connections_take_no_place_of_the_listener() {
    let origin = Origin::answering(ok("x"));
    // A connection has a place until its client is known: at most one for each worker, besides the two that stay.
    let limits = "connections_max = 6\nclient_connections_max = 1";
    let proxy = Setup::origin(&origin).workers(4).listener(limits).start();
    let mut first = proxy.client();
    assert_eq!(first.get("/").status(), 200);
    let mut refused = try_clients(20, &proxy.address("web"));
    settles_at(20, || proxy.listener("connections_refused_total"));
    settles_at(0, || count_open(&mut refused));
    let mut other = Client::connect_from("127.0.0.2", &proxy.address("web"));
    assert_eq!(other.get("/").status(), 200);
    assert_open(&mut first);
    assert_eq!(waited(&proxy), 0);
}

#[test]
fn counts_clients_by_their_ipv6_network_and_not_over_unix_sockets() {
    let origin = Origin::answering(ok("x"));
    let text = Setup::origin(&origin).workers(4).listener("client_connections_max = 2").text();
    let proxy = Proxy::start(&text.replace("127.0.0.1:@web@", "[::1]:@web@"));
    let address = format!("[::1]:{}", proxy.port("web"));
    let mut clients = try_clients(5, &address);
    settles_at(3, || proxy.listener("connections_refused_total"));
    settles_at(2, || count_open(&mut clients));

    let proxy = Proxy::start(&text.replace("127.0.0.1:@web@", "unix:@dir@/web.sock"));
    let address = format!("unix:{}", proxy.dir().join("web.sock").display());
    let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(&address)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    assert_eq!(proxy.listener("connections_refused_total"), 0);
}

#[test]
fn a_reload_sets_and_lifts_the_share_of_a_client() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin).workers(4);
    let mut proxy = setup.start();
    let mut before: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    before.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    proxy.rewrite(&setup.clone().listener("client_connections_max = 2").text());
    proxy.reload_and_wait();
    // Those from before do not count.
    let mut counted: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    counted.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let mut refused = try_clients(1, &proxy.address("web"));
    settles_at(0, || count_open(&mut refused));
    before.iter_mut().for_each(assert_open);
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").status(), 200);
    drop(counted);
    settles_at(5, || proxy.listener("connections"));
    proxy.rewrite(&setup.listener("client_connections_max = 2").text());
    proxy.reload_and_wait();
    let mut counted: Vec<Client> = (0..2).map(|_| proxy.client()).collect();
    counted.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
}
