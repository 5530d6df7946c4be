//! A drive whose files a driver of this computer shows, from an image file that only root sees.

use std::path::Path;

use keyhaven_attach::fuse::system::{self, PrivateFolder, SystemError, SystemOptions};
use keyhaven_disk::content::Content;

use super::holding::Held;
use super::{IMAGE_NAME, Showing};
use crate::error::CliError;
use crate::mounts::PRIVATE_FOLDERS;

/// Mounts the image out of sight, and what is in it where the person wants it.
pub(super) fn mount(showing: &Showing<'_>, content: Content) -> Result<Held, CliError> {
    let name = std::process::id().to_string();
    let folder = PrivateFolder::create(Path::new(PRIVATE_FOLDERS), &name).map_err(|error| {
        CliError::could_not(format!("cannot work in `{PRIVATE_FOLDERS}`")).because(&error)
    })?;
    let inner = showing.mount_image_on(folder.path())?;
    let options = SystemOptions {
        read_only: showing.shown.writable().is_none(),
        allow_other: showing.options.allow_other,
    };
    let image = folder.path().join(IMAGE_NAME);
    system::mount(&image, content, showing.mountpoint, options).map_err(|error| refusal(&error))?;
    Ok(Held::through(inner, showing.mountpoint, folder))
}

fn refusal(error: &SystemError) -> CliError {
    let refused =
        CliError::could_not("the drive is unlocked, but its files cannot be mounted").because(error);
    match error {
        SystemError::NotInstalled { package, .. } => refused.hint(format!("install the package `{package}`")),
        SystemError::ReadOnly => refused
            .hint("Windows is perhaps hibernated on it: shut it down completely (`shutdown /s /t 0`)")
            .hint("without `--write` the files are shown read-only"),
        _ => refused,
    }
    .hint("`--as-image` shows the decrypted drive as one file, for other programs")
}
