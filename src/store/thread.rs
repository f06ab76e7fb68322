//! The thread of a store: takes what waits in the inboxes, does it as one group, and gives out the words.

use super::{
    caps::Caps,
    desk::{Desk, refuse},
    folder::{Folder, Locked},
    keeper::{Holdings, Now, weight},
};
use crate::{
    app::mail::{Job, Word},
    engine::{inbox::Inbox, io::Wake},
};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// A lock that another process has is tried again so often; so are words that found an inbox full.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// From the end of one round of expiry to the next.
const EXPIRE_EVERY_MS: u64 = 60_000;

/// How often the file is asked for its length, at most.
const LOOK_EVERY_MS: u64 = 1_000;

/// Takes what a store says. Never blocks: what does not fit an inbox is kept back, in order, until the next flush.
pub trait Words: Send + 'static {
    fn give(&mut self, word: Word);

    /// All of a group, in their order; `words` is empty then.
    fn give_all(&mut self, words: &mut Vec<Word>) {
        words.drain(..).for_each(|word| self.give(word));
    }

    /// All of a group have been given. False: some are kept back, and it is called again soon.
    fn flush(&mut self) -> bool {
        true
    }
}

impl<F: FnMut(Word) + Send + 'static> Words for F {
    fn give(&mut self, word: Word) {
        self(word);
    }
}

/// Where a reactor leaves its jobs.
pub type Jobs = Inbox<Job, ThreadWaker>;

/// Wakes the thread of a store.
#[derive(Clone, Default)]
pub struct ThreadWaker(Arc<Bell>);

#[derive(Default)]
struct Bell {
    state: Mutex<State>,
    rung: Condvar,
}

#[derive(Default)]
struct State {
    rung: bool,
    close: bool,
    end: bool,
    is_closed: bool,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for ThreadWaker {
    fn wake(&self) {
        self.0.lock().rung = true;
        self.0.rung.notify_all();
    }
}

/// What time it is, for a store.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Default for Clock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock {
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { unix_ms: unix.as_millis() as u64, steady_ms: self.0.elapsed().as_millis() as u64 }
    }
}

/// What the thread lets others see.
#[derive(Default)]
pub struct Figures {
    pub messages: AtomicU64,
    pub accounts: AtomicU64,
    /// Of `store_bytes`.
    pub bytes: AtomicU64,
    pub disk_bytes: AtomicU64,
    /// Groups done.
    pub groups: AtomicU64,
    /// How often the disk has failed.
    pub failures: AtomicU64,
}

/// What a thread begins with: the directory is this process's, or will be.
pub enum Place {
    Own(Locked, Box<Desk>),
    Later(Folder),
}

/// Makes the desk of a directory that has become this process's.
pub type MakeDesk = Box<dyn FnOnce(&Locked) -> Desk + Send>;

/// A store whose thread runs. Closed and ended when dropped.
pub struct Running {
    bell: ThreadWaker,
    thread: Option<JoinHandle<()>>,
    figures: Arc<Figures>,
}

impl Running {
    /// # Errors
    /// There is no thread to be had.
    pub fn start(
        place: Place,
        make: MakeDesk,
        caps: Caps,
        clock: Clock,
        inboxes: Vec<Arc<Jobs>>,
        bell: ThreadWaker,
        words: Box<dyn Words>,
    ) -> io::Result<Self> {
        let figures = Arc::new(Figures::default());
        let (own_bell, own_figures) = (bell.clone(), figures.clone());
        let thread = Builder::new().name("mida-store".to_owned()).spawn(move || {
            let thread = Thread {
                place: Some(place),
                make: Some(make),
                caps,
                inboxes,
                bell: own_bell,
                words,
                figures: own_figures,
                queue: VecDeque::new(),
                taken: Vec::new(),
                group: Vec::new(),
                looks_again: false,
                said: Vec::new(),
                kept_back: false,
                next_round_ms: 0,
                next_look_ms: 0,
                clock,
            };
            thread.run();
        })?;
        Ok(Self { bell, thread: Some(thread), figures })
    }

    /// Finishes the group that is being done and lets the directory go; what comes after that is refused with
    /// `store_full`. Returns when another process can have the directory.
    pub fn close(&self) {
        let mut state = self.bell.0.lock();
        state.close = true;
        state.rung = true;
        self.bell.0.rung.notify_all();
        while !state.is_closed {
            state = self.bell.0.rung.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn figures(&self) -> Arc<Figures> {
        self.figures.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.bell.0.lock();
        (state.end, state.rung) = (true, true);
        drop(state);
        self.bell.0.rung.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Thread {
    /// None: closed.
    place: Option<Place>,
    make: Option<MakeDesk>,
    caps: Caps,
    inboxes: Vec<Arc<Jobs>>,
    bell: ThreadWaker,
    words: Box<dyn Words>,
    figures: Arc<Figures>,
    /// Taken, and not done yet.
    queue: VecDeque<Job>,
    /// Empty: the memory of an inbox, which the next one gets for its own.
    taken: Vec<Job>,
    group: Vec<Job>,
    /// It may have been woken for jobs that it did not take, since it had others.
    looks_again: bool,
    said: Vec<Word>,
    kept_back: bool,
    /// When expiry goes through all mailboxes again.
    next_round_ms: u64,
    next_look_ms: u64,
    clock: Clock,
}

/// Whoever waits for [`Running::close`] is let go however the thread ends.
struct AtEnd(ThreadWaker);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.0.lock().is_closed = true;
        self.0.0.rung.notify_all();
    }
}

impl Thread {
    fn run(mut self) {
        let _at_end = AtEnd(self.bell.clone());
        loop {
            let (close, end) = self.wait();
            self.turn();
            if close || end {
                self.close();
            }
            if end {
                return;
            }
        }
    }

    /// Waits until there is something to do; whether to close, and to end.
    fn wait(&mut self) -> (bool, bool) {
        let most = self.rest();
        let mut state = self.bell.0.lock();
        if !state.rung {
            state = match most {
                Some(most) => {
                    let waited = self.bell.0.rung.wait_timeout(state, most);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.0.rung.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.rung = false;
        (state.close, state.end)
    }

    /// How long it may rest if nobody wakes it.
    fn rest(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.looks_again {
            return Some(Duration::ZERO);
        }
        let desk = match &self.place {
            Some(Place::Later(_)) => return Some(LOOK_AGAIN),
            Some(Place::Own(_, desk)) => Some(desk),
            None => None,
        };
        if self.kept_back {
            return Some(LOOK_AGAIN);
        }
        let desk = desk?;
        let round_ms = (!desk.is_empty()).then_some(self.next_round_ms);
        let next_ms = [desk.again_ms(), desk.forget_ms(), round_ms].into_iter().flatten().min()?;
        Some(Duration::from_millis(next_ms.saturating_sub(self.clock.now().steady_ms)))
    }

    /// One group, and a step of expiry.
    fn turn(&mut self) {
        if let Some(Place::Later(_)) = self.place {
            self.try_own();
            if let Some(Place::Later(_)) = self.place {
                return;
            }
        }
        // Only when all that was taken before is done: inboxes are what bounds the rest.
        self.looks_again = !self.queue.is_empty();
        if self.queue.is_empty() {
            for inbox in &self.inboxes {
                inbox.take(&mut self.taken);
                self.queue.extend(self.taken.drain(..));
            }
        }
        let (mut messages, mut bytes) = (0, 0);
        while messages < self.caps.group_messages
            && bytes < self.caps.group_bytes
            && let Some(job) = self.queue.pop_front()
        {
            let weight = weight(&job);
            messages += weight.0;
            bytes += weight.1;
            self.group.push(job);
        }
        let now = self.clock.now();
        match &mut self.place {
            Some(Place::Own(folder, desk)) => {
                if !self.group.is_empty() || desk.again_ms().is_some_and(|ms| ms <= now.steady_ms) {
                    desk.work(&mut self.group, now, &mut self.said);
                    self.figures.groups.fetch_add(1, Ordering::Relaxed);
                }
                let is_round = !desk.is_empty() && self.next_round_ms <= now.steady_ms;
                let forgets = desk.forget_ms().is_some_and(|ms| ms <= now.steady_ms);
                if (is_round || forgets) && desk.expire(now, &mut self.said) {
                    self.next_round_ms = now.steady_ms + EXPIRE_EVERY_MS;
                }
                let Holdings { messages, accounts, bytes } = desk.holdings();
                self.figures.messages.store(messages, Ordering::Relaxed);
                self.figures.accounts.store(accounts, Ordering::Relaxed);
                self.figures.bytes.store(bytes, Ordering::Relaxed);
                self.figures.failures.store(desk.failures(), Ordering::Relaxed);
                if self.next_look_ms <= now.steady_ms {
                    self.next_look_ms = now.steady_ms + LOOK_EVERY_MS;
                    self.figures.disk_bytes.store(folder.disk_bytes(), Ordering::Relaxed);
                }
            }
            _ => {
                self.group.iter().for_each(|job| refuse(job, &mut self.said));
                self.group.clear();
            }
        }
        self.words.give_all(&mut self.said);
        self.kept_back = !self.words.flush();
    }

    fn try_own(&mut self) {
        let Some(Place::Later(folder)) = self.place.take() else { return };
        match folder.lock() {
            Ok(locked) => {
                if let Some(make) = self.make.take() {
                    let mut desk = make(&locked);
                    // It is opened now, and not with the first jobs.
                    desk.work(&mut self.group, self.clock.now(), &mut self.said);
                    tracing::info!(data = %locked.path().display(), "the store is open");
                    self.place = Some(Place::Own(locked, Box::new(desk)));
                }
            }
            Err((folder, _)) => self.place = Some(Place::Later(folder)),
        }
    }

    /// What was left before is done before; what comes later is refused.
    fn close(&mut self) {
        while !self.queue.is_empty() && matches!(self.place, Some(Place::Own(..))) {
            self.turn();
        }
        if let Some(Place::Own(folder, desk)) = self.place.take() {
            // The database first: its file is the next one's as soon as the lock is.
            drop(desk);
            drop(folder);
        }
        self.bell.0.lock().is_closed = true;
        self.bell.0.rung.notify_all();
    }
}
