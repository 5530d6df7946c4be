//! What an export is written to: a new image file, which gets its name when it is whole, or a device.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::HumanBytes;
use keyhaven_crypto::SectorSize;
use keyhaven_disk::container::{self, ImageError, NewImage, Spec};
use keyhaven_disk::copy::{CopyTarget, DeviceTarget, FileTarget};
use keyhaven_disk::os::{Backing, Host, is_device};
use keyhaven_disk::{Device, OpenError, Writable, content, free_space};

use crate::elevation;
use crate::error::CliError;
use crate::randomness;
use crate::windows;

/// The arguments by which a verb is told which kind of image file to make.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FormatArgs {
    /// The kind of image file to make: raw, vhd or vhdx; without it, the ending of its name decides
    #[arg(long, value_name = "FORMAT", value_parser = ImageFormat::parse)]
    format: Option<ImageFormat>,

    /// Give a vhd or vhdx file its full size at once; else it grows with what is stored in it
    #[arg(long)]
    fixed: bool,
}

/// What an image file is: the content itself, or a container around it.
#[derive(Debug, Clone, Copy)]
enum ImageFormat {
    Raw,
    Container(&'static Spec),
}

impl ImageFormat {
    fn parse(name: &str) -> Result<Self, String> {
        match Spec::named(name) {
            _ if name.eq_ignore_ascii_case("raw") => Ok(Self::Raw),
            Some(format) if format.can_be_written() => Ok(Self::Container(format)),
            Some(format) => Err(format!("{} can only be read", format.title)),
            None => {
                let writable = container::ALL.iter().filter(|format| format.can_be_written());
                let names: Vec<&str> = writable.map(|format| format.name).collect();
                Err(format!("expected raw or one of {}", names.join(", ")))
            }
        }
    }
}

impl FormatArgs {
    /// Refuses a container for what can be gone on with later: only a raw image tells what of it is there.
    pub(crate) fn refuse_container(&self, out: &Path) -> Result<(), CliError> {
        match self.container(out)? {
            None => Ok(()),
            Some(container) => Err(CliError::could_not(format!(
                "`--keep-going` writes raw images, and `{}` would be {}",
                out.display(),
                container.format.title
            ))
            .hint("give it another name, or add `--format raw`")),
        }
    }

    /// Returns the container that a file called `out` is to be, if it is to be one.
    fn container(&self, out: &Path) -> Result<Option<NewContainer>, CliError> {
        let format = match (self.format, Spec::of_name(out)) {
            (Some(ImageFormat::Container(format)), _) => Some(format),
            (None, Some(format)) if format.can_be_written() => Some(format),
            (None, Some(format)) => {
                return Err(CliError::could_not(format!(
                    "`{}` would be {}, and those can only be read",
                    out.display(),
                    format.title
                ))
                .hint("`--format vhdx` or `--format raw` makes another kind, whatever it is called"));
            }
            (Some(ImageFormat::Raw) | None, _) => None,
        };
        if format.is_none() && self.fixed {
            return Err(CliError::could_not(
                "`--fixed` is for vhd and vhdx files, and this would be a raw one",
            )
            .hint("give a name that ends in `.vhdx`, or `--format vhdx`"));
        }
        Ok(format.map(|format| NewContainer {
            format,
            is_fixed: self.fixed,
        }))
    }
}

/// The container that is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewContainer {
    format: &'static Spec,
    is_fixed: bool,
}

impl NewContainer {
    fn image(&self, len_bytes: u64, sector_size: u32) -> NewImage {
        NewImage {
            len_bytes,
            sector_size,
            is_fixed: self.is_fixed,
            created: SystemTime::now(),
        }
    }

    fn check(&self, len_bytes: u64, sector_size: u32) -> Result<(), CliError> {
        self.format
            .check_new(&self.image(len_bytes, sector_size))
            .map_err(|error| {
                CliError::could_not(format!("this cannot be put into {}", self.format.title)).because(&error)
            })
    }

    fn create(&self, partial: &Path, len_bytes: u64, sector_size: u32) -> Result<Writable, CliError> {
        let new = self.image(len_bytes, sector_size);
        container::create(partial, self.format, &new, &mut randomness::of_the_system)
            .map_err(|error| cannot_make_container(partial, &error))
    }
}

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
        /// What it is, if it is not the content itself.
        container: Option<NewContainer>,
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
    pub(crate) fn new(out: &Path, overwrite: bool, format: &FormatArgs) -> Result<Self, CliError> {
        // Whoever writes this means standard output, and would look for the image there.
        if out == Path::new("-") {
            return Err(
                CliError::could_not("an image cannot be written to standard output")
                    .hint("give the name of a file; for a file that is called so: `./-`")
                    .hint("`keyhaven serve` offers the content to other programs"),
            );
        }
        if is_device(out) {
            if format.format.is_some() || format.fixed {
                return Err(CliError::could_not(format!(
                    "`{}` is a drive and gets the content itself: `--format` and `--fixed` are for image files",
                    out.display()
                )));
            }
            return Self::device(out, overwrite);
        }
        let container = format.container(out)?;
        refuse_existing(out)?;
        Ok(Self::File {
            out: out.to_owned(),
            partial: with_suffix(out, ".partial"),
            is_made: Cell::new(false),
            container,
        })
    }

    /// Finds out the same of what is to hold the content itself, whatever it is called.
    pub(crate) fn raw(out: &Path, overwrite: bool) -> Result<Self, CliError> {
        if is_device(out) {
            return Self::device(out, overwrite);
        }
        let raw = FormatArgs {
            format: Some(ImageFormat::Raw),
            fixed: false,
        };
        Self::new(out, overwrite, &raw)
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
        windows::refuse_unlocked(path)?;
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
            Self::File { out, container, .. } => {
                if let Some(container) = container {
                    container.check(needed, content.sector_size())?;
                }
                check_space(out, content)
            }
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

    /// Makes what `content` is to be written to.
    pub(crate) fn create(&self, content: &Device) -> Result<Box<dyn CopyTarget>, CliError> {
        match self {
            Self::File {
                partial,
                is_made,
                container: Some(container),
                ..
            } => {
                make(partial, is_made)?;
                let image = container.create(partial, content.len_bytes(), content.sector_size())?;
                Ok(Box::new(NewDisk(DeviceTarget::new(image))))
            }
            Self::File { partial, is_made, .. } => {
                let target =
                    FileTarget::new(make(partial, is_made)?).map_err(|error| cannot_make(partial, &error))?;
                Ok(Box::new(target))
            }
            Self::Device { device, .. } => Ok(Box::new(DeviceTarget::new(device.clone()))),
        }
    }

    /// Checks that a drive of this size can be made there, before anybody types a key.
    pub(crate) fn check_size(&self, len_bytes: u64, sector_size: SectorSize) -> Result<(), CliError> {
        match self {
            Self::File {
                container: Some(container),
                ..
            } => container.check(len_bytes, sector_size.bytes() as u32),
            _ => Ok(()),
        }
    }

    /// Makes what is to be written as a drive of `len_bytes`: sparse where it is a file.
    pub(crate) fn create_writable(
        &self,
        len_bytes: u64,
        sector_size: SectorSize,
    ) -> Result<Writable, CliError> {
        match self {
            Self::File {
                partial,
                is_made,
                container: Some(container),
                ..
            } => {
                make(partial, is_made)?;
                container.create(partial, len_bytes, sector_size.bytes() as u32)
            }
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
            Self::File {
                partial,
                container: Some(container),
                ..
            } => {
                let image = container::open_uncached(partial, container::Format::Of(container.format));
                return image
                    .map(|image| image.device)
                    .map_err(|error| cannot_make_container(partial, &error));
            }
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

/// A disk in a container that was just made: what is not written is zeros.
struct NewDisk(DeviceTarget);

impl CopyTarget for NewDisk {
    fn starts_as_zeros(&self) -> bool {
        true
    }

    fn write_all_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset, bytes)
    }

    fn finish(&mut self, len_bytes: u64) -> io::Result<()> {
        self.0.finish(len_bytes)
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

fn cannot_make_container(partial: &Path, error: &ImageError) -> CliError {
    CliError::could_not(format!("cannot make `{}`", partial.display())).because(error)
}

fn cannot_open(path: &Path, error: &OpenError) -> CliError {
    let refused = CliError::could_not(format!("cannot use `{}`", path.display())).because(error);
    match error {
        OpenError::InUse { .. } => refused.hint(elevation::TO_FREE_DRIVES),
        OpenError::PermissionDenied { .. } | OpenError::NoPermissionToWrite { .. } => {
            refused.hint(elevation::TO_WRITE_DRIVES)
        }
        _ => refused,
    }
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
        let drive = host.drive_at(path);
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let own = match (drive, path.file_name()) {
            (Some(drive), _) => Backing::Device(drive.name),
            (None, Some(name)) if is_device(&path) => Backing::Device(name.to_string_lossy().into_owned()),
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

/// Tells whether more than `limit` bytes of the content are not holes, nor missing for certain.
fn is_stored_beyond(content: &Device, limit: u64) -> bool {
    /// How far to look from a byte that is stored, since nobody tells where the next hole begins.
    const STEP: u64 = 1 << 20;

    let len = content.len_bytes();
    let (mut at, mut stored) = (0u64, 0u64);
    while at < len && len - at > limit.saturating_sub(stored) {
        let hole = content
            .hole_at(at, len - at)
            .max(content.unreadable_at(at, len - at));
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
