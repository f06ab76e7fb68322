//! The database: one file, of which only this knows. A group of changes is one transaction, on disk when it returns.

use super::rows::{self, Corrupt, MessageRow, sender_bytes};
use crate::app::mail::{Committed, MessageId, Word};
use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition,
};
use std::fmt;

type Rows<const KEY: usize> = TableDefinition<'static, &'static [u8; KEY], &'static [u8]>;

const MESSAGES: Rows<16> = TableDefinition::new("messages");
const ACCOUNTS: Rows<33> = TableDefinition::new("accounts");
const REPEATS: Rows<16> = TableDefinition::new("repeats");
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
const FORMAT: u64 = 1;
/// Pages that are kept in memory; the kernel has the rest in its own cache.
const CACHE_BYTES: usize = 16 << 20;

/// Why a database cannot be opened, read or written.
#[derive(Debug)]
pub enum DiskError {
    Database(Box<redb::Error>),
    /// A row that this program did not write.
    Corrupt,
    /// Of a later version of this program.
    Format(u64),
}

impl<E: Into<redb::Error>> From<E> for DiskError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl From<Corrupt> for DiskError {
    fn from(Corrupt: Corrupt) -> Self {
        Self::Corrupt
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(error) => write!(f, "{error}"),
            Self::Corrupt => f.write_str("a row in it is none of ours: restore it from a copy, or remove it"),
            Self::Format(format) => write!(f, "its format {format} is of another version of this program"),
        }
    }
}

impl std::error::Error for DiskError {}

/// What is kept of the memory of one group for the next.
const KEEP_BYTES: usize = 1 << 20;

/// What one transaction changes; the next is made in the same memory.
#[derive(Default)]
pub struct Changes {
    /// So many are new; they are what is said to be committed.
    pub messages: usize,
    pub removed: Vec<MessageId>,
    pub accounts: Vec<([u8; 33], Vec<u8>)>,
    /// A row under this id, or nothing.
    pub repeats_id: MessageId,
    pub repeats: Vec<u8>,
    pub forgotten: Vec<MessageId>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        let rows = self.messages + self.removed.len() + self.accounts.len() + self.forgotten.len();
        rows == 0 && self.repeats.is_empty()
    }

    pub fn clear(&mut self) {
        self.messages = 0;
        self.removed.clear();
        self.accounts.clear();
        self.forgotten.clear();
        self.repeats.clear();
        self.repeats.shrink_to(KEEP_BYTES);
    }
}

pub struct Disk(Database);

impl Disk {
    /// Opens what is there, or makes a new one. After a crash the whole of it is walked through.
    ///
    /// # Errors
    /// It cannot be read or written, or is not ours.
    pub fn open(backend: impl StorageBackend) -> Result<Self, DiskError> {
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?;
        let is_new = database.begin_read()?.list_tables()?.next().is_none();
        if is_new {
            let group = database.begin_write()?;
            group.open_table(ABOUT)?.insert("format", FORMAT)?;
            for table in [MESSAGES, REPEATS] {
                group.open_table(table)?;
            }
            group.open_table(ACCOUNTS)?;
            group.commit()?;
        }
        let format = database.begin_read()?.open_table(ABOUT)?.get("format")?.map(|format| format.value());
        match format {
            Some(FORMAT) => Ok(Self(database)),
            other => Err(DiskError::Format(other.unwrap_or(0))),
        }
    }

    /// Makes all of the changes, or none of them; of the words those that say so are new messages.
    ///
    /// # Errors
    /// They may be on disk all the same; this is to be opened anew before anything else is asked of it.
    pub fn commit(&self, changes: &Changes, words: &[Word]) -> Result<(), DiskError> {
        let group = self.0.begin_write()?;
        {
            let mut messages = group.open_table(MESSAGES)?;
            let mut row = Vec::new();
            for word in words {
                let Word::Committed(Committed { send, to, id }) = word else { continue };
                row.clear();
                MessageRow::write(&mut row, to, &sender_bytes(send.from.identity()), &send.body);
                messages.insert(&id.0, row.as_slice())?;
            }
            for id in &changes.removed {
                messages.remove(&id.0)?;
            }
        }
        if !changes.accounts.is_empty() {
            let mut accounts = group.open_table(ACCOUNTS)?;
            for (identity, row) in &changes.accounts {
                accounts.insert(identity, row.as_slice())?;
            }
        }
        if !changes.repeats.is_empty() || !changes.forgotten.is_empty() {
            let mut repeats = group.open_table(REPEATS)?;
            if !changes.repeats.is_empty() {
                repeats.insert(&changes.repeats_id.0, changes.repeats.as_slice())?;
            }
            for id in &changes.forgotten {
                repeats.remove(&id.0)?;
            }
        }
        group.commit()?;
        Ok(())
    }

    /// What was committed last.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn reader(&self) -> Result<Reader, DiskError> {
        Ok(Reader { read: self.0.begin_read()?, messages: None, accounts: None, repeats: None })
    }
}

/// Rows, as of one commit.
pub struct Reader {
    read: ReadTransaction,
    messages: Option<Table<16>>,
    accounts: Option<Table<33>>,
    repeats: Option<Table<16>>,
}

type Table<const KEY: usize> = ReadOnlyTable<&'static [u8; KEY], &'static [u8]>;

impl Reader {
    /// # Errors
    /// It cannot be read; so with the others.
    pub fn message<T>(
        &mut self,
        id: MessageId,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, DiskError> {
        get(&self.read, &mut self.messages, MESSAGES, &id.0, read)
    }

    pub fn account<T>(
        &mut self,
        key: &[u8; 33],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, DiskError> {
        get(&self.read, &mut self.accounts, ACCOUNTS, key, read)
    }

    pub fn repeats<T>(
        &mut self,
        id: MessageId,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, DiskError> {
        get(&self.read, &mut self.repeats, REPEATS, &id.0, read)
    }

    /// All messages, by their ids.
    pub fn each_message(
        &self,
        mut each: impl FnMut(MessageId, rows::MessageRow<'_>) -> Result<(), Corrupt>,
    ) -> Result<(), DiskError> {
        for row in self.read.open_table(MESSAGES)?.iter()? {
            let (id, row) = row?;
            each(MessageId(*id.value()), rows::MessageRow::read(row.value())?)?;
        }
        Ok(())
    }

    /// All rows of what is remembered, by their ids.
    pub fn each_repeats(
        &self,
        mut each: impl FnMut(MessageId, &[u8]) -> Result<(), Corrupt>,
    ) -> Result<(), DiskError> {
        for row in self.read.open_table(REPEATS)?.iter()? {
            let (id, row) = row?;
            each(MessageId(*id.value()), row.value())?;
        }
        Ok(())
    }

    /// All accounts: their rows.
    pub fn each_account(&self, mut each: impl FnMut(&[u8; 33], &[u8])) -> Result<(), DiskError> {
        for row in self.read.open_table(ACCOUNTS)?.iter()? {
            let (identity, row) = row?;
            each(identity.value(), row.value());
        }
        Ok(())
    }
}

fn get<const KEY: usize, T>(
    read: &ReadTransaction,
    table: &mut Option<Table<KEY>>,
    definition: Rows<KEY>,
    key: &[u8; KEY],
    then: impl FnOnce(&[u8]) -> T,
) -> Result<Option<T>, DiskError> {
    if table.is_none() {
        *table = Some(read.open_table(definition)?);
    }
    let Some(table) = table else { return Ok(None) };
    Ok(table.get(key)?.map(|row| then(row.value())))
}
