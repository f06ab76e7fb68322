//! The two databases, asked for the same.

use redb::ReadableTable;
use std::path::Path;

pub type Row = (Vec<u8>, Vec<u8>);

pub trait Database {
    fn open(folder: &Path) -> Self;
    /// On disk when it returns.
    fn put(&self, rows: &[Row]);
    /// The bytes of all values; the rows are gone from the disk when it returns.
    fn read_and_delete(&self, keys: &[Vec<u8>]) -> usize;
}

const CACHE_BYTES: usize = 16 << 20;

pub struct Redb(redb::Database);

const TABLE: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("messages");

impl Database for Redb {
    fn open(folder: &Path) -> Self {
        let mut builder = redb::Builder::new();
        Self(builder.set_cache_size(CACHE_BYTES).create(folder.join("bench.redb")).expect("a database"))
    }

    fn put(&self, rows: &[Row]) {
        let group = self.0.begin_write().expect("a transaction");
        let mut table = group.open_table(TABLE).expect("a table");
        for (key, value) in rows {
            table.insert(key.as_slice(), value.as_slice()).expect("room");
        }
        drop(table);
        group.commit().expect("a commit");
    }

    fn read_and_delete(&self, keys: &[Vec<u8>]) -> usize {
        let group = self.0.begin_write().expect("a transaction");
        let mut table = group.open_table(TABLE).expect("a table");
        let mut bytes = 0;
        for key in keys {
            bytes += table.get(key.as_slice()).expect("a read").expect("a row").value().len();
        }
        for key in keys {
            table.remove(key.as_slice()).expect("a removal");
        }
        drop(table);
        group.commit().expect("a commit");
        bytes
    }
}

pub struct Fjall {
    database: fjall::Database,
    table: fjall::Keyspace,
}

impl Database for Fjall {
    fn open(folder: &Path) -> Self {
        let builder = fjall::Database::builder(folder).cache_size(CACHE_BYTES as u64).worker_threads(1);
        let database = builder.open().expect("a database");
        let table = database.keyspace("messages", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
        Self { database, table }
    }

    fn put(&self, rows: &[Row]) {
        let mut group = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for (key, value) in rows {
            group.insert(&self.table, key.as_slice(), value.as_slice());
        }
        group.commit().expect("a commit");
    }

    fn read_and_delete(&self, keys: &[Vec<u8>]) -> usize {
        let bytes = keys.iter().map(|key| self.table.get(key).expect("a read").expect("a row").len()).sum();
        let mut group = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for key in keys {
            group.remove(&self.table, key.as_slice());
        }
        group.commit().expect("a commit");
        bytes
    }
}
