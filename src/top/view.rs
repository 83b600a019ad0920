//! The picture, from the top: whom it is about, the figures of all, what is wrong, one table, the keys.

use corelane_control::state::{Kind, Phase, Problem, Severity, State};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row as TableRow, Table, TableState};

use super::app::{App, Mode, Sort};
use super::detail;
use super::figures::{age, clock, count, number, seconds, share};
use super::pane::{Column, Pane, Row, Tone};

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let problems = problem_lines(app, frame.area().height);
    let height = u16::try_from(problems.len()).unwrap_or(u16::MAX);
    let [head, figures, history, told, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(height),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, app);
    if let Some(state) = &app.state {
        frame.render_widget(figures_line(state, figures.width), figures);
        draw_history(frame, history, app);
        frame.render_widget(tabs_line(app, state), tabs);
    }
    frame.render_widget(Paragraph::new(problems), told);
    if app.mode == Mode::Detail {
        draw_detail(frame, body, app);
    } else {
        draw_table(frame, body, app);
    }
    frame.render_widget(foot_line(app), foot);
    if app.mode == Mode::Help {
        draw_help(frame);
    }
}

/// Not grey: some themes have their background there.
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
const NAME: Style = Style::new().add_modifier(Modifier::BOLD);

fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Critical => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        Severity::Warning => Style::new().fg(Color::Yellow),
    }
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Quiet => QUIET,
        Tone::Good => Style::new().fg(Color::Green),
        Tone::Warning => style_of(Severity::Warning),
        Tone::Bad => style_of(Severity::Critical),
    }
}

/// Letters beside the colour: not everybody and every terminal has colours.
fn mark(severity: Option<Severity>) -> Span<'static> {
    match severity {
        Some(Severity::Critical) => Span::styled("!!", style_of(Severity::Critical)),
        Some(Severity::Warning) => Span::styled("! ", style_of(Severity::Warning)),
        None => Span::raw("  "),
    }
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(state) = &app.state else {
        frame.render_widget(
            Line::from(vec!["corelane".bold(), Span::raw(format!("  asking {}", app.source))]),
            area,
        );
        return;
    };
    let phase = match state.phase {
        Phase::Serving => " SERVING ".black().on_green(),
        Phase::Starting => " STARTING ".black().on_yellow(),
        Phase::Draining => " DRAINING ".black().on_yellow(),
        Phase::Unknown => " ? ".black().on_yellow(),
    };
    let host = if state.host.is_empty() { &app.source } else { &state.host };
    let left = Line::from(vec![
        "corelane ".bold(),
        Span::styled(format!("{} ", state.version), QUIET),
        Span::styled(format!("{host} "), NAME),
        phase,
        Span::raw(format!(
            " up {}  generation {}  {} workers  {}B",
            age(state.time - state.started),
            state.generation,
            state.workers_running,
            number(state.resident_bytes as f64)
        )),
    ]);
    let right = if app.is_paused { " PAUSED ".black().on_cyan() } else { clock(state.time).into() };
    let width = u16::try_from(right.width()).unwrap_or(0);
    let [left_area, right_area] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    frame.render_widget(left, left_area);
    frame.render_widget(right, right_area);
}

/// `name value` pairs of the whole proxy.
fn figures_line(state: &State, width: u16) -> Line<'static> {
    let totals = &state.totals;
    let errors = match totals.error_ratio {
        Some(0.1..) => Tone::Bad,
        Some(0.01..) => Tone::Warning,
        _ => Tone::Plain,
    };
    let classes = totals.responses.classes().map(|(_, rate)| rate.per_second);
    let all: f64 = classes.iter().sum();
    let refused = (all > 0.0).then(|| classes[2] / all);
    let connections = format!("{} ({} active)", count(totals.connections), count(totals.connections_active));
    let pairs = [
        ("req/s", number(totals.requests.per_second), Tone::Plain),
        ("5xx", share(totals.error_ratio), errors),
        ("4xx", share(refused), Tone::Plain),
        ("p50", seconds(totals.duration.p50_seconds), Tone::Plain),
        ("p99", seconds(totals.duration.p99_seconds), Tone::Plain),
        ("conns", connections, Tone::Plain),
        ("in", format!("{}B/s", number(totals.received_bytes.per_second)), Tone::Plain),
        ("out", format!("{}B/s", number(totals.sent_bytes.per_second)), Tone::Plain),
    ];
    let mut line = Line::default();
    for (name, value, tone) in pairs {
        let gap = if line.spans.is_empty() { "" } else { "   " };
        // What there is no room for is left out, not cut.
        if line.width() + gap.len() + name.len() + 1 + value.len() <= usize::from(width) {
            line.push_span(Span::styled(format!("{gap}{name} "), QUIET));
            line.push_span(Span::styled(value, style(tone).add_modifier(Modifier::BOLD)));
        }
    }
    line
}

/// Requests and errors of the last two minutes, the newest on the right.
fn draw_history(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let requests: Vec<f64> = app.history.iter().map(|moment| moment.requests).collect();
    let errors: Vec<f64> = app.history.iter().map(|moment| moment.errors).collect();
    frame.render_widget(bars("req/s ", &requests, left.width, Style::new().fg(Color::Green)), left);
    frame.render_widget(bars("5xx/s ", &errors, right.width, style_of(Severity::Critical)), right);
}

/// A line of bars, with its greatest value.
fn bars(title: &'static str, values: &[f64], width: u16, style: Style) -> Line<'static> {
    let room = usize::from(width).saturating_sub(title.len() + 12);
    let values = &values[values.len().saturating_sub(room)..];
    let most = values.iter().copied().fold(0.0, f64::max);
    let bar = |value: &f64| {
        let reached = BARS.iter().zip(1_u8..).find(|(_, eighths)| value * 8.0 <= most * f64::from(*eighths));
        reached.filter(|_| *value > 0.0).map_or(' ', |(bar, _)| *bar)
    };
    let peak = if most > 0.0 { format!(" max {}", number(most)) } else { String::new() };
    Line::from(vec![
        Span::styled(title, QUIET),
        Span::styled(values.iter().map(bar).collect::<String>(), style),
        Span::styled(peak, QUIET),
    ])
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is wrong, as much of it as there is room for; and that nothing is, so that nobody has to wonder.
fn problem_lines(app: &App, height: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(trouble) = &app.trouble {
        let old = app.state.as_ref().map_or("", |_| "OLD FIGURES: ");
        lines.push(Line::styled(
            format!("!! {old}{}", plain(trouble)),
            style_of(Severity::Critical).add_modifier(Modifier::REVERSED),
        ));
    }
    let Some(state) = &app.state else { return lines };
    if state.problems.is_empty() && app.trouble.is_none() {
        lines.push(Line::styled("   nothing is wrong", Style::new().fg(Color::Green)));
    }
    // Of 24 lines at most six: the table has to be seen, too.
    let room = usize::from(height / 4).max(1);
    let all = state.problems.len() + state.problems_left_out;
    let shown = if all > room { room - 1 } else { all };
    lines.extend(state.problems.iter().take(shown).map(problem_line));
    if all > shown {
        lines.push(Line::styled(format!("   and {} more; press ! in a table", all - shown), QUIET));
    }
    lines
}

fn problem_line(problem: &Problem) -> Line<'static> {
    let style = style_of(problem.severity);
    let about = if problem.kind == Kind::Process {
        String::new()
    } else {
        format!("{} {}: ", problem.kind.name(), problem.name)
    };
    Line::from(vec![
        mark(Some(problem.severity)),
        Span::raw(" "),
        Span::styled(plain(&about), style.add_modifier(Modifier::BOLD)),
        Span::styled(plain(&problem.text), style),
    ])
}

/// Names come from elsewhere, and a terminal obeys control characters.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "·")
}

fn tabs_line(app: &App, state: &State) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, pane) in Pane::ALL.into_iter().enumerate() {
        let style =
            if pane == app.pane { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(
            format!(" {} {} ", index + 1, pane.title()),
            style.add_modifier(Modifier::BOLD),
        ));
        spans.push(Span::styled(format!("{} ", pane.len(state)), QUIET));
        let of_it = state.problems.iter().filter(|problem| problem.kind == pane.kind());
        if let Some(worst) = of_it.clone().map(|problem| problem.severity).min() {
            spans.push(Span::styled(format!("!{} ", of_it.count()), style_of(worst)));
        }
    }
    Line::from(spans)
}

fn draw_table(frame: &mut Frame<'_>, area: Rect, app: &mut App) {
    let rows = app.rows();
    // One line is the heading.
    app.rows_visible = usize::from(area.height.saturating_sub(1));
    let columns = Columns::fit(app.pane, &rows, area.width);
    let selected = app.selected_index(&rows);
    let heading = columns.chosen.iter().map(|&(index, width)| {
        let column = app.pane.columns()[index];
        let arrow = match app.sort() {
            Sort::Column { index: by, is_reversed } if by == index => {
                if is_reversed {
                    "▴"
                } else {
                    "▾"
                }
            }
            _ => "",
        };
        aligned(format!("{}{arrow}", column.title), column, width)
    });
    let heading = TableRow::new([Line::raw("")].into_iter().chain(heading))
        .style(NAME.add_modifier(Modifier::UNDERLINED));
    let of = |row: &Row| {
        let cells = columns.chosen.iter().map(|&(index, width)| {
            let cell = &row.cells[index];
            let tone = if index == 0 && row.mark.is_some() {
                style(Tone::Plain).patch(row.mark.map_or(NAME, style_of))
            } else {
                style(cell.tone)
            };
            aligned(cut(&plain(&cell.text), width), app.pane.columns()[index], width).style(tone)
        });
        TableRow::new([Line::from(mark(row.mark))].into_iter().chain(cells))
    };
    let widths = [2].into_iter().chain(columns.chosen.iter().map(|(_, width)| *width));
    let table = Table::new(rows.iter().map(of), widths.map(Constraint::Length))
        .header(heading)
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let selected = app.has_selected().then_some(selected);
    let mut table_state = TableState::new().with_selected(selected).with_offset(app.offset);
    if rows.is_empty() && app.state.is_some() {
        let text = if app.only_problems && app.filter.is_empty() {
            "nothing here has a problem"
        } else {
            "nothing here fits the filter"
        };
        frame.render_widget(Paragraph::new(text).style(QUIET).alignment(Alignment::Center), area);
    } else {
        frame.render_stateful_widget(table, area, &mut table_state);
        app.offset = table_state.offset();
    }
}

fn aligned(text: String, column: Column, width: u16) -> Line<'static> {
    let alignment = if column.is_name { Alignment::Left } else { Alignment::Right };
    debug_assert!(width > 0);
    Line::raw(text).alignment(alignment)
}

/// The beginning, with a sign that there is more.
fn cut(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if Line::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if Line::raw(&*kept).width() >= width {
            kept.pop();
            break;
        }
    }
    kept.push('…');
    kept
}

/// The columns that there is room for, with their widths.
struct Columns {
    chosen: Vec<(usize, u16)>,
}

impl Columns {
    fn fit(pane: Pane, rows: &[Row], width: u16) -> Self {
        let columns = pane.columns();
        // The mark and a space.
        let room = width.saturating_sub(3);
        let mut rank = columns.iter().map(|column| column.rank).max().unwrap_or(0);
        let needed = |rank: u8| {
            let kept = columns.iter().filter(|column| column.rank <= rank);
            kept.map(|column| column.width + 1).sum::<u16>().saturating_sub(1)
        };
        while rank > 0 && needed(rank) > room {
            rank -= 1;
        }
        let mut spare = room.saturating_sub(needed(rank));
        let kept = columns.iter().enumerate().filter(|(_, column)| column.rank <= rank);
        let widest = |index: usize| {
            let widths = rows.iter().map(|row| Line::raw(&*row.cells[index].text).width());
            u16::try_from(widths.max().unwrap_or(0)).unwrap_or(u16::MAX)
        };
        // Names take what they need of the rest, the first ones first.
        let chosen = kept.map(|(index, column)| {
            let more = if column.is_name { widest(index).saturating_sub(column.width).min(spare) } else { 0 };
            spare -= more;
            (index, column.width + more)
        });
        Self { chosen: chosen.collect() }
    }
}

fn draw_detail(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let rows = app.rows();
    let Some((state, row)) = app.state.as_ref().zip(rows.get(app.selected_index(&rows))) else { return };
    let title = format!(" {} {} ", app.pane.kind().name(), plain(&row.name));
    let block = Block::bordered().title(Line::from(title).bold()).border_style(QUIET);
    let about = state.problems.iter().filter(|it| it.kind == app.pane.kind() && it.name == row.name);
    let mut lines: Vec<Line<'_>> = about.map(problem_line).collect();
    lines.extend(detail::lines(app.pane, &row.name, state).into_iter().map(|(name, value)| {
        Line::from(vec![Span::styled(format!("{name:>32}  "), QUIET), Span::raw(plain(&value))])
    }));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn foot_line(app: &App) -> Line<'static> {
    if app.mode == Mode::Filter {
        return Line::from(vec![
            "/".bold(),
            plain(&app.filter).into(),
            "█".into(),
            Span::styled("  Enter keeps it, Esc drops it", QUIET),
        ]);
    }
    let mut spans = Vec::new();
    let keys: &[(&str, &str)] = match app.mode {
        Mode::Detail => &[("Esc", "back"), ("↑↓", "others"), ("p", "pause"), ("q", "quit")],
        _ => &[
            ("Tab", "next"),
            ("Enter", "details"),
            ("s", "sort"),
            ("/", "filter"),
            ("!", "problems"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "quit"),
        ],
    };
    for (key, what) in keys {
        spans.push(Span::styled((*key).to_owned(), NAME));
        spans.push(Span::styled(format!(" {what}  "), QUIET));
    }
    if !app.filter.is_empty() {
        spans.insert(0, Span::styled(format!("/{}  ", plain(&app.filter)), Style::new().fg(Color::Cyan)));
    }
    if app.only_problems {
        spans.insert(0, Span::styled("!only problems  ", Style::new().fg(Color::Cyan)));
    }
    Line::from(spans)
}

fn draw_help(frame: &mut Frame<'_>) {
    let width = 66.min(frame.area().width);
    let height = u16::try_from(HELP.len() + 2).unwrap_or(u16::MAX).min(frame.area().height);
    let area = frame.area().centered(Constraint::Length(width), Constraint::Length(height));
    let lines = HELP
        .iter()
        .map(|(keys, what)| Line::from(vec![Span::styled(format!(" {keys:<18}"), NAME), Span::raw(*what)]));
    frame.render_widget(Clear, area);
    let block = Block::bordered().title(" keys ".bold()).title_bottom(" any key closes this ");
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
}

const HELP: &[(&str, &str)] = &[
    ("Tab, 1 to 5", "another table"),
    ("↑ ↓ PgUp PgDn g G", "select a row"),
    ("Enter, Esc", "everything about it, and back"),
    ("s S, → ←", "sort by the next or previous column"),
    ("r", "sort the other way round"),
    ("/", "only rows with this in a name; Esc: all"),
    ("!", "only rows with a problem"),
    ("p, Space", "pause"),
    ("q, Ctrl-C", "quit"),
    ("", ""),
    ("!!", "clients feel it"),
    ("!", "it can wait until the morning"),
    ("", "Not sorted: the worst rows first, then the busiest."),
    ("", "Figures are over 5 s, bars are single seconds."),
];

#[cfg(test)]
mod tests;
