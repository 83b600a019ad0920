//! Pictures of made-up proxies, as text.

use corelane_control::state::{Endpoint, Health, Kind, Problem, Rate, Route, Severity, State, Worker};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;

fn rate(per_second: f64) -> Rate {
    Rate { total: 1234, per_second }
}

fn route(name: &str, per_second: f64) -> Route {
    Route {
        name: name.into(),
        upstreams: vec!["app".into()],
        requests: rate(per_second),
        error_ratio: Some(0.5),
        ..Route::default()
    }
}

fn state() -> State {
    let problem = |severity, kind, name: &str, text: &str| Problem {
        severity,
        kind,
        name: name.to_owned(),
        text: text.to_owned(),
    };
    State {
        version: "0.1.0".into(),
        host: "edge-1".into(),
        phase: Phase::Serving,
        time: 1_795_230_302.0,
        started: 1_795_230_302.0 - 273_600.0,
        generation: 7,
        workers_running: 2,
        routes: vec![route("busy", 1500.0), route("api", 12.0)],
        endpoints: vec![Endpoint {
            upstream: "app".into(),
            endpoint: "10.0.0.1:80".into(),
            health: Health::Suspended,
            ..Endpoint::default()
        }],
        workers: vec![Worker { name: "0".into(), ..Worker::default() }],
        problems: vec![
            problem(Severity::Critical, Kind::Route, "api", "50 % of responses are 5xx"),
            problem(Severity::Warning, Kind::Process, "", "the last reload was refused"),
        ],
        ..State::default()
    }
}

fn app() -> App {
    let mut app = App::new("http://127.0.0.1:9900".into());
    app.told(Ok(state()));
    app
}

fn drawn(app: &mut App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend");
    terminal.draw(|frame| draw(frame, app)).expect("draws");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn press(app: &mut App, code: ratatui::crossterm::event::KeyCode) {
    app.key(ratatui::crossterm::event::KeyEvent::from(code));
}

#[test]
fn fits_the_smallest_usual_terminal() {
    let lines = drawn(&mut app(), 80, 24);
    assert_eq!(lines[0], "corelane 0.1.0 edge-1  SERVING  up 3d 4h  generation 7  2 workers  0B  03:05:02Z");
    assert_eq!(lines[3], "!! route api: 50 % of responses are 5xx");
    assert_eq!(lines[4], "!  the last reload was refused");
    assert_eq!(lines[5], " 1 Routes 2 !1  2 Upstreams 0  3 Endpoints 1  4 Listeners 0  5 Workers 1");
    assert!(lines[6].starts_with("   ROUTE "), "{}", lines[6]);
    assert!(lines[7].starts_with("!! api ") && lines[8].starts_with("   busy "), "{lines:#?}");
    assert!(lines[8].contains("1.50k"), "{}", lines[8]);
    assert!(lines[23].starts_with("Tab next") && lines[23].ends_with("q quit"), "{}", lines[23]);
    assert!(lines[23].chars().count() <= 80);
}

#[test]
fn columns_come_and_go_with_the_width() {
    let heading = |width| {
        let lines = drawn(&mut app(), width, 24);
        lines[6].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(heading(50), ["ROUTE", "REQ/S", "5XX%", "P50", "P99"]);
    let all: Vec<&str> = Pane::Routes.columns().iter().map(|column| column.title).collect();
    assert_eq!(heading(200), all);
    for (width, height) in (1..26).map(|it| (it, 24)).chain((1..26).map(|it| (80, it))) {
        drawn(&mut app(), width, height);
    }
}

#[test]
fn says_that_nothing_is_wrong_and_that_nobody_answers() {
    let mut app = App::new("http://127.0.0.1:9900".into());
    assert_eq!(drawn(&mut app, 80, 24)[0], "corelane  asking http://127.0.0.1:9900");
    app.told(Err("cannot ask: refused".into()));
    assert_eq!(drawn(&mut app, 80, 24)[3], "!! cannot ask: refused");
    app.told(Ok(State { problems: Vec::new(), ..state() }));
    assert_eq!(drawn(&mut app, 80, 24)[3], "   nothing is wrong");
    app.told(Err("cannot ask: refused".into()));
    assert_eq!(drawn(&mut app, 80, 24)[3], "!! OLD FIGURES: cannot ask: refused");
}

#[test]
fn many_problems_leave_room_for_the_table() {
    let mut app = app();
    let mut state = state();
    state.problems = vec![state.problems[0].clone(); 100];
    state.problems_left_out = 11;
    app.told(Ok(State { time: state.time + 1.0, ..state }));
    let lines = drawn(&mut app, 80, 24);
    assert_eq!(lines[8], "   and 106 more; press ! in a table");
    assert!(lines[9].starts_with(" 1 Routes 2 !100"), "{}", lines[9]);
}

#[test]
fn shows_one_row_in_full_and_help() {
    use ratatui::crossterm::event::KeyCode::{Char, Enter, Esc};
    let mut app = app();
    press(&mut app, Enter);
    let text = drawn(&mut app, 80, 24).join("\n");
    assert!(
        text.contains("┌ route api ─") && text.contains("requests        12/s       1234 in all"),
        "{text}"
    );
    press(&mut app, Esc);
    press(&mut app, Char('?'));
    assert!(drawn(&mut app, 80, 24).join("\n").contains("it can wait until the morning"));
    press(&mut app, Esc);
    press(&mut app, Char('3'));
    assert!(drawn(&mut app, 80, 24)[7].contains("10.0.0.1:80        suspended"));
    press(&mut app, Char('/'));
    press(&mut app, Char('x'));
    let lines = drawn(&mut app, 80, 24);
    assert_eq!(lines[23], "/x█  Enter keeps it, Esc drops it");
    assert!(lines[6].contains("nothing here fits the filter"), "{lines:#?}");
}

#[test]
fn the_table_scrolls_with_the_selection() {
    use ratatui::crossterm::event::KeyCode::{Char, End, Home};
    let mut app = App::new("a".into());
    let routes = (0..100).map(|number| route(&format!("r{number}"), 100.0 - f64::from(number))).collect();
    app.told(Ok(State { routes, ..State::default() }));
    let first_and_last = |app: &mut App| {
        let lines = drawn(app, 80, 24);
        let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        (name(&lines[6]), name(&lines[22]))
    };
    assert_eq!(first_and_last(&mut app), ("r0".into(), "r16".into()));
    press(&mut app, End);
    assert_eq!(first_and_last(&mut app), ("r83".into(), "r99".into()));
    press(&mut app, Char('k'));
    assert_eq!(first_and_last(&mut app), ("r83".into(), "r99".into()), "the selection moves, not the rows");
    press(&mut app, Home);
    assert_eq!(first_and_last(&mut app), ("r0".into(), "r16".into()));
}

#[test]
fn names_cannot_command_the_terminal() {
    let mut app = App::new("a".into());
    app.told(Ok(State { routes: vec![route("\x1b[2Jboo", 1.0)], ..State::default() }));
    assert!(drawn(&mut app, 80, 24).join("\n").contains("·[2Jboo"));
}

#[test]
fn bars_are_as_high_as_their_share() {
    let line = bars("x ", &[0.0, 1.0, 4.0, 8.0], 40, Style::new()).to_string();
    assert_eq!(line, "x  ▁▄█ max 8.0");
    assert_eq!(bars("x ", &[0.0], 40, Style::new()).to_string(), "x  ");
    // The newest ones.
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(bars("x ", &values, 18, Style::new()).to_string(), "x ████ max 100");
}
