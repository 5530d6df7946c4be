//! What a path leads to: a device or an image file, or a partition of one, opened to be read or to be changed.

use std::path::Path;
use std::sync::Arc;

use keyhaven_disk::container::{self, Container, ContainerError, Format, ImageError, Spec};
use keyhaven_disk::partition::Partition;
use keyhaven_disk::{Device, OpenError, PatchyDevice, View, Writable};

use crate::elevation;
use crate::error::CliError;
use crate::map_file;
use crate::randomness;
use crate::windows;

/// A device, and the same to be written where it was opened for that.
#[derive(Debug, Clone)]
pub(crate) struct Medium {
    /// To be read.
    pub(crate) device: Device,
    /// To be written.
    pub(crate) writable: Option<Writable>,
    /// The image file format that it lies in, if it does.
    pub(crate) container: Option<Container>,
}

impl Medium {
    /// Opens a device or image file to be read, with the next step where it cannot be.
    pub(crate) fn open(path: &Path, format: Format) -> Result<Self, CliError> {
        let image = container::open(path, format).map_err(|error| refusal(&error, path))?;
        Ok(Self {
            device: image.device,
            writable: None,
            container: image.container,
        })
    }

    /// Opens a device or image file to be changed, which nobody else may do meanwhile.
    pub(crate) fn open_writable(path: &Path, format: Format) -> Result<Self, CliError> {
        windows::refuse_unlocked(path)?;
        let image = container::open_writable(path, format, &mut randomness::of_the_system)
            .map_err(|error| refusal(&error, path))?;
        Ok(Self {
            device: image.device.clone(),
            writable: Some(image.device),
            container: image.container,
        })
    }

    /// Returns a partition of it.
    pub(crate) fn partition(&self, partition: &Partition) -> Self {
        self.part(partition.start, partition.len_bytes)
    }

    /// Returns the `len_bytes` bytes of it from byte `start` on, which may reach past its end.
    pub(crate) fn part(&self, start: u64, len_bytes: u64) -> Self {
        let writable = self.writable.as_ref().map(|disk| -> Writable {
            let part = View::new(Arc::clone(disk), start, len_bytes);
            Arc::new(part)
        });
        Self {
            device: match &writable {
                Some(part) => part.clone(),
                None => Arc::new(View::new(Arc::clone(&self.device), start, len_bytes)),
            },
            writable,
            container: self.container.clone(),
        }
    }

    /// Takes an image that was made of a failing drive by its map: what that does not call finished is unknown.
    pub(crate) fn with_map(self, map: &Path) -> Result<Self, CliError> {
        if self.writable.is_some() {
            return Err(
                CliError::could_not("an image with gaps is only read").hint("leave out `--source-map`")
            );
        }
        let map = map_file::read(map)?.map;
        Ok(Self {
            device: Arc::new(PatchyDevice::new(self.device, map)),
            ..self
        })
    }
}

/// Reads what `--image-format` was given.
pub(crate) fn image_format(name: &str) -> Result<Format, String> {
    if name.eq_ignore_ascii_case("raw") {
        return Ok(Format::Raw);
    }
    Spec::named(name).map(Format::Of).ok_or_else(|| {
        let names: Vec<&str> = container::ALL.iter().map(|format| format.name).collect();
        format!("expected raw or one of {}", names.join(", "))
    })
}

fn refusal(error: &ImageError, path: &Path) -> CliError {
    let refused = CliError::could_not("cannot use the drive").because(error);
    match error {
        ImageError::File(error) => file_hint(refused, error, path),
        ImageError::Container { source, .. } => container_hint(refused, source),
        _ => refused,
    }
}

fn container_hint(refused: CliError, error: &ContainerError) -> CliError {
    match error {
        ContainerError::Escape { .. } | ContainerError::Neighbour { .. } => refused.hint(
            "put the file that it names into the same folder, or make one image of all with \
             `qemu-img convert`",
        ),
        ContainerError::OtherParent { .. } => {
            refused.hint("put the right one into the same folder; the one there may have been changed since")
        }
        ContainerError::ReadOnly { .. } => refused.hint(
            "it can be read; `qemu-img convert -O vhdx` or `-O raw` makes an image of it that can be changed",
        ),
        ContainerError::Damaged { .. } | ContainerError::Read { .. } => refused
            .hint("if it is a copy, get the whole of it again")
            .hint("`--image-format raw` takes the file as it is, and `keyhaven` looks for BitLocker in it"),
        _ => refused,
    }
}

fn file_hint(refused: CliError, error: &OpenError, path: &Path) -> CliError {
    match error {
        OpenError::NotFound { .. } => {
            refused.hint("`keyhaven drives` lists the BitLocker drives of this computer")
        }
        OpenError::PermissionDenied { .. } | OpenError::NoPermissionToWrite { .. }
            if keyhaven_disk::os::is_device(path) =>
        {
            refused.hint(elevation::TO_READ_DRIVES)
        }
        OpenError::PermissionDenied { .. } | OpenError::NoPermissionToWrite { .. } => {
            refused.hint("run it as the user who owns the file")
        }
        OpenError::WriteProtected { .. } => {
            refused.hint("look for a switch on the stick or card; without `--write` it can be read")
        }
        OpenError::InUse { .. } => refused
            .hint(elevation::TO_FIND_USERS)
            .hint("without `--write` it can be read"),
        OpenError::IsDirectory { .. } => refused.hint(elevation::TO_NAME_DRIVES),
        OpenError::Empty { .. } => {
            refused.hint("a card reader without a card and a failed copy look like this")
        }
        _ => refused,
    }
}
