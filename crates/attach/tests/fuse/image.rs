//! A device as a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use keyhaven_attach::Shown;
use keyhaven_attach::fuse::{Mounted, Unmounting, mount_image};
use keyhaven_disk::{AlignedBuffer, BlockDevice, MemoryDevice, ReadError, WritableDevice, WriteError};
use proptest::prelude::*;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::place::{Place, is_over};

const NAME: &str = "volume.img";

struct Image {
    place: Place,
    mounted: Mounted,
}

impl Image {
    fn show(shown: Shown) -> Option<Self> {
        let place = Place::or_skip()?;
        let mounted = mount_image(shown, NAME, &place.mountpoint(), &place.options()).unwrap();
        Some(Self { place, mounted })
    }

    fn path(&self) -> PathBuf {
        self.mounted.mountpoint().join(NAME)
    }

    fn open(&self) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path())
            .unwrap()
    }

    /// Unmounts in order, and waits until it is over.
    fn end(mut self) {
        self.mounted.unmount(Unmounting::IfUnused).unwrap();
        assert!(is_over(&mut self.mounted));
    }
}

/// Bytes that differ everywhere.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[track_caller]
fn assert_errno<T: std::fmt::Debug>(outcome: io::Result<T>, expected: Errno) {
    let error = outcome.unwrap_err();
    assert_eq!(Errno::from_io_error(&error), Some(expected), "{error}");
}

#[derive(Debug, Clone)]
enum Step {
    Read { at: usize, len: usize },
    Write { at: usize, len: usize, seed: u64 },
    Sync,
    OpenAgain,
}

fn steps(device_len: usize) -> impl Strategy<Value = Vec<Step>> {
    let range = move || (0..device_len, prop_oneof![1usize..600, 1usize..200_000]);
    let step = prop_oneof![
        4 => range().prop_map(|(at, len)| Step::Read { at, len }),
        4 => (range(), any::<u64>()).prop_map(|((at, len), seed)| Step::Write { at, len, seed }),
        1 => Just(Step::Sync),
        1 => Just(Step::OpenAgain),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Not a whole number of pages, as a drive of 512-byte sectors may be.
const ODD_LEN: usize = 700 * 512;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn it_is_a_file_like_any_other(steps in steps(ODD_LEN)) {
        let mut model = noise(1, ODD_LEN);
        let device = Arc::new(MemoryDevice::new(model.clone()));
        let Some(image) = Image::show(Shown::Writable(device.clone())) else { return Ok(()) };
        let mut file = image.open();
        for step in steps {
            match step {
                Step::Read { at, len } => {
                    let len = len.min(ODD_LEN - at);
                    let mut read = vec![0; len];
                    file.read_exact_at(&mut read, at as u64).unwrap();
                    prop_assert!(read == model[at..at + len], "read of {len} at {at}");
                }
                Step::Write { at, len, seed } => {
                    let bytes = noise(seed, len.min(ODD_LEN - at));
                    file.write_all_at(&bytes, at as u64).unwrap();
                    model[at..at + bytes.len()].copy_from_slice(&bytes);
                    prop_assert!(device.content() == model, "write at {at} is not on the device at once");
                }
                Step::Sync => file.sync_all().unwrap(),
                Step::OpenAgain => file = image.open(),
            }
        }
        prop_assert!(fs::read(image.path()).unwrap() == model);
        drop(file);
        image.end();
    }
}

/// In the way of fsx: several handles, through the page cache and past it, in random order.
#[test]
fn handles_through_and_past_the_page_cache_see_the_same() {
    const LEN: usize = 4 << 20;
    let mut model = noise(2, LEN);
    let device = Arc::new(MemoryDevice::new(model.clone()));
    let Some(image) = Image::show(Shown::Writable(device.clone())) else {
        return;
    };
    let direct = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32)
        .open(image.path())
        .unwrap();
    let handles = [image.open(), image.open(), direct];
    let mut buffer = AlignedBuffer::new(256 * 1024);
    let mut dice = noise(3, 8 * 4 * 2000).into_iter();
    let mut roll = |sides: usize| {
        let eight: Vec<u8> = dice.by_ref().take(8).collect();
        u64::from_le_bytes(eight.try_into().unwrap()) as usize % sides
    };
    for round in 0..1500 {
        let which = roll(handles.len());
        let (mut at, mut len) = (roll(LEN), 1 + roll(256 * 1024));
        if which == 2 {
            (at, len) = (at / 4096 * 4096, len.next_multiple_of(4096));
        }
        len = len.min(LEN - at);
        let bytes = buffer.first_mut(len);
        match round % 8 {
            0 => handles[which].sync_data().unwrap(),
            1..4 => {
                bytes.copy_from_slice(&noise(round, len));
                handles[which].write_all_at(bytes, at as u64).unwrap();
                model[at..at + len].copy_from_slice(bytes);
            }
            _ => {
                handles[which].read_exact_at(bytes, at as u64).unwrap();
                assert!(
                    bytes == &model[at..at + len],
                    "round {round}: read of {len} at {at}"
                );
            }
        }
    }
    assert!(device.content() == model);
    drop(handles);
    image.end();
}

#[test]
fn many_threads_read_at_once() {
    const LEN: usize = 8 << 20;
    let content = Arc::new(noise(4, LEN));
    let Some(image) = Image::show(Shown::ReadOnly(Arc::new((*content).clone()))) else {
        return;
    };
    let path = image.path();
    thread::scope(|scope| {
        for number in 0..8 {
            let (path, content) = (&path, &content);
            scope.spawn(move || {
                let file = File::open(path).unwrap();
                let mut buf = vec![0; 50_000];
                for round in 0..40 {
                    let at = (number * 997 + round * 201_331) % (LEN - buf.len());
                    file.read_exact_at(&mut buf, at as u64).unwrap();
                    assert!(buf == content[at..at + buf.len()]);
                }
            });
        }
    });
    image.end();
}

#[test]
fn it_is_as_long_as_the_device_for_ever() {
    let device = Arc::new(MemoryDevice::new(vec![7; 8192]));
    let Some(image) = Image::show(Shown::Writable(device.clone())) else {
        return;
    };
    let metadata = fs::metadata(image.path()).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777), (8192, 0o600));
    assert_eq!(metadata.uid(), rustix::process::getuid().as_raw());
    assert_eq!(metadata.mtime(), 1_000_000_000);

    let file = image.open();
    file.set_len(8192).unwrap();
    assert_errno(file.set_len(0), Errno::PERM);
    assert_errno(file.set_len(8193), Errno::PERM);
    assert_errno(File::create(image.path()), Errno::PERM);
    assert_errno(file.write_at(&[1; 100], 8192), Errno::NOSPC);
    // As on a drive, what fits is written.
    assert_errno(file.write_all_at(&[7; 100], 8100), Errno::NOSPC);
    assert_eq!(file.read_at(&mut [0; 100], 8192).unwrap(), 0);
    assert_eq!(file.read_at(&mut [0; 100], 8150).unwrap(), 42);
    assert_eq!(device.content(), vec![7; 8192]);

    let folder = image.mounted.mountpoint();
    // Root is stopped by the file system, others by its permissions.
    for outcome in [
        File::create_new(folder.join("other")).map(drop),
        fs::remove_file(image.path()),
        fs::rename(image.path(), folder.join("other")),
        fs::create_dir(folder.join("folder")),
    ] {
        outcome.unwrap_err();
    }
    let names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [NAME]);
    drop(file);
    image.end();
}

#[test]
fn what_is_only_read_cannot_be_opened_to_be_written() {
    let Some(image) = Image::show(Shown::ReadOnly(Arc::new(vec![7; 8192]))) else {
        return;
    };
    assert_eq!(fs::metadata(image.path()).unwrap().mode() & 0o7777, 0o400);
    assert_errno(OpenOptions::new().write(true).open(image.path()), Errno::ROFS);
    assert_eq!(fs::read(image.path()).unwrap(), vec![7; 8192]);
    image.end();
}

/// Whoever reads from here meets a bug.
const BUG: u64 = 900 * 1024;

/// A drive with a bad sector, a part that stays as it is, and a medium that is pulled out.
#[derive(Debug)]
struct Poor {
    inner: MemoryDevice,
    bad: u64,
    fixed: u64,
    refuses_to_flush: bool,
}

impl BlockDevice for Poor {
    fn len_bytes(&self) -> u64 {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        assert!(offset != BUG, "a bug in a device");
        if offset <= self.bad && self.bad < offset + buf.len() as u64 {
            return Err(ReadError::Io {
                offset: self.bad,
                len_bytes: 512,
                source: io::Error::other("bad sector"),
            });
        }
        self.inner.read_at(offset, buf)
    }
}

impl WritableDevice for Poor {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        if offset <= self.fixed && self.fixed < offset + bytes.len() as u64 {
            return Err(WriteError::Fixed { offset: self.fixed });
        }
        self.inner.write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), WriteError> {
        if self.refuses_to_flush {
            return Err(WriteError::Flush(io::Error::other("gone")));
        }
        Ok(())
    }
}

#[test]
fn errors_reach_whoever_asked_and_nobody_else() {
    let device = Poor {
        inner: MemoryDevice::new(noise(5, 1 << 20)),
        bad: 300_000,
        fixed: 600_000,
        refuses_to_flush: false,
    };
    let Some(image) = Image::show(Shown::Writable(Arc::new(device))) else {
        return;
    };
    let file = image.open();
    let mut page = [0; 4096];
    let bad_page = 300_000 / 4096 * 4096;
    assert_errno(file.read_exact_at(&mut page, bad_page), Errno::IO);
    // Its neighbours are read, though the kernel asked for all of them at once before.
    for neighbour in [bad_page - 4096, bad_page + 4096] {
        file.read_exact_at(&mut page, neighbour).unwrap();
        assert_eq!(page, noise(5, 1 << 20)[neighbour as usize..][..4096]);
    }
    assert_errno(file.write_at(&page, 600_000), Errno::PERM);
    file.write_all_at(&page, 604_096).unwrap();
    file.sync_all().unwrap();
    let reports = image.place.reports();
    let told = |part: &str| reports.iter().any(|report| report.contains(part));
    assert!(told("reading 512 bytes at byte 300000 failed"), "{reports:?}");
    assert!(
        told("the content of byte 600000 cannot be changed"),
        "{reports:?}"
    );
    drop(file);
    image.end();
}

#[test]
fn a_bug_in_a_device_costs_the_requests_that_meet_it() {
    let device = Poor {
        inner: MemoryDevice::new(noise(6, 1 << 20)),
        bad: u64::MAX,
        fixed: u64::MAX,
        refuses_to_flush: false,
    };
    let Some(image) = Image::show(Shown::ReadOnly(Arc::new(device))) else {
        return;
    };
    let file = File::open(image.path()).unwrap();
    let mut page = [0; 4096];
    // Oftener than there are threads.
    for _ in 0..10 {
        assert_errno(file.read_exact_at(&mut page, BUG), Errno::IO);
    }
    file.read_exact_at(&mut page, 8192).unwrap();
    assert_eq!(page, noise(6, 1 << 20)[8192..][..4096]);
    drop(file);
    image.end();
}

#[test]
fn a_failed_flush_is_told_to_whoever_syncs_or_closes() {
    let device = Poor {
        inner: MemoryDevice::new(vec![0; 8192]),
        bad: u64::MAX,
        fixed: u64::MAX,
        refuses_to_flush: true,
    };
    let Some(image) = Image::show(Shown::Writable(Arc::new(device))) else {
        return;
    };
    let mut file = image.open();
    file.write_all(b"important").unwrap();
    assert_errno(file.sync_all(), Errno::IO);
    drop(file);
    // Rust's own drop swallows what close says; others do not.
    let copied = Command::new("dd")
        .args(["if=/dev/zero", "bs=512", "count=1", "conv=notrunc"])
        .arg(format!("of={}", image.path().display()))
        .output()
        .unwrap();
    assert!(!copied.status.success(), "{copied:?}");
    image.end();
}

/// Half of it is not stored.
#[derive(Debug)]
struct WithHole(Vec<u8>);

impl BlockDevice for WithHole {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        self.0.read_at(offset, buf)
    }

    fn hole_at(&self, offset: u64, len: u64) -> u64 {
        let hole = 2 << 20..5 << 20;
        if hole.contains(&offset) {
            (hole.end - offset).min(len)
        } else {
            0
        }
    }
}

#[test]
fn holes_are_shown_as_holes() {
    const MIB: u64 = 1 << 20;
    let Some(image) = Image::show(Shown::ReadOnly(Arc::new(WithHole(vec![0; 8 << 20])))) else {
        return;
    };
    let file = File::open(image.path()).unwrap();
    let seek = |from| rustix::fs::seek(&file, from);
    assert_eq!(seek(SeekFrom::Data(5)), Ok(5));
    assert_eq!(seek(SeekFrom::Hole(5)), Ok(2 * MIB));
    assert_eq!(seek(SeekFrom::Data(3 * MIB)), Ok(5 * MIB));
    assert_eq!(seek(SeekFrom::Hole(3 * MIB)), Ok(3 * MIB));
    assert_eq!(seek(SeekFrom::Hole(6 * MIB)), Ok(8 * MIB));
    assert_eq!(seek(SeekFrom::Data(8 * MIB)), Err(Errno::NXIO));
    drop(file);
    image.end();
}
