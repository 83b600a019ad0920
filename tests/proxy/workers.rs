//! Workers: as many as asked for, each with a part of the connections.

use crate::support::process;
use crate::support::{Client, Load, Origin, Setup, alone, eventually, ok, settles_at};

#[test]
fn four_workers_serve_on_this_machine() {
    let _alone = alone();
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(4).start();
    assert!(process::threads(proxy.pid()).len() >= 5, "{:?}", process::threads(proxy.pid()));
    let load = Load::start(&proxy.address("web"), 64, "/");
    eventually("2000 answers", || load.answered() > 2_000);
    load.finish().assert_all_ok();
    // 64 connections on four SO_REUSEPORT sockets, each of which has a pool of its own.
    // Records are handed over in batches, so the last may take a moment.
    eventually("all four have answered requests", || {
        let metrics = proxy.metrics();
        let series =
            metrics.lines().filter(|line| line.starts_with("corelane_worker_access_log_records_total{"));
        series.filter(|line| !line.ends_with(" 0")).count() == 4
    });
}

#[test]
fn auto_means_one_worker_per_core() {
    let origin = Origin::answering(ok("x"));
    let text = Setup::origin(&origin).text().replace("workers = 1", "workers = \"auto\"");
    let proxy = crate::support::Proxy::start(&text);
    let cores = std::thread::available_parallelism().unwrap().get();
    let metrics = proxy.metrics();
    let workers =
        metrics.lines().filter(|line| line.starts_with("corelane_worker_task_panics_total{")).count();
    assert_eq!(workers, cores);
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn connections_spread_over_workers_and_pools() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).workers(2).start();
    let mut clients: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status(), 200);
    }
    settles_at(40, || proxy.listener("connections"));
    assert_eq!(origin.connections(), 2, "one request at a time needs one connection for each worker");
}
