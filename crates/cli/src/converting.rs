//! What encrypting and decrypting a drive in place have in common.

use std::ops::Range;
use std::thread;

use jiff::Timestamp;
use keyhaven_attach::reserve::{self, ReserveError};
use keyhaven_disk::{Device, Writable};
use keyhaven_fve::convert::{
    ConvertError, Converter, Direction, MAX_JOURNAL_LEN_BYTES, MIN_JOURNAL_LEN_BYTES, Outcome, UsedSpace,
};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::{Unlocked, Volume};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CliError, Exit};
use crate::randomness;

/// A volume to be converted.
pub(crate) struct Conversion<'a> {
    /// What the person calls the drive.
    pub(crate) name: &'a str,
    /// The volume.
    pub(crate) volume: &'a Volume,
    /// Its keys.
    pub(crate) unlocked: Unlocked,
    /// What it lies on.
    pub(crate) medium: Writable,
    /// Where it goes.
    pub(crate) direction: Direction,
    /// Whether free space is left out.
    pub(crate) used_space_only: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
pub(crate) struct Answer<'a> {
    pub(crate) drive: &'a str,
    /// `encrypted`, `decrypted`, `encryption_paused`, `decryption_paused`.
    pub(crate) state: &'static str,
    pub(crate) size_bytes: u64,
    pub(crate) seconds: f64,
}

impl Conversion<'_> {
    /// Converts the volume to its end or until Ctrl-C.
    pub(crate) fn run(self, context: &Context) -> Result<Outcome, CliError> {
        context.interrupt.check()?;
        let data = self
            .volume
            .look(&self.unlocked)
            .map_err(|error| CliError::could_not("the drive cannot be read").because(&error))?;
        let data: Device = std::sync::Arc::new(data);
        let free = self.journal_place(&data)?;
        let used = if self.used_space_only {
            Some(used_space(&data).map_err(|error| no_room(&error))?)
        } else {
            None
        };
        drop(data);
        let now = FileTime::from_timestamp(Timestamp::now());
        let total_bytes = self.medium.len_bytes();
        let (what, name, direction) = (
            match self.direction {
                Direction::Encrypt => "encrypting",
                Direction::Decrypt => "decrypting",
            },
            self.name,
            self.direction,
        );
        let mut converter = Converter::start(
            self.volume,
            self.unlocked,
            self.medium,
            direction,
            &free,
            now,
            &mut randomness::of_the_system,
        )
        .map_err(|error| refusal(&error, name, direction))?;
        if let Some(used) = used {
            converter.leave_out_unused(used);
        }
        let mut bar = context.ui.progress(what, total_bytes);
        bar.set(converter.progress().done_bytes);
        converter
            .run(&at_once, &mut |progress| {
                bar.set(progress.done_bytes);
                context.interrupt.flow()
            })
            .map_err(|error| refusal(&error, name, direction))
    }

    /// Finds a place for what is about to be written: free space of the file system, or else the part that Windows
    /// reserves and has nothing in.
    fn journal_place(&self, data: &Device) -> Result<Range<u64>, CliError> {
        let found = match reserve::longest_free(data, MAX_JOURNAL_LEN_BYTES) {
            Ok(found) => found,
            Err(ReserveError::Unsupported(_)) => None,
            Err(error) => return Err(no_room(&error)),
        };
        let is_enough = |place: &Range<u64>| place.end - place.start >= MIN_JOURNAL_LEN_BYTES + 8192;
        found
            .filter(is_enough)
            .or_else(|| self.volume.metadata().spare().filter(is_enough))
            .ok_or_else(|| {
                CliError::could_not("there is no room to work in: the drive has no free space in one piece")
                    .hint("delete or move something, 20 MB or more, and try again")
            })
    }
}

/// Does two pieces of work on two threads, or on one where the system gives no other.
fn at_once(first: &mut (dyn FnMut() + Send), second: &mut (dyn FnMut() + Send)) {
    let mut has_thread = false;
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("keyhaven-convert".to_owned());
        has_thread = builder.spawn_scoped(scope, &mut *second).is_ok();
        first();
    });
    if !has_thread {
        second();
    }
}

fn used_space(data: &Device) -> Result<UsedSpace, ReserveError> {
    let len_bytes = keyhaven_disk::BlockDevice::len_bytes(&**data);
    let mut used = UsedSpace::new(len_bytes);
    let mut used_from = 0;
    reserve::free_runs(data, &mut |free| {
        used.mark(used_from..free.start);
        used_from = free.end;
    })?;
    used.mark(used_from..len_bytes);
    Ok(used)
}

/// Says what a file system refused.
pub(crate) fn no_room(error: &ReserveError) -> CliError {
    let said = CliError::could_not("nothing was encrypted: there is no room for what BitLocker keeps")
        .because(error);
    match error {
        ReserveError::Unsupported(_) => said.hint(
            "NTFS, exFAT and FAT32 can be encrypted in place; otherwise copy the files away, and use `keyhaven create`",
        ),
        ReserveError::EndInUse { .. } => said.hint(
            "copy the files to another drive and back, or delete some: then the end of the drive may become free",
        ),
        ReserveError::TooSmall => said.hint("copy the files away, and make a new drive with `keyhaven create`"),
        ReserveError::Fragmented(_) => said.hint("delete something, and try again"),
        ReserveError::Driver { .. } => {
            said.hint("for NTFS this needs root and the package `ntfs-3g`: put `sudo` before the command")
        }
        ReserveError::Damaged(_) | ReserveError::Files(_) => {
            said.hint("have Windows check it: `chkdsk /f` with its drive letter")
        }
        _ => said,
    }
}

fn refusal(error: &ConvertError, name: &str, direction: Direction) -> CliError {
    let verb = match direction {
        Direction::Encrypt => "encrypt",
        Direction::Decrypt => "decrypt",
    };
    let said = CliError::could_not(format!("`{name}` cannot be {verb}ed further")).because(error);
    match error {
        ConvertError::Format(_) => said.hint(format!("Windows can: `manage-bde` or its settings, on `{name}`")),
        ConvertError::NotOurs => said.hint("let Windows finish what it began; the files can be copied out meanwhile"),
        ConvertError::NoMasterKey => {
            said.hint("unlock with a password, recovery key or startup key instead of `--fvek`")
        }
        ConvertError::Unproven | ConvertError::NoBootSector | ConvertError::CutOff { .. } => {
            said.hint("`keyhaven info` tells what is wrong; the files can still be copied out")
        }
        ConvertError::Read(_) | ConvertError::Write(_) | ConvertError::NotKept { .. } => said
            .hint(format!(
                "nothing is lost: the drive opens with its keys, and `keyhaven {verb}` goes on where it stopped"
            ))
            .hint("a drive that fails should be copied to another one first"),
        _ => said,
    }
}

/// Says that a conversion was stopped, and how it goes on.
pub(crate) fn paused(name: &str, verb: &str) -> CliError {
    CliError::stopped().hint(format!(
        "`{name}` opens with its keys; `keyhaven {verb}` goes on where it stopped"
    ))
}

/// Returns an empty folder to work in, which goes with its holder.
#[cfg(target_os = "linux")]
pub(crate) fn work_folder() -> Result<keyhaven_attach::fuse::system::PrivateFolder, CliError> {
    let base = if rustix::process::geteuid().is_root() {
        std::path::PathBuf::from(crate::mounts::PRIVATE_FOLDERS)
    } else {
        std::env::temp_dir().join(format!("keyhaven-{}", rustix::process::geteuid().as_raw()))
    };
    let name = format!("convert-{}", std::process::id());
    keyhaven_attach::fuse::system::PrivateFolder::create(&base, &name)
        .map_err(|error| CliError::could_not(format!("cannot work in `{}`", base.display())).because(&error))
}

/// Returns the time that files get.
#[cfg(target_os = "linux")]
pub(crate) fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Prints or says how a conversion ended.
pub(crate) fn tell(answer: &Answer<'_>, text: &str, context: &Context) -> Result<Exit, CliError> {
    if context.ui.is_json() {
        context.ui.json(answer)?;
    } else {
        context.ui.say(text);
    }
    Ok(Exit::Done)
}
