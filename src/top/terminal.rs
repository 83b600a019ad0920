//! The terminal: keys in, pictures out, and given back whatever happens.
//!
//! A thread asks the proxy, so that keys work while the network does not.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use corelane_control::state::{Source, State};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use super::app::{App, Step};
use super::view;

type Told = Result<State, String>;

/// Shows the proxy until a key or a signal ends it.
pub(super) fn run(source: Source, interval: Duration) -> io::Result<ExitCode> {
    let signal = Arc::new(AtomicI32::new(0));
    let signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let told = signal.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || watch(signals, &told))?;
    let app = App::new(source.to_string());
    // At most one answer waits: a paused terminal must not gather them.
    let (sender, told) = sync_channel(1);
    std::thread::Builder::new().name("ask".to_owned()).spawn(move || ask(&source, interval, &sender))?;
    // Restores the terminal on a panic, too.
    let terminal = ratatui::try_init()?;
    let shown = show(terminal, app, &told, &signal);
    ratatui::try_restore()?;
    shown
}

/// Ends the process if [`show`] does not: crossterm reads without end from a terminal that is gone, as after ssh.
fn watch(mut signals: Signals, told: &AtomicI32) {
    let Some(number) = signals.forever().next() else { return };
    told.store(number, Ordering::Relaxed);
    std::thread::sleep(5 * LOOK_EVERY);
    // There may be nothing left to give back.
    let _ = ratatui::try_restore();
    std::process::exit(status(number));
}

/// What a shell reports for a process that the signal killed.
fn status(number: i32) -> i32 {
    128 + number
}

/// Ends when nobody listens any more.
fn ask(source: &Source, interval: Duration, sender: &SyncSender<Told>) {
    while sender.send(source.ask()).is_ok() {
        std::thread::sleep(interval);
    }
}

fn show(
    mut terminal: ratatui::DefaultTerminal,
    mut app: App,
    told: &Receiver<Told>,
    signal: &AtomicI32,
) -> io::Result<ExitCode> {
    let mut is_old = true;
    loop {
        if let Ok(told) = told.try_recv() {
            app.told(told);
            is_old = true;
        }
        if is_old {
            terminal.draw(|frame| view::draw(frame, &mut app))?;
            is_old = false;
        }
        let number = signal.load(Ordering::Relaxed);
        if number > 0 {
            return Ok(ExitCode::from(u8::try_from(status(number)).unwrap_or(u8::MAX)));
        }
        if !event::poll(LOOK_EVERY)? {
            continue;
        }
        match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => match app.key(key) {
                Step::Go => {}
                Step::Quit => return Ok(ExitCode::SUCCESS),
                Step::Suspend => {
                    ratatui::try_restore()?;
                    // Comes back with SIGCONT.
                    signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
                    terminal = ratatui::try_init()?;
                    terminal.clear()?;
                }
            },
            // Another size, most likely.
            _ => {}
        }
        is_old = true;
    }
}

/// For answers and signals; keys are seen at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);
