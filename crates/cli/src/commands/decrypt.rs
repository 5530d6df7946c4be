//! `keyhaven decrypt`: turns a BitLocker drive back into a plain one.

use std::time::Instant;

use clap::Parser;
use indicatif::HumanBytes;
use keyhaven_disk::Writable;
use keyhaven_fve::VolumeState;
use keyhaven_fve::convert::{Direction, Outcome};

use super::{Run, Verb};
use crate::changing::{self, ChangeArgs};
use crate::context::Context;
use crate::converting::{self, Answer, Conversion};
use crate::drive::DriveArgs;
use crate::error::{CliError, Exit};
use crate::unlocking::UnlockArgs;

pub(super) const VERB: Verb = Verb::of::<Decrypt>();

/// Decrypt a drive in place: its files stay, and anybody can read them
///
/// Ctrl-C, a crash or a power cut lose nothing: the drive opens with its keys at any time, and the same command goes on
/// where it stopped. When it is done the keys are of no use any more.
#[derive(Parser)]
#[command(name = "decrypt")]
struct Decrypt {
    #[command(flatten)]
    drive: DriveArgs,

    #[command(flatten)]
    unlock: UnlockArgs,

    #[command(flatten)]
    change: ChangeArgs,
}

impl Run for Decrypt {
    fn run(self, context: &Context) -> Result<Exit, CliError> {
        let drive = self.change.open(&self.drive, context)?;
        let name = drive.name.as_str();
        if drive.volume.state() == VolumeState::Decrypted {
            return Err(CliError::no(format!("`{name}` is not encrypted")));
        }
        let unlocked = self.unlock.unlock(&drive.volume, context)?;
        let step = format!(
            "decrypt all of its {}: anybody can read it then",
            HumanBytes(drive.volume.size_bytes())
        );
        if !self.change.agree(name, &[step], context)? {
            return Ok(Exit::Done);
        }
        let Some(medium) = drive.writable.clone() else {
            return Err(CliError::could_not("the drive was opened only to be read"));
        };
        changing::save_metadata(&drive.volume, context)?;
        let started = Instant::now();
        let conversion = Conversion {
            name,
            volume: &drive.volume,
            unlocked,
            medium: medium.clone(),
            direction: Direction::Decrypt,
            used_space_only: false,
        };
        if conversion.run(context)? == Outcome::Paused {
            return Err(converting::paused(name, "decrypt"));
        }
        tidy(&medium, context);
        let answer = Answer {
            drive: name,
            state: "decrypted",
            size_bytes: drive.volume.size_bytes(),
            seconds: started.elapsed().as_secs_f64(),
        };
        let text =
            format!("`{name}` is decrypted. Its keys are of no use any more; saved ones can be deleted.");
        converting::tell(&answer, &text, context)
    }
}

/// Removes the files in which NTFS held what BitLocker kept. That they stay does no harm.
#[cfg(target_os = "linux")]
fn tidy(medium: &Writable, context: &Context) {
    let device: keyhaven_disk::Device = medium.clone();
    if keyhaven_disk::content::identify(&device) != keyhaven_disk::content::Content::Ntfs {
        return;
    }
    let names = super::encrypt::ntfs_files::names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let removed = converting::work_folder().and_then(|folder| {
        keyhaven_attach::reserve::remove_files(medium, &names, folder.path(), converting::now())
            .map_err(|error| CliError::could_not("they cannot be removed").because(&error))
    });
    if let Err(error) = removed {
        context.ui.detail(&format!(
            "some small hidden files of BitLocker stay in `System Volume Information`: {}",
            error.message()
        ));
    }
}

#[cfg(not(target_os = "linux"))]
fn tidy(_: &Writable, _: &Context) {}
