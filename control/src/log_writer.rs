//! The thread that writes the access log, so that a slow or full disk holds up nobody else.
//!
//! When it is behind, workers drop batches and count them; when a write fails, it drops the batch, counts it, and says so
//! at most once a minute.

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

use crate::config::LogTarget;
use crate::log;

/// Written by the writer's thread, read by the control thread.
#[derive(Debug, Default)]
pub(crate) struct LogWriterCounters {
    /// Writes that failed.
    pub(crate) write_errors: AtomicU64,
    /// Records of failed writes.
    pub(crate) lost_records: AtomicU64,
}

/// Where the log goes, opened.
#[derive(Debug)]
pub(crate) struct OpenTarget {
    name: String,
    file: File,
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
    };
    match file {
        Ok(file) => Ok(OpenTarget { name, file }),
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
            let output = target.map(|target| Output::new(target.name, target.file));
            Writer { source, orders: received, output, counters }.run();
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
    output: Option<Output<File>>,
    counters: Arc<LogWriterCounters>,
}

impl Writer {
    fn run(mut self) {
        loop {
            let batch = match self.source.recv_timeout(ORDER_LATENCY) {
                Ok(batch) => Some(batch),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let finish = self.take_orders();
            if let Some(batch) = batch {
                self.write(batch);
            }
            if finish {
                while let Ok(batch) = self.source.try_recv() {
                    self.write(batch);
                }
                return;
            }
        }
    }

    /// True: the end is near.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Target(target)) => {
                    self.output = target.map(|target| Output::new(target.name, target.file));
                }
                Ok(Order::Finish) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return false,
            }
        }
    }

    fn write(&mut self, batch: LogBatch) {
        if let Some(output) = &mut self.output {
            output.write(&batch, &self.counters, Instant::now());
        }
        self.source.recycle(batch);
    }
}

/// An open target, and what went wrong with it.
struct Output<W> {
    name: String,
    file: W,
    /// A write ended in the middle of a line.
    torn: bool,
    reported: Option<Instant>,
}

impl<W: Write> Output<W> {
    fn new(name: String, file: W) -> Self {
        Self { name, file, torn: false, reported: None }
    }

    /// Writes the batch or counts what of it is lost. Reports the first failure and then one a minute.
    fn write(&mut self, batch: &LogBatch, counters: &LogWriterCounters, now: Instant) {
        let Err((error, written)) = self.write_lines(batch.lines()) else {
            if self.reported.take().is_some() {
                log::info!("the access log can be written again", path = self.name);
            }
            return;
        };
        let whole = batch.lines()[..written].iter().filter(|&&byte| byte == b'\n').count() as u64;
        let lost = batch.records().saturating_sub(whole);
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
        let mut output = Output::new("test".to_owned(), Disk { content: Vec::new(), room: 6 });
        let batch = LogBatch::of(b"one\ntwo\nthree\n".to_vec(), 3);
        let start = Instant::now();
        output.write(&batch, &counters, start);
        assert_eq!(counters.lost_records.load(Ordering::Relaxed), 2);
        assert_eq!(output.reported, Some(start));
        output.write(&batch, &counters, start + Duration::from_secs(59));
        assert_eq!(output.reported, Some(start), "at most once a minute");
        output.write(&batch, &counters, start + REPORT_INTERVAL);
        assert_eq!(output.reported, Some(start + REPORT_INTERVAL));
        assert_eq!(counters.write_errors.load(Ordering::Relaxed), 3);
        assert_eq!(counters.lost_records.load(Ordering::Relaxed), 8);

        output.file.room = 1000;
        output.write(&batch, &counters, start + REPORT_INTERVAL);
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
    fn ends_when_it_is_told_to() {
        let (_sink, source) = corelane_engine::access_log::log_channel(1);
        let writer = LogWriter::start(source, None, Arc::default()).expect("can start");
        let start = Instant::now();
        writer.finish(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30), "it was waited for in vain");
    }
}
