//! Notices that files have changed, by looking once a second: whatever replaces them, and through links.
//!
//! Looks on a thread of its own kind, since a file system that hangs must not hang the control thread. Says so when the
//! files have been as they are for a second: a certificate and its key are seldom written in one moment.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use super::Assembled;
use super::stamp::Stamp;

/// Files, and what they were.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// What is watched, by a task that ends with this.
pub(super) struct Watch {
    shared: Rc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    files: RefCell<Arc<Stamps>>,
    due: RefCell<Vec<super::Rotation>>,
    notify: Notify,
}

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

impl Watch {
    pub(super) fn start() -> Self {
        let shared = Rc::<Shared>::default();
        let task = tokio::task::spawn_local(watch(shared.clone()));
        Self { shared, task }
    }

    /// Watches what these were read from, and no longer what was before.
    pub(super) fn set(&self, assembled: &Assembled) {
        let files = assembled.stamps.iter().map(|(path, stamp)| (path.clone(), *stamp));
        self.shared.files.replace(Arc::new(files.collect()));
        let rotations = assembled.listeners.values().map(|served| served.rotation.clone());
        self.shared.due.replace(rotations.collect());
    }

    pub(super) async fn changed(&self) {
        self.shared.notify.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(shared: Rc<Shared>) {
    let mut last: Option<Stamps> = None;
    loop {
        tokio::time::sleep(INTERVAL).await;
        if shared.due.borrow().iter().any(|rotation| rotation.is_due(SystemTime::now())) {
            shared.notify.notify_one();
        }
        let known = shared.files.borrow().clone();
        if known.is_empty() {
            continue;
        }
        let looked_at = known.clone();
        let look =
            move || -> Stamps { looked_at.iter().map(|(path, _)| (path.clone(), Stamp::of(path))).collect() };
        // Fails only where the runtime ends.
        let Ok(found) = tokio::task::spawn_blocking(look).await else { return };
        if found == *known {
            last = None;
        } else if last.as_ref() == Some(&found) {
            last = None;
            shared.notify.notify_one();
        } else {
            last = Some(found);
        }
    }
}
