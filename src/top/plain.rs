//! The state as plain text: every table with all of its columns, for `--once`.

use corelane_control::state::{Kind, Severity, State};

use super::figures::{age, count, number, seconds, share};
use super::pane::Pane;

/// Lines that a person and `grep` can read.
pub(super) fn written(state: &State) -> String {
    let totals = &state.totals;
    let mut text = format!(
        "corelane {} on {}, {}, up {}, generation {}, {} workers\n\
         {} requests/s, 5xx {}, p50 {}, p99 {}, {} connections, in {}B/s, out {}B/s, over the last {:.0} s\n\n",
        state.version,
        state.host,
        state.phase.name(),
        age(state.time - state.started),
        state.generation,
        state.workers_running,
        number(totals.requests.per_second),
        share(totals.error_ratio),
        seconds(totals.duration.p50_seconds),
        seconds(totals.duration.p99_seconds),
        count(totals.connections),
        number(totals.received_bytes.per_second),
        number(totals.sent_bytes.per_second),
        state.interval_seconds,
    );
    for problem in &state.problems {
        let mark = if problem.severity == Severity::Critical { "!!" } else { "! " };
        let about = match problem.kind {
            Kind::Process => String::new(),
            kind => format!("{} {}: ", kind.name(), problem.name),
        };
        text += &format!("{mark} {about}{}\n", problem.text);
    }
    match (state.problems.len(), state.problems_left_out) {
        (0, _) => text.push_str("nothing is wrong\n"),
        (_, 0) => {}
        (_, more) => text += &format!("   and {more} more\n"),
    }
    for pane in Pane::ALL {
        text.push('\n');
        add_table(&mut text, pane, state);
    }
    // A terminal obeys control characters, and names come from elsewhere.
    text.replace(|c: char| c.is_control() && c != '\n', "·")
}

fn add_table(text: &mut String, pane: Pane, state: &State) {
    let columns = pane.columns();
    let heading = columns.iter().map(|column| column.title.to_owned()).collect::<Vec<_>>();
    let cells = |row: super::pane::Row| row.cells.into_iter().map(|cell| cell.text).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> =
        [heading].into_iter().chain(pane.rows(state).into_iter().map(cells)).collect();
    let width = |index: usize| lines.iter().map(|line| line[index].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    for line in &lines {
        let cells =
            line.iter().zip(columns).zip(&widths).map(|((cell, column), &width)| match column.is_name {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_control::state::{Listener, Phase, Problem, Rate, Route};

    #[test]
    fn every_table_is_aligned_and_harmless() {
        let rate = |per_second| Rate { total: 12_345, per_second };
        let route = |name: &str, per_second| Route {
            name: name.into(),
            requests: rate(per_second),
            ..Route::default()
        };
        let problem = Problem {
            severity: Severity::Critical,
            kind: Kind::Route,
            name: "api".into(),
            text: "is \x1b[31mbad".into(),
        };
        let state = State {
            version: "1.2.3".into(),
            host: "edge-1".into(),
            phase: Phase::Serving,
            time: 100.0,
            interval_seconds: 5.0,
            problems: vec![problem],
            routes: vec![route("api", 3.0), route("a-longer-one", 12_000.0)],
            listeners: vec![Listener { name: "web".into(), ..Listener::default() }],
            ..State::default()
        };
        let text = written(&state);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "corelane 1.2.3 on edge-1, serving, up 1m 40s, generation 0, 0 workers");
        assert_eq!(lines[3], "!! route api: is ·[31mbad");
        assert_eq!(
            lines[5..8],
            [
                "ROUTE         REQ/S  2XX/S  3XX/S  4XX/S  5XX/S  5XX%  P50  P99  TOTAL  UPSTREAM  REASON",
                "api             3.0      0      0      0      0     -    -    -  12.3k  (itself)",
                "a-longer-one  12.0k      0      0      0      0     -    -    -  12.3k  (itself)",
            ]
        );
        assert!(written(&State::default()).contains("\nnothing is wrong\n"));
    }
}
