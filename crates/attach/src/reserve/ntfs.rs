//! NTFS: files that nobody moves, made through a driver of this computer.
//!
//! Nothing here changes a structure of NTFS. The driver sees the device as a file, through FUSE, so that partitions of
//! images can be mounted and the device stays ours; where it put the files is read back by the reader of this crate.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use keyhaven_disk::content::Content;
use keyhaven_disk::{Device, Writable};

use super::{ReserveError, Wanted};
use crate::Shown;
use crate::files::ntfs::places;
use crate::fuse::{self, MountOptions, Mounted, Unmounting, system};

const FOLDER: &str = "System Volume Information";
const IMAGE: &str = "volume";

/// How often a file that lies in pieces is made anew, elsewhere.
const ATTEMPTS: usize = 8;

/// How long the driver may take to be done after it was unmounted.
const PATIENCE: Duration = Duration::from_secs(60);

/// What Windows marks such files with: hidden, of the system.
const ATTRIBUTES: u32 = 0x06;

/// Makes a file on NTFS for each that is wanted, or finds the one that is there; returns where they are, in bytes from the
/// start of the device.
///
/// `folder` is an empty folder of the caller's, in which the file system is mounted meanwhile; `now` is the time that the
/// files get.
///
/// # Errors
/// [`ReserveError`]; all other files are as before.
pub fn make_files(
    device: &Writable,
    wanted: &[Wanted],
    folder: &Path,
    now: SystemTime,
) -> Result<Vec<Range<u64>>, ReserveError> {
    let plain: Device = device.clone();
    let mut found = find(&plain, wanted)?;
    let mut spoiled = 0;
    for _ in 0..ATTEMPTS {
        if found.iter().all(Option::is_some) {
            break;
        }
        with_files(device, folder, now, |files| {
            for (one, _) in wanted.iter().zip(&found).filter(|(_, place)| place.is_none()) {
                let path = files.join(&one.file_name);
                if path.exists() {
                    // It keeps the pieces from being taken again.
                    fs::rename(&path, files.join(spoiled_name(spoiled)))?;
                    spoiled += 1;
                }
                make_file(&path, one.len_bytes)?;
            }
            Ok(())
        })?;
        found = find(&plain, wanted)?;
    }
    if spoiled > 0 {
        with_files(device, folder, now, |files| {
            (0..spoiled).try_for_each(|number| fs::remove_file(files.join(spoiled_name(number))))
        })?;
    }
    let mut places = Vec::new();
    for (one, place) in wanted.iter().zip(found) {
        places.push(place.ok_or_else(|| ReserveError::Fragmented(one.file_name.clone()))?);
    }
    Ok(places)
}

/// Removes files that were made here and are no longer needed; those that are not there are no matter.
///
/// # Errors
/// [`ReserveError`].
pub fn remove_files(
    device: &Writable,
    names: &[&str],
    folder: &Path,
    now: SystemTime,
) -> Result<(), ReserveError> {
    with_files(device, folder, now, |files| {
        for name in names {
            match fs::remove_file(files.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                outcome => outcome?,
            }
        }
        Ok(())
    })
}

fn spoiled_name(number: usize) -> String {
    format!("keyhaven-{number}.tmp")
}

/// Finds where each is, if it is there, as long as it should be and in one piece.
fn find(device: &Device, wanted: &[Wanted]) -> Result<Vec<Option<Range<u64>>>, ReserveError> {
    wanted
        .iter()
        .map(|one| {
            let places = places(device, &[FOLDER, &one.file_name])?.unwrap_or_default();
            Ok(match places.as_slice() {
                [place] if place.end - place.start >= one.len_bytes => {
                    Some(place.start..place.start + one.len_bytes)
                }
                _ => None,
            })
        })
        .collect()
}

/// Mounts the file system, calls `act` with the folder for such files, and unmounts it again.
fn with_files(
    device: &Writable,
    folder: &Path,
    now: SystemTime,
    act: impl FnOnce(&Path) -> io::Result<()>,
) -> Result<(), ReserveError> {
    let failed = |what: &'static str| {
        move |error: Box<dyn std::error::Error + Send + Sync>| ReserveError::Driver {
            what: what.to_owned(),
            source: error,
        }
    };
    let base = folder
        .canonicalize()
        .map_err(|error| failed("finding a folder to work in")(error.into()))?;
    let (outer, inner) = (base.join("image"), base.join("files"));
    for made in [&outer, &inner] {
        fs::create_dir_all(made).map_err(|error| failed("making a folder to work in")(error.into()))?;
    }
    let options = MountOptions::new("keyhaven", now);
    let mut image = fuse::mount_image(Shown::Writable(device.clone()), IMAGE, &outer, &options)
        .map_err(|error| failed("showing the drive to a driver")(error.into()))?;
    let options = system::SystemOptions {
        read_only: false,
        allow_other: false,
    };
    let mounted = system::mount(&outer.join(IMAGE), Content::Ntfs, &inner, options)
        .map_err(|error| failed("mounting the file system")(error.into()));
    let acted = mounted.and_then(|()| {
        let files = inner.join(FOLDER);
        let acted = make_folder(&files)
            .and_then(|()| act(&files))
            .map_err(|error| failed("making the files that hold the place")(error.into()));
        let unmounted = fuse::unmount(&inner, Unmounting::IfUnused)
            .map_err(|error| failed("unmounting the file system")(error.into()));
        acted.and(unmounted)
    });
    let ended = end(&mut image).map_err(|error| failed("waiting for the driver")(error.into()));
    for made in [&inner, &outer] {
        // They are empty and in a folder of the caller's.
        let _ = fs::remove_dir(made);
    }
    acted.and(ended)?;
    Ok(device.flush()?)
}

/// Unmounts the image once the driver has written everything and gone.
fn end(image: &mut Mounted) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    let step = Duration::from_millis(50);
    loop {
        match image.unmount(Unmounting::IfUnused) {
            Ok(()) => break,
            Err(fuse::UnmountError::Busy(_)) if waited < PATIENCE => {
                std::thread::sleep(step);
                waited += step;
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    if image.wait(PATIENCE)? {
        Ok(())
    } else {
        Err(io::ErrorKind::TimedOut.into())
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Ok(()) => mark(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn make_file(path: &PathBuf, len_bytes: u64) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&vec![0; usize::try_from(len_bytes).unwrap_or_default()])?;
    file.sync_all()?;
    drop(file);
    mark(path)
}

/// Marks a file as Windows marks its own. That it cannot be done is no reason not to encrypt a drive.
fn mark(path: &Path) -> io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    let _ = rustix::fs::setxattr(path, "system.ntfs_attrib_be", &ATTRIBUTES.to_be_bytes(), flags);
    Ok(())
}
