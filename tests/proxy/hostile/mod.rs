//! Hostile and borderline input, as tables: each row says what is sent, what the client must see, byte for byte, and what
//! the origin must have received. After each row a fresh connection is served, its reason has been counted once, and at
//! the end the access log has exactly the records that are due.
//!
//! The families are those that others have published (smuggling research, HTTP Garden, Http11Probe, llhttp, nginx); the
//! rows are our own. A group is one proxy and one origin, and its rows run one after the other, so that what a row leaves
//! behind shows in the next.

mod case;
mod chunks;
mod fields;
mod heads;
mod hosts;
mod interim;
mod lengths;
mod limits;
mod paths;
mod responses;
mod run;

use std::collections::BTreeSet;
use std::time::Duration;

use self::case::{Case, GET};
use self::run::Group;

/// A test for each group, and the list of them all.
macro_rules! groups {
    ($($test:ident => $group:expr,)*) => {
        const GROUPS: &[Group] = &[$($group),*];

        $(
            #[test]
            fn $test() {
                $group.run();
            }
        )*
    };
}

groups! {
    request_lengths_with_codings => lengths::BOTH,
    request_codings => lengths::CODINGS,
    request_lengths => lengths::LENGTHS,
    request_bodies => lengths::BODIES,
    chunk_sizes => chunks::SIZES,
    chunk_extensions => chunks::EXTENSIONS,
    trailers => chunks::TRAILERS,
    trailers_by_name => chunks::NAMED_TRAILERS,
    line_ends => heads::LINES,
    request_lines => heads::REQUEST_LINES,
    targets => heads::TARGETS,
    field_lines => heads::FIELDS,
    hosts => hosts::GROUP,
    hop_by_hop_fields => fields::HOPS,
    fields_that_end_here => fields::DROPPED,
    underscores_passed => fields::UNDERSCORES_PASSED,
    underscores_rejected => fields::UNDERSCORES_REJECTED,
    methods => fields::METHODS,
    methods_refused => fields::METHODS_REFUSED,
    expectations => fields::EXPECTATIONS,
    paths => paths::DEFAULTS,
    paths_normalised => paths::NORMALISED,
    paths_passed => paths::PASSED,
    paths_rejected => paths::REJECTED,
    status_lines => responses::STATUS_LINES,
    response_fields => responses::FIELDS,
    response_framing => responses::FRAMING,
    response_bodies => responses::BODIES,
    surplus => responses::SURPLUS,
    interim_responses => interim::GROUP,
    sizes_of_heads => limits::SIZES,
    sizes_of_bodies => limits::BODIES,
    requests_on_a_connection => limits::REQUESTS,
    pipelines => limits::PIPELINES,
    times_of_heads => limits::HEAD_TIMES,
    times_of_bodies => limits::BODY_TIMES,
    rates_of_request_bodies => limits::BODY_RATES,
    rates_of_responses => limits::SEND_RATES,
}

/// However the bytes are cut up on their way, the answer is the same.
#[test]
fn heads_that_come_byte_by_byte() {
    for group in [
        &lengths::BOTH,
        &lengths::LENGTHS,
        &heads::LINES,
        &heads::REQUEST_LINES,
        &heads::TARGETS,
        &heads::FIELDS,
        &hosts::GROUP,
        &fields::HOPS,
        &fields::DROPPED,
        &fields::METHODS,
        &paths::DEFAULTS,
        &limits::SIZES,
    ] {
        group.run_byte_by_byte();
    }
}

/// What issue 3 asks for.
const ROWS_MIN: usize = 150;

#[test]
fn there_are_enough_rows_and_each_has_a_name_of_its_own() {
    let rows: Vec<Case> = GROUPS.iter().flat_map(|group| (group.cases)()).collect();
    println!("{} rows in {} groups", rows.len(), GROUPS.len());
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let mut names = BTreeSet::new();
    let twice: Vec<_> = rows.iter().map(|row| row.name).filter(|&name| !names.insert(name)).collect();
    assert!(twice.is_empty(), "names of two rows: {twice:?}");
}

/// A runner that sees nothing would pass everything.
#[test]
fn a_row_that_does_not_hold_is_reported_with_its_bytes() {
    let group = Group { name: "wrong", setup: |setup| setup, cases: Vec::new };
    let good = || Case::new("good", GET);
    let bad = "GET / HTTP/1.1\r\nHost: a b\r\n\r\n";
    let rows: Vec<(Case, &str)> = vec![
        (good().refused(400, "host_invalid"), "not 400 host_invalid"),
        (good().sees("HTTP/1.1 200 OK\r\n\r\n"), "the client saw"),
        (good().end(case::End::Closed), "the connection does not end"),
        (good().arrives("GET /other HTTP/1.1\r\nHost: a\r\n\r\n"), "the origin received"),
        (good().received(case::Received::Nothing), "the origin received"),
        (good().pooled(false), "was used again"),
        (good().logs(&[(404, None)]), "the log says"),
        (good().logs(&[(200, Some("nul"))]), "corelane_listener_failures_total"),
        (good().by("other"), "route"),
        (good().then(case::Then::Close), "was not used again"),
        (Case::new("bad", bad), "the client saw"),
        (Case::new("bad", bad).refused(400, "host_missing"), "it does not say host_missing"),
        (Case::new("bad", bad).refused(401, "host_invalid"), "not 401"),
        (Case::new("bad", bad).answered(400, "host_invalid"), "of the connection is not right"),
    ];
    let count = rows.len();
    for (case, says) in rows {
        let sent =
            format!("{:?}", if case.name == "bad" { bad } else { "GET / HTTP/1.1\r\nHost: a\r\n\r\n" });
        let wrong = group.wrong(vec![case], Duration::from_secs(1)).join("\n");
        assert!(wrong.contains(says) && wrong.contains(&sent), "{says:?} is not in {wrong:?}");
    }
    assert_eq!(
        group.wrong(vec![good()], Duration::from_secs(5)),
        Vec::<String>::new(),
        "{count} wrong rows and a good one"
    );
}
