//! Other implementations at the client's side: nghttp2's programs, PyPI's `h2`, curl, Chromium, and nghttpx in front.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};

use super::run;
use crate::certificates::issuer::{Issuer, Key};
use crate::certificates::speaking;
use crate::support::process::{output, stderr, stdout};
use crate::support::python::script;
use crate::support::{Client, Origin, Proxy, Setup, eventually, free_port, ok, settles_at, sys};

fn echo() -> Origin {
    Origin::http(|request| ok(&request.body))
}

/// A proxy that serves `app.test` over TLS, and the authority's file.
fn over_tls(origin: &Origin) -> (Proxy, Issuer) {
    let issuer = Issuer::new();
    issuer.issue("app", &["app.test"], Key::Ecdsa);
    let keys = format!("certificates = [{}]", issuer.pair("app"));
    (speaking(Setup::origin(origin).listener("http2 = true"), &keys), issuer)
}

/// Plays with this seed, over TLS where there is an authority.
#[track_caller]
fn play(proxy: &Proxy, seed: u32, authority: Option<&Issuer>) {
    let mut client = script("http2/client.py");
    client.args([proxy.address("web"), seed.to_string()]);
    if let Some(issuer) = authority {
        client.arg(issuer.file("ca.pem"));
    }
    let client = output(&mut client);
    assert!(client.status.success(), "seed {seed}: {}{}", stdout(&client), stderr(&client));
}

#[test]
fn many_streams_of_chance_each_get_their_own() {
    let origin = echo();
    let proxy = Setup::origin(&origin).listener("http2 = true").start();
    for seed in 0..4 {
        play(&proxy, seed, None);
    }
    settles_at(0, || proxy.endpoints("requests_active"));
    settles_at(0, || proxy.listener("connections_active"));
}

#[test]
fn they_do_over_tls_too() {
    let origin = echo();
    let (proxy, issuer) = over_tls(&origin);
    for seed in 100..104 {
        play(&proxy, seed, Some(&issuer));
    }
    settles_at(0, || proxy.endpoints("requests_active"));
}

#[test]
fn nghttp_with_all_that_it_can_do() {
    let origin = echo();
    // For --continuation it adds long fields.
    let keys = "http2 = true\nhead_bytes_max = \"64KiB\"\nfield_bytes_max = \"32KiB\"";
    let proxy = Setup::origin(&origin).listener(keys).start();
    let url = format!("http://{}/", proxy.address("web"));
    let file = proxy.dir().join("body");
    fs::write(&file, "x".repeat(200_000)).unwrap();
    let body = file.to_str().unwrap();
    for arguments in [
        &["-d", body][..],
        &["-d", body, "-b", "255", "--continuation"],
        &["-d", body, "-H", "te: trailers", "--trailer", "x-sum: 1", "--no-content-length"],
        &["-d", body, "-w", "10", "-W", "12"],
        &["-d", body, "--expect-continue", "--no-content-length"],
        &["-d", body, "-m", "20", "--header-table-size", "0", "--encoder-header-table-size", "0"],
        &["-d", body, "--max-concurrent-streams", "1", "-p", "256"],
    ] {
        let told = run("nghttp", &[&["-nvs"], arguments, &[&*url]].concat());
        assert!(
            !told.contains("GOAWAY frame <length") || told.contains("error_code=NO_ERROR"),
            "{arguments:?}: {told}"
        );
        let requests = if arguments.contains(&"-m") { 20 } else { 1 };
        assert_eq!(told.matches(":status: 200").count(), requests, "{arguments:?}: {told}");
        assert_eq!(told.matches("RST_STREAM").count(), 0, "{arguments:?}: {told}");
    }
    assert!(origin.requests().iter().all(|request| request.body.len() == 200_000));
    assert!(origin.requests().iter().any(|request| request.trailers == [("x-sum".into(), "1".into())]));
}

#[test]
fn curl_with_many_transfers_at_once() {
    let origin =
        Origin::http(|request| ok(if request.body.is_empty() { b"hello" } else { &request.body[..] }));
    let (proxy, issuer) = over_tls(&origin);
    let port = proxy.port("web");
    let (ca, to) = (issuer.file("ca.pem"), format!("::127.0.0.1:{port}"));
    let file = proxy.dir().join("body");
    fs::write(&file, "x".repeat(1 << 20)).unwrap();
    let upload = format!("@{}", file.display());
    let common = [
        "-sS",
        "--http2",
        "-m",
        "30",
        "--parallel",
        "--parallel-max",
        "20",
        "--cacert",
        ca.to_str().unwrap(),
    ];
    let common =
        [&common[..], &["--connect-to", &to, "-w", "%{http_version} %{http_code} %{size_download}\n"]]
            .concat();
    let url = format!("https://app.test:{port}/[1-20]");
    let count = |arguments: &[&str], line: &str| {
        let told = run("curl", &[&common[..], arguments, &["-o", "/dev/null", &*url]].concat());
        assert_eq!(told.matches(line).count(), 20, "{told}");
    };
    count(&[], "2 200 5\n");
    count(&["--data-binary", &*upload], "2 200 1048576\n");
    count(&["--data-binary", &*upload, "-H", "expect: 100-continue"], "2 200 1048576\n");
    count(&["--upload-file", file.to_str().unwrap()], "2 200 1048576\n");
    settles_at(80, || proxy.listener("requests_total"));
}

#[test]
fn a_browser_gets_a_page_of_fifty_images_over_one_connection() {
    // Until the script has changed the title.
    let page = "<!doctype html><title>waiting</title><body><script>\
        let loaded = 0;\
        for (let number = 0; number < 50; number++) {\
          const image = new Image();\
          image.onload = () => { loaded++; document.title = 'loaded ' + loaded + ' by ' + \
            [...new Set(performance.getEntriesByType('resource').map(entry => entry.nextHopProtocol))]; };\
          image.src = '/image/' + number;\
          document.body.append(image);\
        }</script>";
    let image = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>";
    let origin = Origin::http(move |request| {
        let (kind, body) = if request.head.target().starts_with("/image/") {
            ("image/svg+xml", image)
        } else {
            ("text/html", page)
        };
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        [head, body.to_owned()].concat().into_bytes()
    });
    let (proxy, _issuer) = over_tls(&origin);
    let mut browser = Command::new("chromium");
    browser.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    browser.args(["--ignore-certificate-errors", "--host-resolver-rules=MAP app.test 127.0.0.1"]);
    browser.arg(format!("--user-data-dir={}", proxy.dir().join("browser").display()));
    browser.args(["--virtual-time-budget=5000", "--dump-dom"]);
    let seen = output(browser.arg(format!("https://app.test:{}/", proxy.port("web"))));
    let dom = stdout(&seen);
    assert!(dom.contains("<title>loaded 50 by h2</title>"), "{dom}{}", stderr(&seen));
    let images = proxy.records(51);
    let images = images
        .iter()
        .filter(|record| record["path"].as_str().is_some_and(|path| path.starts_with("/image/")));
    let clients: BTreeSet<_> = images.map(|record| record["client"].to_string()).collect();
    assert_eq!(clients.len(), 1, "{clients:?}");
}

/// nghttpx, ended with the test.
struct Nghttpx(Child);

impl Drop for Nghttpx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nghttpx_in_front_of_us() {
    let origin = echo();
    let proxy = Setup::origin(&origin).listener("http2 = true").start();
    let port = free_port();
    let mut command = Command::new("nghttpx");
    sys::die_with_parent(&mut command);
    command.arg(format!("--frontend=127.0.0.1,{port};no-tls"));
    command.arg(format!("--backend=127.0.0.1,{};;proto=h2", proxy.port("web")));
    command.args([
        "--workers=1",
        "--conf=/dev/null",
        "--backend-connections-per-host=2",
        "--errorlog-file=/dev/null",
    ]);
    let _nghttpx = Nghttpx(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let address = format!("127.0.0.1:{port}");
    eventually("nghttpx serves", || Client::serves(&address));
    let url = format!("http://{address}/");
    let told = run("h2load", &["-n", "1000", "-c", "4", "-m", "16", &url]);
    assert!(told.contains("1000 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    let file = proxy.dir().join("body");
    fs::write(&file, "x".repeat(100_000)).unwrap();
    let told = run("h2load", &["-n", "200", "-c", "2", "-m", "8", "-d", file.to_str().unwrap(), &url]);
    assert!(told.contains("200 succeeded, 0 failed, 0 errored, 0 timeout"), "{told}");
    assert!(told.contains("(20000000) data"), "{told}");
    // HTTP/1.1 all the way but between the two.
    assert_eq!(Client::connect(&address).request(crate::support::client::post("/", b"abc")).body, b"abc");
    let vias: BTreeSet<_> =
        origin.requests().iter().map(|request| request.head.all("via").join(", ")).collect();
    assert!(vias.iter().all(|via| via.ends_with("2.0 corelane")), "{vias:?}");
}
