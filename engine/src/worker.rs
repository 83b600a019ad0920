//! A worker: one pinned thread, one driver, and everything of one core.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};

use crate::access_log::LogSink;
use crate::command::{Command, Event};
use crate::core::{Core, CoreParts};
use crate::counters::{PerWorker, WorkerCounters};
use crate::driver::{Driver, block_on};
use crate::event::EventSender;
use crate::health::HealthUpdate;
use crate::io::clock::ThreadClock;
use crate::io::{
    DescriptorReceiver, DescriptorSender, ListenerSocket, Socket, Ticker, Wake, WakeListener, clock,
    descriptor_channel, readiness, separate,
};
use crate::limits::Peers;
use crate::listener::{ListenerSlot, accept};
use crate::local::Local;
use crate::snapshot::{Address, Listener, Snapshot};
use crate::task;
use crate::tracing::SpanSink;

/// What a worker is started with.
#[derive(Debug)]
pub struct WorkerConfig {
    /// Its number, from 0.
    pub index: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// The driver, as [`crate::driver::probe`] found it.
    pub driver: Driver,
    /// All workers, this one included.
    pub peers: Peers,
    /// The workers' own counters.
    pub counters: PerWorker<WorkerCounters>,
    /// To the control thread.
    pub events: EventSender,
    /// To the log writer; absent: no access log.
    pub log: Option<LogSink>,
    /// To the exporter of spans; absent: none are recorded.
    pub spans: Option<SpanSink>,
    /// Makes the allocator give memory back to the system that the calling thread has freed. Called when a burst of
    /// connections or requests is over.
    pub trim: fn(),
}

/// A running worker. Dropping it ends the worker, cutting what it still has.
#[derive(Debug)]
pub struct WorkerHandle {
    commands: WakingSender,
    /// The descriptors of commands go this way: the worker has a table of its own.
    sockets: DescriptorSender,
    thread: JoinHandle<()>,
}

/// A command as it reaches the worker.
enum Order {
    Apply {
        snapshot: Arc<Snapshot>,
        /// What the sockets that were sent listen on, or why they could not be sent.
        addresses: io::Result<Vec<Address>>,
    },
    Health(Arc<HealthUpdate>),
    Drain,
}

/// The sending end of the commands; its drop wakes the worker too.
#[derive(Debug)]
struct WakingSender {
    /// `None`: the worker is to end.
    commands: Option<Sender<Order>>,
    wake: Wake,
}

impl WakingSender {
    fn end(&mut self) {
        self.commands = None;
        self.wake.wake();
    }
}

impl Drop for WakingSender {
    fn drop(&mut self) {
        self.end();
    }
}

/// The worker's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker has stopped")]
pub struct Stopped;

/// The cores that this process may run on.
#[must_use]
pub fn available_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Starts a worker's thread. [`Event::Started`] follows, or [`Event::Failed`].
///
/// # Errors
///
/// When the process is out of descriptors or threads.
pub fn spawn(config: WorkerConfig) -> io::Result<WorkerHandle> {
    let (sender, commands) = unbounded();
    let wake = config.peers.of(config.index).clone();
    let woken = wake.clone();
    let (sockets, received) = descriptor_channel()?;
    let thread = std::thread::Builder::new().name(format!("worker-{}", config.index)).spawn(move || {
        let (index, events) = (config.index, config.events.clone());
        let reason = match catch_unwind(AssertUnwindSafe(|| run(config, commands, received, &woken))) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            // The panic hook has said where.
            Err(_) => "its main task panicked".to_owned(),
        };
        events.send(Event::Failed { worker: index, reason });
    })?;
    Ok(WorkerHandle { commands: WakingSender { commands: Some(sender), wake }, sockets, thread })
}

impl WorkerHandle {
    /// Sends a command; never blocks.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when the worker's thread has ended, or is to end.
    pub fn send(&self, command: Command) -> Result<(), Stopped> {
        let commands = self.commands.commands.as_ref().ok_or(Stopped)?;
        let order = match command {
            Command::Apply { snapshot, sockets } => {
                let (addresses, descriptors): (Vec<_>, Vec<_>) =
                    sockets.into_iter().map(|socket| (socket.address, socket.fd)).unzip();
                Order::Apply { snapshot, addresses: self.sockets.send(descriptors).map(|()| addresses) }
            }
            Command::Health(update) => Order::Health(update),
            Command::Drain => Order::Drain,
        };
        commands.send(order).map_err(|_| Stopped)?;
        self.commands.wake.wake();
        Ok(())
    }

    /// Ends the worker, cutting what it still has, without waiting for its thread.
    pub fn end(&mut self) {
        self.commands.end();
    }

    /// Ends the worker, cutting what it still has, and waits for its thread.
    pub fn join(self) {
        drop(self.commands);
        // A panic was reported by the panic hook.
        let _ = self.thread.join();
    }
}

fn run(
    config: WorkerConfig,
    commands: Receiver<Order>,
    sockets: DescriptorReceiver,
    wake: &Wake,
) -> io::Result<()> {
    if let Some(id) = config.core {
        core_affinity::set_for_current(core_affinity::CoreId { id });
    }
    // All that this thread has of the table that the process began with. Where the kernel refuses, it stays in that one.
    let kept = config.peers.descriptors().chain([config.events.as_raw_fd(), sockets.as_raw_fd()]);
    let is_separate = separate(&kept.collect::<Vec<_>>()).is_ok();
    let table_workers = if is_separate { 1 } else { config.counters.iter().count() };
    block_on(config.driver, async move {
        let _closing = readiness::install(config.counters.clone(), config.index)?;
        let (ticker, alarm) = (Ticker::new()?, Ticker::new()?);
        let core = Rc::new(Core::new(CoreParts {
            index: config.index,
            counters: config.counters,
            events: config.events,
            log: config.log,
            spans: config.spans,
            ticker: ticker.descriptor(),
            alarm: alarm.descriptor(),
            table_workers,
            trim: config.trim,
            spawn: task::run,
        }));
        let mut main = Main {
            core,
            peers: config.peers,
            ticker,
            alarm,
            woken: WakeListener::new(wake)?,
            commands,
            sockets,
            slots: HashMap::new(),
            drained: false,
        };
        main.core
            .events
            .send(Event::Started { worker: main.core.index, clock: ThreadClock::of_this_thread() });
        poll_fn(|cx| main.poll(cx)).await;
        Ok(())
    })?
}

/// The worker's main task: commands and ticks.
struct Main {
    core: Rc<Core<Socket>>,
    peers: Peers,
    ticker: Ticker,
    alarm: Ticker,
    woken: WakeListener,
    commands: Receiver<Order>,
    sockets: DescriptorReceiver,
    slots: HashMap<Address, Rc<ListenerSlot<Socket>>>,
    drained: bool,
}

impl Main {
    /// Ready when the control thread has let go of the worker.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        *self.core.main.borrow_mut() = Some(cx.waker().clone());
        while self.ticker.poll_tick(cx).is_ready() {
            self.core.tick();
        }
        while self.alarm.poll_tick(cx).is_ready() {
            self.core.alarms.ring();
        }
        while self.woken.poll_woken(cx).is_ready() {
            let mut is_commanded = false;
            loop {
                match self.commands.try_recv() {
                    Ok(command) => {
                        is_commanded = true;
                        self.obey(command);
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.poll_end(cx),
                }
            }
            if is_commanded {
                self.core.counters().wakeups.increment();
            }
            // Or it was another worker, about a limit that they share.
            self.slots.values().for_each(|slot| slot.attend(&self.core));
            let calls = self.peers.take_calls(self.core.index);
            calls.tasks.into_iter().for_each(|key| self.core.deadlines.wake(key));
            calls.rooms.iter().for_each(|connections| self.core.local.borrow().make_room(connections));
        }
        if self.core.cutting.get() {
            return self.poll_end(cx);
        }
        let done = self.core.footprint.connections() == 0 && self.core.accepting.get() == 0;
        if self.core.draining.get() && done && !self.drained {
            self.drained = true;
            self.core.flush();
            self.core.events.send(Event::Drained { worker: self.core.index });
        }
        Poll::Pending
    }

    /// Lets what is in progress end with an answer and a record where it can: every task is woken, and behind them in the
    /// queue is one that wakes this one.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.core.cutting.replace(true) {
            self.core.deadlines.wake_all();
            let (core, main) = (self.core.clone(), cx.waker().clone());
            task::spawn(&self.core, async move {
                core.cut.set(true);
                main.wake();
            });
        }
        if !self.core.cut.get() {
            return Poll::Pending;
        }
        self.core.flush();
        Poll::Ready(())
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Apply { snapshot, addresses } => self.apply(snapshot, addresses),
            Order::Health(update) => self.core.local.borrow().set_health(&update),
            Order::Drain => self.drain(),
        }
    }

    fn apply(&mut self, snapshot: Arc<Snapshot>, addresses: io::Result<Vec<Address>>) {
        let serial = snapshot.serial;
        let local =
            Local::new(snapshot, &self.core.local.borrow(), self.core.index, self.core.events.clone());
        let local = Rc::new(local);
        let previous = self.core.local.replace(local.clone());
        match addresses.and_then(|addresses| self.receive(addresses)) {
            Ok(sockets) => {
                for (address, socket) in sockets {
                    self.listen(address, socket, local.snapshot());
                }
            }
            Err(error) => self.fail(format!("cannot take over listening sockets: {error}")),
        }
        let listeners = &local.snapshot().listeners;
        self.slots.retain(|address, slot| {
            match listeners.iter().position(|listener| listener.address == *address) {
                Some(index) => slot.place(&self.core, index, &listeners[index]),
                None => slot.remove(previous.clone()),
            }
            !slot.is_removed()
        });
        // Idle sessions look at their deadlines again.
        self.core.deadlines.wake_all();
        self.core.events.send(Event::Applied { worker: self.core.index, serial });
    }

    fn receive(&self, addresses: Vec<Address>) -> io::Result<Vec<(Address, OwnedFd)>> {
        let sockets = self.sockets.receive(addresses.len())?;
        if sockets.len() < addresses.len() {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(addresses.into_iter().zip(sockets).collect())
    }

    fn fail(&self, reason: String) {
        self.core.events.send(Event::Failed { worker: self.core.index, reason });
    }

    fn listen(&mut self, address: Address, socket: OwnedFd, snapshot: &Snapshot) {
        let same_address = |listener: &Listener| listener.address == address;
        let Some(index) = snapshot.listeners.iter().position(same_address) else { return };
        let accepting = match ListenerSocket::new(socket) {
            Ok(accepting) => accepting,
            Err(error) => return self.fail(format!("cannot listen on {address}: {error}")),
        };
        let slot = Rc::new(ListenerSlot::new(&self.core, index, &snapshot.listeners[index]));
        self.slots.insert(address, slot.clone());
        task::spawn(&self.core, accept(self.core.clone(), slot, accepting));
    }

    fn drain(&mut self) {
        if self.core.draining.replace(true) {
            return;
        }
        self.core.draining_since_ms.set(clock::coarse_ms());
        for slot in self.slots.values() {
            slot.close();
        }
        self.core.deadlines.wake_all();
    }
}

impl Drop for Main {
    /// However the worker ends, its tasks end with it: they are held by wakers that they gave away, and what they hold of
    /// the limits that workers share must not be lost.
    fn drop(&mut self) {
        for slot in self.slots.values() {
            slot.abandon();
        }
        self.core.deadlines.forget_wakers();
        self.core.alarms.forget_wakers();
    }
}
