//! What was read or unpacked a moment ago, within a fixed amount of memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use super::fault::Fault;
use crate::device::Device;

/// The memory that one cache may hold on to, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// How much of a table is read at a time, in bytes.
const PAGE_BYTES: usize = 4096;

/// Units by number: packed parts when they are unpacked, parts of tables. Those that were used longest ago make room
/// for new ones.
///
/// Several threads use it at once. Two that miss the same unit both make it, and one copy stays.
pub(super) struct Cache<T: ?Sized = [u8]> {
    shared: Arc<Shared<T>>,
    /// Whose units these are, where several share the memory.
    owner: u32,
}

struct Shared<T: ?Sized> {
    entries: Mutex<Entries<T>>,
    most: usize,
    /// How often something was forgotten.
    changes: AtomicU64,
}

type Entries<T> = LruCache<(u32, u64), Result<Arc<T>, Fault>>;

impl<T: ?Sized> Cache<T> {
    /// Makes a cache of units of up to `entry_bytes` bytes each.
    pub(super) fn of_entries(entry_bytes: usize) -> Self {
        let most = CACHE_BYTES
            .checked_div(entry_bytes)
            .unwrap_or(CACHE_BYTES)
            .clamp(4, 4096);
        Self {
            shared: Arc::new(Shared {
                // Bounded below: a bound of its own would take the memory for it at once.
                entries: Mutex::new(LruCache::unbounded()),
                most,
                changes: AtomicU64::new(0),
            }),
            owner: 0,
        }
    }

    /// Returns a cache for the units of another owner, within the same memory.
    pub(super) fn shared_with(&self, owner: u32) -> Self {
        Self {
            shared: self.shared.clone(),
            owner,
        }
    }

    /// Returns unit `number`, made with `make` where it is not there.
    ///
    /// That a unit is damaged is remembered too, so that a reader that tries every sector of it does not unpack it
    /// again each time; that the medium failed is not.
    pub(super) fn get_or<M: Into<Arc<T>>>(
        &self,
        number: u64,
        make: impl FnOnce() -> Result<M, Fault>,
    ) -> Result<Arc<T>, Fault> {
        let key = (self.owner, number);
        if let Some(known) = self.lock().get(&key) {
            return known.clone();
        }
        let changes = self.shared.changes.load(Ordering::Acquire);
        let made = make().map(Into::into);
        if !matches!(made, Err(Fault::Medium(_))) {
            let mut entries = self.lock();
            // What was made while it changed may be old.
            if self.shared.changes.load(Ordering::Acquire) == changes {
                entries.put(key, made.clone());
                while entries.len() > self.shared.most {
                    entries.pop_lru();
                }
            }
        }
        made
    }

    /// Forgets a unit whose content has changed.
    pub(super) fn forget(&self, number: u64) {
        let mut entries = self.lock();
        self.shared.changes.fetch_add(1, Ordering::AcqRel);
        entries.pop(&(self.owner, number));
    }

    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        // A unit is put in whole or not at all, so a thread that panicked left nothing half done.
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: ?Sized> fmt::Debug for Cache<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").finish_non_exhaustive()
    }
}

/// Tables inside a file, of which a part at a time is in memory.
#[derive(Debug)]
pub(super) struct Tables {
    file: Device,
    pages: Cache,
}

impl Tables {
    /// Reads tables of `file`.
    pub(super) fn of(file: Device) -> Self {
        Self::within(&Self::pages(), 0, file)
    }

    /// Makes the memory for the tables of several files.
    pub(super) fn pages() -> Cache {
        Cache::of_entries(PAGE_BYTES)
    }

    /// Reads tables of `file`, which is file `number` of those that share their memory.
    pub(super) fn within(pages: &Cache, number: u32, file: Device) -> Self {
        Self {
            file,
            pages: pages.shared_with(number),
        }
    }

    /// Returns the file that they are in.
    pub(super) fn file(&self) -> &Device {
        &self.file
    }

    /// Returns the `N` bytes at byte `offset` of the file.
    pub(super) fn bytes_at<const N: usize>(&self, offset: u64) -> Result<[u8; N], Fault> {
        let within = usize::try_from(offset % PAGE_BYTES as u64).unwrap_or(usize::MAX);
        let page = self.page(offset / PAGE_BYTES as u64)?;
        if let Some(bytes) = page.get(within..).and_then(<[u8]>::first_chunk) {
            return Ok(*bytes);
        }
        // On the edge of two pages or past the end, of which the file itself speaks.
        let mut bytes = [0; N];
        self.file.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Forgets what was read of a part of the file that has changed, of at least one byte.
    pub(super) fn forget(&self, offset: u64, len_bytes: u64) {
        let last = offset.saturating_add(len_bytes.saturating_sub(1)) / PAGE_BYTES as u64;
        for number in offset / PAGE_BYTES as u64..=last {
            self.pages.forget(number);
        }
    }

    /// Returns a page of the file; the last one is short.
    fn page(&self, number: u64) -> Result<Arc<[u8]>, Fault> {
        self.pages.get_or(number, || {
            let start = number.saturating_mul(PAGE_BYTES as u64);
            let there = self.file.len_bytes().saturating_sub(start);
            let len = usize::try_from(there).unwrap_or(usize::MAX).min(PAGE_BYTES);
            let mut page = vec![0; len];
            self.file.read_at(start, &mut page)?;
            Ok(page)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::device::BlockDevice;

    #[test]
    fn what_is_kept_stays_within_its_bounds() {
        let cache = <Cache>::of_entries(CACHE_BYTES);
        let made = AtomicUsize::new(0);
        let get = |number| {
            let bytes = cache.get_or(number, || {
                made.fetch_add(1, Ordering::Relaxed);
                Ok(vec![number as u8; 3])
            });
            assert_eq!(*bytes.expect("it can be made"), [number as u8; 3]);
        };
        (0..4).chain(0..4).for_each(get);
        assert_eq!(made.load(Ordering::Relaxed), 4, "the second round makes nothing");
        (4..8).chain(0..4).for_each(get);
        assert_eq!(
            made.load(Ordering::Relaxed),
            12,
            "four at a time, however many there are"
        );
    }

    #[test]
    fn several_owners_share_one_bound() {
        let first = <Cache>::of_entries(CACHE_BYTES);
        let second = first.shared_with(1);
        let get = |cache: &Cache, byte: u8| cache.get_or(7, || Ok(vec![byte])).expect("it can be made")[0];
        assert_eq!((get(&first, 1), get(&second, 2)), (1, 2), "each has its own");
        assert_eq!((get(&first, 3), get(&second, 4)), (1, 2), "and keeps it");
        for number in 0..4 {
            second.get_or(number, || Ok(vec![0])).expect("it can be made");
        }
        assert_eq!(get(&first, 3), 3, "the other one needed the room");
    }

    #[test]
    fn damage_is_remembered_and_a_failing_medium_is_not() {
        let cache = <Cache>::of_entries(1);
        let tries = AtomicUsize::new(0);
        let fail = |number, fault: Fault| {
            let result = cache.get_or(number, || {
                tries.fetch_add(1, Ordering::Relaxed);
                Err::<Vec<u8>, _>(fault)
            });
            assert!(result.is_err());
        };
        let cut_off = || Fault::from(Vec::<u8>::new().read_at(0, &mut [0]).expect_err("nothing there"));
        fail(1, Fault::damaged("a checksum is wrong"));
        fail(1, Fault::damaged("a checksum is wrong"));
        fail(2, cut_off());
        fail(2, cut_off());
        assert_eq!(tries.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_table_is_read_across_pages_and_to_its_very_end() {
        let content: Vec<u8> = (0..3000u32).flat_map(u32::to_le_bytes).collect();
        let tables = Tables::of(Arc::new(content.clone()));
        for at in [0, 4, 4090, 4095, 4096, 8190, 11_992] {
            assert_eq!(
                tables.bytes_at::<8>(at as u64).expect("inside"),
                content[at..at + 8],
                "at {at}"
            );
        }
        for at in [11_993, 12_000, 100_000, u64::MAX] {
            assert!(tables.bytes_at::<8>(at).is_err());
        }
    }
}
