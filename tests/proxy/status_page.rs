//! `/status` in a real browser: the script runs under its own policy, and what it shows is what goes on.

use std::path::Path;
use std::process::Command;

use crate::support::process::{output, stderr, stdout};
use crate::support::{Load, Origin, Proxy, Setup, free_port, ok};

/// Opens the page in headless Chromium and does this with it.
#[track_caller]
fn browse(proxy: &Proxy, tab: &str, what: &[&str]) -> String {
    let profile = proxy.dir().join("browser");
    let mut command = Command::new("chromium");
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
    ]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    // The page's clock runs only while nothing is under way: so long after its first answer.
    command.args(["--window-size=1280,900", "--virtual-time-budget=3000"]).args(what);
    let seen = output(command.arg(format!("http://{}/status#{tab}", proxy.address("admin"))));
    let told = stderr(&seen);
    assert!(seen.status.success(), "{told}");
    // What the script throws, and what the policy forbids.
    assert!(!told.contains("CONSOLE"), "{told}");
    stdout(&seen)
}

/// The cells of the row with this name.
#[track_caller]
fn cells(page: &str, row: &str) -> Vec<String> {
    let (_, rest) =
        page.split_once(&format!("data-row=\"{row}\"")).unwrap_or_else(|| panic!("no {row} in {page}"));
    let row = rest.split("</tr>").next().unwrap_or_default();
    let text = |cell: &str| {
        cell.split_once('>').map(|(_, text)| text.split('<').next().unwrap_or_default().to_owned())
    };
    row.split("<td").skip(1).filter_map(text).collect()
}

#[test]
fn shows_routes_and_their_rates() {
    let origin = Origin::answering(ok("x"));
    let proxy = Setup::origin(&origin).start();
    let load = Load::start(&proxy.address("web"), 4, "/");
    let page = browse(&proxy, "routes", &["--dump-dom"]);
    let endpoints = browse(&proxy, "endpoints", &["--dump-dom"]);
    load.finish().assert_all_ok();

    let row = cells(&page, "all");
    assert_eq!(row[0], "all");
    assert!(row[1].trim_end_matches('k').parse::<f64>().is_ok_and(|rate| rate > 0.0), "{row:?}");
    assert!(row[3].ends_with("s") && row[4].ends_with("s"), "p50 and p99: {row:?}");
    assert!(page.contains("Nothing is wrong."), "{page}");
    let row = cells(&endpoints, &format!("origin {}", origin.address()));
    assert_eq!((&*row[0], &*row[1], &*row[2]), (origin.address(), "origin", "ok"));
}

#[test]
fn shows_what_is_wrong_in_a_picture_too() {
    let dead = format!("127.0.0.1:{}", free_port());
    let proxy = Setup::to(&[&dead]).start();
    let load = Load::start(&proxy.address("web"), 1, "/");
    let page = browse(&proxy, "routes", &["--dump-dom"]);
    let picture = proxy.dir().join("status.png");
    browse(&proxy, "routes", &[&format!("--screenshot={}", picture.display())]);
    load.finish();

    assert!(page.contains("100&nbsp;% of attempts fail: connect_failed"), "{page}");
    assert!(page.contains(&format!("endpoint origin {dead}</a>")), "{page}");
    assert!(page.contains("<tr class=\"critical\" data-row=\"all\""), "{page}");
    assert!(colours(&picture) > 1000, "a page with text in it");
}

/// At least so many different groups of bytes: an empty page, compressed, has few.
fn colours(picture: &Path) -> usize {
    let bytes = std::fs::read(picture).expect("the picture");
    assert!(bytes.starts_with(b"\x89PNG\r\n"), "a PNG");
    let groups: std::collections::HashSet<&[u8]> = bytes.chunks_exact(4).collect();
    groups.len()
}
