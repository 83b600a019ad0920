//! What records look like, what is never in them, and which requests have one.

use std::fs;

use serde_json::Value;

use crate::support::{ANY_PATH, Client, Launch, Nginx, Origin, Proxy, Setup, eventually, ok, settles_at};

/// A proxy with these keys in `[access_log]`, beside the file.
fn logging(setup: &Setup, keys: &str) -> Launch {
    Launch::new(&format!("[access_log]\npath = \"@dir@/access.log\"\n{keys}\n{}", setup.text()))
}

/// Waits for so many whole lines.
fn lines(proxy: &Proxy, count: usize) -> Vec<String> {
    lines_of(&proxy.dir().join("access.log"), count)
}

fn lines_of(path: &std::path::Path, count: usize) -> Vec<String> {
    let read = || fs::read(path).unwrap_or_default();
    eventually(&format!("{count} lines"), || read().iter().filter(|&&byte| byte == b'\n').count() >= count);
    String::from_utf8(read()).unwrap().lines().map(str::to_owned).collect()
}

fn line(proxy: &Proxy) -> String {
    let mut lines = lines(proxy, 1);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

/// With each digit of the time as `0`, and the month as `Mon`; what is between the brackets must look like a time.
fn without_time(line: &str) -> String {
    let (before, rest) = line.split_once('[').unwrap();
    let (time, behind) = rest.split_once(']').unwrap();
    let shape: String = time.chars().map(|it| if it.is_ascii_digit() { '0' } else { it }).collect();
    let (month, shape) = (&time[3..6], format!("{}Mon{}", &shape[..3], &shape[6..]));
    assert!(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun"].contains(&month) || "JulAugSepOctNovDec".contains(month)
    );
    format!("{before}[{shape}]{behind}")
}

#[test]
fn common_and_combined_are_what_nginx_writes() {
    let nginx = Nginx::start("access_log @dir@/access.log combined;");
    nginx.add("a.txt", "hello");
    let requests: Vec<Vec<u8>> = [
        &b"GET /a.txt?x=1&y=%20 HTTP/1.1\r\nHost: a\r\nReferer: http://b/?c\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\r\n"[..],
        b"HEAD /a.txt HTTP/1.1\r\nHost: a\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
        b"GET /a.txt HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nReferer: \"q\" \\ \tx\r\nUser-Agent: \xc3\xa9\xff\x80 [-]\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nReferer:\r\nUser-Agent: -\r\n\r\n",
        b"GET http://a/a.txt?b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /none/\"\\{} HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=1-2\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nAuthorization: Basic OnNlY3JldA==\r\n\r\n",
        b"GET /a.txt HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer abc\r\n\r\n",
    ]
    .map(<[u8]>::to_vec)
    .into();
    let send = |address: &str| {
        for request in &requests {
            let mut client = Client::connect(address);
            client.send(request).unwrap();
            client.try_response(!request.starts_with(b"HEAD ")).unwrap();
        }
    };
    send(nginx.address());
    let expected = lines_of(&nginx.file("../access.log"), requests.len());
    let expected: Vec<String> = expected.iter().map(|line| without_time(line)).collect();

    let setup = Setup::nginx(&nginx).listener(ANY_PATH);
    let combined = logging(&setup, "format = \"combined\"").start();
    send(&combined.address("web"));
    let written: Vec<String> =
        lines(&combined, requests.len()).iter().map(|line| without_time(line)).collect();
    assert_eq!(written, expected);

    let common = logging(&setup, "format = \"common\"").start();
    send(&common.address("web"));
    for (line, expected) in lines(&common, requests.len()).iter().zip(&expected) {
        let line = without_time(line);
        assert!(expected.starts_with(&format!("{line} \"")), "{line} is not the start of {expected}");
    }
}

#[test]
fn a_text_has_the_variables_of_the_exchange() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\nX-Kind: a \"b\"\r\nX-Kind: c\r\n\r\nbody".to_vec()
    });
    let format = "{time.iso}|{time.unix_s}|{peer.ip}|{peer.port}|{client.ip}|{listener}|{listener.address}|{route}|\
        {upstream}|{endpoint}|{method}|{host}|{target}|{path}|{query}|{query.b}|{protocol}|{scheme}|{status}|\
        {request_bytes}|{response_bytes}|{body_bytes}|{attempts}|{reused}|{reason}|{suspicious}|{header.X-A}|\
        {header.none}|{cookie.lane}|{response.header.x-kind}|{response.header.content-length}|{remote_user}|\
        {connection_requests}|{share}|{{}}|{pid}|{upstream_status}|{upstream_head_us}|{upstream_duration_us}";
    let keys = format!("format = '{format}'");
    let setup = Setup::origin(&origin).listener("trusted_proxies = [\"127.0.0.0/8\"]");
    let proxy = logging(&setup, &keys).start();
    let mut client = proxy.client();
    let request = "POST /p/q?a=1&b=two HTTP/1.1\r\nHost: shop.test:81\r\nX-Forwarded-For: 203.0.113.9\r\n\
        X-Forwarded-Proto: https\r\nX-A: one\r\nCookie: x=y; lane=left\r\nContent-Length: 3\r\n\r\nabc";
    client.request(request);
    client.request(request);
    let all = lines(&proxy, 2);
    let words: Vec<&str> = all[1].split('|').collect();
    let now = words[1].parse::<u64>().unwrap();
    assert!(now > 1_700_000_000 && words[0].ends_with('Z') && words[0].len() == 24, "{words:?}");
    assert!(words[3].parse::<u16>().is_ok(), "{words:?}");
    let (address, endpoint, pid) = (proxy.address("web"), origin.address(), proxy.pid().to_string());
    let expected = [
        "203.0.113.9",
        "web",
        &address,
        "all",
        "origin",
        endpoint,
        "POST",
        "shop.test:81",
        "/p/q?a=1&b=two",
        "/p/q",
        "a=1&b=two",
        "two",
        "HTTP/1.1",
        "https",
        "201",
        "3",
        "4",
        "4",
        "1",
        "true",
        "-",
        "-",
        "one",
        "-",
        "left",
        r"a \x22b\x22",
        "4",
        "-",
        "2",
        "1",
        "{}",
        &pid,
    ];
    assert_eq!(words[2], "127.0.0.1");
    let (words, times) = words.split_at(words.len() - 3);
    assert_eq!(words[4..], expected, "{}", all[1]);
    let times: Vec<u64> = times.iter().map(|word| word.parse().unwrap()).collect();
    assert!(times[0] == 201 && times[1] <= times[2] && times[2] > 0, "{times:?}");
    assert_eq!(all[0].split('|').nth(23), Some("false"));
}

#[test]
fn a_text_tells_of_answers_of_our_own_too() {
    let keys = "format = '{status} {reason} {route} {body_bytes} {response_bytes} {response.header.content-type} {upstream_status} {request}'";
    let setup = Setup::to(&["127.0.0.1:1"]).route("path = { prefix = \"/a\" }");
    let proxy = logging(&setup, keys).start();
    let none = proxy.get("/none").body.len();
    let failed = proxy.get("/a").body.len();
    proxy.client().request("BROKEN\r\n\r\n");
    let all = lines(&proxy, 3);
    assert_eq!(all[0], format!("404 no_route - {none} 0 application/json - GET /none HTTP/1.1"));
    assert_eq!(all[1], format!("502 connect_failed all {failed} 0 application/json - GET /a HTTP/1.1"));
    assert!(all[2].starts_with("400 ") && all[2].ends_with(" application/json - -"), "{}", all[2]);
    assert!(none > 0 && failed > 0);
}

#[test]
fn json_has_further_fields() {
    let origin = Origin::answering(ok("x"));
    let keys = "fields = { agent = \"header.user-agent\", \"client.ip\" = \"client.ip\", took = \"duration_s\", \
        again = \"reused\", type = \"response.header.content-type\", host_name = \"hostname\", lane = \"cookie.lane\" }";
    let proxy = logging(&Setup::origin(&origin), keys).start();
    proxy.client().request(b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \"x\\\xff\r\n\r\n");
    let record = proxy.record();
    assert_eq!(record["agent"], "\"x\\\u{ff}");
    assert_eq!(record["client.ip"], "127.0.0.1");
    assert!(record["took"].as_f64().is_some_and(|took| took < 60.0), "{record}");
    assert_eq!(record["again"], false);
    assert_eq!(record["type"], Value::Null);
    assert_eq!(record["lane"], Value::Null);
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(record["host_name"], hostname.trim());
    assert_eq!(record["status"], 200);
}

#[test]
fn no_client_forges_a_line_or_a_field() {
    let origin = Origin::answering(ok("x"));
    let format = "format = '\"{header.user-agent}\" \"{target}\" {status}'";
    let proxy = logging(&Setup::origin(&origin).listener(ANY_PATH), format).start();
    let mut sent = 0;
    for odd in (0u8..=255).filter(|byte| !matches!(byte, b'\n' | b'\r')) {
        let mut client = proxy.client();
        let request = [b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: a\" ", &[odd][..], b" b\r\n\r\n"].concat();
        client.send(&request).unwrap();
        sent += usize::from(client.try_response(true).is_ok_and(|response| response.status() == 200));
    }
    assert!(sent > 200, "{sent}");
    let all = lines(&proxy, 254);
    assert_eq!(all.len(), 254);
    for line in &all {
        let quotes = line.matches('"').count();
        assert!(quotes == 4 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
    }
}

#[test]
fn secrets_are_in_no_record() {
    let origin = Origin::answering(ok("x"));
    let filters = "[filters.keys]\ntype = \"api_key\"\nquery = \"licence\"\n\
        keys = { ci = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\" }\n";
    let setup = Setup::origin(&origin).route("filters = [\"keys\"]").more(filters);
    let request = "GET /a?x=1&LICENCE=abc&token=hidden1&p%61ssword=hidden2&n=/?token=hidden7 HTTP/1.1\r\nHost: a\r\n\
        Referer: https://a.test/cb?access_token=hidden3&y=2#id_token=hidden4\r\n\
        Authorization: Basic dXNlcjpoaWRkZW41\r\nCookie: session=hidden6\r\n\r\n";
    let formats = [
        "",
        "format = \"combined\"",
        "format = '{request} {target} {query} {query.token} {query.x} {query.n} {header.referer} {auth.key} {remote_user}'",
        "fields = { referer = \"header.referer\", target = \"target\", request = \"request\" }",
    ];
    for keys in formats {
        let proxy = logging(&setup, keys).start();
        let request = request.replace("LICENCE", "licence");
        assert_eq!(proxy.client().request(&request).status(), 200);
        let line = line(&proxy);
        assert!(!line.contains("hidden") && !line.contains("licence=abc"), "{keys}: {line}");
        assert!(line.contains("x=1&licence=***&token=***&p%61ssword=***"), "{keys}: {line}");
        if keys.contains("referer") || keys.contains("combined") {
            assert!(line.contains("https://a.test/cb?access_token=***&y=2#id_token=***"), "{keys}: {line}");
        }
        if keys.contains("{query.x}") {
            assert!(line.contains(" *** 1 /?token=*** https") && line.ends_with(" ci user"), "{line}");
        }
    }
    let proxy = logging(&setup, "redact_query = [\"x\"]").start();
    proxy.client().request(request.replace("LICENCE", "licence"));
    let record = proxy.record();
    assert_eq!(record["query"], "x=***&licence=***&token=hidden1&p%61ssword=hidden2&n=/?token=hidden7");
}

#[test]
fn rules_and_routes_decide_which_requests_have_a_record() {
    let origin = Origin::http(|request| match request.head.target() {
        "/error" => crate::support::with_length("503 Service Unavailable", "x"),
        _ => ok("x"),
    });
    let quiet = "[[routes]]\nname = \"quiet\"\npath = { prefix = \"/quiet\" }\nupstream = \"origin\"\naccess_log = false\n";
    let setup = Setup::origin(&origin).more(quiet);
    let keys = "fields = { share = \"share\" }\nsampling = [\n\
        { statuses = [\"5xx\"], share = \"100%\" },\n\
        { failed = true, share = \"50%\" },\n\
        { routes = [\"all\"], methods = [\"GET\"], share = \"10%\" },\n]";
    let proxy = logging(&setup, keys).start();
    let mut client = proxy.client();
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 200);
        assert_eq!(client.get("/quiet").status(), 200);
    }
    for _ in 0..3 {
        client.get("/error");
        client.request("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    // All of them in this order, so that the last record says that the others are there.
    client.get("/error");
    let records = proxy.records(10 + 3 + 3 + 1);
    let count = |method: &str, status: u64, share: f64| {
        let fits = |record: &&Value| {
            record["method"] == method && record["status"] == status && record["share"] == share
        };
        records.iter().filter(fits).count()
    };
    assert_eq!((records.len(), count("GET", 200, 0.1)), (17, 10), "{records:?}");
    assert_eq!((count("GET", 503, 1.0), count("DELETE", 200, 1.0)), (4, 3));
    assert!(records.iter().all(|record| record["route"] == "all"));
    settles_at(190, || proxy.metric("corelane_worker_access_log_skipped_total", &[]));
    settles_at(17, || proxy.metric("corelane_worker_access_log_records_total", &[]));
}

#[test]
fn a_reload_changes_the_format_and_a_tunnel_keeps_its_own() {
    let origin = Origin::script(|connection| {
        while let Ok(Some(request)) = connection.request() {
            if request.head.target() == "/plain" {
                connection.send(ok("plain")).unwrap();
                continue;
            }
            let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nX-Kind: t\r\n\r\n";
            connection.send(switch).unwrap();
            connection.wait_for_end();
        }
    });
    let setup = Setup::origin(&origin);
    let text = |keys: &str| format!("[access_log]\npath = \"@dir@/access.log\"\n{keys}\n{}", setup.text());
    let old = "format = '{status} {header.x-a} {response.header.x-kind} {share} {route}'\n\
        sampling = [{ share = \"0%\", methods = [\"PUT\"] }, { share = \"100%\" }]";
    let admin = "[admin]\naddress = \"127.0.0.1:@admin@\"\n";
    let mut proxy = Launch::new(&format!("{admin}{}", text(old))).start();
    let mut tunnel = proxy.client();
    tunnel
        .send(
            "GET /chat HTTP/1.1\r\nHost: a\r\nX-A: one\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        )
        .unwrap();
    assert_eq!(tunnel.next_head().status(), 101);
    assert_eq!(
        proxy.client().request("PUT /plain HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status(),
        200
    );
    proxy.rewrite(&format!("{admin}{}", text("")));
    proxy.reload_and_wait();
    assert_eq!(proxy.get("/plain").status(), 200);
    let first = line(&proxy);
    assert_eq!(serde_json::from_str::<Value>(&first).unwrap()["path"], "/plain");
    drop(tunnel);
    assert_eq!(lines(&proxy, 2)[1], "101 one t 1 all");
}
