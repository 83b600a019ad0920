//! What routes do with their requests.

use std::time::Duration;

use corelane_engine::action::{
    Action, Destination, MirrorRule, RouteTimeouts, Split, Sticky, StickyCookie, Token,
};

use super::good::parsed;

#[test]
fn reads_what_routes_do() {
    let config = parsed(
        r#"
        [[listeners]]
        address = "127.0.0.1:1"
        [[routes]]
        name = "split"
        split = [{ upstream = "b", weight = 65535 }, { upstream = "a" }, { upstream = "c", weight = 0 }]
        sticky = { cookie = "lane", max_age = "1m30s", path = "/x" }
        request_timeout = "0s"
        [[routes]]
        upstream = "a"
        path = { prefix = "/m" }
        mirror = { upstream = "c", share = "0.5%", body_bytes_max = 0, mirrors_max = 1 }
        response_head_timeout = "1s"
        body_idle_timeout = "2s"
        [[routes]]
        name = "defaults"
        path = { prefix = "/d" }
        split = [{ upstream = "a" }]
        sticky = { by = "client" }
        mirror = { upstream = "a" }
        [upstreams]
        a.endpoints = ["127.0.0.1:2"]
        b.endpoints = ["127.0.0.1:3"]
        c.endpoints = ["127.0.0.1:4"]
        "#,
    );
    let destination = |upstream, weight, name| Destination { upstream, weight, token: Token::of(name) };
    let [first, second, third] = &config.routes[..] else { panic!("three routes") };
    let cookie =
        StickyCookie { name: "lane".into(), max_age: Some(Duration::from_secs(90)), path: "/x".into() };
    let split = Split {
        destinations: vec![destination(1, 65_535, "b"), destination(0, 1, "a"), destination(2, 0, "c")],
        sticky: Some(Sticky::Cookie(cookie)),
    };
    assert_eq!((&first.action, &first.mirror), (&Action::Split(split), &None));
    assert_eq!(first.timeouts.request, Some(Duration::ZERO));
    let rule = MirrorRule { upstream: 2, share: 5_000, body_bytes_max: 0, mirrors_max: 1 };
    assert_eq!((&second.action, &second.mirror), (&Action::Upstream(0), &Some(rule)));
    let timeouts = RouteTimeouts {
        request: None,
        response_head: Some(Duration::from_secs(1)),
        body_idle: Some(Duration::from_secs(2)),
    };
    assert_eq!(second.timeouts, timeouts);
    let split = Split { destinations: vec![destination(0, 1, "a")], sticky: Some(Sticky::Client) };
    let rule = MirrorRule { upstream: 0, share: 1_000_000, body_bytes_max: 1 << 20, mirrors_max: 64 };
    assert_eq!((&third.action, &third.mirror), (&Action::Split(split), &Some(rule)));
}
