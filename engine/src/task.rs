//! Connection tasks: a panic in one ends that connection and no other.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use crate::core::Core;
use crate::io::Dial;

/// Runs a task on this worker. A panic is a bug: it is counted, and the panic hook has reported it.
pub(crate) fn spawn<S: Dial + 'static>(core: &Rc<Core<S>>, task: impl Future<Output = ()> + 'static) {
    drop(monoio::spawn(guarded(core, task)));
}

/// Runs a task that belongs to no connection; boxed, because tests have a runtime of their own.
pub(crate) fn spawn_aside<S: Dial>(core: &Rc<Core<S>>, task: impl Future<Output = ()> + 'static) {
    // Boxed twice: what guards a task has it once as an argument and once as what it polls.
    (core.spawn)(Box::pin(guarded(core, Box::pin(task))));
}

/// A boxed task.
pub(crate) type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

/// How a worker runs one.
pub(crate) fn run(task: BoxedTask) {
    drop(monoio::spawn(task));
}

/// The task as it is spawned.
pub(crate) fn guarded<S: Dial + 'static>(
    core: &Rc<Core<S>>,
    task: impl Future<Output = ()> + 'static,
) -> impl Future<Output = ()> + 'static {
    let core = core.clone();
    async move {
        let mut task = pin!(task);
        poll_fn(|cx| {
            // What the task shared with others are cells that are never left half-written.
            match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
                Ok(poll) => poll,
                Err(_) => {
                    core.counters().tasks_panicked.increment();
                    Poll::Ready(())
                }
            }
        })
        .await;
    }
}
