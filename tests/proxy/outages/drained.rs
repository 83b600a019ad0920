//! Servers that are taken out on purpose.

use super::{LARGE, addresses, answers, ends_well, is_left_alone, is_used, servers, setup, wrk};
use crate::support::{Client, Proxy, alone, client};

/// A connection on which a response of that server has begun, whose body takes two seconds.
fn download(proxy: &Proxy, port: &str) -> Client {
    let begin = |_| {
        let mut client = proxy.client();
        client.send(client::get("/large")).unwrap();
        let is_from_it = client.next_head().field("x-port") == Some(port);
        is_from_it.then_some(client)
    };
    (0..100).find_map(begin).expect("its turn")
}

#[test]
fn weight_0_drains_a_server_so_that_it_can_be_ended() {
    let _alone = alone();
    let mut servers = servers::<2>();
    let addresses = addresses(&servers);
    let [going, staying] = &addresses;
    let setup = setup(&addresses);
    let mut proxy = setup.start();
    let wrk = wrk(&proxy, "/page");
    is_used(&proxy, going);
    let mut client = download(&proxy, going.rsplit(':').next().unwrap());

    let drained = format!("{{ address = \"{going}\", weight = 0 }}");
    proxy.rewrite(&setup.clone().endpoints(&[&drained, staying]).text());
    proxy.reload_and_wait();
    is_left_alone(&proxy, going);
    let body = client.exactly(LARGE).unwrap();
    assert_eq!(body.len(), LARGE, "what was in progress is answered");
    servers[0].kill();
    answers(&proxy, 1000);
    proxy.rewrite(&setup.clone().endpoints(&[staying]).text());
    proxy.reload_and_wait();
    answers(&proxy, 1000);
    servers[0].run();
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    is_used(&proxy, going);
    ends_well(&proxy, wrk);
}
