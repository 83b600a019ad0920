//! Shares by weight, and clients that stay where they were.

use super::{config, launch, named};
use crate::support::message::Response;
use crate::support::{Client, Origin, Proxy, ok};

const SPLIT: &str = "split = [{ upstream = \"blue\", weight = 90 }, { upstream = \"green\", weight = 10 }]";

fn counts(origins: [&Origin; 2]) -> [usize; 2] {
    origins.map(|origin| origin.requests().len())
}

#[test]
fn a_split_follows_its_weights() {
    let (blue, green) = (named("blue"), named("green"));
    let upstreams = [("blue", blue.address()), ("green", green.address())];
    for workers in [1, 2] {
        let before = counts([&blue, &green]);
        let proxy = launch(workers, SPLIT, &upstreams).start();
        for _ in 0..20 {
            let mut client = proxy.client();
            for _ in 0..50 {
                assert_eq!(client.get("/").status(), 200);
            }
        }
        let now = counts([&blue, &green]);
        let [of_blue, of_green] = [now[0] - before[0], now[1] - before[1]];
        assert_eq!(of_blue + of_green, 1000);
        // Each worker is exact but for the cycle that it is in.
        assert!(of_green.abs_diff(100) <= 2 * workers, "{of_green} of 1000 with {workers} workers");
    }
}

#[test]
fn one_connection_goes_to_both_and_the_log_says_where() {
    let (blue, green) = (named("blue"), named("green"));
    let route =
        "split = [{ upstream = \"blue\" }, { upstream = \"green\" }, { upstream = \"none\", weight = 0 }]";
    let upstreams = [("blue", blue.address()), ("green", green.address()), ("none", "127.0.0.1:1")];
    let proxy = launch(1, route, &upstreams).start();
    let mut client = proxy.client();
    let answers: Vec<String> = (0..6).map(|_| client.get("/").text()).collect();
    assert_eq!(answers, ["blue", "green", "blue", "green", "blue", "green"]);
    let logged: Vec<_> =
        proxy.records(6).iter().map(|it| it["upstream"].as_str().unwrap().to_owned()).collect();
    assert_eq!(logged, answers);
    assert_eq!(proxy.metric("corelane_upstream_requests_total", &[("upstream", "green")]), 3);
}

#[test]
fn a_failing_share_does_not_move_to_another_upstream() {
    let blue = named("blue");
    let route = "split = [{ upstream = \"blue\" }, { upstream = \"down\" }]";
    let proxy = launch(1, route, &[("blue", blue.address()), ("down", "127.0.0.1:1")]).start();
    let mut client = proxy.client();
    let statuses: Vec<u16> = (0..4).map(|_| client.get("/").status()).collect();
    assert_eq!(statuses, [200, 502, 200, 502]);
    let failed = &proxy.records(4)[1];
    assert_eq!((&failed["upstream"], &failed["route"]), (&"down".into(), &"all".into()));
}

/// The cookie that a response sets, as the client sends it back.
fn cookie(response: &Response) -> Option<String> {
    let field = response.head.field("set-cookie")?;
    Some(field.split(';').next().unwrap().to_owned())
}

fn get_with(client: &mut Client, cookie: &str) -> Response {
    client.request(format!("GET / HTTP/1.1\r\nHost: test\r\nCookie: a=b; {cookie}\r\n\r\n"))
}

/// Gets until this upstream answers; returns its cookie.
fn cookie_of(proxy: &Proxy, upstream: &str) -> String {
    let mut client = proxy.client();
    let response = (0..100).map(|_| client.get("/")).find(|it| it.text() == upstream);
    cookie(&response.expect("its turn comes")).expect("a cookie")
}

#[test]
fn a_cookie_keeps_a_client_where_it_was() {
    let (blue, green) = (named("blue"), named("green"));
    let upstreams = [("blue", blue.address()), ("green", green.address())];
    let sticky = format!("{SPLIT}\nsticky = {{ cookie = \"lane\", max_age = \"1h\" }}");
    let mut proxy = launch(2, &sticky, &upstreams).start();
    let first = proxy.get("/");
    let field = first.head.field("set-cookie").expect("a cookie").to_owned();
    assert!(field.starts_with("lane=") && !field.contains("blue") && !field.contains("green"), "{field}");
    assert!(field.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"), "{field}");

    let (to_blue, to_green) = (cookie_of(&proxy, "blue"), cookie_of(&proxy, "green"));
    let stays = |proxy: &Proxy| {
        for (cookie, upstream) in [(&to_blue, "blue"), (&to_green, "green")] {
            for _ in 0..4 {
                let mut client = proxy.client();
                for _ in 0..5 {
                    let response = get_with(&mut client, cookie);
                    assert_eq!(response.text(), upstream);
                    assert!(!response.head.has("set-cookie"), "it knows already");
                }
            }
        }
    };
    stays(&proxy);
    // Other weights, another order, another process.
    let turned = sticky.replace("weight = 90", "weight = 1");
    proxy.rewrite(&config(2, &turned, &[upstreams[1], upstreams[0]]));
    proxy.reload_and_wait();
    stays(&proxy);
    drop(proxy);
    stays(&launch(1, &sticky, &upstreams).start());
}

#[test]
fn a_cookie_of_nobody_is_replaced() {
    let (blue, green) = (named("blue"), named("green"));
    let upstreams = [("blue", blue.address()), ("green", green.address())];
    let sticky = format!("{SPLIT}\nsticky = {{ cookie = \"lane\" }}");
    let mut proxy = launch(1, &sticky, &upstreams).start();
    let to_green = cookie_of(&proxy, "green");
    // Green takes nothing any more.
    proxy.rewrite(&config(1, &sticky.replace("weight = 10", "weight = 0"), &upstreams));
    proxy.reload_and_wait();
    let mut client = proxy.client();
    for stale in [&*to_green, "lane=0123456789abcdef", "lane=", "lane=\"\""] {
        let response = get_with(&mut client, stale);
        assert_eq!(response.text(), "blue", "{stale}");
        assert_eq!(cookie(&response), Some(cookie_of(&proxy, "blue")), "{stale}");
    }
}

#[test]
fn only_answers_of_the_upstream_set_the_cookie() {
    let blue = Origin::answering("HTTP/1.1 404 Not Found\r\nSet-Cookie: own=1\r\nContent-Length: 0\r\n\r\n");
    let route = "split = [{ upstream = \"blue\" }, { upstream = \"down\" }]\nsticky = { cookie = \"lane\" }";
    let proxy = launch(1, route, &[("blue", blue.address()), ("down", "127.0.0.1:1")]).start();
    let mut client = proxy.client();
    let (found, failed) = (client.get("/"), client.get("/"));
    assert_eq!((found.status(), failed.status()), (404, 502));
    assert_eq!(found.head.all("set-cookie").len(), 2, "{:?}", found.head);
    assert!(!failed.head.has("set-cookie"), "{:?}", failed.head);
}

#[test]
fn a_cookie_is_secure_when_a_trusted_proxy_says_https() {
    let blue = named("blue");
    let route = "split = [{ upstream = \"blue\" }]\nsticky = { cookie = \"lane\" }";
    let text = config(1, route, &[("blue", blue.address())]);
    let trusting = text.replace("[[routes]]", "trusted_proxies = [\"127.0.0.0/8\"]\n[[routes]]");
    for (text, proto, secure) in [
        (&text, "https", false),
        (&trusting, "https", true),
        (&trusting, "HTTPS, http", true),
        (&trusting, "http, https", false),
    ] {
        let proxy = Proxy::start(text);
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
        let response = proxy.client().request(request);
        let field = response.head.field("set-cookie").unwrap();
        assert_eq!(field.ends_with("; Secure"), secure, "{proto}: {field}");
    }
}

#[test]
fn an_address_keeps_a_client_where_it_was() {
    let (blue, green) = (named("blue"), named("green"));
    let upstreams = [("blue", blue.address()), ("green", green.address())];
    let route = "split = [{ upstream = \"blue\", weight = 3 }, { upstream = \"green\", weight = 1 }]\n\
                 sticky = { by = \"client\" }";
    let mut proxy = launch(2, route, &upstreams).start();
    let address = proxy.address("web");
    let place = |client: u8| {
        let mut connection = Client::connect_from(&format!("127.0.1.{client}"), &address);
        let answers = [(); 3].map(|()| connection.get("/"));
        assert!(answers.iter().all(|it| it.text() == answers[0].text() && !it.head.has("set-cookie")));
        answers[0].text()
    };
    let before: Vec<String> = (0..100).map(place).collect();
    let greens = before.iter().filter(|it| *it == "green").count();
    // Four standard deviations are 17.
    assert!(greens.abs_diff(25) <= 17, "{greens} of 100");
    assert_eq!((0..100).map(place).collect::<Vec<_>>(), before);
    proxy.rewrite(&config(1, &route.replace("weight = 1", "weight = 3"), &upstreams));
    proxy.reload_and_wait();
    let after: Vec<String> = (0..100).map(place).collect();
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(after.iter().zip(&before).all(|(after, before)| before == "blue" || after == "green"));
    assert!((5..50).contains(&moved), "{moved} of 100 move when a quarter has to");
}

#[test]
fn a_websocket_is_told_where_it_stays() {
    let origin = Origin::script(|connection| {
        connection.request().unwrap();
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        connection.send(switch).unwrap();
        connection.wait_for_end();
    });
    let route = "split = [{ upstream = \"blue\" }]\nsticky = { cookie = \"lane\" }";
    let proxy = launch(1, route, &[("blue", origin.address())]).start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    let head = client.next_head();
    assert_eq!(head.status(), 101);
    assert!(head.field("set-cookie").is_some_and(|it| it.starts_with("lane=")), "{head:?}");
    drop(client);
    // A tunnel's record names the upstream as any other does.
    let record = proxy.record();
    assert_eq!((&record["upstream"], &record["status"]), (&"blue".into(), &101.into()));
}

#[test]
fn refused_requests_take_no_turn() {
    let origin = |name: &'static str| Origin::http(move |_| ok(name));
    let (blue, green) = (origin("blue"), origin("green"));
    let route = "body_bytes_max = 3\nsplit = [{ upstream = \"blue\" }, { upstream = \"green\" }]";
    let proxy = launch(1, route, &[("blue", blue.address()), ("green", green.address())]).start();
    let answers: Vec<String> = (0..4)
        .map(|_| {
            let large = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\n";
            assert_eq!(proxy.client().request(large).status(), 413);
            proxy.get("/").text()
        })
        .collect();
    assert_eq!(answers, ["blue", "green", "blue", "green"]);
    assert!(proxy.records(8)[0]["upstream"].is_null());
}
