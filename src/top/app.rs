//! What is looked at, and what keys do. No terminal, no network.

use std::cmp::Ordering;
use std::collections::VecDeque;

use corelane_control::state::State;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::pane::{Pane, Row};

/// Everything that the picture is made of.
#[derive(Debug)]
pub(super) struct App {
    /// Whom it is about: the address that is asked.
    pub(super) source: String,
    /// The last that was told and is shown; none yet.
    pub(super) state: Option<State>,
    /// Why the last question has no answer.
    pub(super) trouble: Option<String>,
    pub(super) pane: Pane,
    /// By what the rows of each pane are sorted; the order of [`Pane::ALL`].
    sorts: [Sort; Pane::ALL.len()],
    /// The name of the selected row; the first row without.
    selected: Option<String>,
    /// Only rows with this in one of their words.
    pub(super) filter: String,
    /// Only rows with a problem.
    pub(super) only_problems: bool,
    pub(super) mode: Mode,
    pub(super) is_paused: bool,
    /// What happened between one state and the next.
    pub(super) history: VecDeque<Moment>,
    /// Time, requests and 5xx of the last state.
    last: Option<(f64, u64, u64)>,
    /// How many rows the last picture had room for.
    pub(super) rows_visible: usize,
    /// The first row that was in it.
    pub(super) offset: usize,
}

/// The time from one state to the next: a second, so that peaks can be seen that five seconds level out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    /// Per second.
    pub(super) requests: f64,
    /// 5xx per second.
    pub(super) errors: f64,
}

/// What keys go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Table,
    /// The filter is being written.
    Filter,
    /// All about the selected row.
    Detail,
    Help,
}

/// An order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// What has problems, then what is busiest.
    Worst,
    /// By a column: figures from the greatest, words from A.
    Column { index: usize, is_reversed: bool },
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Go,
    Quit,
    /// Into the background.
    Suspend,
}

/// States that the history has: two minutes of seconds.
pub(super) const HISTORY_MAX: usize = 120;

impl App {
    pub(super) fn new(source: String) -> Self {
        Self {
            source,
            state: None,
            trouble: None,
            pane: Pane::Routes,
            sorts: [Sort::Worst; Pane::ALL.len()],
            selected: None,
            filter: String::new(),
            only_problems: false,
            mode: Mode::Table,
            is_paused: false,
            history: VecDeque::new(),
            last: None,
            rows_visible: 1,
            offset: 0,
        }
    }

    /// Takes what a question has brought.
    pub(super) fn told(&mut self, told: Result<State, String>) {
        match told {
            Ok(state) => {
                self.trouble = None;
                self.remember(&state);
                if !self.is_paused || self.state.is_none() {
                    self.state = Some(state);
                }
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    fn remember(&mut self, state: &State) {
        let (requests, errors) = (state.totals.requests.total, state.totals.responses.of_5xx.total);
        let last = self.last.replace((state.time, requests, errors));
        // The same sample twice is one point in time.
        if let Some((then, earlier_requests, earlier_errors)) = last
            && state.time > then
        {
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / (state.time - then);
            self.history.push_back(Moment {
                requests: rate(requests, earlier_requests),
                errors: rate(errors, earlier_errors),
            });
            self.history.drain(..self.history.len().saturating_sub(HISTORY_MAX));
        }
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.pane_index()]
    }

    fn pane_index(&self) -> usize {
        Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0)
    }

    /// The rows of the pane that are shown, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some(state) = &self.state else { return Vec::new() };
        let wanted = self.filter.to_lowercase();
        let is_wanted = |row: &Row| {
            let mut words = row.cells.iter().filter(|cell| cell.value.is_none());
            (!self.only_problems || row.mark.is_some())
                && (wanted.is_empty() || words.any(|cell| cell.text.to_lowercase().contains(&wanted)))
        };
        let mut rows: Vec<Row> = self.pane.rows(state).into_iter().filter(is_wanted).collect();
        let busiest = self.pane.columns().iter().position(|column| column.title == "REQ/S").unwrap_or(0);
        // Stable: equal rows stay in the order of the configuration, so that nothing dances.
        rows.sort_by(|a, b| match self.sort() {
            Sort::Worst => {
                let is_well = |row: &Row| row.mark.is_none();
                (is_well(a), a.mark).cmp(&(is_well(b), b.mark)).then_with(|| by_column(a, b, busiest))
            }
            Sort::Column { index, is_reversed: false } => by_column(a, b, index),
            Sort::Column { index, is_reversed: true } => by_column(b, a, index),
        });
        rows
    }

    /// Where the selected row is; the first one if it is gone.
    pub(super) fn selected_index(&self, rows: &[Row]) -> usize {
        let is_selected = |row: &Row| Some(&row.name) == self.selected.as_ref();
        rows.iter().position(is_selected).unwrap_or(0)
    }

    /// Whether a row was selected by a key: until then none looks so.
    pub(super) fn has_selected(&self) -> bool {
        self.selected.is_some()
    }

    /// Does what a key says.
    pub(super) fn key(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Step::Quit,
                KeyCode::Char('z') => Step::Suspend,
                KeyCode::Char('d') => self.moved_by(self.page() / 2),
                KeyCode::Char('u') => self.moved_by(-self.page() / 2),
                _ => Step::Go,
            };
        }
        match self.mode {
            Mode::Filter => self.key_in_filter(key.code),
            Mode::Help => {
                self.mode = Mode::Table;
                if key.code == KeyCode::Char('q') { Step::Quit } else { Step::Go }
            }
            Mode::Table | Mode::Detail => self.key_in_table(key.code),
        }
    }

    fn key_in_filter(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if self.filter.len() < FILTER_BYTES_MAX => self.filter.push(c),
            _ => {}
        }
        Step::Go
    }

    fn key_in_table(&mut self, code: KeyCode) -> Step {
        match code {
            KeyCode::Char('q') => return Step::Quit,
            KeyCode::Esc if self.mode == Mode::Detail => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.filter.clear();
                self.only_problems = false;
            }
            KeyCode::Enter if self.mode == Mode::Detail => self.mode = Mode::Table,
            KeyCode::Enter => self.mode = Mode::Detail,
            KeyCode::Tab => self.go_to(self.pane_index() + 1),
            KeyCode::BackTab => self.go_to(self.pane_index() + Pane::ALL.len() - 1),
            KeyCode::Char(c @ '1'..='5') => self.go_to(c as usize - '1' as usize),
            KeyCode::Up | KeyCode::Char('k') => return self.moved_by(-1),
            KeyCode::Down | KeyCode::Char('j') => return self.moved_by(1),
            KeyCode::PageUp => return self.moved_by(-self.page()),
            KeyCode::PageDown => return self.moved_by(self.page()),
            KeyCode::Home | KeyCode::Char('g') => return self.moved_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => return self.moved_by(isize::MAX),
            KeyCode::Right | KeyCode::Char('s' | '>') => self.sort_by_next(1),
            KeyCode::Left | KeyCode::Char('S' | '<') => self.sort_by_next(Pane::len_of_sorts(self.pane) - 1),
            KeyCode::Char('r') => self.reverse(),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('!') => self.only_problems = !self.only_problems,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            _ => {}
        }
        Step::Go
    }

    fn go_to(&mut self, pane: usize) {
        self.pane = Pane::ALL[pane % Pane::ALL.len()];
        self.selected = None;
        self.offset = 0;
        self.mode = Mode::Table;
    }

    fn page(&self) -> isize {
        isize::try_from(self.rows_visible.max(2) - 1).unwrap_or(1)
    }

    fn moved_by(&mut self, by: isize) -> Step {
        let rows = self.rows();
        let to = self.selected_index(&rows).saturating_add_signed(by).min(rows.len().saturating_sub(1));
        self.selected = rows.get(to).map(|row| row.name.clone());
        Step::Go
    }

    fn sort_by_next(&mut self, by: usize) {
        let now = match self.sort() {
            Sort::Worst => 0,
            Sort::Column { index, .. } => index + 1,
        };
        let next = (now + by) % Pane::len_of_sorts(self.pane);
        let sort = next.checked_sub(1);
        let sort = sort.map_or(Sort::Worst, |index| Sort::Column { index, is_reversed: false });
        self.sorts[self.pane_index()] = sort;
    }

    fn reverse(&mut self) {
        let pane = self.pane_index();
        if let Sort::Column { is_reversed, .. } = &mut self.sorts[pane] {
            *is_reversed = !*is_reversed;
        }
    }
}

impl Pane {
    /// Its columns, and the worst first.
    fn len_of_sorts(self) -> usize {
        self.columns().len() + 1
    }
}

/// Nobody writes more.
const FILTER_BYTES_MAX: usize = 60;

fn by_column(a: &Row, b: &Row, index: usize) -> Ordering {
    match (&a.cells[index], &b.cells[index]) {
        (a, b) if a.value.is_none() => natural(&a.text, &b.text),
        (a, b) => b.value.unwrap_or_default().total_cmp(&a.value.unwrap_or_default()),
    }
}

/// `10.0.0.9` before `10.0.0.10`: runs of digits by their value.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(&x), Some(&y)) = (a.first(), b.first()) else { return a.len().cmp(&b.len()) };
        if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number, a_rest) = digits(a);
            let (other, b_rest) = digits(b);
            // Without leading zeros the longer one is the greater.
            let order = (number.len(), number).cmp(&(other.len(), other));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (a_rest, b_rest);
        } else {
            let order = x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase());
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
    }
}

/// The digits at the start, without leading zeros, and what follows.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let zeros = digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corelane_control::state::{Kind, Problem, Rate, Route, Severity, Totals};

    fn state(time: u32) -> State {
        let route = |name: &str, per_second| Route {
            name: name.into(),
            upstreams: vec!["app".into()],
            requests: Rate { total: 1, per_second },
            ..Route::default()
        };
        let problem = |severity, name: &str| Problem {
            severity,
            kind: Kind::Route,
            name: name.into(),
            text: "is bad".into(),
        };
        let mut totals = Totals::default();
        totals.requests.total = u64::from(time) * 10;
        totals.responses.of_5xx.total = time.into();
        State {
            time: time.into(),
            totals,
            routes: vec![route("r2", 5.0), route("r10", 50.0), route("ill", 0.1), route("worse", 0.2)],
            problems: vec![problem(Severity::Critical, "worse"), problem(Severity::Warning, "ill")],
            ..State::default()
        }
    }

    fn app() -> App {
        let mut app = App::new("http://a:1".into());
        app.told(Ok(state(1)));
        app
    }

    fn press(app: &mut App, keys: &str) -> Step {
        keys.chars().map(|c| app.key(KeyEvent::from(KeyCode::Char(c)))).last().expect("a key")
    }

    fn names(app: &App) -> Vec<String> {
        app.rows().into_iter().map(|row| row.name).collect()
    }

    #[test]
    fn the_worst_is_on_top_until_told_otherwise() {
        let mut app = app();
        assert_eq!(names(&app), ["worse", "ill", "r10", "r2"]);
        press(&mut app, "s");
        assert_eq!(names(&app), ["ill", "r2", "r10", "worse"], "by name, numbers by value");
        press(&mut app, "r");
        assert_eq!(names(&app), ["worse", "r10", "r2", "ill"]);
        press(&mut app, "s");
        assert_eq!(names(&app), ["r10", "r2", "worse", "ill"], "by requests, the most first");
        press(&mut app, "<<");
        assert_eq!(app.sort(), Sort::Worst);
        press(&mut app, "<");
        assert_eq!(app.sort(), Sort::Column { index: Pane::Routes.columns().len() - 1, is_reversed: false });
        press(&mut app, "2");
        assert_eq!(app.sort(), Sort::Worst, "each pane has its own");
    }

    #[test]
    fn filters_by_words_and_by_problems() {
        let mut app = app();
        press(&mut app, "/R1");
        assert_eq!((names(&app), app.mode), (vec!["r10".to_owned()], Mode::Filter));
        // Keys are letters there.
        press(&mut app, "q");
        assert_eq!(names(&app), [""; 0]);
        app.key(KeyEvent::from(KeyCode::Backspace));
        app.key(KeyEvent::from(KeyCode::Enter));
        assert_eq!((names(&app), app.mode), (vec!["r10".to_owned()], Mode::Table));
        app.key(KeyEvent::from(KeyCode::Esc));
        press(&mut app, "!");
        assert_eq!(names(&app), ["worse", "ill"]);
        app.key(KeyEvent::from(KeyCode::Esc));
        assert_eq!(names(&app).len(), 4);
    }

    #[test]
    fn the_selection_stays_with_its_row() {
        let mut app = app();
        press(&mut app, "jj");
        assert_eq!(app.selected_index(&app.rows()), 2);
        press(&mut app, "ss");
        assert_eq!(app.selected_index(&app.rows()), 0, "r10 is the busiest");
        app.key(KeyEvent::from(KeyCode::End));
        assert_eq!(app.selected_index(&app.rows()), 3);
        press(&mut app, "j");
        assert_eq!(app.selected_index(&app.rows()), 3);
        press(&mut app, "gk");
        assert_eq!(app.selected_index(&app.rows()), 0);
    }

    #[test]
    fn a_pause_keeps_the_picture_and_goes_on_counting() {
        let mut app = app();
        press(&mut app, "p");
        app.told(Ok(state(2)));
        app.told(Ok(state(2)));
        assert_eq!(app.state.as_ref().map(|state| state.time), Some(1.0));
        assert_eq!(app.history, [Moment { requests: 10.0, errors: 1.0 }], "the same sample twice is one");
        press(&mut app, " ");
        app.told(Ok(state(3)));
        assert_eq!(app.state.as_ref().map(|state| state.time), Some(3.0));
    }

    #[test]
    fn trouble_goes_when_there_is_an_answer() {
        let mut app = app();
        app.told(Err("cannot ask".into()));
        assert!(app.trouble.is_some() && app.state.is_some());
        app.told(Ok(state(1)));
        assert!(app.trouble.is_none());
        for time in 2..500 {
            app.told(Ok(state(time)));
        }
        assert_eq!(app.history.len(), HISTORY_MAX);
    }

    #[test]
    fn ends_as_one_expects() {
        let mut app = app();
        assert_eq!(press(&mut app, "?"), Step::Go);
        assert_eq!(press(&mut app, "x"), Step::Go);
        assert_eq!(app.mode, Mode::Table);
        app.key(KeyEvent::from(KeyCode::Enter));
        assert_eq!(app.mode, Mode::Detail);
        app.key(KeyEvent::from(KeyCode::Esc));
        assert_eq!(app.mode, Mode::Table);
        assert_eq!(press(&mut app, "q"), Step::Quit);
        assert_eq!(press(&mut app, "/q"), Step::Go);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        assert_eq!(app.key(control('c')), Step::Quit, "in whatever mode");
        assert_eq!(app.key(control('z')), Step::Suspend);
    }
}
