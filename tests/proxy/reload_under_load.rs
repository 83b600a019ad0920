//! 100 reloads in a row under 64 busy keep-alive connections: not one failed request.

use crate::support::{Load, Nginx, Proxy, Setup, Wrk, alone, eventually, process, settles_at};

/// Reloads that alternate between two files: another listener, another route, another timeout.
fn reload_100_times(proxy: &mut Proxy, setup: &Setup) {
    let other = setup
        .clone()
        .upstream("idle_timeout = \"50s\"")
        .more("[[listeners]]\nname = \"more\"\naddress = \"127.0.0.1:@more@\"\nprotocol = \"http\"\n")
        .more("[[routes]]\nname = \"more\"\npath = { prefix = \"/more\" }\nupstream = \"origin\"");
    for round in 0..100 {
        proxy.rewrite(&if round % 2 == 0 { other.text() } else { setup.text() });
        proxy.reload_and_wait();
    }
}

fn nginx() -> Nginx {
    let nginx = Nginx::start("");
    nginx.add("1k", vec![b'k'; 1024]);
    nginx
}

#[test]
fn fails_no_request_over_100_reloads() {
    let _alone = alone();
    let nginx = nginx();
    let setup = Setup::nginx(&nginx).workers(2);
    let mut proxy = setup.start();
    let load = Load::start(&proxy.address("web"), 64, "/1k");
    eventually("the load runs", || load.answered() > 1_000);
    reload_100_times(&mut proxy, &setup);
    let answered = load.answered();
    eventually("the load still runs", || load.answered() > answered + 1_000);
    let tally = load.finish();
    tally.assert_all_ok();
    settles_at(64, || proxy.listener("connections_total"));
    eventually("it is counted", || {
        proxy.metric("corelane_listener_requests_total", &[("listener", "web")]) >= tally.answered()
    });
}

#[test]
fn wrk_sees_no_error_over_100_reloads() {
    let _alone = alone();
    let nginx = nginx();
    let setup = Setup::nginx(&nginx).workers(2);
    let mut proxy = setup.start();
    let wrk = Wrk::start(64, &format!("http://{}/1k", proxy.address("web")));
    reload_100_times(&mut proxy, &setup);
    wrk.assert_all_ok();
}

#[test]
fn signals_in_a_burst_end_in_the_last_file() {
    let nginx = nginx();
    let setup = Setup::nginx(&nginx);
    let mut proxy = setup.start();
    for round in 0..50 {
        let path = format!("path = {{ prefix = \"/{round}\" }}");
        proxy.rewrite(&setup.clone().route(&path).text());
        proxy.signal(libc::SIGHUP);
    }
    // Several signals may become one reload; the last file is what counts.
    eventually("the last file is in force", || {
        proxy.get("/49").head.field("server").is_some() && proxy.get("/48").head.field("server").is_none()
    });
}

#[test]
fn keeps_no_old_configuration_in_memory() {
    let nginx = nginx();
    let setup = Setup::nginx(&nginx).workers(2);
    let mut proxy = setup.start();
    let mut client = proxy.client();
    assert_eq!(client.get("/1k").status(), 200);
    reload_100_times(&mut proxy, &setup);
    let (rss, descriptors) = (process::rss_bytes(proxy.pid()), process::descriptors(proxy.pid()));
    reload_100_times(&mut proxy, &setup);
    assert_eq!(client.get("/1k").status(), 200);
    let grown = process::rss_bytes(proxy.pid()).saturating_sub(rss);
    assert!(grown < 4 << 20, "{grown} bytes more after another 100 reloads");
    eventually("no descriptor is left behind", || process::descriptors(proxy.pid()) <= descriptors + 2);
}
