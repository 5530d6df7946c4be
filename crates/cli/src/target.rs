//! What an export is written to: a new image file, which gets its name when it is whole, or a device.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use keyhaven_disk::copy::{CopyTarget, DeviceTarget, FileTarget};
use keyhaven_disk::os::{Backing, Host};
use keyhaven_disk::{Device, OpenError, Writable, content, free_space};

use crate::error::CliError;

/// Where an export goes.
pub(crate) enum Target {
    /// An image file.
    File {
        /// Its name when it is whole.
        out: PathBuf,
        /// Its name until then.
        partial: PathBuf,
        /// Whether it is ours: a file of that name that was there before is not.
        is_made: Cell<bool>,
    },
    /// A device, whose content is lost.
    Device {
        /// The path by which the person named it.
        path: PathBuf,
        /// The device.
        device: Writable,
    },
}

impl Target {
    /// Finds out what `out` is, before a person types 48 digits. Nothing is changed yet.
    pub(crate) fn new(out: &Path, overwrite: bool) -> Result<Self, CliError> {
        // Whoever writes this means standard output, and would look for the image there.
        if out == Path::new("-") {
            return Err(
                CliError::could_not("an image cannot be written to standard output")
                    .hint("give the name of a file; for a file that is called so: `./-`")
                    .hint("`keyhaven serve` offers the content to other programs"),
            );
        }
        if is_block_device(out) {
            return Self::device(out, overwrite);
        }
        refuse_existing(out)?;
        Ok(Self::File {
            out: out.to_owned(),
            partial: with_suffix(out, ".partial"),
            is_made: Cell::new(false),
        })
    }

    fn device(path: &Path, overwrite: bool) -> Result<Self, CliError> {
        if !overwrite {
            let device = keyhaven_disk::open(path).map_err(|error| cannot_open(path, &error))?;
            return Err(CliError::could_not(format!(
                "`{}` is a drive of {}, and what is on it ({}) would be lost",
                path.display(),
                HumanBytes(device.len_bytes()),
                content::identify(&device)
            ))
            .hint("`--overwrite` writes over it"));
        }
        let device = keyhaven_disk::open_writable(path).map_err(|error| cannot_open(path, &error))?;
        Ok(Self::Device {
            path: path.to_owned(),
            device,
        })
    }

    /// Checks that the content of the drive at `drive` fits, and would not be written over itself.
    pub(crate) fn check(&self, content: &Device, drive: &Path) -> Result<(), CliError> {
        let needed = content.len_bytes();
        match self {
            Self::File { out, .. } => check_space(out, content),
            Self::Device { path, device } => {
                if overlap(path, drive) {
                    return Err(CliError::could_not(format!(
                        "`{}` is where the drive itself lies",
                        path.display()
                    ))
                    .hint("write to another one"));
                }
                if device.len_bytes() < needed {
                    return Err(CliError::could_not(format!(
                        "`{}` is too small: it has {}, and {} are needed",
                        path.display(),
                        HumanBytes(device.len_bytes()),
                        HumanBytes(needed)
                    )));
                }
                Ok(())
            }
        }
    }

    /// Makes what is to be written.
    pub(crate) fn create(&self) -> Result<Box<dyn CopyTarget>, CliError> {
        match self {
            Self::File { partial, is_made, .. } => {
                let target =
                    FileTarget::new(make(partial, is_made)?).map_err(|error| cannot_make(partial, &error))?;
                Ok(Box::new(target))
            }
            Self::Device { device, .. } => Ok(Box::new(DeviceTarget::new(device.clone()))),
        }
    }

    /// Makes what is to be written as a drive of `len_bytes`: sparse where it is a file.
    pub(crate) fn create_writable(&self, len_bytes: u64) -> Result<Writable, CliError> {
        match self {
            Self::File { partial, is_made, .. } => {
                make(partial, is_made)?
                    .set_len(len_bytes)
                    .map_err(|error| cannot_make(partial, &error))?;
                keyhaven_disk::open_writable(partial).map_err(|error| cannot_open(partial, &error))
            }
            Self::Device { device, .. } => Ok(device.clone()),
        }
    }

    /// Opens what was written, to be read back from the medium.
    pub(crate) fn read_back(&self) -> Result<Device, CliError> {
        let path = match self {
            Self::File { partial, .. } => partial,
            Self::Device { path, .. } => path,
        };
        keyhaven_disk::open_uncached(path).map_err(|error| cannot_open(path, &error))
    }

    /// Gives a finished image its name, over nothing.
    pub(crate) fn keep(&self) -> Result<(), CliError> {
        match self {
            Self::File { out, partial, .. } => give_name(partial, out),
            Self::Device { .. } => Ok(()),
        }
    }

    /// Removes what is not an image of anything.
    pub(crate) fn discard(&self) {
        if let Self::File { partial, is_made, .. } = self
            && is_made.get()
        {
            let _ = std::fs::remove_file(partial);
        }
    }

    /// Says what is left after a failure.
    pub(crate) fn after_failure(&self) -> &'static str {
        match self {
            Self::File { .. } => "no image was left behind",
            Self::Device { .. } => "what was on the device is lost, and it holds no whole copy",
        }
    }
}

/// Returns `path` with something behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Makes a new file, and notes that it is ours.
fn make(partial: &Path, is_made: &Cell<bool>) -> Result<File, CliError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(partial)
        .map_err(|error| cannot_make(partial, &error))?;
    is_made.set(true);
    Ok(file)
}

fn cannot_make(partial: &Path, error: &std::io::Error) -> CliError {
    let refused = CliError::could_not(format!("cannot create `{}`", partial.display())).because(error);
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => refused.hint(
            "another Keyhaven may be writing it; if none is, it was left by one that was ended by force: delete it",
        ),
        _ => refused,
    }
}

fn cannot_open(path: &Path, error: &OpenError) -> CliError {
    let refused = CliError::could_not(format!("cannot use `{}`", path.display())).because(error);
    match error {
        OpenError::InUse { .. } => refused.hint("unmount it first; `lsblk` shows where it is mounted"),
        OpenError::PermissionDenied { .. } | OpenError::NoPermissionToWrite { .. } => {
            refused.hint("drives can only be written by root: put `sudo` before the command")
        }
        _ => refused,
    }
}

#[cfg(unix)]
fn is_block_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_block_device())
}

#[cfg(not(unix))]
fn is_block_device(_: &Path) -> bool {
    false
}

/// Tells whether writing to one path would change what lies at the other: the same device, the disk of a partition, the
/// file behind a loop device.
fn overlap(target: &Path, drive: &Path) -> bool {
    let host = Host::system();
    let (target, drive) = (Place::of(&host, target), Place::of(&host, drive));
    target.below.iter().any(|below| drive.is(below)) || drive.below.iter().any(|below| target.is(below))
}

/// A device or file, and all that it lies on.
struct Place {
    own: Backing,
    below: Vec<Backing>,
}

impl Place {
    fn of(host: &Host, path: &Path) -> Self {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = match path.file_name() {
            Some(name) if is_block_device(&path) => Backing::Device(name.to_string_lossy().into_owned()),
            _ => Backing::File(path),
        };
        let mut below = match &own {
            Backing::Device(name) => host.all_backing_of(name).unwrap_or_default(),
            _ => Vec::new(),
        };
        below.push(own.clone());
        Self { own, below }
    }

    fn is(&self, other: &Backing) -> bool {
        self.own == *other
    }
}

fn refuse_existing(out: &Path) -> Result<(), CliError> {
    match out.symlink_metadata() {
        Ok(found) if !(found.is_file() || found.is_dir() || found.is_symlink()) => {
            Err(CliError::could_not(format!(
                "`{}` is neither a file nor a drive, and an image cannot be written to it",
                out.display()
            ))
            .hint("`keyhaven serve` offers the content to other programs"))
        }
        Ok(_) => Err(CliError::could_not(format!(
            "`{}` exists already and is not overwritten",
            out.display()
        ))
        .hint("give another name")),
        Err(_) => Ok(()),
    }
}

fn check_space(out: &Path, content: &Device) -> Result<(), CliError> {
    let folder = out
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(CliError::could_not(format!(
            "there is no folder `{}`",
            folder.display()
        )));
    }
    // Zeros that are stored take no space either, so this may be too strict; running full half-way is worse.
    match free_space(folder) {
        Ok(free) if is_stored_beyond(content, free) => Err(CliError::could_not(format!(
            "the image needs {}, and `{}` has {} free",
            HumanBytes(content.len_bytes()),
            folder.display(),
            HumanBytes(free)
        ))),
        _ => Ok(()),
    }
}

/// Tells whether more than `limit` bytes of the content are not holes.
fn is_stored_beyond(content: &Device, limit: u64) -> bool {
    /// How far to look from a byte that is stored, since nobody tells where the next hole begins.
    const STEP: u64 = 1 << 20;

    let len = content.len_bytes();
    let (mut at, mut stored) = (0u64, 0u64);
    while at < len && len - at > limit.saturating_sub(stored) {
        let hole = content.hole_at(at, len - at);
        let step = (STEP - at % STEP).min(len - at);
        if hole == 0 {
            stored = stored.saturating_add(step);
        }
        if stored > limit {
            return true;
        }
        at = at.saturating_add(if hole == 0 { step } else { hole });
    }
    false
}

/// Gives the finished image its name, over nothing.
fn give_name(partial: &Path, out: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::could_not(format!("cannot name the finished image `{}`", out.display())).because(&error)
    };
    // Some file systems cannot rename without overwriting; somebody would have to make the file this very moment.
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;

        match renameat_with(CWD, partial, CWD, out, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            outcome => return outcome.map_err(|error| failed(error.into())),
        }
    }
    refuse_existing(out)?;
    std::fs::rename(partial, out).map_err(failed)
}
