//! SIGHUP: what changed is changed, what did not is not touched, and a bad file changes nothing.

use std::time::{Duration, Instant};

use crate::support::proxy::find_key;
use crate::support::{Client, Origin, Proxy, Setup, client, eventually, ok, settles_at};

fn refused(address: &str) -> bool {
    std::net::TcpStream::connect_timeout(&address.parse().unwrap(), Duration::from_secs(5)).is_err()
}

const LISTENER: &str =
    "[[listeners]]\nname = \"more\"\naddress = \"127.0.0.1:@more@\"\nprotocol = \"http\"\n";

#[test]
fn adds_and_removes_a_listener() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin);
    let mut proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);

    proxy.rewrite(&setup.clone().more(LISTENER).text());
    proxy.reload_and_wait();
    assert_eq!(Client::connect(&proxy.address("more")).get("/").status(), 200);
    assert_eq!(client.get("/").status(), 200, "the connection of before");

    let mut on_removed = Client::connect(&proxy.address("more"));
    assert_eq!(on_removed.get("/").status(), 200);
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    eventually("the listener is closed", || refused(&proxy.address("more")));
    assert_eq!(client.get("/").status(), 200);
    settles_at(1, || proxy.listener("connections_total"));
    assert_eq!(origin.connections(), 1, "the pool too");
}

#[test]
fn a_request_on_its_way_to_a_removed_listener_is_answered() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin);
    // On a machine that is busy with other things, the last second of a connection may be over before the test sends.
    eventually("both requests are sent within a second", || {
        let mut proxy = Proxy::start(&setup.clone().more(LISTENER).text());
        let mut used = Client::connect(&proxy.address("more"));
        assert_eq!(used.get("/").status(), 200);
        let mut silent = Client::connect(&proxy.address("more"));
        let mut unused = Client::connect(&proxy.address("more"));
        proxy.rewrite(&setup.text());
        let start = Instant::now();
        proxy.reload_and_wait();
        let sent = [&mut used, &mut silent].map(|client| client.send(client::get("/")));
        if start.elapsed() > Duration::from_millis(900) {
            return false;
        }
        for (client, sent) in [&mut used, &mut silent].into_iter().zip(sent) {
            sent.unwrap();
            let head = client.next_head();
            assert_eq!(head.status(), 200);
            assert!(head.connection_has("close"), "{:?}", head.raw);
            client.until_end().unwrap();
        }
        unused.expect_close();
        true
    });
}

#[test]
fn a_request_in_flight_on_a_removed_listener_is_answered() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::http(move |_| {
        wait.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        ok("late")
    });
    let setup = Setup::origin(&origin);
    let mut proxy = Proxy::start(&setup.clone().more(LISTENER).text());
    let mut client = Client::connect(&proxy.address("more"));
    client.send(client::get("/")).unwrap();
    eventually("the request is in flight", || origin.requests().len() == 1);
    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    eventually("the listener is closed", || refused(&proxy.address("more")));
    go.send(()).unwrap();
    assert_eq!(client.response().text(), "late");
}

#[test]
fn adds_changes_and_removes_routes() {
    let origins = [Origin::answering(ok("a")), Origin::answering(ok("b"))];
    let setup = Setup::origin(&origins[0]).route("path = { prefix = \"/a\" }");
    let upstream = format!("[upstreams.b]\nendpoints = [\"{}\"]\n", origins[1].address());
    let mut proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!((client.get("/a").status(), client.get("/b").status()), (200, 404));

    let route = |path: &str| {
        format!("{upstream}[[routes]]\nname = \"b\"\npath = {{ prefix = \"{path}\" }}\nupstream = \"b\"")
    };
    proxy.rewrite(&setup.clone().more(&route("/b")).text());
    proxy.reload_and_wait();
    assert_eq!((client.get("/a").text(), client.get("/b").text()), ("a".to_owned(), "b".to_owned()));

    proxy.rewrite(&setup.clone().more(&route("/c")).text());
    proxy.reload_and_wait();
    assert_eq!((client.get("/b").status(), client.get("/c").text()), (404, "b".to_owned()));

    proxy.rewrite(&setup.text());
    proxy.reload_and_wait();
    assert_eq!((client.get("/a").status(), client.get("/c").status()), (200, 404));
    settles_at(1, || proxy.listener("connections_total"));
    assert_eq!(origins[0].connections(), 1);
}

#[test]
fn changes_endpoints() {
    let origins = [Origin::answering(ok("a")), Origin::answering(ok("b"))];
    let setup = Setup::origin(&origins[0]);
    let mut proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "a");
    proxy.rewrite(&setup.clone().endpoints(&[origins[1].address()]).text());
    proxy.reload_and_wait();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "b");
    }
    eventually("the pool of the removed endpoint is closed", || origins[0].open_connections() == 0);
    proxy.rewrite(&setup.clone().endpoints(&[origins[0].address(), origins[1].address()]).text());
    proxy.reload_and_wait();
    let answers: String = (0..10).map(|_| client.get("/").text()).collect();
    assert_eq!(answers.matches('a').count(), 5, "{answers}");
    assert_eq!(origins[1].connections(), 1, "the kept endpoint keeps its pool");
}

#[test]
fn changes_settings_of_a_listener_without_cutting_it() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin);
    let mut proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    proxy.rewrite(&setup.listener("head_bytes_max = 2048").text());
    proxy.reload_and_wait();
    assert_eq!(client.get("/").status(), 200);
    let long = "v".repeat(3_000);
    let response = proxy.client().request(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {long}\r\n\r\n"));
    assert_eq!(response.status(), 431);
}

#[test]
fn an_unchanged_file_changes_nothing() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 200);
        proxy.reload();
    }
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_bad_file_changes_nothing() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin);
    let mut proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    let bad = setup.clone().upstream("polizy = \"round_robin\"").listener("head_timeout = \"soon\"").text();
    proxy.rewrite(&bad);
    proxy.reload_in_vain();
    assert!(proxy.is_ready(), "the old configuration is as ready as before");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(proxy.get("/").status(), 200);
    let file = std::fs::read_to_string(proxy.dir().join("corelane.toml")).unwrap();
    for (value, column) in [("polizy", 1), ("\"soon\"", 16)] {
        let line = file.lines().position(|line| line.contains(value)).unwrap() + 1;
        let place = format!("corelane.toml:{line}:{column}");
        eventually("the log says where", || proxy.log().contains(&place));
    }
    let result = find_key(&proxy.readiness(), "result").cloned().expect("a result");
    assert_ne!(result, "ok");

    // And the next good one is taken.
    proxy.rewrite(&setup.more(LISTENER).text());
    proxy.reload_and_wait();
    assert_eq!(Client::connect(&proxy.address("more")).get("/").status(), 200);
}

#[test]
fn an_address_in_use_changes_nothing() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin);
    let mut proxy = setup.start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listener =
        format!("[[listeners]]\nname = \"taken\"\naddress = \"{address}\"\nprotocol = \"http\"\n{LISTENER}");
    proxy.rewrite(&setup.more(&listener).text());
    proxy.reload_in_vain();
    assert_eq!(proxy.get("/").status(), 200);
    assert!(refused(&proxy.address("more")), "all or nothing");
    assert!(proxy.log().contains(&address.to_string()), "{}", proxy.log());
}

#[test]
fn a_missing_file_changes_nothing() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    std::fs::remove_file(proxy.dir().join("corelane.toml")).unwrap();
    proxy.reload_in_vain();
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn says_what_changed() {
    let origin = Origin::answering(ok("x"));
    let setup = Setup::origin(&origin);
    let mut proxy = setup.start();
    proxy.rewrite(&setup.more(LISTENER).text());
    proxy.reload_and_wait();
    eventually("the log names the new listener", || proxy.log().contains("more"));
    let metrics = proxy.metrics();
    assert!(metrics.contains("generation"), "the generation is a metric\n{metrics}");
    assert!(metrics.lines().any(|line| line.contains("reload")), "reloads are counted\n{metrics}");
}

#[test]
fn the_access_log_is_opened_again() {
    // logrotate: move the file away, SIGUSR1, and the next records go to a new one.
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    proxy.get("/before");
    proxy.records(1);
    let log = proxy.dir().join("access.log");
    std::fs::rename(&log, proxy.dir().join("access.log.1")).unwrap();
    proxy.signal(libc::SIGUSR1);
    eventually("a new file", || log.exists());
    proxy.get("/after");
    let record = proxy.record();
    assert!(record["path"].as_str().unwrap().starts_with("/after"), "{record}");
}

#[test]
fn reads_included_files_again() {
    let origins = [Origin::answering(ok("one")), Origin::answering(ok("two"))];
    let setup = Setup::origin(&origins[0]);
    let sections = "[admin]\naddress = \"127.0.0.1:@admin@\"\n[access_log]\npath = \"@dir@/access.log\"\n";
    let mut proxy = setup.start();
    proxy.rewrite(&format!("include = [\"conf.d/*.yaml\"]\n{sections}{}", setup.text()));
    std::fs::create_dir(proxy.dir().join("conf.d")).unwrap();
    proxy.reload_and_wait();
    assert_eq!(proxy.client().get("/two").body, b"one");

    let included = proxy.dir().join("conf.d/two.yaml");
    let route = "routes: [{name: two, path: {prefix: /two}, upstream: two}]\n";
    let upstream = format!("upstreams: {{two: {{endpoints: [\"{}\"]}}}}\n", origins[1].address());
    std::fs::write(&included, format!("{route}{upstream}")).unwrap();
    proxy.reload_and_wait();
    assert_eq!(proxy.client().get("/two").body, b"two");

    std::fs::write(&included, route).unwrap();
    proxy.reload_in_vain();
    assert!(proxy.log().contains("two.yaml:1:54: upstream"), "{}", proxy.log());
    assert_eq!(proxy.client().get("/two").body, b"two");
}
