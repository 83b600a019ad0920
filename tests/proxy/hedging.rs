//! Hedged requests: a read that waits long goes to a second endpoint too.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{
    Client, Load, Nginx, Origin, Proxy, Setup, alone, client, eventually, free_port, ok, settles_at,
};

/// Answers after so long.
fn slow(time: Duration) -> Origin {
    Origin::http(move |_| {
        std::thread::sleep(time);
        ok("slow")
    })
}

/// Never answers.
fn hanging() -> Origin {
    Origin::script(|connection| while let Ok(Some(_)) = connection.request() {})
}

fn hedging(endpoints: &[&str]) -> Setup {
    Setup::to(endpoints).upstream("retry = { hedge_after = \"100ms\" }")
}

fn hedges(proxy: &Proxy) -> [u64; 2] {
    let of = |name| proxy.metric(name, &[("upstream", "origin")]);
    [of("corelane_upstream_hedges_total"), of("corelane_upstream_hedges_won_total")]
}

/// The attempts of a record without their times.
fn tries(record: &Value) -> Vec<String> {
    let tries = record["tries"].as_str().unwrap_or_else(|| panic!("{record}"));
    tries.split(", ").map(|one| one.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

#[test]
fn a_request_that_times_out_speaks_against_both() {
    let (one, two) = (hanging(), hanging());
    let proxy = hedging(&[one.address(), two.address()])
        .upstream("request_timeout = \"1s\"\nbreaker = { consecutive_failures = 1, open_time = \"1h\" }")
        .start();
    let answer = proxy.get("/");
    assert!(answer.status() == 504 && answer.text().contains("request_timeout"), "{}", answer.text());
    for endpoint in [&one, &two] {
        let labels =
            [("upstream", "origin"), ("endpoint", endpoint.address()), ("reason", "request_timeout")];
        assert_eq!(proxy.metric("corelane_endpoint_failures_total", &labels), 1);
    }
    assert!(proxy.get("/").text().contains("breaker_open"));
}

#[test]
fn a_slow_endpoint_is_hardly_felt() {
    let (slow, fine) = (slow(Duration::from_secs(3)), Origin::answering(ok("fine")));
    let proxy = hedging(&[slow.address(), fine.address()]).workers(2).start();
    let start = Instant::now();
    let mut client = proxy.client();
    for _ in 0..6 {
        assert_eq!(client.get("/").text(), "fine");
    }
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    let records = proxy.records(6);
    let twice: Vec<&Value> = records.iter().filter(|it| it["attempts"] == 2).collect();
    assert!(twice.len() >= 3, "{records:?}");
    for record in &twice {
        let met = [format!("{} hedge_lost", slow.address()), format!("{} 200", fine.address())];
        assert_eq!((tries(record), &record["endpoint"]), (met.to_vec(), &fine.address().into()), "{record}");
        assert_eq!((&record["reason"], &record["status"]), (&Value::Null, &200.into()));
    }
    let count = twice.len() as u64;
    assert_eq!(hedges(&proxy), [count, count]);
    assert_eq!(proxy.metric("corelane_upstream_retries_total", &[("upstream", "origin")]), 0);
    assert!(!proxy.metrics().contains("corelane_endpoint_failures_total{"), "slow is no failure");
    settles_at(0, || proxy.metric("corelane_endpoint_requests_active", &[]));
    eventually("the losers are closed", || slow.open_connections() == 0);
    // The winner's connection is used again, for its next request and for the next hedge.
    assert_eq!(fine.connections(), 1);
}

#[test]
fn the_first_may_win_after_all() {
    let origins = [slow(Duration::from_millis(600)), slow(Duration::from_millis(600))];
    let [one, two] = origins.each_ref().map(Origin::address);
    let proxy = hedging(&[one, two]).start();
    assert_eq!(proxy.get("/").text(), "slow");
    let record = proxy.record();
    let winner = record["endpoint"].as_str().unwrap().to_owned();
    let loser = if winner == one { two } else { one };
    assert_eq!(tries(&record), [format!("{loser} hedge_lost"), format!("{winner} 200")]);
    assert_eq!(hedges(&proxy), [1, 0]);
    eventually("one connection is left", || origins.iter().map(Origin::open_connections).sum::<usize>() == 1);
}

#[test]
fn only_reads_are_hedged_and_only_once_an_attempt() {
    let origins = [(); 3].map(|()| slow(Duration::from_millis(700)));
    let addresses = origins.each_ref().map(Origin::address);
    let proxy = hedging(&addresses).start();
    let seen = || origins.iter().map(|it| it.requests().len()).sum::<usize>();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let bound = "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM a\r\n\r\n";
    let with_body = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na";
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let requests = [client::post("/", b""), upgrade.into(), bound.into(), with_body.into(), put.into()];
    for (request, count) in requests.iter().zip(1..) {
        assert_eq!(proxy.client().request(request).status(), 200);
        assert_eq!(seen(), count, "{}", String::from_utf8_lossy(request));
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        let before = seen();
        let mut client = proxy.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        assert_eq!(client.try_response(method != "HEAD").unwrap().status(), 200);
        assert_eq!(seen(), before + 2, "{method}");
    }
    assert_eq!(hedges(&proxy)[0], 3);
}

#[test]
fn one_that_fails_leaves_the_other_alone() {
    // The second cannot be reached.
    let gone = format!("127.0.0.1:{}", free_port());
    let late = slow(Duration::from_secs(2));
    let proxy = hedging(&[late.address(), &gone]).start();
    let record_of = |proxy: &Proxy, count: usize| proxy.records(count).pop().unwrap();
    assert_eq!(proxy.get("/").text(), "slow");
    assert_eq!(
        tries(&record_of(&proxy, 1)),
        [format!("{gone} connect_failed"), format!("{} 200", late.address())]
    );
    assert_eq!((hedges(&proxy), proxy.endpoint("connect_failures_total", &gone)), ([1, 0], 1));

    // The first closes without an answer while the second works on it.
    let closing = Origin::script(|connection| {
        if let Ok(Some(_)) = connection.request() {
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    let later = slow(Duration::from_secs(2));
    let proxy = hedging(&[closing.address(), later.address()]).start();
    assert_eq!(proxy.get("/").text(), "slow");
    let met = [format!("{} upstream_closed", closing.address()), format!("{} 200", later.address())];
    assert_eq!(tries(&record_of(&proxy, 1)), met);
    assert_eq!((later.requests().len(), hedges(&proxy)), (1, [1, 1]));
    assert_eq!(proxy.endpoint("resets_total", closing.address()), 1);
}

#[test]
fn two_that_hang_end_by_their_timeouts() {
    let origins = [hanging(), hanging()];
    let [one, two] = origins.each_ref().map(Origin::address);
    let proxy = hedging(&[one, two]).upstream("response_head_timeout = \"500ms\"").start();
    assert_eq!(proxy.get("/").status(), 504);
    let record = proxy.record();
    assert_eq!((&record["reason"], &record["attempts"]), (&"response_head_timeout".into(), &2.into()));
    let mut met = tries(&record);
    met.sort();
    let mut expected = [one, two].map(|address| format!("{address} response_head_timeout"));
    expected.sort();
    assert_eq!(met, expected);
    settles_at(0, || proxy.metric("corelane_endpoint_requests_active", &[]));
}

#[test]
fn a_client_that_leaves_ends_both() {
    let origins = [hanging(), hanging()];
    let [one, two] = origins.each_ref().map(Origin::address);
    let proxy = hedging(&[one, two]).start();
    let mut client: Client = proxy.client();
    client.send(client::get("/")).unwrap();
    eventually("both have it", || origins.iter().all(|it| it.requests().len() == 1));
    drop(client);
    eventually("both are closed", || origins.iter().all(|it| it.open_connections() == 0));
    let record = proxy.record();
    assert_eq!((&record["reason"], &record["attempts"]), (&"client_gone".into(), &2.into()));
    settles_at(0, || proxy.metric("corelane_endpoint_requests_active", &[]));
}

#[test]
fn the_budget_bounds_hedges() {
    let origins = [slow(Duration::from_millis(150)), slow(Duration::from_millis(150))];
    let [one, two] = origins.each_ref().map(Origin::address);
    let setup = Setup::to(&[one, two]).upstream("retry = { hedge_after = \"1ms\", budget = \"1%\" }");
    let proxy = setup.start();
    let mut clients: Vec<Client> = (0..120).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send(client::get("/")).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "slow");
    }
    assert_eq!(hedges(&proxy)[0], 100, "so many are free");
    settles_at(20, || proxy.metric("corelane_upstream_retries_refused_total", &[("upstream", "origin")]));
}

#[test]
fn under_load_with_four_workers_every_answer_is_whole() {
    let _alone = alone();
    let (slow, fine) = (slow(Duration::from_millis(250)), Nginx::start("location / { return 200 fine; }"));
    let proxy = Setup::to(&[slow.address(), fine.address()])
        .workers(4)
        .upstream("retry = { hedge_after = \"100ms\", budget = \"1000%\" }")
        .start();
    let load = Load::start(&proxy.address("web"), 16, "/");
    eventually("requests are hedged", || load.answered() > 300 && hedges(&proxy)[0] > 50);
    load.finish().assert_all_ok();
    settles_at(0, || proxy.metric("corelane_endpoint_requests_active", &[]));
    let won = hedges(&proxy)[1];
    assert!(won > 0, "{won}");
}
