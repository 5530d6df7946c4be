//! A device as one file in a folder.

use std::ffi::OsStr;
use std::io;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenAccMode, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use keyhaven_disk::Device;

use super::bug::contained;
use super::options::{MountOptions, Ownership, Report};
use super::{buffer, errno, process_id};
use crate::Shown;

const FILE: INodeNo = INodeNo(2);

/// Nothing about the file changes but its content, which the kernel is told of by writing through us.
const FOR_A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a file system counts its space in, in bytes.
const BLOCK_LEN: u32 = 4096;

/// How far a search for the next hole moves at once, in bytes.
const HOLE_STEP: u64 = 1 << 20;

/// How many steps a search for the next hole takes before it answers with where it is: data, as far as anybody knows,
/// may be called a hole of length zero.
const HOLE_STEPS_MAX: u32 = 1 << 16;

/// From lseek(2), on every Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// A folder with the one file.
pub(super) struct Image {
    shown: Shown,
    device: Device,
    len_bytes: u64,
    file_name: String,
    ownership: Ownership,
    made: SystemTime,
    report: Report,
}

impl Image {
    pub(super) fn new(shown: Shown, file_name: &str, options: &MountOptions) -> Self {
        let device = shown.device();
        Self {
            len_bytes: device.len_bytes(),
            device,
            shown,
            file_name: file_name.to_owned(),
            ownership: Ownership::of_this_process(options.allow_other),
            made: options.now,
            report: options.report.clone(),
        }
    }

    fn attributes(&self, inode: INodeNo) -> Option<FileAttr> {
        let (kind, permissions, size, nlink) = match inode {
            INodeNo::ROOT => (FileType::Directory, 0o500, 0, 2),
            FILE if self.shown.writable().is_some() => (FileType::RegularFile, 0o600, self.len_bytes, 1),
            FILE => (FileType::RegularFile, 0o400, self.len_bytes, 1),
            _ => return None,
        };
        Some(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: self.made,
            mtime: self.made,
            ctime: self.made,
            crtime: self.made,
            kind,
            perm: self.ownership.permissions(permissions),
            nlink,
            uid: self.ownership.uid,
            gid: self.ownership.gid,
            rdev: 0,
            blksize: BLOCK_LEN,
            flags: 0,
        })
    }

    /// Brings what was written to the medium; there is nothing to do where nothing can be written.
    fn bring_to_medium(&self) -> Result<(), Errno> {
        let Some(device) = self.shown.writable() else {
            return Ok(());
        };
        contained(|| {
            device.flush().map_err(|error| {
                (self.report)(&error);
                errno::of_write(&error)
            })
        })
    }

    /// Finds the next byte at or after `offset` that is stored; `None` if there is none.
    fn next_data(&self, mut offset: u64) -> Option<u64> {
        while offset < self.len_bytes {
            match self.device.hole_at(offset, self.len_bytes - offset) {
                0 => return Some(offset),
                len => offset = offset.saturating_add(len),
            }
        }
        None
    }

    /// Finds the next byte at or after `offset` that begins a hole: at the latest the end.
    fn next_hole(&self, mut offset: u64) -> u64 {
        for _ in 0..HOLE_STEPS_MAX {
            if offset >= self.len_bytes || self.device.hole_at(offset, self.len_bytes - offset) > 0 {
                break;
            }
            // Holes begin where their makers count in blocks; between two of these there is none worth a look.
            offset = (offset / HOLE_STEP).saturating_add(1).saturating_mul(HOLE_STEP);
        }
        offset.min(self.len_bytes)
    }
}

impl Filesystem for Image {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Whoever opens the file with O_DIRECT gets several requests under way.
        let _ = config.add_capabilities(InitFlags::FUSE_ASYNC_DIO);
        buffer::agree(config);
        Ok(())
    }

    fn destroy(&mut self) {
        // Whoever wrote closed the file, and was told; this is for what a dying process left behind.
        let _ = self.bring_to_medium();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found =
            (parent == INodeNo::ROOT && name == self.file_name.as_str()).then(|| self.attributes(FILE));
        match found.flatten() {
            Some(attributes) => reply.entry(&FOR_A_DAY, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(inode) {
            Some(attributes) => reply.attr(&FOR_A_DAY, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let keeps_len = size.is_none_or(|size| size == self.len_bytes);
        let keeps_rights = mode.is_none() && uid.is_none() && gid.is_none();
        match self.attributes(inode) {
            // Times may be set and are not kept.
            Some(attributes) if keeps_len && keeps_rights => reply.attr(&FOR_A_DAY, &attributes),
            Some(_) => reply.error(Errno::EPERM),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        if inode != FILE {
            reply.error(Errno::EISDIR);
        } else if writes && self.shown.writable().is_none() {
            reply.error(Errno::EROFS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // The kernel asks for whole pages, also at the end.
        let left = self.len_bytes.saturating_sub(offset);
        let len = usize::try_from(left.min(u64::from(size))).unwrap_or_default();
        buffer::with(len, |bytes| {
            let read = contained(|| {
                self.device.read_at(offset, bytes).map_err(|error| {
                    (self.report)(&error);
                    Errno::EIO
                })
            });
            match read {
                Ok(()) => reply.data(bytes),
                // All of it: a part would look like the end of the file. The kernel asks again, page by page.
                Err(error) => reply.error(error),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let Some(device) = self.shown.writable() else {
            reply.error(Errno::EROFS);
            return;
        };
        let written = contained(|| {
            device.write_at(offset, data).map_err(|error| {
                (self.report)(&error);
                errno::of_write(&error)
            })
        });
        match written {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        answer(self.bring_to_medium(), reply);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer(self.bring_to_medium(), reply);
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if inode != INodeNo::ROOT {
            reply.error(Errno::ENOTDIR);
            return;
        }
        let entries = [
            (INodeNo::ROOT, FileType::Directory, "."),
            (INodeNo::ROOT, FileType::Directory, ".."),
            (FILE, FileType::RegularFile, self.file_name.as_str()),
        ];
        for (next, (inode, kind, name)) in (1..).zip(entries) {
            if next > offset && reply.add(inode, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let from = u64::try_from(offset)
            .ok()
            .filter(|offset| *offset < self.len_bytes);
        let found = match (whence, from) {
            (SEEK_DATA, Some(from)) => contained(|| self.next_data(from).ok_or(Errno::ENXIO)),
            (SEEK_HOLE, Some(from)) => contained(|| Ok(self.next_hole(from))),
            (SEEK_DATA | SEEK_HOLE, None) => Err(Errno::ENXIO),
            _ => Err(Errno::EINVAL),
        };
        match found {
            Ok(offset) => reply.offset(i64::try_from(offset).unwrap_or(i64::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let blocks = self.len_bytes.div_ceil(u64::from(BLOCK_LEN));
        reply.statfs(blocks, 0, 0, 1, 0, BLOCK_LEN, 255, BLOCK_LEN);
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        process_id::answer(inode, name, size, reply);
    }
}

fn answer(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}
