//! What clients notice of servers that fail, under wrk and with four workers: nothing, as long as there is another server.

mod all_down;
mod drained;
mod failing;
mod hanging;
mod killed;
mod limited;
mod reloaded;
mod slow;

use crate::support::{Nginx, Proxy, Setup, Wrk, eventually, settles_at};

const WORKERS: usize = 4;
const CONNECTIONS: usize = 16;
const LARGE: usize = 40 * 1024;

/// Servers that send `/page` in one piece and `/halves` in two, each of which fails in these ways while it has a file of
/// that name.
fn servers<const N: usize>() -> [Nginx; N] {
    let server = |_| {
        let nginx = Nginx::start(
            "if (-f @dir@/html/broken) { return 503; }
             # Closed without an answer.
             if (-f @dir@/html/closing) { return 444; }
             location /halves {
                 sendfile_max_chunk 1k;
                 # The second half comes 50 ms after the first.
                 if (-f @dir@/html/slow) { set $limit_rate 20k; }
             }
             # Takes 2 s.
             location /large { sendfile_max_chunk 1k; limit_rate 20k; }
             add_header X-Port $server_port;",
        );
        for (name, size) in [("page", 1024), ("halves", 2048), ("large", LARGE)] {
            nginx.add(name, vec![b'x'; size]);
        }
        nginx
    };
    std::array::from_fn(server)
}

fn addresses<const N: usize>(servers: &[Nginx; N]) -> [String; N] {
    servers.each_ref().map(|server| server.address().to_owned())
}

fn setup(endpoints: &[String]) -> Setup {
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    // What is ejected comes back within the tests' time.
    Setup::to(&endpoints)
        .workers(WORKERS)
        .upstream("outlier = { ejection_time = \"1s\", ejection_time_max = \"1s\" }")
}

/// Makes a server fail in that way, or no longer.
fn fails(server: &Nginx, way: &str, whether: bool) {
    if whether {
        server.add(way, "");
    } else {
        std::fs::remove_file(server.file(way)).unwrap();
    }
}

/// Starts the load. As many retries are allowed as are a fifth of the requests of the last ten seconds: waits until there
/// were some.
#[track_caller]
fn wrk(proxy: &Proxy, target: &str) -> Wrk {
    let wrk = Wrk::start(CONNECTIONS, &format!("http://{}{target}", proxy.address("web")));
    answers(proxy, 5000);
    wrk
}

/// Ends the load: every request was answered, and nothing is left of any attempt.
#[track_caller]
fn ends_well(proxy: &Proxy, wrk: Wrk) {
    wrk.assert_all_ok();
    settles_at(0, || proxy.endpoints("requests_active"));
    settles_at(0, || proxy.listener("connections_active"));
    assert!(!proxy.has_panicked());
}

/// Waits until clients have got so many more answers.
#[track_caller]
fn answers(proxy: &Proxy, more: u64) {
    let until = proxy.listener("requests_total") + more;
    eventually("the load runs", || proxy.listener("requests_total") >= until);
}

/// Waits until an endpoint gets requests.
#[track_caller]
fn is_used(proxy: &Proxy, endpoint: &str) {
    let before = proxy.endpoint("requests_total", endpoint);
    eventually(&format!("{endpoint} is used"), || proxy.endpoint("requests_total", endpoint) > before + 100);
}

/// Waits until nothing is tried at an endpoint while others answer.
#[track_caller]
fn is_left_alone(proxy: &Proxy, endpoint: &str) {
    let tried = || ["requests_total", "connect_failures_total"].map(|name| proxy.endpoint(name, endpoint));
    eventually(&format!("{endpoint} is left alone"), || {
        let before = tried();
        answers(proxy, 1000);
        tried() == before
    });
}
