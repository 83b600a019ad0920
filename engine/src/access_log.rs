//! Access-log records on their way from a worker to the log writer.
//!
//! A worker formats records into a batch of its own and hands over whole batches; when the writer is behind, the batch
//! is dropped and its records counted. Emptied batches come back, so that logging allocates nothing after warm-up.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// A batch is handed over when it has grown to this size; the writer's unit of work.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// What hardly any record exceeds.
const RECORD_BYTES: usize = 4 * 1024;

/// Formatted records, each a line. Its memory is zeroed once and taken record by record.
#[derive(Debug, Default)]
pub struct LogBatch {
    bytes: Vec<u8>,
    /// How many bytes are records; the others are room.
    used: usize,
    records: u64,
}

impl LogBatch {
    /// These lines.
    #[must_use]
    pub fn of(lines: Vec<u8>, records: u64) -> Self {
        Self { used: lines.len(), bytes: lines, records }
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// How many lines.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Lets `write` write a record into room for `bytes_max` or more; it returns how many it has written.
    pub(crate) fn add(&mut self, bytes_max: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let bytes = self.used + bytes_max;
        if self.bytes.len() < bytes {
            // All at once, with room for the record that fills it; zeroed only as far as needed, because `extend` cuts it.
            self.bytes.reserve(bytes.max(BATCH_BYTES + RECORD_BYTES) - self.bytes.len());
            self.bytes.resize(bytes, 0);
        }
        self.used += write(&mut self.bytes[self.used..]);
        self.records += 1;
    }

    /// The same for a record that is written to the end of a vector; its memory is kept as that of the others.
    pub(crate) fn add_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.extend(0, write);
        self.records += 1;
    }

    /// Lets `write` go on with the last record, in place of its last `cut` bytes.
    pub(crate) fn extend(&mut self, cut: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.truncate(self.used.saturating_sub(cut));
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(BATCH_BYTES + RECORD_BYTES);
        }
        write(&mut self.bytes);
        self.used = self.bytes.len();
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used >= BATCH_BYTES
    }

    /// Keeps the memory, not the records.
    fn empty(mut self) -> Self {
        (self.used, self.records) = (0, 0);
        self
    }
}

/// A worker's end. Cloning gives another worker an end of the same channel.
#[derive(Clone, Debug)]
pub struct LogSink {
    full: Sender<LogBatch>,
    empty: Receiver<LogBatch>,
}

/// The writer's end.
#[derive(Debug)]
pub struct LogSource {
    full: Receiver<LogBatch>,
    empty: Sender<LogBatch>,
}

/// A channel that holds at most `batches_max` batches of about 64 KiB.
#[must_use]
pub fn log_channel(batches_max: usize) -> (LogSink, LogSource) {
    let (full_sender, full_receiver) = bounded(batches_max);
    let (empty_sender, empty_receiver) = bounded(batches_max);
    (
        LogSink { full: full_sender, empty: empty_receiver },
        LogSource { full: full_receiver, empty: empty_sender },
    )
}

impl LogSink {
    /// Hands a batch over and gives an empty one back.
    ///
    /// # Errors
    ///
    /// How many records were dropped because the writer is behind or gone; the batch is emptied then.
    pub(crate) fn hand_over(&self, batch: &mut LogBatch) -> Result<(), u64> {
        let replacement = self.empty.try_recv().unwrap_or_default();
        let full = std::mem::replace(batch, replacement);
        match self.full.try_send(full) {
            Ok(()) => Ok(()),
            Err(refused) => {
                let refused = refused.into_inner();
                let lost = refused.records;
                *batch = refused.empty();
                Err(lost)
            }
        }
    }
}

impl LogSource {
    /// Waits for a batch; `None` when every sink is gone.
    #[must_use]
    pub fn recv(&self) -> Option<LogBatch> {
        self.full.recv().ok()
    }

    /// Waits for a batch at most so long.
    ///
    /// # Errors
    ///
    /// When the time is over, or every sink is gone.
    pub fn recv_timeout(&self, timeout: std::time::Duration) -> Result<LogBatch, RecvTimeoutError> {
        self.full.recv_timeout(timeout)
    }

    /// Takes a batch if one waits.
    ///
    /// # Errors
    ///
    /// When none waits, or every sink is gone.
    pub fn try_recv(&self) -> Result<LogBatch, TryRecvError> {
        self.full.try_recv()
    }

    /// Gives a written batch back for reuse.
    pub fn recycle(&self, batch: LogBatch) {
        // Full: enough empty ones are on their way already.
        let _ = self.empty.try_send(batch.empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_and_counts_when_the_writer_is_behind() {
        let (sink, source) = log_channel(1);
        let mut batch = LogBatch::default();
        add(&mut batch, b"a\n");
        assert_eq!(sink.hand_over(&mut batch), Ok(()));
        add(&mut batch, b"b\n");
        add(&mut batch, b"c\n");
        assert_eq!(sink.hand_over(&mut batch), Err(2));
        assert_eq!(batch.records(), 0);
        let written = source.recv().unwrap();
        assert_eq!((written.lines(), written.records), (&b"a\n"[..], 1));
        source.recycle(written);
        add(&mut batch, b"d\n");
        assert_eq!(sink.hand_over(&mut batch), Ok(()));
        drop(sink);
        assert_eq!(source.recv().unwrap().lines(), b"d\n");
        assert!(source.recv().is_none());
    }

    #[test]
    fn is_full_at_its_size_and_has_room_for_a_record_of_any() {
        let mut batch = LogBatch::default();
        add(&mut batch, &[b'a'; BATCH_BYTES - 1]);
        assert!(!batch.is_full());
        add(&mut batch, &[b'b'; 3 * BATCH_BYTES]);
        assert!(batch.is_full());
        assert_eq!((batch.lines().len(), batch.records()), (4 * BATCH_BYTES - 1, 2));
        assert!(!batch.empty().is_full());
    }

    #[test]
    fn text_stands_beside_other_records_and_behind_them() {
        let mut batch = LogBatch::default();
        batch.add_text(|out| out.extend_from_slice(b"one\n"));
        add(&mut batch, b"{two}\n");
        batch.extend(2, |out| out.extend_from_slice(b",more}\n"));
        batch.add_text(|out| out.extend_from_slice(b"three\n"));
        assert_eq!((batch.lines(), batch.records()), (&b"one\n{two,more}\nthree\n"[..], 3));
        let capacity = batch.bytes.capacity();
        let mut batch = batch.empty();
        batch.add_text(|out| out.extend_from_slice(b"four\n"));
        assert_eq!((batch.lines(), batch.bytes.capacity()), (&b"four\n"[..], capacity));
    }

    fn add(batch: &mut LogBatch, record: &[u8]) {
        batch.add(record.len(), |room| {
            room[..record.len()].copy_from_slice(record);
            record.len()
        });
    }
}
