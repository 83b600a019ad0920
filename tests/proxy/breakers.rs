//! `breaker` of an upstream: what fails as a whole is left alone for a while, by all workers, and then asked carefully.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::process::{output, stdout};
use crate::support::proxy::binary;
use crate::support::{Load, Nginx, Origin, Proxy, Setup, client, eventually, ok, settles_at, with_length};

fn of_upstream(proxy: &Proxy, name: &str, label: (&str, &str)) -> u64 {
    proxy.metric(&format!("corelane_upstream_{name}"), &[("upstream", "origin"), label])
}

fn is_in(proxy: &Proxy, state: &str) -> bool {
    of_upstream(proxy, "breaker_state", ("state", state)) == 1
}

/// Asks until the breaker is open; each request goes to any worker.
fn open(proxy: &Proxy) {
    eventually("the breaker is open", || proxy.get("/").text().contains("breaker_open"));
}

/// Answers 200, or 500 while it is told to, and counts.
#[derive(Default)]
struct Moody {
    is_broken: AtomicBool,
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl Moody {
    fn origin(self: &Arc<Self>, time: Duration) -> Origin {
        let moody = self.clone();
        Origin::http(move |_| {
            moody.all.fetch_add(1, Ordering::SeqCst);
            moody.most.fetch_max(moody.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(time);
            moody.now.fetch_sub(1, Ordering::SeqCst);
            match moody.is_broken.load(Ordering::SeqCst) {
                true => with_length("500 Internal Server Error", "broken"),
                false => ok("fine"),
            }
        })
    }
}

#[test]
fn a_failing_upstream_is_left_alone_and_asked_again() {
    let origin = Nginx::start(
        "location / { if (-f @dir@/html/broken) { return 503 broken; } return 200 fine; }
         location /own { return 503 own; }",
    );
    let proxy = Setup::nginx(&origin)
        .workers(4)
        .upstream("breaker = { consecutive_failures = 3, open_time = \"2s\", successes = 2 }")
        .start();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    assert!(is_in(&proxy, "closed"));
    origin.add("broken", "");
    open(&proxy);
    let asked = proxy.endpoints("requests_total");
    // Three in a row on one worker, and two on each of the others at most.
    assert!((23..=29).contains(&asked), "{asked}");
    for _ in 0..40 {
        let refused = proxy.get("/");
        assert!(refused.status() == 503 && refused.text().contains("breaker_open"), "{}", refused.text());
        assert!(["1", "2"].contains(&refused.head.field("retry-after").unwrap()));
    }
    assert_eq!(proxy.endpoints("requests_total"), asked, "nothing is sent, by no worker");
    assert!(is_in(&proxy, "open") && !is_in(&proxy, "closed"));
    assert_eq!(of_upstream(&proxy, "breaker_opens_total", ("upstream", "origin")), 1);
    settles_at(41, || of_upstream(&proxy, "refused_total", ("reason", "breaker_open")));
    let log = proxy.log();
    assert!(
        log.contains("breaker open, nothing is sent upstream=origin reason=consecutive_failures"),
        "{log}"
    );

    let admin = format!("http://{}", proxy.address("admin"));
    let explained = output(Command::new(binary()).args(["explain", &admin, "GET", "http://test/"]));
    assert_eq!(explained.status.code(), Some(1));
    let text = stdout(&explained);
    assert!(text.contains("  breaker   open, nothing is sent: the answer is 503 breaker_open"), "{text}");
    eventually("the state tells it", || {
        let state = proxy.admin_get("/status.json").unwrap().text();
        state.contains("\"breaker\":\"open\"") && state.contains("breaker is open")
    });

    // A probe finds it as it was.
    eventually("a probe", || proxy.get("/").text() == "broken");
    assert!(proxy.get("/").text().contains("breaker_open"));
    assert_eq!(of_upstream(&proxy, "breaker_opens_total", ("upstream", "origin")), 2);
    eventually("its line", || proxy.log().contains("upstream=origin reason=probe_failed"));

    std::fs::remove_file(origin.file("broken")).unwrap();
    eventually("it closes", || proxy.get("/").text() == "fine" && is_in(&proxy, "closed"));
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    eventually("its lines", || {
        let log = proxy.log();
        log.contains("breaker half open, probes go through upstream=origin")
            && log.contains("breaker closed upstream=origin")
    });
}

#[test]
fn no_more_probes_than_may_arrive_while_it_is_half_open() {
    let moody = Arc::new(Moody::default());
    let origin = moody.origin(Duration::from_millis(20));
    let proxy = Setup::origin(&origin)
        .workers(4)
        .upstream(
            "breaker = { statuses = [\"5xx\"], open_time = \"300ms\", probes_max = 2, successes = 1000 }",
        )
        .start();
    moody.is_broken.store(true, Ordering::SeqCst);
    open(&proxy);
    eventually("nothing is on its way", || moody.now.load(Ordering::SeqCst) == 0);
    moody.is_broken.store(false, Ordering::SeqCst);
    moody.most.store(0, Ordering::SeqCst);
    let before = moody.all.load(Ordering::SeqCst);
    let load = Load::start(&proxy.address("web"), 16, "/");
    eventually("probes", || moody.all.load(Ordering::SeqCst) > before + 40);
    assert!(is_in(&proxy, "half_open"));
    let tally = load.finish();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures.first());
    assert_eq!(moody.most.load(Ordering::SeqCst), 2, "never more, and as many as may be");
    assert!(tally.statuses.keys().all(|status| [200, 503].contains(status)), "{:?}", tally.statuses);
    assert_eq!(tally.statuses[&200], (moody.all.load(Ordering::SeqCst) - before) as u64);
    assert_eq!(of_upstream(&proxy, "breaker_opens_total", ("upstream", "origin")), 1);
}

#[test]
fn while_another_endpoint_answers_nothing_has_failed() {
    let fine = Nginx::start("location / { return 200 fine; }");
    let gone = format!("127.0.0.1:{}", crate::support::free_port());
    let setup = Setup::to(&[&gone, fine.address()])
        // What is gone is asked again and again.
        .upstream("outlier = { consecutive_failures = 0 }")
        .upstream("breaker = { consecutive_failures = 3, failure_share = \"30%\", open_time = \"1h\" }");
    let mut proxy = setup.clone().start();
    for _ in 0..60 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    assert!(is_in(&proxy, "closed"));
    // Without retries half of the requests fail.
    proxy.rewrite(&setup.clone().upstream("attempts_max = 1").text());
    proxy.reload_and_wait();
    open(&proxy);
    assert!(proxy.log().contains("upstream=origin reason=failure_rate"), "{}", proxy.log());
    assert_eq!(proxy.get("/").head.field("retry-after"), Some("3600"));
    // A reload does not close it; without the key nobody asks it.
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    assert!(proxy.get("/").text().contains("breaker_open"));
    proxy.rewrite(&setup.text().replace("breaker = ", "#"));
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/").text(), "fine");
}

#[test]
fn clients_that_leave_and_answers_of_our_own_say_nothing() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/held" {
                let _ = connection.drain();
                return;
            }
            connection.send(ok("fine")).unwrap();
        }
    });
    let proxy = Setup::origin(&origin)
        .upstream("breaker = { consecutive_failures = 2 }\nattempts_max = 1")
        .route("body_bytes_max = \"1KiB\"")
        .start();
    for _ in 0..5 {
        let before = origin.requests().len();
        let mut client = proxy.client();
        client.send(client::get("/held")).unwrap();
        eventually("it is there", || origin.requests().len() > before);
        drop(client);
        let large = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = format!("{large}800\r\n{}\r\n0\r\n\r\n", "a".repeat(0x800));
        assert_eq!(proxy.client().request(body).status(), 413);
    }
    settles_at(5, || proxy.metric("corelane_listener_client_aborts_total", &[]));
    assert!(is_in(&proxy, "closed"));
    assert_eq!(proxy.get("/").text(), "fine");
}

/// With a breaker and ejections that one failure is enough for.
fn touchy(origin: &Origin) -> Setup {
    Setup::origin(origin).upstream(
        "breaker = { consecutive_failures = 1, open_time = \"1h\" }\noutlier = { consecutive_failures = 1 }",
    )
}

fn has_not_failed(proxy: &Proxy) {
    assert!(is_in(proxy, "closed"));
    assert_eq!(proxy.endpoints("ejections_spared_total"), 0, "it is the only one");
}

#[test]
fn a_pooled_connection_that_is_closed_says_nothing() {
    let origin = Origin::script(|connection| {
        if let Ok(Some(_)) = connection.request() {
            connection.send(ok("fine")).unwrap();
        }
        // The next one on it is not answered.
        let _ = connection.request();
    });
    let proxy = touchy(&origin).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "fine");
    let answer = client.request("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab");
    assert!(answer.status() == 502 && answer.text().contains("upstream_closed"), "{}", answer.text());
    has_not_failed(&proxy);
}

#[test]
fn a_client_that_reads_slowly_opens_no_breaker() {
    const BYTES: usize = 32 << 20;
    let origin = Origin::script(|connection| {
        if let Ok(Some(_)) = connection.request() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
            connection.send(head).unwrap();
            // It gives up before its end.
            let _ = connection.send(vec![b'a'; BYTES / 2]);
        }
    });
    let proxy = touchy(&origin).start();
    let mut slow = proxy.client();
    slow.send(client::get("/")).unwrap();
    // Longer than a busy machine takes for the rest.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(slow.next_head().status(), 200);
    let _ = slow.drain();
    eventually("it has failed", || proxy.metrics().contains("reason=\"response_truncated\""));
    has_not_failed(&proxy);
    // A client that reads as fast as it can shows what the endpoint does.
    eventually("it opens", || {
        let mut fast = proxy.client();
        fast.send(client::get("/")).unwrap();
        let _ = fast.drain();
        is_in(&proxy, "open")
    });
    eventually("it would be ejected", || proxy.endpoints("ejections_spared_total") == 1);
}

#[test]
fn a_stream_and_a_lost_probe_leave_room_for_the_next() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = is_broken.clone();
    let origin = Origin::script(move |connection| {
        while let Ok(Some(request)) = connection.request() {
            if broken.load(Ordering::SeqCst) {
                connection.send(with_length("502 Bad Gateway", "broken")).unwrap();
                continue;
            }
            match request.head.target() {
                // The head, and for ever the body.
                "/stream" => {
                    connection
                        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
                        .unwrap();
                    let _ = connection.drain();
                    return;
                }
                "/held" => {
                    let _ = connection.drain();
                    return;
                }
                _ => connection.send(ok("fine")).unwrap(),
            }
        }
    });
    let proxy = Setup::origin(&origin)
        .workers(2)
        .upstream("breaker = { consecutive_failures = 1, open_time = \"500ms\", successes = 3 }")
        .start();
    open(&proxy);
    is_broken.store(false, Ordering::SeqCst);
    let mut stream = proxy.client();
    eventually("the stream is let through", || {
        stream.send(client::get("/stream")).unwrap();
        let head = stream.next_head();
        if head.status() == 503 {
            stream = proxy.client();
        }
        head.status() == 200
    });
    assert!(is_in(&proxy, "half_open"));
    // Its place is free; this one holds it until its client leaves.
    let before = origin.requests().len();
    let mut held = proxy.client();
    held.send(client::get("/held")).unwrap();
    eventually("it is there", || origin.requests().len() > before);
    assert!(proxy.get("/").text().contains("breaker_open"));
    assert_eq!(proxy.get("/").head.field("retry-after"), Some("1"));
    drop(held);
    eventually("the next probe", || proxy.get("/").text() == "fine");
    eventually("it closes", || proxy.get("/").text() == "fine" && is_in(&proxy, "closed"));
}

#[test]
fn a_probe_whose_client_sends_slowly_leaves_room_for_the_next() {
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = is_broken.clone();
    let origin = Origin::http(move |_| match broken.load(Ordering::SeqCst) {
        true => with_length("502 Bad Gateway", "broken"),
        false => ok("fine"),
    });
    let proxy = Setup::origin(&origin)
        .upstream("breaker = { consecutive_failures = 1, open_time = \"500ms\", successes = 2 }")
        .start();
    open(&proxy);
    is_broken.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(600));
    let mut slow = proxy.client();
    slow.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nab").unwrap();
    eventually("it is a probe", || is_in(&proxy, "half_open"));
    eventually("the others close it", || proxy.get("/").text() == "fine" && is_in(&proxy, "closed"));
    slow.send("cd").unwrap();
    assert_eq!(slow.response().text(), "fine", "it goes on");
}

#[test]
fn the_head_of_its_response_settles_a_mirrored_probe() {
    let main = Nginx::start("location / { return 200 fine; }");
    let is_broken = Arc::new(AtomicBool::new(true));
    let broken = is_broken.clone();
    let shadow = Origin::script(move |connection| {
        while let Ok(Some(_)) = connection.request() {
            if broken.load(Ordering::SeqCst) {
                connection.send(with_length("502 Bad Gateway", "broken")).unwrap();
                continue;
            }
            // The head, and for ever the body.
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").unwrap();
            let _ = connection.drain();
            return;
        }
    });
    let upstream = format!(
        "[upstreams.shadow]\nendpoints = [\"{}\"]\nbreaker = {{ consecutive_failures = 1, open_time = \"500ms\", successes = 2 }}\n",
        shadow.address()
    );
    let proxy = Setup::nginx(&main).route("mirror = { upstream = \"shadow\" }").more(&upstream).start();
    let is_in = |state| {
        let labels = [("upstream", "shadow"), ("state", state)];
        proxy.metric("corelane_upstream_breaker_state", &labels) == 1
    };
    eventually("it is open", || proxy.get("/").text() == "fine" && is_in("open"));
    is_broken.store(false, Ordering::SeqCst);
    eventually("it closes", || proxy.get("/").text() == "fine" && is_in("closed"));
}

#[test]
fn a_mirror_passes_the_breaker_of_its_upstream() {
    let (main, shadow) = (
        Nginx::start("location / { return 200 fine; }"),
        Origin::answering(with_length("502 Bad Gateway", "x")),
    );
    let upstream = format!(
        "[upstreams.shadow]\nendpoints = [\"{}\"]\nbreaker = {{ consecutive_failures = 3, open_time = \"1h\" }}\n",
        shadow.address()
    );
    let proxy = Setup::nginx(&main).route("mirror = { upstream = \"shadow\" }").more(&upstream).start();
    let labels = [("upstream", "shadow"), ("reason", "breaker_open")];
    let failed = || proxy.metric("corelane_upstream_refused_total", &labels);
    eventually("mirrored requests are held back", || {
        assert_eq!(proxy.get("/").text(), "fine");
        failed() > 3
    });
    assert_eq!(shadow.requests().len(), 3);
}

#[test]
fn what_waits_in_the_queue_is_refused_when_it_opens() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(_)) = connection.request() {
            std::thread::sleep(Duration::from_millis(500));
            connection.send(with_length("503 Service Unavailable", "broken")).unwrap();
        }
    });
    let proxy = Setup::origin(&origin)
        .workers(4)
        .upstream("requests_max = 1\nqueue = { requests_max = 100, timeout = \"10s\" }")
        .upstream("breaker = { consecutive_failures = 1, open_time = \"1h\" }")
        .start();
    let mut clients: Vec<_> = (0..8)
        .map(|_| {
            let mut client = proxy.client();
            client.send(client::get("/")).unwrap();
            client
        })
        .collect();
    let answers: Vec<String> = clients.iter_mut().map(|client| client.response().text()).collect();
    assert_eq!(answers.iter().filter(|text| *text == "broken").count(), 1, "{answers:?}");
    assert!(answers.iter().filter(|text| text.contains("breaker_open")).count() == 7, "{answers:?}");
    assert_eq!(origin.requests().len(), 1);
    settles_at(0, || proxy.metric("corelane_upstream_requests_waiting", &[("upstream", "origin")]));
    settles_at(7, || proxy.metric("corelane_upstream_refused_total", &[("reason", "breaker_open")]));
    assert_eq!(proxy.metric("corelane_upstream_no_endpoint_total", &[]), 0, "they are counted once");
}
