//! The attempts of one request: how long each may take, and what is told of them.

use std::time::Duration;

use serde_json::Value;

use crate::support::message::Request;
use crate::support::{Client, Launch, Origin, Setup, client, eventually, free_port, ok, with_length};

/// Answers after so long.
fn slow(answer: &'static str, time: Duration) -> Origin {
    Origin::http(move |_| {
        std::thread::sleep(time);
        ok(answer)
    })
}

/// Never answers.
fn hanging() -> Origin {
    Origin::script(|connection| while let Ok(Some(_)) = connection.request() {})
}

/// `tries` of a record without their times, and these in milliseconds.
fn tries(record: &Value) -> (Vec<String>, Vec<u64>) {
    let tries = record["tries"].as_str().unwrap_or_else(|| panic!("{record}"));
    let split = |one: &str| {
        let (what, time) = one.rsplit_once(' ').unwrap();
        (what.to_owned(), time.strip_suffix("ms").unwrap().parse::<u64>().unwrap())
    };
    tries.split(", ").map(split).unzip()
}

#[test]
fn an_attempt_that_brings_nothing_gives_way_to_another_endpoint() {
    let (hangs, fine) = (hanging(), Origin::answering(ok("fine")));
    let proxy = Setup::to(&[hangs.address(), fine.address()])
        .workers(2)
        .upstream("retry = { on = [], per_try_timeout = \"200ms\" }")
        .start();
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    let records = proxy.records(6);
    let again: Vec<&Value> = records.iter().filter(|it| it["attempts"] == 2).collect();
    assert!(again.len() >= 3, "{records:?}");
    for record in &again {
        let (met, times) = tries(record);
        let expected = [format!("{} per_try_timeout", hangs.address()), format!("{} 200", fine.address())];
        assert_eq!(met, expected, "{record}");
        // Timers know milliseconds: one that begins late in one is up to that early.
        assert!((199..5_000).contains(&times[0]) && times[1] < 5_000, "{record}");
        assert_eq!(record["reason"], Value::Null);
    }
    assert!(records.iter().filter(|it| it["attempts"] == 1).all(|it| it.get("tries").is_none()));
    let given_up = again.len() as u64;
    let failures = [("endpoint", hangs.address()), ("reason", "per_try_timeout")];
    assert_eq!(proxy.metric("corelane_endpoint_failures_total", &failures), given_up);
    assert_eq!(proxy.endpoint("response_timeouts_total", hangs.address()), given_up);
    eventually("what was given up is closed", || hangs.open_connections() == 0);
}

#[test]
fn an_attempt_goes_on_where_no_other_can_be_made() {
    let origins = [slow("slow", Duration::from_millis(700)), slow("slow", Duration::from_millis(700))];
    let [one, two] = origins.each_ref().map(Origin::address);
    let retry = "retry = { per_try_timeout = \"100ms\" }";
    // There is no other endpoint.
    let proxy = Setup::to(&[one]).upstream(retry).start();
    assert_eq!((proxy.get("/").text(), &proxy.record()["attempts"]), ("slow".to_owned(), &1.into()));
    // The method may not be done twice, or no attempt is left.
    let proxy = Setup::to(&[one, two]).upstream(&format!("{retry}\nattempts_max = 2")).start();
    assert_eq!(proxy.client().request(client::post("/", b"once")).text(), "slow");
    assert_eq!(proxy.get("/").text(), "slow");
    let attempts: Vec<Value> = proxy.records(2).iter().map(|it| it["attempts"].clone()).collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(proxy.metric("corelane_upstream_retries_total", &[("upstream", "origin")]), 1);
}

#[test]
fn a_response_that_has_begun_is_waited_for() {
    let origins = [(); 2].map(|()| {
        Origin::script(|connection| {
            while let Ok(Some(_)) = connection.request() {
                let (begun, rest) = (b"HTTP/1.1 200 OK\r\nContent-", b"Length: 2\r\n\r\nok");
                let sent = connection.send(begun);
                std::thread::sleep(Duration::from_millis(600));
                if sent.and_then(|()| connection.send(rest)).is_err() {
                    break;
                }
            }
        })
    });
    let [one, two] = origins.each_ref().map(Origin::address);
    let proxy = Setup::to(&[one, two]).upstream("retry = { per_try_timeout = \"200ms\" }").start();
    assert_eq!(proxy.get("/").text(), "ok");
    assert_eq!(proxy.record()["attempts"], 1);
}

#[test]
fn a_text_record_tells_every_attempt() {
    let gone = format!("127.0.0.1:{}", free_port());
    let (broken, fine) =
        (Origin::answering(with_length("503 Service Unavailable", "no")), Origin::answering(ok("x")));
    let setup = Setup::to(&[&gone, broken.address(), fine.address()])
        .upstream("retry = { on = [\"connect\", \"503\"] }");
    let log = "[access_log]\npath = \"@dir@/access.log\"\nformat = \"{attempts} {tries}\"\n";
    let proxy = Launch::new(&format!("{log}{}", setup.text())).start();
    assert_eq!(proxy.get("/").text(), "x");
    let read = || std::fs::read_to_string(proxy.dir().join("access.log")).unwrap_or_default();
    eventually("there is a record", || read().ends_with('\n'));
    let shape: String =
        read().split("ms").map(|it| it.trim_end_matches(|it: char| it.is_ascii_digit())).collect();
    let (broken, fine) = (broken.address(), fine.address());
    assert_eq!(shape, format!("3 {gone} connect_failed , {broken} 503 , {fine} 200 \n"));
}

#[test]
fn a_request_that_reached_no_endpoint_tells_why() {
    let gone = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let proxy = Setup::to(&[&gone[0], &gone[1]]).start();
    assert_eq!(proxy.get("/").status(), 502);
    let (met, _) = tries(&proxy.record());
    assert_eq!(met, gone.map(|address| format!("{address} connect_failed")));
}

/// What a request says of its attempt.
fn numbers(request: &Request) -> Vec<&str> {
    request.head.all("x-corelane-attempt")
}

#[test]
fn servers_are_told_which_attempt_they_get_only_where_that_is_set() {
    let broken = || Origin::answering(with_length("503 Service Unavailable", "no"));
    let origins: [Origin; 11] = std::array::from_fn(|_| broken());
    let addresses = origins.each_ref().map(Origin::address);
    let setup = Setup::to(&addresses);
    let retry = "attempts_max = 16\nretry = { on = [\"503\"]";
    let mut proxy = setup.clone().upstream(&format!("{retry}, attempt_header = true }}")).start();
    let request =
        "PUT / HTTP/1.1\r\nHost: a\r\nx-corelane-ATTEMPT: 7\r\nX-Last: 1\r\nContent-Length: 4\r\n\r\nbody";
    let ask = |client: &mut Client| assert_eq!(client.request(request).status(), 503);
    ask(&mut proxy.client());
    let mut seen: Vec<u32> = Vec::new();
    for origin in &origins {
        let request = origin.request();
        assert_eq!((numbers(&request).len(), &request.body[..]), (1, &b"body"[..]));
        assert_eq!(request.head.all("x-last").len(), 1);
        seen.push(numbers(&request)[0].parse().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, Vec::from_iter(1..=11));
    proxy.rewrite(&setup.upstream(&format!("{retry} }}")).text());
    proxy.reload_and_wait();
    ask(&mut proxy.client());
    for origin in &origins {
        assert_eq!(numbers(&origin.requests()[1]), ["7"], "it is the client's");
    }
}
