//! Requests that go to another endpoint: after what, which ones, and how many.

use std::time::Duration;

use crate::support::{Nginx, Origin, Setup, client, settles_at, with_length};

fn failing(status: &str) -> Nginx {
    Nginx::start(&format!("location / {{ return {status} broken; }}"))
}

fn working() -> Nginx {
    Nginx::start("location / { return 200 fine; }")
}

#[test]
fn a_status_is_retried_where_that_is_set_and_attempts_tell() {
    let (broken, fine) = (failing("503"), working());
    let proxy = Setup::to(&[broken.address(), fine.address()])
        .workers(2)
        .upstream("retry = { on = [\"connect\", \"reset\", \"503\"] }")
        .start();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    let dropped = proxy.endpoint("requests_total", broken.address());
    assert!(dropped >= 5, "{dropped} went to the broken one first");
    let attempts = |count: u64| proxy.records(20).iter().filter(|it| it["attempts"] == count).count() as u64;
    assert_eq!((attempts(1), attempts(2)), (20 - dropped, dropped));
    settles_at(dropped, || proxy.metric("corelane_upstream_retries_total", &[("upstream", "origin")]));
    let failures = [("endpoint", broken.address()), ("reason", "status_retried")];
    assert_eq!(proxy.metric("corelane_endpoint_failures_total", &failures), dropped);
}

#[test]
fn a_status_that_is_not_listed_goes_to_the_client_and_so_does_the_last_one() {
    let origins = [failing("503"), failing("503")];
    let setup = Setup::to(&[origins[0].address(), origins[1].address()]);
    let mut proxy = setup.clone().upstream("retry = { on = [\"502\"] }").start();
    assert_eq!((proxy.get("/").status(), proxy.record()["attempts"].as_u64()), (503, Some(1)));
    proxy.rewrite(&setup.upstream("retry = { on = [\"503\"] }").text());
    proxy.reload_and_wait();
    let response = proxy.get("/");
    assert_eq!((response.status(), response.text()), (503, "broken".to_owned()), "the server's own answer");
    assert_eq!(proxy.records(2)[1]["attempts"], 2);
}

#[test]
fn only_methods_that_may_be_done_twice_are_and_their_bodies_arrive_whole() {
    let (broken, fine) = (
        Origin::answering(with_length("503 Service Unavailable", "broken")),
        Origin::http(|request| with_length("200 OK", &request.body)),
    );
    let setup = Setup::to(&[broken.address(), fine.address()]);
    let mut proxy = setup.clone().upstream("retry = { on = [\"503\"] }").start();
    let post = |proxy: &crate::support::Proxy| {
        let mut client = proxy.client();
        let answers =
            [client.request(client::post("/", b"once")), client.request(client::post("/", b"once"))];
        let mut texts = answers.map(|answer| answer.text());
        texts.sort();
        texts
    };
    assert_eq!(post(&proxy), ["broken", "once"], "a POST is not done twice");
    proxy.rewrite(&setup.upstream("retry = { on = [\"503\"], methods = [\"POST\"] }").text());
    proxy.reload_and_wait();
    assert_eq!(post(&proxy), ["once", "once"]);
    let statuses = [proxy.client().get("/").status(), proxy.client().get("/").status()];
    assert!(statuses.contains(&503), "GET is not listed: {statuses:?}");
}

#[test]
fn a_hanging_endpoint_is_left_for_another_where_timeouts_are_retried() {
    let hanging = Origin::script(|connection| while let Ok(Some(_)) = connection.request() {});
    let fine = working();
    let proxy = Setup::to(&[hanging.address(), fine.address()])
        .upstream("response_head_timeout = \"200ms\"\nretry = { on = [\"timeout\"] }")
        .start();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    assert_eq!(proxy.endpoint("response_timeouts_total", hanging.address()), 4, "it is its turn each time");
}

#[test]
fn the_budget_bounds_retries() {
    let fine = working();
    let gone = format!("127.0.0.1:{}", crate::support::free_port());
    let proxy = Setup::to(&[&gone, fine.address()])
        .upstream("retry = { budget = \"1%\" }\noutlier = { consecutive_failures = 0 }")
        .start();
    let mut client = proxy.client();
    let answers: Vec<u16> = (0..200).map(|_| client.get("/").status()).collect();
    let failed = answers.iter().filter(|&&status| status == 502).count() as u64;
    // It is the dead one's turn each time; a hundred, and one or two of two hundred, may be sent again.
    assert!((95..=100).contains(&failed), "{failed} of 200");
    let of_upstream = |name| proxy.metric(name, &[("upstream", "origin")]);
    settles_at(failed, || of_upstream("corelane_upstream_retries_refused_total"));
    settles_at(200 - failed, || of_upstream("corelane_upstream_retries_total"));
}

#[test]
fn a_client_that_leaves_ends_the_wait_for_a_retry() {
    let gone =
        [crate::support::free_port(), crate::support::free_port()].map(|port| format!("127.0.0.1:{port}"));
    let proxy = Setup::to(&[&gone[0], &gone[1]])
        .upstream("retry = { backoff = \"24h\", backoff_max = \"24h\" }")
        .start();
    let mut client = proxy.client();
    client.send(client::get("/")).unwrap();
    client.expect_silence(Duration::from_millis(300));
    drop(client);
    let record = proxy.record();
    assert_eq!((&record["reason"], &record["attempts"]), (&"client_gone".into(), &1.into()));
}
