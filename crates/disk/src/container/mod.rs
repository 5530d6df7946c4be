//! Disks inside image files: VHD, VHDX and their like.
//!
//! [`open`] looks at what a file holds and gives the disk that it describes; a file that is no container is the disk
//! itself. What a file is called does not matter, except for images that are split over several files.
//!
//! Whoever made an image decides what it says, so nothing it says is believed: tables are read a page at a time, chains
//! of images are followed to a fixed depth, and another file is opened only if it lies beside the image
//! ([`Neighbours`]). What such a file cannot keep is an error where it is read, never a guess.
//!
//! A format is a file here and a line in [`ALL`].

mod allocating;
mod error;
mod ewf;
mod fault;
mod growing;
mod joined;
mod mapped;
mod neighbours;
mod packing;
mod parts;
mod probe;
mod qcow2;
#[cfg(test)]
mod recorded;
mod split;
mod units;
mod vhd;
mod vhdx;
mod vmdk;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use crate::device::{BlockDevice, Device};
use crate::file::{FileDevice, OpenError};
use crate::file_writing::WritableFile;
use crate::writable::Writable;

pub use error::ContainerError;
pub use growing::Growing;
pub use neighbours::Neighbours;
pub(crate) use probe::Probe;

/// The formats that are known, in the order in which they are looked for.
pub const ALL: &[&Spec] = &[
    &split::SPEC,
    &vhdx::SPEC,
    &vhd::SPEC,
    &qcow2::SPEC,
    &vmdk::SPEC,
    &ewf::SPEC,
];

/// Where random bytes for new identifiers come from: the caller.
pub type Randomness<'a> = dyn FnMut(&mut [u8]) -> io::Result<()> + 'a;

/// A format of image files.
pub struct Spec {
    /// Its name, as a person types it.
    pub name: &'static str,
    /// What an image of it is called, with its article: "a VHDX image".
    pub title: &'static str,
    /// The endings that its files have, without the dot.
    pub extensions: &'static [&'static str],
    /// Tells whether a file that begins and ends like this has the format, damaged or not.
    pub(crate) detect: fn(&Probe) -> bool,
    /// Opens the disk inside `file` for reading.
    pub(crate) open: fn(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError>,
    /// How its images are written, where that is possible.
    pub(crate) writing: Option<&'static Writing>,
}

/// How images of a format are changed and made.
pub(crate) struct Writing {
    /// Opens the disk inside `file` to be changed.
    pub(crate) open: OpenToWrite,
    /// Checks that the format can hold such a disk.
    pub(crate) check: fn(new: &NewImage) -> Result<(), ContainerError>,
    /// Makes an image of a disk full of zeros in `file`, which is empty; of one that was checked.
    pub(crate) create: Create,
}

type OpenToWrite =
    fn(Arc<dyn Growing>, &Neighbours, &mut Randomness<'_>) -> Result<OpenedToWrite, ContainerError>;
type Create = fn(Arc<dyn Growing>, &NewImage, &mut Randomness<'_>) -> Result<Writable, ContainerError>;

/// What a format makes of a file.
pub(crate) struct Opened {
    /// The disk.
    pub(crate) device: Device,
    /// What it is, with its article: "a dynamic VHDX image".
    pub(crate) title: String,
    /// What a person should know about it, as whole clauses; empty as a rule.
    pub(crate) notes: Vec<String>,
    /// By which identifier images that build on it name it, if they do.
    pub(crate) id: Option<Uuid>,
}

impl Opened {
    /// Makes one of which there is nothing more to say.
    pub(crate) fn new(device: Device, title: impl Into<String>) -> Self {
        Self {
            device,
            title: title.into(),
            notes: Vec::new(),
            id: None,
        }
    }
}

/// The same, of a file that may be changed.
pub(crate) struct OpenedToWrite {
    pub(crate) device: Writable,
    pub(crate) title: String,
}

impl OpenedToWrite {
    pub(crate) fn new(device: Writable, title: impl Into<String>) -> Self {
        Self {
            device,
            title: title.into(),
        }
    }
}

/// A disk, and the container that it lies in, if any.
#[derive(Debug, Clone)]
pub struct Image {
    /// The disk.
    pub device: Device,
    /// What it lies in; `None` if the file or device is the disk itself.
    pub container: Option<Container>,
}

/// A disk that may be changed, and the container that it lies in, if any.
#[derive(Debug, Clone)]
pub struct WritableImage {
    /// The disk.
    pub device: Writable,
    /// What it lies in; `None` if the file or device is the disk itself.
    pub container: Option<Container>,
}

/// The container that a disk lies in.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its format.
    pub format: &'static Spec,
    /// What it is, with its article: "a dynamic VHDX image".
    pub title: String,
    /// What a person should know about it, as whole clauses: "it ends early".
    pub notes: Vec<String>,
    /// By which identifier images that build on it name it, if they do.
    pub id: Option<Uuid>,
}

/// Which format a file is taken for.
#[derive(Debug, Clone, Copy, Default)]
pub enum Format {
    /// The one that its content shows; none for block devices, which are what they are.
    #[default]
    Detected,
    /// None: the file is the disk itself.
    Raw,
    /// This one, whatever it looks like.
    Of(&'static Spec),
}

/// The image that is to be made.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// How large the disk is, in bytes.
    pub len_bytes: u64,
    /// The size of its sectors, in bytes: 512 or 4096.
    pub sector_size: u32,
    /// Whether the file has its whole size at once; else it grows with what is written.
    pub is_fixed: bool,
    /// When it is made.
    pub created: SystemTime,
}

/// Why the disk at a path could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file or device itself could not be opened.
    #[error(transparent)]
    File(#[from] OpenError),
    /// The file is a container, and the disk inside cannot be shown.
    #[error("`{}` is {title} that cannot be used", path.display())]
    Container {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        title: &'static str,
        /// Why.
        source: ContainerError,
    },
}

/// Opens the disk that the file or device at `path` is or holds, for reading.
///
/// # Errors
/// See [`ImageError`].
pub fn open(path: &Path, format: Format) -> Result<Image, ImageError> {
    open_file(FileDevice::open(path)?, path, format)
}

/// Opens a disk to be read back, past what the operating system remembers of the file.
///
/// # Errors
/// See [`ImageError`].
pub fn open_uncached(path: &Path, format: Format) -> Result<Image, ImageError> {
    open_file(FileDevice::open_uncached(path)?, path, format)
}

fn open_file(file: FileDevice, path: &Path, format: Format) -> Result<Image, ImageError> {
    let neighbours = neighbours_of(&file, path);
    let is_detectable = !file.is_block_device();
    open_device(Arc::new(file), format, is_detectable, &neighbours).map_err(|(format, source)| {
        ImageError::Container {
            path: path.to_owned(),
            title: format.title,
            source,
        }
    })
}

/// Opens the disk inside bytes that are no file: there is nothing beside them.
///
/// # Errors
/// The bytes are a container, or said to be one, and the disk inside cannot be shown.
pub fn open_inside(device: Device, format: Format) -> Result<Image, ContainerError> {
    open_device(device, format, true, &Neighbours::none()).map_err(|(_, source)| source)
}

fn open_device(
    device: Device,
    format: Format,
    is_detectable: bool,
    neighbours: &Neighbours,
) -> Result<Image, (&'static Spec, ContainerError)> {
    let Some(format) = format.of(&*device, is_detectable, neighbours) else {
        return Ok(Image {
            device,
            container: None,
        });
    };
    let opened = (format.open)(device, neighbours).map_err(|error| (format, error))?;
    Ok(Image {
        device: opened.device,
        container: Some(Container {
            format,
            title: opened.title,
            notes: opened.notes,
            id: opened.id,
        }),
    })
}

/// Opens the disk that the file or device at `path` is or holds, for reading and writing, for this program alone.
///
/// `random` gives new identifiers to images that are marked with one whenever they are changed.
///
/// # Errors
/// See [`ImageError`]; a container that can only be read is [`ContainerError::ReadOnly`].
pub fn open_writable(
    path: &Path,
    format: Format,
    random: &mut Randomness<'_>,
) -> Result<WritableImage, ImageError> {
    let file = WritableFile::open(path)?;
    let neighbours = neighbours_of(file.device(), path);
    let is_detectable = !file.device().is_block_device();
    let Some(format) = format.of(&file, is_detectable, &neighbours) else {
        return Ok(WritableImage {
            device: Arc::new(file),
            container: None,
        });
    };
    let failed = |source| ImageError::Container {
        path: path.to_owned(),
        title: format.title,
        source,
    };
    let writing = format.writing().map_err(failed)?;
    let opened = (writing.open)(Arc::new(file), &neighbours, random).map_err(failed)?;
    Ok(WritableImage {
        device: opened.device,
        container: Some(Container {
            format,
            title: opened.title,
            notes: Vec::new(),
            id: None,
        }),
    })
}

/// Makes an image of a disk full of zeros in a file that is empty, and opens it to be written.
///
/// Nothing is flushed in between: whoever makes it gives it its name when it is whole.
///
/// # Errors
/// The format cannot be written, or not for such a disk ([`ContainerError::Unsupported`]), or the file cannot be.
pub fn create(
    path: &Path,
    format: &'static Spec,
    new: &NewImage,
    random: &mut Randomness<'_>,
) -> Result<Writable, ImageError> {
    let failed = |source| ImageError::Container {
        path: path.to_owned(),
        title: format.title,
        source,
    };
    let writing = format.writing().map_err(failed)?;
    (writing.check)(new).map_err(failed)?;
    let file = WritableFile::open_empty(path)?;
    (writing.create)(Arc::new(file), new, random).map_err(failed)
}

fn neighbours_of(file: &FileDevice, path: &Path) -> Neighbours {
    if file.is_block_device() {
        // What lies beside a device are other devices.
        Neighbours::none()
    } else {
        Neighbours::of(path)
    }
}

impl Spec {
    /// Returns the format called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter()
            .copied()
            .find(|format| format.name.eq_ignore_ascii_case(name))
    }

    /// Returns the format whose files end as `path` does.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<&'static Self> {
        let ending = path.extension()?.to_str()?;
        ALL.iter().copied().find(|format| {
            let mut endings = format.extensions.iter();
            endings.any(|known| known.eq_ignore_ascii_case(ending))
        })
    }

    /// Checks that an image can be made, before anything is written.
    ///
    /// # Errors
    /// [`ContainerError::ReadOnly`] where the format is only read, [`ContainerError::Unsupported`] where it has no room
    /// for such a disk.
    pub fn check_new(&self, new: &NewImage) -> Result<(), ContainerError> {
        (self.writing()?.check)(new)
    }

    fn writing(&self) -> Result<&'static Writing, ContainerError> {
        self.writing.ok_or(ContainerError::ReadOnly {
            reason: "images of this kind are only read",
        })
    }

    /// Tells whether images of this format can be made and changed.
    #[must_use]
    pub fn can_be_written(&self) -> bool {
        self.writing.is_some()
    }
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Format {
    /// Returns the format of `file`, if it has one.
    fn of(
        self,
        file: &dyn BlockDevice,
        is_detectable: bool,
        neighbours: &Neighbours,
    ) -> Option<&'static Spec> {
        match self {
            Self::Raw => None,
            Self::Of(format) => Some(format),
            Self::Detected if !is_detectable => None,
            Self::Detected => {
                let probe = Probe::of(file, neighbours);
                ALL.iter().copied().find(|format| (format.detect)(&probe))
            }
        }
    }
}
