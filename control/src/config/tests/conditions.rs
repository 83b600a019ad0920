//! What routes ask for.

use corelane_routing::{Case, Condition, Conditions, HostPattern, Pattern, Test};

use super::good::parsed;

#[test]
fn routes_with_conditions() {
    let config = parsed(
        r#"
        [[listeners]]
        address = "127.0.0.1:8080"
        [[routes]]
        upstream = "api"
        hosts = ["a.example", { regex = "^B[0-9]" }]
        path = { regex = "^/users/(?<id>[0-9]+)$" }
        methods = ["GET", "PURGE"]
        headers = [{ name = "X-Env", exact = "beta" }, { name = "X-Env", regex = "^b" }]
        queries = [{ name = "a b", present = false }]
        cookies = [{ name = "group", present = true }]
        clients = ["10.0.0.0/8", "::1"]
        tls = true
        priority = -5
        [upstreams.api]
        endpoints = ["127.0.0.1:8001"]
        "#,
    );
    let route = &config.routes[0];
    assert_eq!(route.hosts[1], HostPattern::regex("^B[0-9]").unwrap());
    assert_eq!(route.path.group_names().collect::<Vec<_>>(), ["id"]);
    let condition = |name: &str, test| Condition { name: name.into(), test };
    let regex = Pattern::new("^b", Case::Sensitive).unwrap();
    assert_eq!(
        route.conditions,
        Conditions {
            methods: vec!["GET".into(), "PURGE".into()],
            headers: vec![
                condition("X-Env", Test::Exact("beta".into())),
                condition("X-Env", Test::Regex(regex))
            ],
            queries: vec![condition("a b", Test::Absent)],
            cookies: vec![condition("group", Test::Present)],
            clients: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            tls: Some(true),
        }
    );
    assert_eq!(route.priority, -5);
}
