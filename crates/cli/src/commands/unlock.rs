//! `keyhaven unlock`: the drive's files in a folder, until it is locked again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Parser, ValueEnum};
use keyhaven_attach::Shown;
use keyhaven_attach::files::{self, FileSystemKind, OpenFilesError};
use keyhaven_attach::fuse::{self, MountOptions, Mounted, check_mountpoint};
use keyhaven_disk::content::{self, Content};
use serde::Serialize;

use crate::background;
use crate::commands::{Run, Verb};
use crate::content::ContentArgs;
use crate::context::Context;
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::mounts::mount_refusal;
use crate::showing::WriteArgs;
use crate::unclean::UncleanArgs;
use crate::unlocking::UnlockArgs;

mod holding;
mod system;
mod troubles;

use holding::Held;
use troubles::Troubles;

pub(super) const VERB: Verb = Verb::of::<Unlock>();

/// The name of the file that `--as-image` shows.
const IMAGE_NAME: &str = "volume.img";

/// Show the files of a drive in a folder, until it is locked again
///
/// The files of NTFS, exFAT and FAT are shown read-only, without root. Ctrl-C locks the drive again, and so does
/// `keyhaven lock MOUNTPOINT`, or `umount`.
///
/// With `--write` the drive is mounted by a driver of this computer (the kernel's, or ntfs-3g), which needs root. What
/// was written is on the drive when `lock` has returned.
///
/// If the process was ended by force (`kill -9`, no memory left), its mount stays and answers nothing: `keyhaven lock
/// MOUNTPOINT` clears it away; by hand, `fusermount3 -u MOUNTPOINT` does, or as root `umount -l MOUNTPOINT`.
#[derive(Parser)]
#[command(name = "unlock")]
struct Unlock {
    #[command(flatten)]
    drive: DriveArgs,

    /// An empty folder in which the files appear
    #[arg(value_name = "MOUNTPOINT")]
    mountpoint: PathBuf,

    #[command(flatten)]
    unlock: UnlockArgs,

    /// Show the decrypted drive as one file, `volume.img`, instead of its files
    ///
    /// For programs that read drives by themselves, and for file systems that are not read here.
    #[arg(long)]
    as_image: bool,

    /// What reads the file system on the drive: Keyhaven, read-only, or a driver of this computer, as root
    ///
    /// `system` where `--write` is given without `--as-image`.
    #[arg(long, value_name = "WHICH", conflicts_with = "as_image")]
    driver: Option<Driver>,

    #[command(flatten)]
    write: WriteArgs,

    #[command(flatten)]
    unclean: UncleanArgs,

    #[command(flatten)]
    content: ContentArgs,

    /// Return once the drive is unlocked, and go on in the background
    #[arg(long)]
    background: bool,

    /// Let other users see what is shown
    #[arg(long)]
    allow_other: bool,
}

/// What reads the file system on the drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// Keyhaven, read-only
    BuiltIn,
    /// A driver of this computer, as root
    System,
}

/// In which form the drive is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Files,
    Image,
    System,
}

#[derive(Serialize)]
struct Answer<'a> {
    drive: &'a str,
    mountpoint: String,
    kind: Kind,
    /// What is on the drive; `None` if nobody looked.
    file_system: Option<String>,
    /// The file of `--as-image`.
    image: Option<String>,
    read_only: bool,
    pid: u32,
}

impl Run for Unlock {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.background && !background::is_child() {
            return background::start(context);
        }
        let kind = self.kind()?;
        // Before a person types 48 digits.
        let mountpoint = check_mountpoint(&self.mountpoint).map_err(|error| mount_refusal(&error))?;
        if kind == Kind::System && !rustix::process::geteuid().is_root() {
            return Err(needs_root(self.write.write));
        }
        let drive = self.write.open(&self.drive, context)?;
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let shown = drive.shown(unlocked, &self.content)?;
        self.unclean.check(&shown, context)?;

        let troubles = Troubles::new();
        let options = MountOptions {
            name: drive.name.clone(),
            allow_other: self.allow_other,
            now: SystemTime::now(),
            report: troubles.report(),
        };
        let showing = Showing {
            shown,
            mountpoint: &mountpoint,
            options: &options,
        };
        let (held, file_system) = match kind {
            Kind::Files => showing.files()?,
            Kind::Image => showing.image()?,
            Kind::System => showing.by_system()?,
        };
        self.tell(&drive.name, kind, file_system.as_deref(), &mountpoint, context)?;
        if background::is_child() {
            background::detach()?;
        }
        held.until_locked(&troubles, context)
    }
}

impl Unlock {
    fn kind(&self) -> Result<Kind, CliError> {
        match self.driver {
            _ if self.as_image => Ok(Kind::Image),
            Some(Driver::BuiltIn) if self.write.write => Err(CliError::could_not(
                "the built-in driver only reads",
            )
            .hint("`--driver system` writes, as root; `--as-image` has the whole drive written as one file")),
            None if self.write.write => Ok(Kind::System),
            Some(Driver::System) => Ok(Kind::System),
            None | Some(Driver::BuiltIn) => Ok(Kind::Files),
        }
    }

    fn tell(
        &self,
        name: &str,
        kind: Kind,
        file_system: Option<&str>,
        mountpoint: &Path,
        context: &Context,
    ) -> Result<(), CliError> {
        let image = (kind == Kind::Image).then(|| mountpoint.join(IMAGE_NAME));
        if context.ui.is_json() {
            context.ui.json(&Answer {
                drive: name,
                mountpoint: mountpoint.display().to_string(),
                kind,
                file_system: file_system.map(str::to_owned),
                image: image.as_ref().map(|image| image.display().to_string()),
                read_only: !self.write.write,
                pid: std::process::id(),
            })?;
        }
        let place = image.as_deref().unwrap_or(mountpoint).display();
        let mut how: Vec<&str> = file_system.into_iter().collect();
        how.push(if self.write.write {
            "can be written"
        } else {
            "read-only"
        });
        let end = if background::is_child() {
            format!("`keyhaven lock {}` locks it again.", mountpoint.display())
        } else {
            "Ctrl-C locks it again.".to_owned()
        };
        context
            .ui
            .say(&format!("Unlocked {name} at {place} ({}). {end}", how.join(", ")));
        Ok(())
    }
}

/// A drive on its way to being shown.
struct Showing<'a> {
    shown: Shown,
    mountpoint: &'a Path,
    options: &'a MountOptions,
}

impl Showing<'_> {
    fn files(self) -> Result<(Held, Option<String>), CliError> {
        let tree = files::open(self.shown.device()).map_err(|error| {
            let refused =
                CliError::could_not("the drive is unlocked, but its files cannot be shown").because(&error);
            let refused = match error {
                OpenFilesError::NotAFileSystem { .. } => refused,
                _ => refused.hint("Windows' `chkdsk`, or a rescue program on a copy, may mend it"),
            };
            refused
                .hint("`--as-image` shows the decrypted drive as one file, for other programs")
                .hint("as root, `--driver system` has a driver of this computer try")
        })?;
        let kind = tree.kind();
        let mounted = fuse::mount_files(Arc::from(tree), self.mountpoint, self.options)
            .map_err(|error| mount_refusal(&error))?;
        Ok((Held::direct(mounted), Some(kind.to_string())))
    }

    fn image(self) -> Result<(Held, Option<String>), CliError> {
        Ok((Held::direct(self.mount_image_on(self.mountpoint)?), None))
    }

    fn by_system(self) -> Result<(Held, Option<String>), CliError> {
        let content = content::identify(&self.shown.device());
        let held = system::mount(&self, content)?;
        Ok((held, Some(file_system_name(content))))
    }

    fn mount_image_on(&self, folder: &Path) -> Result<Mounted, CliError> {
        fuse::mount_image(self.shown.clone(), IMAGE_NAME, folder, self.options)
            .map_err(|error| mount_refusal(&error))
    }
}

/// Returns what people call a file system; what is there is known to be one.
fn file_system_name(content: Content) -> String {
    match content {
        Content::Ntfs => FileSystemKind::Ntfs.to_string(),
        Content::ExFat => FileSystemKind::ExFat.to_string(),
        Content::Fat12 | Content::Fat16 | Content::Fat32 => FileSystemKind::Fat.to_string(),
        other => other.to_string(),
    }
}

fn needs_root(write: bool) -> CliError {
    let refused = CliError::could_not("only root may have a driver of this computer mount a drive")
        .hint("put `sudo` before the command");
    if write {
        refused.hint("`--write --as-image` has the whole drive written as one file, without root")
    } else {
        refused.hint("without `--driver system` the files are shown without root")
    }
}
