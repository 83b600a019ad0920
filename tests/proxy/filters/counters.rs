//! `corelane_filter_*`: what each filter did.

use super::{get_with, plain, with};
use crate::support::settles_at;

#[test]
fn every_filter_counts_what_it_did() {
    let origin = plain();
    let filters = [
        ("agents", "type = \"user_agent\"\ndeny = [\"bad\"]"),
        ("strip", "type = \"rewrite\"\nstrip_prefix = \"/api\""),
        ("secure", "type = \"security_headers\""),
    ];
    let proxy = with(&origin, &filters).workers(2).start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/api/a").status(), 200);
    }
    assert_eq!(proxy.get("/b").status(), 200);
    for _ in 0..2 {
        assert_eq!(proxy.client().request(get_with("/api", "User-Agent: bad\r\n")).status(), 403);
    }
    let of = |name: &str, filter: &str| {
        let name = format!("corelane_filter_{name}_total");
        proxy.metric(&name, &[("filter", filter)])
    };
    for (filter, passed, acted, refused) in
        // Security headers have nothing to do with requests, and something with every response.
        [("agents", 4, 0, 2), ("strip", 1, 3, 0), ("secure", 4, 6, 0)]
    {
        settles_at(passed, || of("passed", filter));
        settles_at(acted, || of("acted", filter));
        settles_at(refused, || of("refused", filter));
    }
}
