//! Access-log records on their way from a worker to the log writer.
//!
//! A worker formats records into a batch of its own and hands over whole batches; when the writer is behind, the batch
//! is dropped and its records counted. Emptied batches come back, so that logging allocates nothing after warm-up.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

/// A batch is handed over when it has grown to this size; the writer's unit of work.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// What hardly any record exceeds.
pub(crate) const RECORD_BYTES: usize = 4 * 1024;

/// Formatted records, each a line.
#[derive(Debug, Default)]
pub struct LogBatch {
    /// The lines.
    pub bytes: Vec<u8>,
    /// How many lines.
    pub records: u64,
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
                // Keep the full batch's memory, not its records.
                let mut refused = refused.into_inner();
                let lost = refused.records;
                refused.bytes.clear();
                refused.records = 0;
                *batch = refused;
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
    pub fn recycle(&self, mut batch: LogBatch) {
        batch.bytes.clear();
        batch.records = 0;
        // Full: enough empty ones are on their way already.
        let _ = self.empty.try_send(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_and_counts_when_the_writer_is_behind() {
        let (sink, source) = log_channel(1);
        let mut batch = LogBatch { bytes: b"a\n".to_vec(), records: 1 };
        assert_eq!(sink.hand_over(&mut batch), Ok(()));
        batch.bytes.extend_from_slice(b"b\nc\n");
        batch.records = 2;
        assert_eq!(sink.hand_over(&mut batch), Err(2));
        assert!(batch.bytes.is_empty());
        let written = source.recv().unwrap();
        assert_eq!(written.records, 1);
        source.recycle(written);
        assert_eq!(sink.hand_over(&mut batch), Ok(()));
        drop(sink);
        assert!(source.recv().is_some());
        assert!(source.recv().is_none());
    }
}
