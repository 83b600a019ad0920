//! Which endpoint gets a request.

use std::time::Duration;

use crate::support::{Client, Origin, Setup, client, eventually, ok, settles_at};

fn origins<const N: usize>() -> [Origin; N] {
    std::array::from_fn(|_| Origin::answering(ok("x")))
}

fn counts<const N: usize>(origins: &[Origin; N]) -> [usize; N] {
    std::array::from_fn(|index| origins[index].requests().len())
}

#[test]
fn round_robin_takes_turns() {
    let origins = origins::<3>();
    let addresses = [origins[0].address(), origins[1].address(), origins[2].address()];
    let proxy = Setup::to(&addresses).upstream("policy = \"round_robin\"").start();
    let mut client = proxy.client();
    for _ in 0..300 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(counts(&origins), [100, 100, 100]);
    for (origin, address) in origins.iter().zip(addresses) {
        settles_at(100, || proxy.endpoint("requests_total", address));
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn weighted_gives_each_its_share() {
    let origins = origins::<3>();
    let endpoints = [
        format!("{{ address = \"{}\", weight = 3 }}", origins[0].address()),
        format!("{{ address = \"{}\", weight = 1 }}", origins[1].address()),
        format!("{{ address = \"{}\", weight = 0 }}", origins[2].address()),
    ];
    let proxy =
        Setup::to(&[&endpoints[0], &endpoints[1], &endpoints[2]]).upstream("policy = \"weighted\"").start();
    let mut client = proxy.client();
    for _ in 0..400 {
        assert_eq!(client.get("/").status(), 200);
    }
    let [three, one, none] = counts(&origins);
    assert_eq!((three + one, none), (400, 0));
    assert!((280..=320).contains(&three), "{three} of 400 for a weight of 3 in 4");
}

#[test]
fn weighted_does_not_send_bursts() {
    let origins = origins::<2>();
    let heavy = format!("{{ address = \"{}\", weight = 3 }}", origins[0].address());
    let proxy = Setup::to(&[&heavy, origins[1].address()]).upstream("policy = \"weighted\"").start();
    let mut client = proxy.client();
    for _ in 0..8 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(counts(&origins), [6, 2]);
}

#[test]
fn least_connections_avoids_the_busy_one() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let busy = Origin::http(move |_| {
        wait.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
        ok("slow")
    });
    let free = Origin::answering(ok("fast"));
    let proxy =
        Setup::to(&[busy.address(), free.address()]).upstream("policy = \"least_connections\"").start();
    // With both idle, some of these go to the slow one.
    let mut waiting = (1..50).find_map(|out| {
        let mut client = proxy.client();
        client.send(client::get("/")).unwrap();
        eventually("the request is out", || busy.requests().len() + free.requests().len() == out);
        (busy.requests().len() == 1).then_some(client)
    });
    let before = free.requests().len();
    let mut client = proxy.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "fast");
    }
    assert_eq!(free.requests().len(), before + 50, "one outstanding request against none");
    settles_at(1, || proxy.endpoint("requests_active", busy.address()));
    go.send(()).unwrap();
    let waiting = waiting.as_mut().expect("one goes to the first endpoint");
    assert_eq!(waiting.response().text(), "slow");
    eventually("nothing is outstanding", || proxy.endpoints("requests_active") == 0);
}

#[test]
fn least_connections_counts_across_workers() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let slow = |wait: std::sync::Arc<std::sync::Mutex<std::sync::mpsc::Receiver<()>>>| {
        Origin::script(move |connection| {
            while let Ok(Some(_)) = connection.request() {
                wait.lock().unwrap().recv_timeout(Duration::from_secs(20)).unwrap();
                connection.send(ok("x")).unwrap();
            }
        })
    };
    let wait = std::sync::Arc::new(wait);
    let origins = [slow(std::sync::Arc::clone(&wait)), slow(wait)];
    let proxy = Setup::to(&[origins[0].address(), origins[1].address()])
        .workers(2)
        .upstream("policy = \"least_connections\"")
        .start();
    let mut clients: Vec<Client> = (0..20).map(|_| proxy.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        client.send(client::get("/")).unwrap();
        eventually("the request is out", || counts(&origins).iter().sum::<usize>() == index + 1);
    }
    let [a, b] = counts(&origins);
    assert!(a.abs_diff(b) <= 4, "{a} and {b} outstanding");
    for _ in 0..20 {
        go.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
}
