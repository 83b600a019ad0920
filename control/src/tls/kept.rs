//! What was read from files, and stays while they are the same or cannot be used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::fault::Fault;
use super::stamp::Stamp;

/// What some files say, as far as it could be read.
#[derive(Debug)]
pub(super) struct Kept<T> {
    /// Of the files, as they were before they were read.
    stamps: Vec<Option<Stamp>>,
    /// The last that could be used; `None`: nothing could yet.
    pub(super) serves: Option<Arc<T>>,
    /// Why it is not what the files say now; empty: it is.
    pub(super) faults: Vec<Fault>,
    /// How often each could not be used.
    failures: BTreeMap<PathBuf, u64>,
}

impl<T> Kept<T> {
    /// What was there before, if the files are as they were; else what they say now. Files that cannot be used leave what
    /// was there.
    pub(super) fn new(
        before: Option<&Self>,
        stamps: Vec<Option<Stamp>>,
        read: impl FnOnce() -> Result<T, Vec<Fault>>,
    ) -> Self {
        if let Some(before) = before
            && before.stamps == stamps
        {
            return before.clone();
        }
        let mut failures = before.map(|before| before.failures.clone()).unwrap_or_default();
        match read() {
            Ok(it) => Self { stamps, serves: Some(Arc::new(it)), faults: Vec::new(), failures },
            Err(faults) => {
                for file in faults.iter().filter_map(|fault| fault.file.as_ref()) {
                    *failures.entry(file.clone()).or_default() += 1;
                }
                let serves = before.and_then(|before| before.serves.clone());
                Self { stamps, serves, faults, failures }
            }
        }
    }

    /// How often these files could not be used.
    pub(super) fn failures_of(&self, files: &[&PathBuf]) -> u64 {
        files.iter().filter_map(|file| self.failures.get(*file)).sum()
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        let Self { stamps, serves, faults, failures } = self;
        Self {
            stamps: stamps.clone(),
            serves: serves.clone(),
            faults: faults.clone(),
            failures: failures.clone(),
        }
    }
}
