//! A disk in memory that can lose what was not synced, and refuse to write.

use redb::StorageBackend;
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard},
};

#[derive(Clone, Debug, Default)]
pub struct Medium(Arc<Mutex<Image>>);

#[derive(Debug, Default)]
struct Image {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    is_full: bool,
}

impl Medium {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap()
    }

    /// The power fails: what was not synced is gone.
    pub fn crash(&self) {
        let mut image = self.image();
        image.bytes = image.synced.clone();
    }

    /// Whether nothing more fits on it.
    pub fn set_full(&self, is_full: bool) {
        self.image().is_full = is_full;
    }

    pub fn overwrite(&self, byte: u8) {
        self.image().bytes.fill(byte);
    }

    fn change(&self) -> io::Result<MutexGuard<'_, Image>> {
        let image = self.image();
        if image.is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(image) }
    }
}

impl StorageBackend for Medium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.image().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        out.copy_from_slice(&self.image().bytes[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change()?.bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut image = self.change()?;
        image.synced = image.bytes.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = offset as usize;
        self.change()?.bytes[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
}
