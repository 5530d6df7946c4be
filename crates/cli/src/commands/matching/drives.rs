//! All BitLocker drives that names lead to: every partition of a disk, every image of a folder.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use keyhaven_disk::content::{self, Content};
use keyhaven_disk::{Device, partition};
use keyhaven_fve::{OpenError, OpenOptions, Volume};

use super::answer::{NoDrive, Unread};
use crate::context::Context;
use crate::drive::{Drive, DriveArgs, MetadataArgs};
use crate::error::{CliError, Exit};
use crate::medium::Medium;

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// The drives, in the order in which they were named; those of a folder by name.
    pub(super) drives: Vec<Drive>,
    /// What is no BitLocker drive.
    pub(super) others: Vec<NoDrive>,
    /// What may be one and could not be opened.
    pub(super) unread: Vec<Unread>,
}

/// Folders nested deeper than this are left out.
const MAX_DEPTH: usize = 8;
/// A folder with more files than this is no folder of images.
const MAX_FILES: usize = 10_000;

/// Opens whatever is named, and goes on where something cannot be.
///
/// # Errors
/// Only when Ctrl-C was pressed.
pub(super) fn open_all(
    names: &[OsString],
    metadata: &MetadataArgs,
    context: &Context,
) -> Result<Found, CliError> {
    let mut opening = Opening {
        metadata,
        context,
        found: Found::default(),
    };
    for name in names {
        let path = Path::new(name);
        if path.is_dir() {
            let before = opening.found.drives.len();
            let mut files = Vec::new();
            opening.list(path, 0, &mut files);
            files.sort();
            for file in files {
                opening.open(file.into_os_string(), true)?;
            }
            if opening.found.drives.len() == before {
                opening.unread(path, "there is no BitLocker drive in this folder".to_owned());
            }
        } else {
            opening.open(name.clone(), false)?;
        }
    }
    Ok(opening.found)
}

struct Opening<'a> {
    metadata: &'a MetadataArgs,
    context: &'a Context,
    found: Found,
}

impl Opening<'_> {
    fn list(&mut self, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.unread(folder, error.to_string()),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            // A link to a folder may lead back here; one to an image is as good as the image.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => self.list(&path, depth + 1, files),
                Ok(_) if path.is_file() && !is_part_of_another(&path) => files.push(path),
                _ => {}
            }
            if files.len() > MAX_FILES {
                return self.unread(folder, format!("there are more than {MAX_FILES} files"));
            }
        }
    }

    /// Opens a device or an image. In a folder most files are something else, which is no failure.
    fn open(&mut self, name: OsString, is_one_of_many: bool) -> Result<(), CliError> {
        self.context.interrupt.check()?;
        let path = PathBuf::from(&name);
        let drive = self.drive(name);
        let is_image = !is_one_of_many || is_called_image(&path);
        let medium = match drive.medium(Medium::open, self.context) {
            Ok((_, medium)) => medium,
            Err(error) => {
                if is_image {
                    self.unread(&path, error.message().to_owned());
                }
                return Ok(());
            }
        };
        let names = match self.look(&medium.device, &drive) {
            Ok(names) => names,
            Err(what) => {
                if is_image {
                    self.other(&path, what, !is_one_of_many);
                }
                return Ok(());
            }
        };
        for Candidate { name, is_certain } in names {
            if !is_certain && !is_image {
                continue;
            }
            let opened = self.drive(name.clone()).open(self.context);
            match opened {
                Ok(drive) => self.found.drives.push(drive),
                Err(error) if error.exit() == Exit::Stopped => return Err(error),
                Err(error) if is_certain || !is_one_of_many => {
                    self.unread(Path::new(&name), error.message().to_owned());
                }
                Err(error) => self.other(Path::new(&name), error.message().to_owned(), false),
            }
        }
        Ok(())
    }

    fn drive(&self, drive: OsString) -> DriveArgs {
        DriveArgs {
            drive,
            metadata: self.metadata.clone(),
        }
    }

    /// Tells which names lead to volumes on a device; what it is instead where none does.
    fn look(&self, device: &Device, drive: &DriveArgs) -> Result<Vec<Candidate>, String> {
        let whole = |is_certain| {
            vec![Candidate {
                name: drive.drive.clone(),
                is_certain,
            }]
        };
        if looks_like_a_volume(device, self.context) {
            return Ok(whole(true));
        }
        // Somebody named one partition.
        if Path::new(&drive.drive) != drive.path() {
            return Ok(whole(false));
        }
        if let Ok(Some(table)) = partition::table(device) {
            let names: Vec<Candidate> = table
                .partitions
                .iter()
                .filter(|partition| looks_like_a_volume(&partition.device(device), self.context))
                .map(|partition| Candidate {
                    name: numbered(&drive.drive, partition.number),
                    is_certain: true,
                })
                .collect();
            return if names.is_empty() {
                Err(format!("a disk ({}) with no BitLocker partition", table.kind))
            } else {
                Ok(names)
            };
        }
        match content::identify(device) {
            // Its metadata may be there, and are searched for.
            Content::Unknown | Content::Random | Content::Zeros | Content::Unreadable => Ok(whole(false)),
            content => Err(content.to_string()),
        }
    }

    fn other(&mut self, path: &Path, what: String, is_failure: bool) {
        let name = path.display().to_string();
        if is_failure {
            return self.unread(path, format!("it is no BitLocker drive but {what}"));
        }
        self.context
            .ui
            .say(&format!("{name}: no BitLocker drive: {what}"));
        self.found.others.push(NoDrive { name, what });
    }

    fn unread(&mut self, path: &Path, reason: String) {
        let name = path.display().to_string();
        // Most reasons name what they are about.
        if reason.contains(&name) {
            self.context.ui.warn(&reason);
        } else {
            self.context.ui.warn(&format!("{name}: {reason}"));
        }
        self.found.unread.push(Unread { name, reason });
    }
}

struct Candidate {
    name: OsString,
    /// It has the marks of BitLocker; otherwise only a search can tell.
    is_certain: bool,
}

fn looks_like_a_volume(device: &Device, context: &Context) -> bool {
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    matches!(
        Volume::open(device.clone(), &options, &mut |_| context.interrupt.flow()),
        // What is damaged is told when it is opened for good.
        Ok(_) | Err(OpenError::NoMetadata { .. } | OpenError::SectorSize(_))
    )
}

fn numbered(disk: &OsStr, partition: u32) -> OsString {
    let mut name = disk.to_owned();
    name.push(format!("#{partition}"));
    name
}

/// Endings of the names of images, lower case; for those in several files, of the first one.
const IMAGES: &[&str] = &[
    "img", "dd", "raw", "bin", "ima", "image", "vhd", "vhdx", "avhd", "avhdx", "qcow", "qcow2", "vmdk",
    "e01", "ex01", "s01", "001", "000", "aa", "iso",
];

fn is_called_image(path: &Path) -> bool {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| IMAGES.contains(&ending.as_str()))
}

/// Recognises the extents of VMware's images, which are read with the file that describes them.
fn is_part_of_another(path: &Path) -> bool {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let Some(stem) = name.strip_suffix(".vmdk") else {
        return false;
    };
    stem.ends_with("-flat")
        || stem.rsplit_once('-').is_some_and(|(_, part)| {
            part.len() == 4
                && part.starts_with(['s', 'f'])
                && part
                    .get(1..)
                    .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_their_names() {
        for name in ["a.img", "a.VHDX", "a.E01", "a.001", "dir.x/a.dd"] {
            assert!(is_called_image(Path::new(name)), "{name}");
        }
        for name in ["a", "a.txt", "a.e02", "a.002", "img"] {
            assert!(!is_called_image(Path::new(name)), "{name}");
        }
        for name in ["a-flat.vmdk", "a-s001.vmdk", "a-F012.VMDK"] {
            assert!(is_part_of_another(Path::new(name)), "{name}");
        }
        for name in ["a.vmdk", "a-b.vmdk", "s001.vmdk", "a-flat.img", "-sé.vmdk"] {
            assert!(!is_part_of_another(Path::new(name)), "{name}");
        }
    }
}
