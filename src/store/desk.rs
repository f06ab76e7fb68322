//! Between the thread and the keeper: opens the database, tries again when the disk fails, and answers all jobs
//! meanwhile.

use super::{
    caps::Caps,
    disk::{Disk, DiskError},
    folder::database,
    keeper::{Holdings, Keeper, Now, receipt, weight},
};
use crate::app::{
    crypto::rng::Rng,
    mail::{Account, Job, Outcome, Refused, Word},
};
use redb::backends::FileBackend;
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// After a failure nothing is written for so long; twice as long after each further one.
const REST_LEAST_MS: u64 = 1_000;
const REST_MOST_MS: u64 = 30_000;
/// At most one line on failures in this time.
const SAY_EVERY_MS: u64 = 60_000;
/// Acks and fetches that wait for the disk; of more the oldest are given up.
const WAITING_MOST: usize = 65_536;

/// Opens the database anew, each time that it failed.
pub type Opener = Box<dyn FnMut() -> Result<Disk, DiskError> + std::marker::Send>;

/// All of a store but its thread.
pub struct Desk {
    caps: Caps,
    open: Opener,
    keeper: Option<Keeper>,
    /// Nothing is written until then; 0: it is well.
    rests_until_ms: u64,
    rest_ms: u64,
    said_ms: Option<u64>,
    failures: u64,
    /// For when it is well again.
    waiting: VecDeque<Job>,
}

impl Desk {
    /// Opens the database.
    ///
    /// # Errors
    /// It cannot be.
    pub fn open(caps: Caps, open: Opener, now: Now) -> Result<Self, DiskError> {
        let mut desk = Self::shut(caps, open);
        desk.keeper = Some(desk.try_open(now)?);
        Ok(desk)
    }

    /// One that opens its database with the first jobs.
    pub fn shut(caps: Caps, open: Opener) -> Self {
        let waiting = VecDeque::new();
        Self { caps, open, keeper: None, rests_until_ms: 0, rest_ms: 0, said_ms: None, failures: 0, waiting }
    }

    /// Does a group of jobs, all of them, and appends what is to be said. They are consumed.
    pub fn work(&mut self, jobs: &mut Vec<Job>, now: Now, words: &mut Vec<Word>) {
        let may_write = now.steady_ms >= self.rests_until_ms;
        if may_write && self.keeper.is_none() {
            match self.try_open(now) {
                Ok(keeper) => self.keeper = Some(keeper),
                Err(error) => self.failed(&error, now),
            }
        }
        let writes = now.steady_ms >= self.rests_until_ms;
        let Some(keeper) = &mut self.keeper else {
            return self.put_off(jobs, now, words);
        };
        if writes {
            // No more of them at once than of others.
            let (mut messages, mut bytes) = (0, 0);
            let fits = |job: &&Job| {
                let is_room = messages < self.caps.group_messages && bytes < self.caps.group_bytes;
                let weight = weight(job);
                (messages, bytes) = (messages + weight.0, bytes + weight.1);
                is_room
            };
            let count = self.waiting.iter().take_while(fits).count();
            jobs.splice(..0, self.waiting.drain(..count));
        }
        let done = catch_unwind(AssertUnwindSafe(|| keeper.work(jobs, writes, now, words)));
        match done {
            Ok(Ok(())) => {
                if !writes {
                    self.wait_with(jobs, |job| matches!(job, Job::Ack { .. }));
                } else {
                    (self.rests_until_ms, self.rest_ms) = (0, 0);
                }
            }
            Ok(Err(failure)) => {
                self.failed(&failure.error, now);
                self.reopen(now);
                if failure.committed {
                    self.wait_with(jobs, |job| matches!(job, Job::Fetch { .. }));
                } else {
                    self.put_off(jobs, now, words);
                }
            }
            Err(_) => {
                self.failed(&DiskError::Corrupt, now);
                self.reopen(now);
                self.put_off(jobs, now, words);
            }
        }
        jobs.clear();
    }

    /// A step of what time asks for; whether it came to the end of what there is.
    pub fn expire(&mut self, now: Now, words: &mut Vec<Word>) -> bool {
        if now.steady_ms < self.rests_until_ms {
            return true;
        }
        let Some(keeper) = &mut self.keeper else { return true };
        match catch_unwind(AssertUnwindSafe(|| keeper.expire(now, words))) {
            Ok(Ok(at_end)) => at_end,
            Ok(Err(error)) => {
                self.failed(&error, now);
                self.reopen(now);
                true
            }
            Err(_) => {
                self.failed(&DiskError::Corrupt, now);
                self.reopen(now);
                true
            }
        }
    }

    /// When [`Desk::work`] is to be called even if there are no jobs, on the steady clock.
    pub fn again_ms(&self) -> Option<u64> {
        (!self.waiting.is_empty()).then_some(self.rests_until_ms)
    }

    /// When ids are to be forgotten next.
    pub fn forget_ms(&self) -> Option<u64> {
        let due_ms = self.keeper.as_ref().and_then(Keeper::forget_ms)?;
        // Not while nothing is written.
        Some(due_ms.max(self.rests_until_ms))
    }

    /// Whether there is any message that grows old.
    pub fn is_empty(&self) -> bool {
        self.keeper.as_ref().is_none_or(Keeper::is_empty)
    }

    pub fn holdings(&self) -> Holdings {
        self.keeper.as_ref().map(Keeper::holdings).unwrap_or_default()
    }

    /// How often the disk has failed.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    fn try_open(&mut self, now: Now) -> Result<Keeper, DiskError> {
        let rng = Rng::from_os().map_err(redb::Error::Io)?;
        // A file that something else has written to may break more than rules.
        catch_unwind(AssertUnwindSafe(|| Keeper::open((self.open)()?, self.caps.clone(), now, rng)))
            .unwrap_or(Err(DiskError::Corrupt))
    }

    /// What the keeper had decided is not on disk: it begins again with what is.
    fn reopen(&mut self, now: Now) {
        // First the old one, which has the file locked.
        self.keeper = None;
        self.keeper = self.try_open(now).ok();
    }

    fn failed(&mut self, error: &DiskError, now: Now) {
        self.failures += 1;
        self.rest_ms = (self.rest_ms * 2).clamp(REST_LEAST_MS, REST_MOST_MS);
        self.rests_until_ms = now.steady_ms + self.rest_ms;
        if self.said_ms.is_none_or(|said_ms| now.steady_ms >= said_ms + SAY_EVERY_MS) {
            self.said_ms = Some(now.steady_ms);
            tracing::error!(%error, failures = self.failures, "the store cannot write: it refuses messages, and tries again");
        }
    }

    /// What becomes of jobs that could not be done: logins are answered from what can be read.
    fn put_off(&mut self, jobs: &mut Vec<Job>, now: Now, words: &mut Vec<Word>) {
        let (logins, mut others): (Vec<_>, Vec<_>) =
            jobs.drain(..).partition(|job| matches!(job, Job::Login(_)));
        let read = self
            .keeper
            .as_mut()
            .filter(|_| !logins.is_empty())
            .map(|keeper| catch_unwind(AssertUnwindSafe(|| keeper.work(&logins, false, now, words))));
        if !matches!(read, Some(Ok(Ok(())))) {
            logins.iter().for_each(|job| refuse(job, words));
        }
        others.iter().for_each(|job| refuse(job, words));
        self.wait_with(&mut others, |job| matches!(job, Job::Ack { .. } | Job::Fetch { .. }));
    }

    fn wait_with(&mut self, jobs: &mut Vec<Job>, which: impl Fn(&Job) -> bool) {
        self.waiting.extend(jobs.drain(..).filter(which));
        let over = self.waiting.len().saturating_sub(WAITING_MOST);
        self.waiting.drain(..over);
    }
}

/// Answers a job of which nothing can be done: messages are refused, and a key passes as it would without a store.
pub fn refuse(job: &Job, words: &mut Vec<Word>) {
    match job {
        Job::Send(send) => {
            let refused = Outcome::Refused(Refused::StoreFull);
            words.extend(send.to.iter().map(|to| receipt(send, to, refused, None)));
        }
        Job::Login(login) => {
            let display_name = login.display_name.clone().unwrap_or_default();
            let account = Account { display_name, unread_messages: 0 };
            words.push(Word::Account { at: login.at, result: Ok(account) });
        }
        // Who looks is told by nobody, and sees that.
        Job::Ack { .. } | Job::Fetch { .. } | Job::Look { .. } => {}
    }
}

/// Opens the database of this directory.
///
/// # Errors
/// The file cannot be opened, or is no database.
pub fn open_file(folder: &Path) -> Result<Disk, DiskError> {
    let file = database(folder).map_err(redb::Error::Io)?;
    Disk::open(FileBackend::new(file)?)
}
