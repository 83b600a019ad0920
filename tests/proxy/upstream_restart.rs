//! An upstream that is killed and comes back, under load.

use crate::support::{Load, Nginx, Setup, alone, eventually};

#[test]
fn recovers_when_the_only_upstream_is_killed_and_restarted() {
    let _alone = alone();
    let mut nginx = Nginx::start("");
    nginx.add("1k", vec![b'k'; 1024]);
    let proxy = Setup::nginx(&nginx).workers(2).start();
    let load = Load::start(&proxy.address("web"), 32, "/1k");
    for _ in 0..3 {
        let answered = load.answered();
        eventually("the load runs", || load.answered() > answered + 1_000);
        nginx.kill();
        let answered = load.answered();
        eventually("errors are answered", || load.answered() > answered + 200);
        nginx.run();
        eventually("the upstream is used again", || proxy.get("/1k").status() == 200);
    }
    let tally = load.finish();
    assert_eq!((tally.refused, &tally.failures), (0, &Vec::new()), "every request gets an answer");
    let statuses: Vec<u16> = tally.statuses.keys().copied().collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 502 | 503)), "{:?}", tally.statuses);
    let mut client = proxy.client();
    for _ in 0..100 {
        let response = client.get("/1k");
        assert_eq!((response.status(), response.body.len()), (200, 1024));
    }
    assert!(!proxy.has_panicked());
}

#[test]
fn answers_everything_when_one_of_two_upstreams_is_killed() {
    let _alone = alone();
    let mut nginx = [Nginx::start(""), Nginx::start("")];
    for nginx in &nginx {
        nginx.add("1k", vec![b'k'; 1024]);
    }
    let proxy = Setup::to(&[nginx[0].address(), nginx[1].address()]).workers(2).start();
    let load = Load::start(&proxy.address("web"), 32, "/1k");
    for index in [0, 1, 0] {
        let answered = load.answered();
        eventually("the load runs", || load.answered() > answered + 1_000);
        nginx[index].kill();
        let answered = load.answered();
        eventually("the load goes on", || load.answered() > answered + 1_000);
        nginx[index].run();
    }
    let tally = load.finish();
    assert_eq!((tally.refused, &tally.failures), (0, &Vec::new()));
    // A response that had begun when its upstream died cannot be saved; a GET that had not is sent again.
    let failed = tally.answered() - tally.statuses.get(&200).copied().unwrap_or(0);
    assert_eq!(failed, 0, "{:?}", tally.statuses);
}
