//! File descriptors run out: accepting pauses and resumes, nothing spins, nothing dies.

use std::time::Duration;

use crate::support::{Client, Origin, Proxy, Setup, alone, client, eventually, ok, process};

/// Open descriptors in the table that has the most.
fn fullest(proxy: &Proxy) -> usize {
    process::tables(proxy.pid()).map(|table| std::fs::read_dir(table).unwrap().count()).max().unwrap()
}

#[test]
fn pauses_and_resumes_when_descriptors_run_out() {
    let _alone = alone();
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).launch().files(100).start();
    let mut first = proxy.client();
    assert_eq!(first.get("/").status(), 200);

    // The kernel completes these in the accept queue whether or not the proxy can accept them.
    let mut crowd: Vec<Client> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut crowd {
        client.send(client::get("/")).unwrap();
    }
    eventually("descriptors are gone", || fullest(&proxy) >= 95);
    process::assert_quiet(proxy.pid(), 0.3, "it cannot accept");
    // Not by /metrics: the admin server has no descriptor either.
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
    first.send(client::get("/")).unwrap();
    // With no descriptor left for a new upstream connection, the pooled one or a 5xx; never silence.
    let status = first.response().status();
    assert!(matches!(status, 200 | 502 | 503), "{status}");

    // Those that were accepted are answered; when they leave, the rest gets its turn.
    let mut answered = 0;
    while !crowd.is_empty() {
        let before = crowd.len();
        crowd.retain_mut(|client| {
            if client.silent_for(Duration::from_millis(10)).unwrap_or(false) {
                return true;
            }
            assert!(matches!(client.response().status(), 200 | 502 | 503));
            answered += 1;
            false
        });
        if crowd.len() == before {
            // None had an answer in a whole turn; the pause is 100 ms at most.
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(answered + crowd.len() == 200);
    }
    let mut client = proxy.client();
    assert_eq!(client.get("/").status(), 200);
    assert!(!proxy.has_panicked());
    eventually("the pause is counted", || proxy.metric("corelane_worker_accept_pauses_total", &[]) >= 1);
}

#[test]
fn gives_descriptors_back() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    assert_eq!(proxy.get("/").status(), 200);
    let before = process::descriptors(proxy.pid());
    for _ in 0..300 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    eventually("as many as before", || process::descriptors(proxy.pid()) <= before + 1);
}

#[test]
fn connections_are_in_the_tables_of_their_workers() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(2).start();
    let count = |table| std::fs::read_dir(table).unwrap().count();
    let counts = || process::tables(proxy.pid()).map(count).collect::<Vec<_>>();
    let before = counts();
    assert_eq!(before.len(), 3, "the first thread's and two workers'");
    let clients: Vec<_> = (0..100).map(|_| proxy.client()).collect();
    // What was open for a moment before may not be now.
    eventually("all are accepted", || counts().iter().sum::<usize>() >= before.iter().sum::<usize>() + 90);
    let fewest = *counts().iter().min().unwrap();
    assert!(fewest <= before.iter().max().unwrap() + 5, "the first thread has none of them: {:?}", counts());
    drop(clients);
}
