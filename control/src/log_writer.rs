//! The thread that writes the access log, so that a slow or full disk holds up nobody else.
//!
//! When it is behind, workers drop batches and count them. When a write to a file fails, it drops the batch, counts it, and
//! says so at most once a minute. A syslog server that is away is waited for, with the records of the time in one buffer.

mod waiting;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use corelane_engine::access_log::{LogBatch, LogSource};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, unbounded};

pub(crate) use self::waiting::WAITING_BYTES_MAX;
use self::waiting::Waiting;
use crate::config::LogTarget;
use crate::log;
use crate::syslog::{SyslogOutput, hostname};

/// Written by the writer's thread, read by the control thread.
#[derive(Debug, Default)]
pub(crate) struct LogWriterCounters {
    /// Writes that failed.
    pub(crate) write_errors: AtomicU64,
    /// Records of failed writes, and those that could not wait for a server.
    pub(crate) lost_records: AtomicU64,
    /// Records that wait for a server now.
    pub(crate) waiting_records: AtomicU64,
}

/// Where the log goes, opened.
#[derive(Debug)]
pub(crate) enum OpenTarget {
    /// A file, or one of the standard ones.
    File(String, File),
    /// A syslog server, which is reached when there is something to send.
    Syslog(Box<SyslogOutput>),
}

/// Opens a target for appending. A new file can be read by its group (0640).
///
/// # Errors
///
/// The path and the kernel's reason.
pub(crate) fn open(target: &LogTarget) -> Result<OpenTarget, String> {
    let duplicate = |fd: &dyn Fn() -> io::Result<std::os::fd::OwnedFd>| fd().map(File::from);
    let (name, file) = match target {
        LogTarget::Stdout => ("stdout".to_owned(), duplicate(&|| io::stdout().as_fd().try_clone_to_owned())),
        LogTarget::Stderr => ("stderr".to_owned(), duplicate(&|| io::stderr().as_fd().try_clone_to_owned())),
        LogTarget::File(path) => (path.display().to_string(), open_file(path)),
        LogTarget::Syslog(syslog) => {
            return Ok(OpenTarget::Syslog(Box::new(SyslogOutput::new(syslog.clone(), hostname()))));
        }
    };
    match file {
        Ok(file) => Ok(OpenTarget::File(name, file)),
        Err(error) => Err(format!("cannot open the access log {name}: {error}")),
    }
}

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// The control thread's end of the writer.
#[derive(Debug)]
pub(crate) struct LogWriter {
    orders: Sender<Order>,
    finished: Receiver<()>,
    thread: JoinHandle<()>,
}

enum Order {
    /// Write there from now on; `None` drops what still comes.
    Target(Option<OpenTarget>),
    /// Write what waits and end.
    Finish,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When the process can have no more threads.
    pub(crate) fn start(
        source: LogSource,
        target: Option<OpenTarget>,
        counters: Arc<LogWriterCounters>,
    ) -> io::Result<Self> {
        // Unbounded: orders are as rare as reloads, and the control thread must never wait.
        let (orders, received) = unbounded();
        let (done, finished) = unbounded();
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            let output = target.map(Output::new);
            Writer { source, orders: received, output, waiting: Waiting::default(), counters }.run();
            let _ = done.send(());
        })?;
        Ok(Self { orders, finished, thread })
    }

    /// Changes the target. What waits in the channel goes to the new one.
    pub(crate) fn switch(&self, target: Option<OpenTarget>) {
        let _ = self.orders.send(Order::Target(target));
    }

    /// Writes what waits, for at most so long; a write that hangs is abandoned.
    pub(crate) fn finish(self, within: Duration) {
        let _ = self.orders.send(Order::Finish);
        if self.finished.recv_timeout(within).is_ok() {
            let _ = self.thread.join();
        }
    }
}

struct Writer {
    source: LogSource,
    orders: Receiver<Order>,
    output: Option<Output>,
    /// What waits for a server.
    waiting: Waiting,
    counters: Arc<LogWriterCounters>,
}

enum Output {
    File(FileOutput<File>),
    Syslog(ServerOutput),
}

impl Output {
    fn new(target: OpenTarget) -> Self {
        match target {
            OpenTarget::File(name, file) => Self::File(FileOutput::new(name, file)),
            OpenTarget::Syslog(server) => Self::Syslog(ServerOutput { server: *server, reported: None }),
        }
    }
}

impl Writer {
    fn run(mut self) {
        loop {
            let received = self.source.recv_timeout(self.pause());
            let is_last = self.take_orders() || matches!(received, Err(RecvTimeoutError::Disconnected));
            match received {
                Ok(batch) if is_last => self.keep(batch, 0),
                Ok(batch) => _ = self.take(batch),
                Err(_) => {}
            }
            if is_last {
                return self.finish();
            }
            if !self.waiting.is_empty() && self.pause().is_zero() {
                self.send_waiting();
            }
        }
    }

    /// How long to wait for a batch: until the next attempt to reach a server, or the next look at the orders.
    fn pause(&self) -> Duration {
        if self.waiting.is_empty() {
            return ORDER_LATENCY;
        }
        let retry_at = match &self.output {
            Some(Output::Syslog(output)) => output.server.retry_at(),
            _ => None,
        };
        let pause = retry_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        pause.min(ORDER_LATENCY)
    }

    /// Carries out the orders that are there. True: the end is near.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Target(target)) => self.output = target.map(Output::new),
                Ok(Order::Finish) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }

    /// Writes the batch, or keeps it behind what waits. True: nothing of it waits.
    fn take(&mut self, batch: LogBatch) -> bool {
        let done =
            if self.waiting.is_empty() { write(&mut self.output, batch.lines(), &self.counters) } else { 0 };
        let is_done = done == batch.lines().len();
        self.keep(batch, done);
        is_done
    }

    /// Keeps what of the batch is behind this byte.
    fn keep(&mut self, batch: LogBatch, done: usize) {
        let lost = self.waiting.add(&batch.lines()[done..], Instant::now());
        self.counters.lost_records.fetch_add(lost, Ordering::Relaxed);
        self.count_waiting();
        self.source.recycle(batch);
    }

    /// Sends a piece of what waits. True: all of the piece went out.
    fn send_waiting(&mut self) -> bool {
        let piece = self.waiting.piece();
        let (done, length) = (write(&mut self.output, piece, &self.counters), piece.len());
        self.waiting.remove(done);
        self.count_waiting();
        done == length
    }

    fn count_waiting(&self) {
        self.counters.waiting_records.store(self.waiting.records(), Ordering::Relaxed);
    }

    /// Writes what is left; but nobody waits for a server any longer.
    fn finish(&mut self) {
        let mut goes_on = true;
        while goes_on {
            goes_on = if !self.waiting.is_empty() {
                self.send_waiting()
            } else if let Ok(batch) = self.source.try_recv() {
                self.take(batch)
            } else {
                false
            };
        }
        let mut lost = self.waiting.records();
        while let Ok(batch) = self.source.try_recv() {
            lost += batch.records();
        }
        if lost > 0 {
            self.counters.lost_records.fetch_add(lost, Ordering::Relaxed);
            log::error!("access-log records are lost, the process ends", records = lost);
        }
    }
}

/// Writes these lines. Returns how far it came: what is behind that waits. Without an output they are dropped.
fn write(output: &mut Option<Output>, lines: &[u8], counters: &LogWriterCounters) -> usize {
    match output {
        Some(Output::Syslog(output)) => output.send(lines, counters, Instant::now()),
        Some(Output::File(output)) => {
            output.write(lines, counters, Instant::now());
            lines.len()
        }
        None => lines.len(),
    }
}

fn lines_of(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// A syslog server, and when it was last reported to be away.
struct ServerOutput {
    server: SyslogOutput,
    reported: Option<Instant>,
}

impl ServerOutput {
    /// Sends what it can. Returns how far it came. Reports the first failure and then one a minute.
    fn send(&mut self, lines: &[u8], counters: &LogWriterCounters, now: Instant) -> usize {
        let progress = self.server.send(lines);
        counters.lost_records.fetch_add(progress.too_long, Ordering::Relaxed);
        match progress.error {
            None => {
                if self.reported.take().is_some() {
                    log::info!("the access log can be written again", path = self.server.target());
                }
            }
            Some(error) => {
                counters.write_errors.fetch_add(1, Ordering::Relaxed);
                if self.reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
                    self.reported = Some(now);
                    log::error!("access-log records wait", path = self.server.target(), error = error);
                }
            }
        }
        progress.done
    }
}

/// An open file, and what went wrong with it.
struct FileOutput<W> {
    name: String,
    file: W,
    /// A write ended in the middle of a line.
    torn: bool,
    reported: Option<Instant>,
}

impl<W: Write> FileOutput<W> {
    fn new(name: String, file: W) -> Self {
        Self { name, file, torn: false, reported: None }
    }

    /// Writes the lines, or counts what of them is lost. Reports the first failure and then one a minute.
    fn write(&mut self, lines: &[u8], counters: &LogWriterCounters, now: Instant) {
        let Err((error, written)) = self.write_lines(lines) else {
            if self.reported.take().is_some() {
                log::info!("the access log can be written again", path = self.name);
            }
            return;
        };
        let lost = lines_of(lines) - lines_of(&lines[..written]);
        counters.write_errors.fetch_add(1, Ordering::Relaxed);
        counters.lost_records.fetch_add(lost, Ordering::Relaxed);
        if self.reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
            self.reported = Some(now);
            log::error!("access-log records are lost", path = self.name, error = error, records = lost);
        }
    }

    /// As write_all, but says how much was written before the error.
    fn write_lines(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        if self.torn {
            self.file.write_all(b"\n").map_err(|error| (error, 0))?;
            self.torn = false;
        }
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), written)),
                Ok(n) => {
                    written += n;
                    self.torn = bytes[written - 1] != b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((error, written)),
            }
        }
        Ok(())
    }
}

/// How late an order may be carried out while no records come. A guess: log rotation waits longer.
const ORDER_LATENCY: Duration = Duration::from_millis(200);

/// A full disk is worth a line, not a line a batch.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes more, then is full.
    struct Disk {
        content: Vec<u8>,
        room: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.content.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_whole_records_and_is_survived() {
        let counters = LogWriterCounters::default();
        let mut output = FileOutput::new("test".to_owned(), Disk { content: Vec::new(), room: 6 });
        let lines = b"one\ntwo\nthree\n";
        let start = Instant::now();
        output.write(lines, &counters, start);
        assert_eq!(counters.lost_records.load(Ordering::Relaxed), 2);
        assert_eq!(output.reported, Some(start));
        output.write(lines, &counters, start + Duration::from_secs(59));
        assert_eq!(output.reported, Some(start), "at most once a minute");
        output.write(lines, &counters, start + REPORT_INTERVAL);
        assert_eq!(output.reported, Some(start + REPORT_INTERVAL));
        assert_eq!(counters.write_errors.load(Ordering::Relaxed), 3);
        assert_eq!(counters.lost_records.load(Ordering::Relaxed), 8);

        output.file.room = 1000;
        output.write(lines, &counters, start + REPORT_INTERVAL);
        assert_eq!(output.file.content, b"one\ntw\none\ntwo\nthree\n", "a torn line ends");
        assert_eq!(output.reported, None);
    }

    #[test]
    fn a_new_log_file_is_not_for_everybody() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        open(&LogTarget::File(path.clone())).expect("can open");
        let mode = std::fs::metadata(&path).expect("exists").permissions().mode();
        assert_eq!(mode & 0o027, 0);
        let error =
            open(&LogTarget::File(directory.path().join("no/such/access.log"))).expect_err("no directory");
        assert!(error.starts_with("cannot open the access log /"), "{error}");
    }

    #[test]
    fn records_wait_for_a_server_and_are_counted_when_nobody_waits_any_longer() {
        use crate::config::{Syslog, SyslogTarget};
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let target = SyslogTarget::Unix(path.clone());
        let syslog = LogTarget::Syslog(Syslog { target, facility: 1, app_name: "a".to_owned() });
        let counters = LogWriterCounters::default();
        let Ok(OpenTarget::Syslog(server)) = open(&syslog) else { panic!("it is a server") };
        let mut output = ServerOutput { server: *server, reported: None };
        assert_eq!(output.send(b"one\ntwo\n", &counters, Instant::now()), 0);
        assert!(output.reported.is_some());
        let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
        assert_eq!(output.send(b"two\n", &counters, Instant::now()), 4);
        let mut room = [0; 200];
        let length = socket.recv(&mut room).expect("a datagram");
        assert!(room[..length].ends_with(b" - - two"));
        assert!(output.reported.is_none());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((count(&counters.write_errors), count(&counters.lost_records)), (1, 0));

        let counters = Arc::<LogWriterCounters>::default();
        let (_sink, source) = corelane_engine::access_log::log_channel(4);
        let (orders, received) = unbounded();
        orders.send(Order::Finish).expect("an order");
        drop((socket, std::fs::remove_file(&path)));
        let output = open(&syslog).ok().map(Output::new);
        let mut writer = Writer {
            source,
            orders: received,
            output,
            waiting: Waiting::default(),
            counters: counters.clone(),
        };
        assert!(!writer.take(LogBatch::of(b"one\ntwo\n".to_vec(), 2)));
        assert_eq!((count(&counters.waiting_records), count(&counters.lost_records)), (2, 0));
        assert!(!writer.take(LogBatch::of(b"three\n".to_vec(), 1)));
        let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
        assert!(writer.send_waiting());
        for line in ["one", "two", "three"] {
            let length = socket.recv(&mut room).expect("a datagram");
            assert!(room[..length].ends_with(format!(" - - {line}").as_bytes()));
        }
        assert_eq!(count(&counters.waiting_records), 0);
        drop((socket, std::fs::remove_file(&path)));
        assert!(!writer.take(LogBatch::of(b"four\n".to_vec(), 1)));
        writer.run();
        assert_eq!(count(&counters.lost_records), 1);
    }

    #[test]
    fn ends_when_it_is_told_to() {
        let (_sink, source) = corelane_engine::access_log::log_channel(1);
        let writer = LogWriter::start(source, None, Arc::default()).expect("can start");
        let start = Instant::now();
        writer.finish(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30), "it was waited for in vain");
    }
}
