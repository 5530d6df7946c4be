//! Where files are copied to.
//!
//! Folders are held open and names are taken one at a time, so that nothing that the drive calls its files, and no link
//! that lies in the way, leads a copy to another place.

use std::fs::{File, FileTimes};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_fs_ext::{DirExt, SystemTimeSpec};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use keyhaven_attach::files::Attributes;

use super::name::{self, Naming};

/// How many names are tried for an unfinished file: others may have been left by runs that were ended by force.
const PARTIAL_ATTEMPTS: u32 = 100;

/// A folder that is copied into.
#[derive(Debug)]
pub(super) struct Folder {
    dir: Dir,
    /// For messages.
    path: PathBuf,
    naming: Naming,
}

/// What is under a name already.
#[derive(Debug)]
pub(super) enum There {
    Nothing,
    File(Metadata),
    Folder,
    /// A link, a device.
    Other,
}

impl Folder {
    /// Opens a folder that the person named.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let naming = naming_of(&dir);
        Ok(Self {
            dir,
            path: path.to_owned(),
            naming,
        })
    }

    /// Returns its path, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what names it can hold.
    pub(super) fn naming(&self) -> Naming {
        self.naming
    }

    /// Returns what is under a name; a link is not followed.
    pub(super) fn look(&self, name: &Path) -> io::Result<There> {
        Ok(match self.dir.symlink_metadata(name) {
            Ok(found) if found.is_file() => There::File(found),
            Ok(found) if found.is_dir() => There::Folder,
            Ok(_) => There::Other,
            Err(error) if error.kind() == ErrorKind::NotFound => There::Nothing,
            Err(error) => return Err(error),
        })
    }

    /// Opens the folder of a name; a link to one is none.
    pub(super) fn enter(&self, name: &Path) -> io::Result<Self> {
        Ok(Self {
            dir: self.dir.open_dir_nofollow(name)?,
            path: self.path.join(name),
            naming: self.naming,
        })
    }

    /// Makes a folder.
    pub(super) fn make(&self, name: &Path) -> io::Result<()> {
        self.dir.create_dir(name)
    }

    /// Makes a link with this target, whatever that is.
    pub(super) fn make_link(&self, target: &str, name: &Path, is_folder: bool) -> io::Result<()> {
        #[cfg(unix)]
        {
            let _ = is_folder;
            self.dir.symlink_contents(target, name)
        }
        #[cfg(not(unix))]
        if is_folder {
            self.dir.symlink_dir(target, name)
        } else {
            self.dir.symlink_file(target, name)
        }
    }

    /// Gives a file that was copied before another name.
    pub(super) fn make_hard_link(&self, top: &Folder, copied: &Path, name: &Path) -> io::Result<()> {
        top.dir.hard_link(copied, &self.dir, name)
    }

    /// Sets when a folder or link was last written and read.
    pub(super) fn set_times(&self, name: &Path, attributes: &Attributes) -> io::Result<()> {
        let time = |time: Option<jiff::Timestamp>| {
            time.map(|time| {
                let time = cap_std::time::SystemTime::from_std(SystemTime::from(time));
                SystemTimeSpec::Absolute(time)
            })
        };
        self.dir
            .set_symlink_times(name, time(attributes.accessed), time(attributes.modified))
    }

    /// Begins a new file, which gets its name when it is whole.
    pub(super) fn begin(&self, wanted: &str) -> io::Result<Partial<'_>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        for attempt in 0..PARTIAL_ATTEMPTS {
            let partial = PathBuf::from(name::partial(self.naming, wanted, attempt));
            match self.dir.open_with(&partial, &options) {
                Ok(file) => {
                    return Ok(Partial {
                        folder: self,
                        name: partial,
                        file: Some(file.into_std()),
                        len: 0,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "too many unfinished files of this name are there",
        ))
    }

    /// Brings everything that was written to the medium, where the system can be asked for that.
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(&self.dir_to_read()?)?;
        Ok(())
    }

    /// A folder held only as a place cannot be asked for everything.
    #[cfg(target_os = "linux")]
    fn dir_to_read(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        Ok(self.dir.open_with(".", &options)?.into_std())
    }
}

/// A file that is not whole yet; it is removed unless it is finished.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    folder: &'a Folder,
    name: PathBuf,
    file: Option<File>,
    len: u64,
}

impl Partial<'_> {
    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)?;
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Appends zeros that take no space, where the file system has such.
    pub(super) fn skip(&mut self, len_bytes: u64) -> io::Result<()> {
        let len = self.len.saturating_add(len_bytes);
        self.file()?.set_len(len)?;
        self.file()?.seek(SeekFrom::Start(len))?;
        self.len = len;
        Ok(())
    }

    /// Sets its times to those on the drive.
    pub(super) fn set_times(&mut self, attributes: &Attributes) -> io::Result<()> {
        let mut times = FileTimes::new();
        if let Some(time) = attributes.modified {
            times = times.set_modified(time.into());
        }
        if let Some(time) = attributes.accessed {
            times = times.set_accessed(time.into());
        }
        #[cfg(windows)]
        if let Some(time) = attributes.created {
            use std::os::windows::fs::FileTimesExt;
            times = times.set_created(time.into());
        }
        self.file()?.set_times(times)
    }

    /// Gives the file its name; in the place of another file only if that is wanted.
    pub(super) fn finish(mut self, name: &Path, overwrite: bool) -> io::Result<()> {
        // Windows renames no file that is open.
        self.file = None;
        let dir = &self.folder.dir;
        if overwrite {
            dir.rename(&self.name, dir, name)?;
        } else {
            rename_over_nothing(dir, &self.name, name)?;
        }
        self.name = PathBuf::new();
        Ok(())
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        self.file = None;
        if !self.name.as_os_str().is_empty() {
            let _ = self.folder.dir.remove_file(&self.name);
        }
    }
}

fn rename_over_nothing(dir: &Dir, from: &Path, to: &Path) -> io::Result<()> {
    // Some file systems cannot; somebody would have to make the file this very moment.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{RenameFlags, renameat_with};
        use rustix::io::Errno;

        match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            outcome => return outcome.map_err(Into::into),
        }
    }
    match dir.symlink_metadata(to) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => dir.rename(from, dir, to),
    }
}

/// Returns what names the file system of a folder can hold.
#[cfg(target_os = "linux")]
fn naming_of(dir: &Dir) -> Naming {
    /// FAT, exFAT, NTFS by the two drivers of the kernel, shares of Windows; and what goes through FUSE and a block
    /// device, which is nearly always NTFS or exFAT.
    const OF_WINDOWS: [u32; 8] = [
        0x4D44,
        0x2011_BAB0,
        0x5346_544E,
        0x7366_746E,
        0x6573_5546,
        0xFF53_4D42,
        0xFE53_4D42,
        0x0000_517B,
    ];
    match rustix::fs::fstatfs(dir) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(found) if OF_WINDOWS.contains(&(found.f_type as u32)) => Naming::Windows,
        _ => Naming::Unix,
    }
}

/// Returns what names the file systems of this operating system can hold.
#[cfg(not(target_os = "linux"))]
fn naming_of(_: &Dir) -> Naming {
    if cfg!(windows) {
        Naming::Windows
    } else {
        Naming::Unix
    }
}
