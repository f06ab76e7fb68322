//! Does jobs, a group at a time: decides by the book, writes one transaction, and only then says what became of them.

use super::{
    book::{Book, MESSAGE_BYTES},
    caps::Caps,
    disk::{Changes, Disk, DiskError, Reader},
    ids::Ids,
    repeats::{Name, Place, Repeats},
    rows::{self, AccountRow, MessageRow, Repeat, SenderBytes, sender_bytes},
};
use crate::{
    app::{
        crypto::{key::Identity, rng::Rng},
        mail::{
            self, Account, Committed, Job, Login, Look, MessageId, Outcome, Profile, Receipt, Recipient,
            Refused, Send, Word,
        },
        protocol::event::{BIO_CHARS, DISPLAY_NAME_CHARS, Method, Reason},
    },
    engine::outbox::Shared,
};
use std::sync::{Arc, mpsc::Sender};

/// What an account takes of `store_bytes` besides its name and bio.
const ACCOUNT_BYTES: u64 = 128;
/// Accounts may still be made when messages find the store full: up to one part in so many more.
const ACCOUNTS_MORE: u64 = 8;
/// An event 0x82 is at most so much longer than its body.
const AROUND_BYTES: u32 = 163;
/// Looked at, and taken out, in one step of expiry.
const EXPIRE_KEYS: usize = 4_096;
const EXPIRE_MESSAGES: usize = 256;
const FORGET_GROUPS: usize = 16;

/// What time it is: on the wall, and on a clock that does not jump.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub unix_ms: u64,
    pub steady_ms: u64,
}

/// Why a group failed.
#[derive(Debug)]
pub struct Failure {
    /// Its changes are on disk, and said; only what was to be read is missing.
    pub committed: bool,
    pub error: DiskError,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    pub messages: u64,
    pub accounts: u64,
    /// Of `store_bytes`.
    pub bytes: u64,
}

pub struct Keeper {
    disk: Disk,
    caps: Caps,
    book: Book,
    repeats: Repeats,
    ids: Ids,
    accounts: u64,
    account_bytes: u64,
    /// Of the group before, for their memory.
    changes: Changes,
    answers: Answers,
}

/// What is said once the group is committed.
#[derive(Default)]
struct Answers {
    words: Vec<Word>,
    /// Which of those are a [`Word::Backlog`] that is still to be read, and what.
    backlogs: Vec<(usize, Vec<MessageId>)>,
    looks: Vec<(Sender<Look>, Look)>,
}

/// A group that is being made.
struct Group<'a> {
    disk: &'a Disk,
    reader: Option<Reader>,
    changes: Changes,
    answers: Answers,
    now: Now,
    /// Whether anything may be changed.
    writes: bool,
}

impl Group<'_> {
    fn reader(&mut self) -> Result<&mut Reader, DiskError> {
        if self.reader.is_none() {
            self.reader = Some(self.disk.reader()?);
        }
        self.reader.as_mut().ok_or(DiskError::Corrupt)
    }

    fn say(&mut self, word: Word) {
        self.answers.words.push(word);
    }

    /// The account of a key, as this group has it so far.
    fn account(&mut self, identity: &Identity) -> Result<Option<AccountRow>, DiskError> {
        let key = identity.as_bytes();
        if let Some((_, row)) = self.changes.accounts.iter().rev().find(|(other, _)| other == key) {
            return Ok(Some(AccountRow::read(row)?));
        }
        let row = self.reader()?.account(key, AccountRow::read)?;
        Ok(row.transpose()?)
    }
}

impl Keeper {
    /// Reads what the caps are held against.
    ///
    /// # Errors
    /// It cannot be read, or is not ours.
    pub fn open(disk: Disk, caps: Caps, now: Now, rng: Rng) -> Result<Self, DiskError> {
        let (mut book, mut repeats) = (Book::default(), Repeats::default());
        let (mut last, mut accounts, mut account_bytes) = (MessageId::FIRST, 0, 0);
        let reader = disk.reader()?;
        reader.each_message(|id, row| {
            let from = if row.from == [0; 33] { None } else { Some(rows::identity(row.from)?) };
            let to = rows::identity(row.to)?;
            book.put_back(id, &to, from.as_ref(), row.body.len() as u32);
            last = id;
            Ok(())
        })?;
        reader.each_account(|identity, row| {
            accounts += 1;
            account_bytes += ACCOUNT_BYTES + row.len() as u64;
            if let Ok(identity) = rows::identity(*identity) {
                book.is_seen(&identity);
            }
        })?;
        reader.each_repeats(|id, row| {
            let (unix_ms, _) = rows::repeats_of(row)?;
            let age_ms = now.unix_ms.saturating_sub(unix_ms);
            let left_ms = caps.repeat_ms.saturating_sub(age_ms);
            last = last.max(id);
            repeats.add(id, row, now.steady_ms.saturating_add(left_ms))
        })?;
        drop(reader);
        let ids = Ids::new(last, rng);
        let (changes, answers) = (Changes::default(), Answers::default());
        Ok(Self { disk, caps, book, repeats, ids, accounts, account_bytes, changes, answers })
    }

    pub fn holdings(&self) -> Holdings {
        Holdings { messages: self.book.messages(), accounts: self.accounts, bytes: self.bytes() }
    }

    fn bytes(&self) -> u64 {
        self.book.bytes() + self.repeats.bytes() + self.account_bytes
    }

    /// Does these jobs in their order, in one transaction, and appends what is to be said. With `writes` off nothing
    /// is changed: what would, is refused, or for acks left undone.
    ///
    /// # Errors
    /// This keeper is not to be used any more: what it remembers may be ahead of its disk. If nothing was committed,
    /// nothing is said either.
    pub fn work(
        &mut self,
        jobs: &[Job],
        writes: bool,
        now: Now,
        words: &mut Vec<Word>,
    ) -> Result<(), Failure> {
        self.apply(jobs, writes, now)
            .and_then(|()| self.commit(now))
            .map_err(|error| Failure { committed: false, error })?;
        self.answer(words).map_err(|error| Failure { committed: true, error })
    }

    fn apply(&mut self, jobs: &[Job], writes: bool, now: Now) -> Result<(), DiskError> {
        let Self { disk, caps, book, repeats, ids, accounts, account_bytes, changes, answers } = self;
        let (mut changes_before, mut answers_before) = (std::mem::take(changes), std::mem::take(answers));
        changes_before.clear();
        answers_before.words.reserve(jobs.len());
        let mut group =
            Group { disk, reader: None, changes: changes_before, answers: answers_before, now, writes };
        let mut desk = Desk { caps, book, repeats, ids, accounts, account_bytes };
        for job in jobs {
            match job {
                Job::Login(login) => desk.login(login, &mut group)?,
                Job::Send(send) => desk.send(send, &mut group)?,
                Job::Ack { identity, ids } => desk.ack(identity, ids, &mut group),
                Job::Fetch { at, identity, after, messages, bytes } => {
                    let (ids, more) = desk.book.fetch(identity, *after, *messages, *bytes, AROUND_BYTES);
                    group.answers.backlogs.push((group.answers.words.len(), ids));
                    group.say(Word::Backlog { at: *at, messages: Vec::new(), more });
                }
                Job::Look { identity, tell } => desk.look(identity, tell, &mut group)?,
            }
        }
        group.changes.repeats_id = desk.ids.last();
        (*changes, *answers) = (group.changes, group.answers);
        Ok(())
    }

    fn commit(&mut self, now: Now) -> Result<(), DiskError> {
        let changes = &mut self.changes;
        if changes.is_empty() {
            return Ok(());
        }
        self.repeats.forget(now.steady_ms, FORGET_GROUPS, |id| changes.forgotten.push(id));
        self.disk.commit(changes, &self.answers.words)?;
        if !changes.repeats.is_empty() {
            let until_ms = now.steady_ms.saturating_add(self.caps.repeat_ms);
            self.repeats.add_formed(changes.repeats_id, changes.repeats.len(), until_ms);
        }
        Ok(())
    }

    fn answer(&mut self, words: &mut Vec<Word>) -> Result<(), DiskError> {
        let Answers { words: said, mut backlogs, looks } = std::mem::take(&mut self.answers);
        for (tell, look) in looks {
            // Whoever asked may have given up.
            let _ = tell.send(look);
        }
        let (mut said, mut reader, mut failed) = (said, None, Ok(()));
        // From the last on: what cannot be read is taken out, and what the group committed must still be said.
        while let Some((at, ids)) = backlogs.pop() {
            match (self.read(&mut reader, &ids), said.get_mut(at)) {
                (Ok(read), Some(Word::Backlog { messages, .. })) => *messages = read,
                (Err(error), _) => {
                    said.remove(at);
                    failed = Err(error);
                }
                _ => {}
            }
        }
        if words.is_empty() {
            std::mem::swap(words, &mut said);
        } else {
            words.append(&mut said);
        }
        self.answers.words = said;
        failed
    }

    fn read(
        &self,
        reader: &mut Option<Reader>,
        ids: &[MessageId],
    ) -> Result<Vec<(MessageId, Arc<Shared>)>, DiskError> {
        let mut messages = Vec::with_capacity(ids.len());
        if ids.is_empty() {
            return Ok(messages);
        }
        let reader = match reader {
            Some(reader) => reader,
            none => none.insert(self.disk.reader()?),
        };
        for id in ids {
            let encoded = reader.message(*id, |row| {
                let row = MessageRow::read(row)?;
                let from = if row.from == [0; 33] { None } else { Some(rows::identity(row.from)?) };
                Ok::<_, rows::Corrupt>(mail::stored(*id, from.as_ref(), row.body))
            })?;
            // One that a later job of the group has acked is gone.
            if let Some(encoded) = encoded {
                messages.push((*id, encoded?));
            }
        }
        Ok(messages)
    }

    /// A step of what time asks for: takes out what is too old, and forgets ids. Whether it came to the end of all
    /// mailboxes.
    ///
    /// # Errors
    /// As [`Keeper::work`].
    pub fn expire(&mut self, now: Now, words: &mut Vec<Word>) -> Result<bool, DiskError> {
        let mut changes = Changes::default();
        let mut gone = Vec::new();
        let at_end =
            self.book.expire(&self.caps, now.unix_ms, EXPIRE_KEYS, EXPIRE_MESSAGES, |identity, ids| {
                changes.removed.extend_from_slice(ids);
                gone.push(Word::Acked { identity: *identity, ids: ids.into() });
            });
        self.repeats.forget(now.steady_ms, FORGET_GROUPS, |id| changes.forgotten.push(id));
        if !changes.is_empty() {
            self.disk.commit(&changes, &[])?;
        }
        words.append(&mut gone);
        Ok(at_end)
    }

    /// When ids are to be forgotten next, on the steady clock.
    pub fn forget_ms(&self) -> Option<u64> {
        self.repeats.next_ms()
    }

    /// Whether there is anything that grows old.
    pub fn is_empty(&self) -> bool {
        self.book.messages() == 0
    }
}

/// What a keeper decides with.
struct Desk<'a> {
    caps: &'a Caps,
    book: &'a mut Book,
    repeats: &'a mut Repeats,
    ids: &'a mut Ids,
    accounts: &'a mut u64,
    account_bytes: &'a mut u64,
}

impl Desk<'_> {
    fn login(&mut self, login: &Login, group: &mut Group<'_>) -> Result<(), DiskError> {
        let known = group.account(&login.identity)?;
        let result = match (&known, login.method) {
            (Some(_), Method::Signup) => Err(Reason::AccountExists),
            (None, Method::Login) => Err(Reason::NoAccount),
            _ => Ok(self.keep_account(login, known, group)),
        };
        let unread_messages = self.book.unread(&login.identity);
        let result = result.map(|account| Account { display_name: account.display_name, unread_messages });
        group.say(Word::Account { at: login.at, result });
        Ok(())
    }

    /// Makes or changes an account if there is something to change, and room.
    fn keep_account(
        &mut self,
        login: &Login,
        known: Option<AccountRow>,
        group: &mut Group<'_>,
    ) -> AccountRow {
        let mut account = known.clone().unwrap_or_default();
        if let Some(name) = &login.display_name {
            account.display_name = first_chars(name, DISPLAY_NAME_CHARS);
        }
        if let Some(bio) = &login.bio {
            account.bio = first_chars(bio, BIO_CHARS);
        }
        if known.as_ref() == Some(&account) || !group.writes {
            return account;
        }
        let row = account.write();
        let before_bytes = known.as_ref().map_or(0, |known| ACCOUNT_BYTES + known.write().len() as u64);
        let bytes = ACCOUNT_BYTES + row.len() as u64;
        let most_bytes = self.caps.store_bytes.saturating_add(self.caps.store_bytes / ACCOUNTS_MORE);
        let all_bytes = self.book.bytes() + self.repeats.bytes() + *self.account_bytes;
        if bytes > before_bytes && all_bytes + bytes - before_bytes > most_bytes {
            return account;
        }
        *self.account_bytes = *self.account_bytes + bytes - before_bytes;
        *self.accounts += u64::from(known.is_none());
        self.book.is_seen(&login.identity);
        group.changes.accounts.push((*login.identity.as_bytes(), row));
        account
    }

    fn send(&mut self, send: &Arc<Send>, group: &mut Group<'_>) -> Result<(), DiskError> {
        let sender = sender_bytes(send.from.identity());
        let is_remembered = !send.re.is_empty();
        let name = self.repeats.name(&sender, &send.re);
        if is_remembered && let Some(said) = self.said_before(&name, &sender, send, group)? {
            let (same, receipts) = said;
            for (nth, to) in send.to.iter().enumerate() {
                let (outcome, id) = match receipts.get(nth) {
                    Some(first) if same == send.content => *first,
                    _ => (Outcome::Refused(Refused::IdReused), None),
                };
                group.say(receipt(send, to, outcome, id));
            }
            return Ok(());
        }
        let before = group.changes.repeats.len();
        let others_bytes = self.repeats.bytes() + before as u64 + *self.account_bytes;
        if before == 0 {
            rows::begin_repeats(&mut group.changes.repeats, group.now.unix_ms);
        }
        let at = Repeat::begin(&mut group.changes.repeats, &sender, &send.re, &send.content, send.to.len());
        let mut is_stored = false;
        for to in &send.to {
            let (outcome, id) = match self.put(to, send, others_bytes, group)? {
                Ok(id) => (Outcome::Stored, Some(id)),
                Err(why) => (Outcome::Refused(why), None),
            };
            Repeat::receipt(&mut group.changes.repeats, outcome, id);
            if let Some(id) = id {
                is_stored = true;
                group.say(Word::Committed(Committed { send: send.clone(), to: *to, id }));
            } else {
                group.say(receipt(send, to, outcome, None));
            }
        }
        // What was refused everywhere may be sent again.
        if is_stored && is_remembered {
            self.repeats.form(&name, &sender, at);
        } else {
            group.changes.repeats.truncate(before);
        }
        Ok(())
    }

    /// The hash of the content that this id stands for, and what was said to it.
    #[allow(clippy::type_complexity)]
    fn said_before(
        &mut self,
        name: &Name,
        sender: &SenderBytes,
        send: &Send,
        group: &mut Group<'_>,
    ) -> Result<Option<([u8; 16], Vec<(Outcome, Option<MessageId>)>)>, DiskError> {
        let read = |row: &[u8], at: u32| {
            let (repeat, _) = Repeat::read(row, at as usize)?;
            let is_it = repeat.sender == *sender && *repeat.re == *send.re;
            Ok::<_, rows::Corrupt>(is_it.then_some((repeat.content, repeat.receipts)))
        };
        Ok(match self.repeats.find(self.caps, name, sender) {
            None => None,
            Some(Place::Forming(at)) => read(&group.changes.repeats, at)?,
            Some(Place::Row(id, at)) => {
                group.reader()?.repeats(id, |row| read(row, at))?.transpose()?.flatten()
            }
        })
    }

    fn put(
        &mut self,
        to: &Identity,
        send: &Send,
        others: u64,
        group: &mut Group<'_>,
    ) -> Result<Result<MessageId, Refused>, DiskError> {
        if !group.writes {
            return Ok(Err(Refused::StoreFull));
        }
        let from = send.from.identity();
        let bytes = u32::try_from(send.body.len()).unwrap_or(u32::MAX);
        let has_account = || Ok::<_, DiskError>(group.account(to)?.is_some());
        let seat = match self.book.check(self.caps, to, from, bytes, others, has_account)? {
            Ok(seat) => seat,
            Err(why) => return Ok(Err(why)),
        };
        let id = self.ids.next(group.now.unix_ms);
        self.book.add(seat, id, to, from, bytes);
        group.changes.messages += 1;
        Ok(Ok(id))
    }

    fn look(
        &mut self,
        identity: &Identity,
        tell: &Sender<Look>,
        group: &mut Group<'_>,
    ) -> Result<(), DiskError> {
        let account = group.account(identity)?;
        let account = account.map(|row| Profile { display_name: row.display_name, bio: row.bio });
        let look = Look { account, ..self.book.look(identity) };
        group.answers.looks.push((tell.clone(), look));
        Ok(())
    }

    fn ack(&mut self, identity: &Identity, ids: &[MessageId], group: &mut Group<'_>) {
        if !group.writes {
            return;
        }
        let gone: Box<[_]> = ids.iter().copied().filter(|id| self.book.remove(identity, *id)).collect();
        if !gone.is_empty() {
            group.changes.removed.extend_from_slice(&gone);
            group.say(Word::Acked { identity: *identity, ids: gone });
        }
    }
}

/// How much of a group this job is: recipients, and bytes.
pub fn weight(job: &Job) -> (u32, u64) {
    match job {
        Job::Send(send) => {
            let bytes = send.to.len() as u64 * (send.body.len() as u64 + MESSAGE_BYTES);
            (send.to.len() as u32, bytes)
        }
        Job::Ack { ids, .. } => (ids.len() as u32, 0),
        Job::Fetch { bytes, .. } => (1, u64::from(*bytes)),
        Job::Login(_) | Job::Look { .. } => (1, ACCOUNT_BYTES),
    }
}

/// The receipt of a message for one key.
pub fn receipt(send: &Send, to: &Identity, outcome: Outcome, id: Option<MessageId>) -> Word {
    let receipt = Receipt { re: send.re.clone(), to: Recipient::Key(*to), id, outcome };
    Word::Receipt { from: send.from.clone(), receipt }
}

fn first_chars(text: &str, most: usize) -> Box<str> {
    text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at]).into()
}
