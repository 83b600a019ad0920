//! What the system knows about the process, under the names that Prometheus' client libraries have for it.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use corelane_engine::process_cpu_ns;

use super::text::{Seconds, Text};
use crate::status::Status;

/// Writes it; what cannot be read is left out.
pub(super) fn write(text: &mut Text, status: &Status) {
    let started = status.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    text.gauge("process_start_time_seconds", "When the process started.", format_args!("{started:.3}"));
    let cpu = Seconds(process_cpu_ns());
    text.counter("process_cpu_seconds_total", "CPU time of all threads, in the kernel too.", cpu);
    let memory = memory();
    if let Some(bytes) = kibibytes(&memory, RESIDENT) {
        text.gauge("process_resident_memory_bytes", "Resident memory.", bytes);
    }
    if let Some(bytes) = kibibytes(&memory, "VmSize:") {
        text.gauge("process_virtual_memory_bytes", "Address space in use.", bytes);
    }
    if let Some(threads) = number(&memory, "Threads:") {
        text.gauge("process_threads", "Threads.", threads);
    }
    if let Some(open) = open_descriptors() {
        text.gauge(
            "process_open_fds",
            "Open file descriptors of the worker, or of the others, with the most.",
            open,
        );
    }
    if let Some(max) = descriptors_max() {
        text.gauge("process_max_fds", "The limit of open file descriptors, which each worker has.", max);
    }
}

/// Resident memory, if it can be read.
pub(crate) fn resident_bytes() -> Option<u64> {
    kibibytes(&memory(), RESIDENT)
}

/// The limit of open descriptors.
pub(crate) fn descriptors_max() -> Option<u64> {
    number(&fs::read_to_string("/proc/self/limits").unwrap_or_default(), "Max open files")
}

const RESIDENT: &str = "VmRSS:";

fn memory() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// A line of /proc/self/status in kB.
fn kibibytes(page: &str, name: &str) -> Option<u64> {
    number(page, name)?.checked_mul(1024)
}

/// The number behind a name; `unlimited` is none.
fn number(page: &str, name: &str) -> Option<u64> {
    let rest = page.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The most in one table: each worker has one of its own, and the limit holds for each.
pub(crate) fn open_descriptors() -> Option<u64> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    threads.filter_map(|thread| descriptors_in(&thread.ok()?.path().join("fd"))).max()
}

/// The directory's size since Linux 6.2; before that its entries, whose number of reads grows with them.
fn descriptors_in(table: &Path) -> Option<u64> {
    match fs::metadata(table).ok()?.len() {
        0 => fs::read_dir(table).ok().map(|entries| entries.count() as u64),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_system_writes() {
        let page = "Name:\tcorelane\nVmSize:\t  4502 kB\nThreads:\t7\n";
        assert_eq!((kibibytes(page, "VmSize:"), number(page, "Threads:")), (Some(4502 * 1024), Some(7)));
        let limits =
            "Max cpu time   unlimited   unlimited   seconds\nMax open files   1024   524288   files\n";
        assert_eq!((number(limits, "Max open files"), number(limits, "Max cpu time")), (Some(1024), None));
    }

    #[test]
    fn both_ways_to_count_descriptors_agree() {
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").expect("is there")).collect();
        let told = open_descriptors().expect("is there");
        let listed = fs::read_dir("/proc/self/fd").expect("is there").count() as u64;
        assert!(told >= 50 && told.abs_diff(listed) < 50, "{told} {listed}");
        drop(held);
    }
}
