//! Every policy over four workers and real nginx origins; priorities, keys, cookies and the slow start.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::message::Response;
use crate::support::{Client, Load, Nginx, Origin, Proxy, Setup, alone, eventually, ok, settles_at};

const WORKERS: usize = 4;
const REQUESTS: u64 = 10_000;

/// Each answers with its port.
fn nginx<const N: usize>() -> [Nginx; N] {
    std::array::from_fn(|_| Nginx::start("location / { return 200 $server_port; }"))
}

fn port(address: &str) -> String {
    address.rsplit(':').next().unwrap().to_owned()
}

/// Sends requests until there are enough; all must be answered.
fn load(proxy: &Proxy, requests: u64) {
    let load = Load::start(&proxy.address("web"), 16, "/");
    eventually("the load runs", || load.answered() >= requests);
    load.finish().assert_all_ok();
}

/// How many of a load's requests each endpoint got, in percent.
fn shares<const N: usize>(policy: &str, endpoints: [&str; N], addresses: [&str; N]) -> [f64; N] {
    let policy = format!("policy = \"{policy}\"");
    let proxy = Setup::to(&endpoints).workers(WORKERS).upstream(&policy).start();
    load(&proxy, REQUESTS);
    let counts = addresses.map(|address| proxy.endpoint("requests_total", address));
    let all: u64 = counts.iter().sum();
    assert!(all >= REQUESTS);
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    counts.map(|count| 100.0 * count as f64 / all as f64)
}

fn assert_near<const N: usize>(policy: &str, shares: [f64; N], expected: [f64; N], off: f64) {
    let is_near = shares.iter().zip(&expected).all(|(share, expected)| (share - expected).abs() <= off);
    assert!(is_near, "{policy}: {shares:?}, expected {expected:?}");
}

#[test]
fn shares_follow_the_policy_over_all_workers() {
    let _alone = alone();
    let origins = nginx::<3>();
    let addresses: [&str; 3] = std::array::from_fn(|index| origins[index].address());
    let weighted = [3, 1, 0].map(|weight| format!("weight = {weight}"));
    let weighted: [String; 3] =
        std::array::from_fn(|index| format!("{{ address = \"{}\", {} }}", addresses[index], weighted[index]));
    let weighted = weighted.each_ref().map(String::as_str);
    let even = [100.0 / 3.0; 3];
    assert_near("round_robin", shares("round_robin", addresses, addresses), even, 0.5);
    assert_near("weighted", shares("weighted", weighted, addresses), [75.0, 25.0, 0.0], 0.5);
    // Five standard deviations are 2.2.
    assert_near("random", shares("random", weighted, addresses), [75.0, 25.0, 0.0], 2.2);
    for policy in ["least_connections", "p2c"] {
        // One that the machine holds up for a moment gets less meanwhile.
        assert_near(policy, shares(policy, addresses, addresses), even, 15.0);
    }
    let [_, _, none] = shares("p2c", weighted, addresses);
    assert_near("p2c", [none], [0.0], 0.0);
}

#[test]
fn ewma_starves_no_endpoint() {
    let _alone = alone();
    let origins = nginx::<3>();
    let proxy = Setup::to(&[0, 1, 2].map(|index: usize| origins[index].address()))
        .workers(WORKERS)
        .upstream("policy = \"ewma\"")
        .start();
    let load = Load::start(&proxy.address("web"), 16, "/");
    // One whose answer was late once, on a busy machine, comes back within seconds.
    eventually("each gets a tenth of what is enough", || {
        origins.iter().all(|origin| proxy.endpoint("requests_total", origin.address()) >= REQUESTS / 10)
    });
    load.finish().assert_all_ok();
}

#[test]
fn a_slow_endpoint_gets_less() {
    let _alone = alone();
    let origins = nginx::<2>();
    let slow = Origin::http(|_| {
        std::thread::sleep(Duration::from_millis(30));
        ok("slow")
    });
    let addresses = [slow.address(), origins[0].address(), origins[1].address()];
    for policy in ["least_connections", "p2c", "ewma"] {
        let [of_slow, ..] = shares(policy, addresses, addresses);
        assert!(of_slow < 15.0, "{policy}: {of_slow} %");
    }
}

#[test]
fn least_bandwidth_evens_out_what_endpoints_carry() {
    let _alone = alone();
    let (large, small) = (Nginx::start(""), Nginx::start(""));
    large.add("x", vec![b'x'; 64 * 1024]);
    small.add("x", vec![b'x'; 8 * 1024]);
    let proxy = Setup::to(&[large.address(), small.address()])
        .workers(WORKERS)
        .upstream("policy = \"least_bandwidth\"")
        .start();
    let load = Load::start(&proxy.address("web"), 16, "/x");
    eventually("the load runs", || load.answered() >= REQUESTS);
    load.finish().assert_all_ok();
    let [of_large, of_small] =
        [&large, &small].map(|origin| proxy.endpoint("received_bytes_total", origin.address()));
    // In turn the one would carry eight times as much.
    assert!(of_large < 2 * of_small && of_small < 2 * of_large, "{of_large} and {of_small} bytes");
}

const HASH: &str = "policy = \"hash\"\nhash = { on = [\"header.x-tenant\"] }";

fn keyed(key: u64) -> String {
    format!("GET / HTTP/1.1\r\nHost: test\r\nX-Tenant: {key}\r\n\r\n")
}

#[test]
fn keys_are_shared_out_evenly_and_have_one_endpoint_over_all_workers() {
    let _alone = alone();
    let origins = nginx::<3>();
    let addresses: [&str; 3] = std::array::from_fn(|index| origins[index].address());
    let proxy = Setup::to(&addresses).workers(WORKERS).upstream(HASH).start();
    // Each key comes five times, over five of the connections.
    let (keys, connections) = (REQUESTS / 5, 16);
    let run = |connection: u64| {
        let mut client = proxy.client();
        let each = REQUESTS / connections;
        let numbers = connection * each..(connection + 1) * each;
        let answer = |number: u64| (number % keys, client.request(keyed(number % keys)).text());
        numbers.map(answer).collect::<Vec<_>>()
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..connections).map(|connection| scope.spawn(move || run(connection))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut homes = BTreeMap::new();
    for (key, home) in answers {
        let known = homes.entry(key).or_insert_with(|| home.clone());
        assert_eq!(*known, home, "{key} has one home");
    }
    for address in addresses {
        let of_it = homes.values().filter(|home| **home == port(address)).count() as u64;
        // Five standard deviations are 105.
        assert!(of_it.abs_diff(keys / 3) <= 105, "{of_it} of {keys} keys");
        settles_at(5 * of_it, || proxy.endpoint("requests_total", address));
    }
}

/// Which endpoint answers each of some keys, over connections of their own, which several workers take.
fn homes(proxy: &Proxy) -> BTreeMap<u64, String> {
    let get = |key: u64| {
        let response = proxy.client().request(keyed(key));
        assert_eq!(response.status(), 200);
        response.text()
    };
    (0..200).map(|key| (key, get(key))).collect()
}

#[test]
fn a_key_has_one_endpoint_on_every_worker_and_others_keep_theirs_without_it() {
    let mut origins = nginx::<4>();
    let addresses: [String; 4] = std::array::from_fn(|index| origins[index].address().to_owned());
    let addresses = addresses.each_ref().map(String::as_str);
    // One that has died is back as soon as it lives.
    let nobody_looks = "outlier = { consecutive_failures = 0 }\nretry = { budget = \"100%\" }";
    let setup = Setup::default().workers(WORKERS).upstream(HASH).upstream(nobody_looks);
    let mut proxy = setup.clone().endpoints(&addresses).start();
    let before = homes(&proxy);
    assert_eq!(homes(&proxy), before);
    let counts = addresses.map(|it| before.values().filter(|home| **home == port(it)).count());
    // Four standard deviations are 25.
    assert!(counts.iter().all(|&count| count.abs_diff(50) <= 25), "{counts:?}");

    // It cannot be reached: its keys are spread, the others stay.
    origins[1].kill();
    let gone = port(addresses[1]);
    let without = homes(&proxy);
    for (key, home) in &before {
        assert_eq!(without[key] == *home, *home != gone, "{key}: {home}, then {}", without[key]);
    }
    origins[1].run();
    assert_eq!(homes(&proxy), before);

    // Taken away: nearly no other key moves. In another order: none does.
    let [a, _, c, d] = addresses;
    proxy.rewrite(&setup.clone().endpoints(&[d, a, c]).text());
    proxy.reload_and_wait();
    let fewer = homes(&proxy);
    let moved = before.iter().filter(|(key, home)| **home != gone && fewer[key] != **home).count();
    assert!(moved <= 10, "{moved} of 150 moved needlessly");
    let [a, b, c, d] = addresses;
    proxy.rewrite(&setup.endpoints(&[d, b, a, c]).text());
    proxy.reload_and_wait();
    assert_eq!(homes(&proxy), before);
}

fn cookie(response: &Response) -> Option<String> {
    let field = response.head.field("set-cookie")?;
    Some(field.split(';').next().unwrap().to_owned())
}

fn get_with(client: &mut Client, cookie: &str) -> Response {
    client.request(format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: a=b; {cookie}\r\n\r\n"))
}

#[test]
fn a_signed_cookie_keeps_a_client_at_its_endpoint_until_that_is_gone() {
    let mut origins = nginx::<2>();
    let addresses: [String; 2] = std::array::from_fn(|index| origins[index].address().to_owned());
    let sticky = "sticky = { cookie = \"seat\", secret = \"0123456789abcdef\", max_age = \"1h\" }";
    let setup = Setup::default().workers(WORKERS).upstream(sticky);
    let [one, other] = addresses.each_ref().map(String::as_str);
    let mut proxy = setup.clone().endpoints(&[one, other]).start();
    let mut client = proxy.client();
    let response = (0..10).map(|_| client.get("/")).find(|it| it.text() == port(one)).expect("its turn");
    let field = response.head.field("set-cookie").unwrap();
    assert!(field.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{field}");
    let seat = cookie(&response).unwrap();
    assert!(seat.starts_with("seat=") && seat.len() == "seat=".len() + 40, "{seat}");
    let stays = |proxy: &Proxy| {
        for _ in 0..20 {
            let response = get_with(&mut proxy.client(), &seat);
            assert_eq!((response.text(), cookie(&response)), (port(one), None));
        }
    };
    stays(&proxy);

    // Of weight 0 it keeps its sessions and gets no other requests.
    let drained = format!("{{ address = \"{one}\", weight = 0 }}");
    proxy.rewrite(&setup.endpoints(&[&drained, other]).text());
    proxy.reload_and_wait();
    stays(&proxy);
    for _ in 0..20 {
        let response = proxy.get("/");
        assert_eq!(response.text(), port(other));
        assert!(cookie(&response).is_some());
    }

    // A cookie that somebody has changed says nothing.
    let last = if seat.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{last}", &seat[..seat.len() - 1]);
    let response = get_with(&mut proxy.client(), &forged);
    assert_eq!(response.text(), port(other));
    assert!(cookie(&response).is_some());

    // Its endpoint is gone: another one, and another cookie.
    origins[0].kill();
    let response = get_with(&mut proxy.client(), &seat);
    assert_eq!((response.status(), response.text()), (200, port(other)));
    let moved = cookie(&response).expect("the client is told");
    assert_ne!(moved, seat);
}

#[test]
fn backups_and_higher_priorities_wait_until_they_are_needed() {
    let mut origins = nginx::<3>();
    let addresses: [String; 3] = std::array::from_fn(|index| origins[index].address().to_owned());
    let [main, second, backup] = addresses.each_ref().map(String::as_str);
    let endpoints = [
        format!("{{ address = \"{backup}\", backup = true }}"),
        format!("{{ address = \"{second}\", priority = 7 }}"),
        main.to_owned(),
    ];
    let endpoints = endpoints.each_ref().map(String::as_str);
    // Nobody looks at their health: with two of three gone, each request is sent again twice.
    let nobody_looks = "retry = { budget = \"200%\" }\noutlier = { consecutive_failures = 0 }";
    let proxy = Setup::to(&endpoints).workers(2).upstream(nobody_looks).start();
    let goes_to = |address: &str| {
        let mut client = proxy.client();
        for _ in 0..20 {
            assert_eq!(client.get("/").text(), port(address));
        }
    };
    goes_to(main);
    origins[0].kill();
    goes_to(second);
    origins[1].kill();
    goes_to(backup);
    origins[0].run();
    goes_to(main);
}

#[test]
fn a_new_endpoint_starts_slowly_where_that_is_set() {
    let _alone = alone();
    let origins = nginx::<2>();
    let [one, other] = std::array::from_fn(|index| origins[index].address());
    let setup = Setup::to(&[one]).workers(2).upstream("slow_start = \"1h\"");
    let mut proxy = setup.start();
    load(&proxy, 100);
    proxy.rewrite(&setup.endpoints(&[one, other]).text());
    proxy.reload_and_wait();
    let before = proxy.endpoint("requests_total", one);
    load(&proxy, 2000);
    let [of_old, of_new] = [one, other].map(|it| proxy.endpoint("requests_total", it));
    // A tenth of the turns of the other.
    let share = of_new * 1000 / (of_old - before);
    assert!((80..=130).contains(&share), "{of_new} of {of_old}");
}
