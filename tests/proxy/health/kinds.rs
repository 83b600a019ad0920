//! Each kind of check against real servers.

use super::{fast, logs, settles};
use crate::support::{Nginx, Setup};

#[test]
fn http_judges_status_and_body() {
    let nginx = Nginx::start(
        "location /ok { return 200 'all is ready'; }
         location /teapot { return 418; }
         location /moved { return 302 /ok; }
         location /agent { if ($http_x_check != 'corelane') { return 503; } return 200 $host; }",
    );
    for (keys, healthy, reason) in [
        ("path = \"/ok\"", 1, ""),
        ("path = \"/moved\"", 1, ""),
        ("path = \"/moved\", statuses = [200]", 0, "reason=\"status 302\""),
        ("path = \"/teapot\"", 0, "reason=\"status 418\""),
        ("path = \"/teapot\", statuses = [\"400-420\"]", 1, ""),
        ("path = \"/ok\", body = \"ready\"", 1, ""),
        ("path = \"/ok\", body = \"steady\"", 0, "reason=\"body does not match\""),
        ("path = \"/ok\", body_regex = '^all (is|are) ready$'", 1, ""),
        ("path = \"/ok\", method = \"HEAD\"", 1, ""),
        ("path = \"/agent\"", 0, "reason=\"status 503\""),
        (
            "path = \"/agent\", headers = { X-Check = \"corelane\" }, host = \"a.test\", body = \"a.test\"",
            1,
            "",
        ),
    ] {
        let proxy = Setup::nginx(&nginx).upstream(&fast("http", keys)).start();
        settles(&proxy, nginx.address(), healthy);
        if healthy == 0 {
            logs(&proxy, &["endpoint is down", reason]);
        }
    }
}
