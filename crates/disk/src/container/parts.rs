//! The files that one image is spread over, of which a few are open at a time.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;

use super::{ContainerError, Neighbours};
use crate::device::{BlockDevice, Device, ReadError};

/// How many files are open at a time: a process may have a thousand or so, and an image has more parts than that.
const MAX_OPEN: usize = 64;

/// Opens the parts of an image, as many as there are.
#[derive(Clone)]
pub(super) struct Parts {
    neighbours: Neighbours,
    open: Arc<Mutex<LruCache<String, Device>>>,
}

impl Parts {
    /// Opens files beside an image.
    pub(super) fn beside(neighbours: &Neighbours) -> Self {
        let most = NonZeroUsize::new(MAX_OPEN).unwrap_or(NonZeroUsize::MIN);
        Self {
            neighbours: neighbours.clone(),
            open: Arc::new(Mutex::new(LruCache::new(most))),
        }
    }

    /// Returns the file called `name`, which may be closed and opened again whenever it is read.
    ///
    /// # Errors
    /// As [`Neighbours::open_file`].
    pub(super) fn open(&self, name: &str) -> Result<Device, ContainerError> {
        let file = self.file(name)?;
        Ok(Arc::new(Part {
            name: name.to_owned(),
            len_bytes: file.len_bytes(),
            parts: self.clone(),
        }))
    }

    fn file(&self, name: &str) -> Result<Device, ContainerError> {
        // Nothing is half done under this lock, so a thread that panicked left it in order.
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(name) {
            return Ok(file.clone());
        }
        let file = self.neighbours.open_file(name)?;
        open.put(name.to_owned(), file.clone());
        Ok(file)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// A file that is opened when it is needed.
#[derive(Debug)]
struct Part {
    name: String,
    len_bytes: u64,
    parts: Parts,
}

impl BlockDevice for Part {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let len_bytes = buf.len() as u64;
        ReadError::check_range(offset, len_bytes, self.len_bytes)?;
        self.parts
            .file(&self.name)
            .map_err(|error| ReadError::Io {
                offset,
                len_bytes,
                source: io::Error::other(error),
            })?
            .read_at(offset, buf)
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let len = len.min(self.len_bytes.saturating_sub(offset));
        self.parts
            .file(&self.name)
            .map_or(0, |file| file.hole_at(offset, len).min(len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn more_files_than_may_be_open_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let contents: Vec<Vec<u8>> = (0..MAX_OPEN + 10)
            .map(|number| vec![number as u8; 100 + number])
            .collect();
        for (number, content) in contents.iter().enumerate() {
            std::fs::write(folder.path().join(number.to_string()), content).expect("room for it");
        }
        let parts = Parts::beside(&Neighbours::of(&folder.path().join("0")));
        let devices: Vec<Device> = (0..contents.len())
            .map(|number| parts.open(&number.to_string()).expect("it is there"))
            .collect();
        for (device, content) in devices.iter().zip(&contents) {
            conformance::check(&**device, content);
        }
        assert_eq!(parts.open.lock().expect("no panic").len(), MAX_OPEN);

        std::fs::remove_file(folder.path().join("0")).expect("it was there");
        let error = devices[0].read_at(0, &mut [0; 10]).expect_err("it is gone");
        assert!(
            matches!(
                error,
                ReadError::Io {
                    offset: 0,
                    len_bytes: 10,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(parts.open("no such file").is_err());
    }
}
