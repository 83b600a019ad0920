//! A limit that a reload changes, and listeners that are renamed, removed or drained while clients wait.

use super::*;

#[test]
fn a_reload_raises_the_limit() {
    let (origin, go) = holding_origin();
    let setup = Setup::origin(&origin).workers(4);
    let mut proxy = setup.clone().listener("connections_max = 1").start();
    let mut busy = proxy.client();
    busy.send(client::get("/held")).unwrap();
    eventually("it is in flight", || origin.requests().len() == 1);
    let mut waiting: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    waiting.iter_mut().for_each(|client| client.send(client::get("/")).unwrap());
    waiting[0].expect_silence(Duration::from_millis(100));
    proxy.rewrite(&setup.clone().listener("connections_max = 4").text());
    proxy.reload_and_wait();
    waiting.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
    assert_open(&mut busy);
    go.send(()).unwrap();
    assert_eq!(busy.response().status(), 200);
}

#[test]
fn a_reload_lowers_the_limit_and_cuts_nobody() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin).workers(4);
    let mut proxy = setup.clone().listener("connections_max = 10").start();
    let mut idle: Vec<Client> = (0..6).map(|_| proxy.client()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    proxy.rewrite(&setup.clone().listener("connections_max = 2").text());
    proxy.reload_and_wait();
    for client in &mut idle {
        assert!(!client.get("/").head.connection_has("close"), "nobody waits");
    }
    // Five have to go before there is room for a seventh.
    let mut newcomer = proxy.client();
    assert_eq!(newcomer.get("/").status(), 200);
    settles_at(2, || proxy.listener("connections"));
    assert_eq!(yielded(&proxy), 5);
    // The name's limit survives an address that changes, with what is open.
    let moved = setup.listener("connections_max = 2").text().replace("@web@", "@moved@");
    proxy.rewrite(&moved);
    proxy.reload_and_wait();
    eventually("those of the old address end", || proxy.listener("connections") == 0);
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(&proxy.address("moved"))).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let before = yielded(&proxy);
    assert_eq!(Client::connect(&proxy.address("moved")).get("/").status(), 200);
    assert_eq!(yielded(&proxy), before + 1);
}

#[test]
fn a_renamed_listener_takes_what_waited_for_the_old_name() {
    let (origin, go) = holding_origin();
    let setup = Setup::origin(&origin).workers(4).listener("connections_max = 1");
    let mut proxy = setup.start();
    let mut busy = proxy.client();
    busy.send(client::get("/held")).unwrap();
    eventually("it is in flight", || origin.requests().len() == 1);
    let mut waiting = proxy.client();
    waiting.send(client::get("/")).unwrap();
    eventually("it waits", || waited(&proxy) == 1);
    proxy.rewrite(&setup.text().replace("name = \"web\"", "name = \"other\""));
    proxy.reload_and_wait();
    assert_eq!(waiting.response().status(), 200, "the other name has a limit of its own");
    go.send(()).unwrap();
    assert_eq!(busy.response().status(), 200);
}

#[test]
fn a_removed_listener_and_a_drain_take_what_waits() {
    for drains in [false, true] {
        let (origin, go) = holding_origin();
        let setup = Setup::origin(&origin).workers(4).listener("connections_max = 1");
        let mut proxy = setup.clone().process("drain_timeout = \"20s\"").start();
        let mut busy = proxy.client();
        busy.send(client::get("/held")).unwrap();
        eventually("it is in flight", || origin.requests().len() == 1);
        let mut waiting: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
        waiting.iter_mut().for_each(|client| client.send(client::get("/")).unwrap());
        eventually("some wait", || waited(&proxy) > 0);
        if drains {
            proxy.signal(libc::SIGTERM);
        } else {
            proxy.rewrite(&setup.text().replace("@web@", "@moved@"));
            proxy.reload_and_wait();
        }
        for client in &mut waiting {
            assert_eq!(client.response().status(), 200);
        }
        go.send(()).unwrap();
        assert_eq!(busy.response().status(), 200);
        if drains {
            assert_eq!(proxy.wait_exit(DEADLINE).code(), Some(0));
        } else {
            settles_at(0, || proxy.listener("connections"));
            assert_eq!(Client::connect(&proxy.address("moved")).get("/").status(), 200);
        }
    }
}

#[test]
fn a_name_that_comes_back_finds_its_idle_connections() {
    let (origin, go) = holding_origin();
    let setup = Setup::origin(&origin).listener("connections_max = 2");
    let mut proxy = setup.start();
    // It keeps the name's limits alive while there is no such name.
    let mut busy = proxy.client();
    busy.send(client::get("/held")).unwrap();
    eventually("it is in flight", || origin.requests().len() == 1);
    let mut idle = proxy.client();
    assert_eq!(idle.get("/").status(), 200);
    for name in ["other", "web"] {
        proxy.rewrite(&setup.text().replace("name = \"web\"", &format!("name = \"{name}\"")));
        proxy.reload_and_wait();
    }
    assert_eq!(proxy.get("/").status(), 200, "the idle one makes room");
    idle.expect_close();
    go.send(()).unwrap();
    assert_eq!(busy.response().status(), 200);
}
