//! What all verbs have in common that change the metadata of a drive: they show what they will do and ask, save the
//! metadata as they are, and look at what they have written.

use std::path::PathBuf;

use jiff::Timestamp;
use keyhaven_backup::destination::write_new;
use keyhaven_backup::private;
use keyhaven_crypto::{Secret, SecretBytes};
use keyhaven_disk::{WritableDevice, partition};
use keyhaven_fve::edit::{Edit, EditError, SealedEdit};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::VolumeMasterKey;
use keyhaven_fve::{Credential, Guid, KeyProtector, OpenOptions, SavedMetadata, Unlocked, Volume, unwatched};

use crate::context::Context;
use crate::drive::{Drive, DriveArgs, OpenMedium};
use crate::error::CliError;
use crate::ledger_file;
use crate::medium::Medium;

/// How a verb that changes a drive is agreed to.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArgs {
    /// Do it without asking
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,

    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
}

impl ChangeArgs {
    /// Opens a drive to be changed, or only to be read where nothing will be.
    pub(crate) fn open(&self, drive: &DriveArgs, context: &Context) -> Result<Drive, CliError> {
        if self.dry_run {
            drive.open(context)
        } else {
            drive.open_writable(context)
        }
    }

    /// Tells whether nothing is to be changed.
    pub(crate) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Shows what will be done and asks whether to; `false` where it is only to be shown.
    pub(crate) fn agree(&self, drive: &str, steps: &[String], context: &Context) -> Result<bool, CliError> {
        // "On C:", not "On C::".
        context.ui.say(&format!("On {}:", drive.trim_end_matches(':')));
        for step in steps {
            context.ui.say(&format!("  {step}"));
        }
        if self.dry_run {
            context.ui.say("Nothing was changed: this is what would be done.");
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        if !context.ui.is_interactive() {
            return Err(CliError::could_not(
                "this changes the drive, and there is nobody to ask whether to do it",
            )
            .hint("`--yes` does it without asking, `--dry-run` only shows what would be done"));
        }
        if context.ui.confirm("Do it?")? {
            Ok(true)
        } else {
            Err(CliError::no("nothing was changed"))
        }
    }
}

/// Takes up the metadata of an unlocked drive.
pub(crate) fn begin(volume: &Volume, unlocked: &Unlocked) -> Result<Edit, CliError> {
    Edit::begin(volume, unlocked, FileTime::from_timestamp(Timestamp::now())).map_err(|error| refusal(&error))
}

/// Saves the metadata as they are, then writes the changed ones. Returns the volume as it is then.
pub(crate) fn commit(drive: &Drive, edit: Edit, context: &Context) -> Result<Volume, CliError> {
    let sealed = edit.seal().map_err(|error| refusal(&error))?;
    commit_sealed(drive, &sealed, context)
}

/// As [`commit`], with metadata that have been looked at before.
pub(crate) fn commit_sealed(
    drive: &Drive,
    sealed: &SealedEdit,
    context: &Context,
) -> Result<Volume, CliError> {
    context.interrupt.check()?;
    save_metadata(&drive.volume, context)?;
    sealed.commit(medium(drive)?).map_err(|error| refusal(&error))?;
    reopen(drive)
}

/// Returns what a drive that was opened to be changed lies on.
pub(crate) fn medium(drive: &Drive) -> Result<&dyn WritableDevice, CliError> {
    drive
        .writable
        .as_deref()
        .ok_or_else(|| CliError::could_not("the drive was opened only to be read"))
}

/// Reads a drive's metadata again.
pub(crate) fn reopen(drive: &Drive) -> Result<Volume, CliError> {
    let options = OpenOptions {
        scan: false,
        ..OpenOptions::default()
    };
    Volume::open(drive.volume.device().clone(), &options, &mut unwatched).map_err(|error| {
        CliError::could_not("the drive was changed, but cannot be opened now").because(&error)
    })
}

/// Unlocks a volume that was changed, with the master key it had before.
pub(crate) fn unlock_again(volume: &Volume, before: &Unlocked) -> Result<Unlocked, CliError> {
    let vmk = before.vmk().ok_or_else(|| refusal(&EditError::NoMasterKey))?;
    volume
        .unlock(&Credential::VolumeMasterKey(copy_of(vmk)))
        .map_err(|error| {
            CliError::could_not("the drive was changed, but cannot be unlocked now").because(&error)
        })
}

/// Copies a master key, to be given away.
pub(crate) fn copy_of(vmk: &VolumeMasterKey) -> VolumeMasterKey {
    VolumeMasterKey::new(Secret::init_with(|own| *own = *vmk.key().expose_secret()))
}

/// Finds what a damaged drive lies on, also where nothing on it can be recognised any longer: the device as it was named,
/// or the only BitLocker partition of a disk.
pub(crate) fn medium_of_damaged(
    drive: &DriveArgs,
    open: OpenMedium,
    context: &Context,
) -> Result<(String, Medium), CliError> {
    let (name, medium) = drive.medium(open, context)?;
    // Only where there are partitions is there anything to choose, and only then is a drive worth a search for that.
    if !matches!(partition::table(&medium.device), Ok(Some(_))) {
        return Ok((name, medium));
    }
    // Nobody else may open it while it is open to be written.
    let len_bytes = medium.device.len_bytes();
    drop(medium);
    match drive.open_to_look(context) {
        Ok(found) if found.volume.device().len_bytes() != len_bytes => {
            let named = DriveArgs {
                drive: found.name.into(),
                metadata: drive.metadata.clone(),
            };
            named.medium(open, context)
        }
        _ => drive.medium(open, context),
    }
}

/// Returns the folder for metadata that are about to be overwritten; it need not be there yet.
pub(crate) fn metadata_folder() -> Result<PathBuf, CliError> {
    match ledger_file::ledger() {
        Some(ledger) => Ok(ledger.path().with_file_name("metadata")),
        None => Err(CliError::could_not(
            "no home folder is known in which to save the drive's metadata first",
        )
        .hint("set HOME or XDG_STATE_HOME")),
    }
}

/// Saves the metadata of a volume in the folder for what Keyhaven keeps, as every verb does before it writes any.
pub(crate) fn save_metadata(volume: &Volume, context: &Context) -> Result<PathBuf, CliError> {
    let now = Timestamp::now();
    let saved = SavedMetadata::take(volume, FileTime::from_timestamp(now))
        .map_err(|error| CliError::could_not("the drive's metadata cannot be saved first").because(&error))?;
    let folder = metadata_folder()?;
    let failed = |error: &dyn std::error::Error| {
        CliError::could_not(format!(
            "the drive's metadata cannot be saved in `{}` first",
            folder.display()
        ))
        .because(error)
        .hint("nothing was changed: without a way back nothing is")
    };
    private::create_folder(&folder).map_err(|error| failed(&error))?;
    let name = format!(
        "{} {}",
        volume.metadata().volume_id(),
        // With its fraction: two verbs may follow each other in a second.
        now.strftime("%Y-%m-%dT%H%M%S%.6fZ")
    );
    let path = folder.join(format!("{name}.metadata"));
    let bytes = SecretBytes::copy_of(&saved.to_bytes());
    write_new(&path, &bytes, |there| there == bytes.expose_secret()).map_err(|error| failed(&error))?;
    context.ui.detail(&format!(
        "the metadata as they are were saved as `{}`",
        path.display()
    ));
    Ok(path)
}

/// Says that what was saved before still opens the drive with the old key.
pub(crate) fn say_old_metadata_remain(context: &Context) {
    if let Some(ledger) = ledger_file::ledger() {
        context.ui.say(&format!(
            "The metadata as they were are kept in `{}`. Together with the drive and the old key they still open it: \
             once you are sure of the new ways in, delete them.",
            ledger.path().with_file_name("metadata").display()
        ));
    }
}

/// The ways to unlock a drive, each with its ID and what a person calls it.
#[derive(Debug)]
pub(crate) struct Ways(Vec<(Guid, String)>);

impl Ways {
    /// Takes those of a drive as Windows tells them.
    pub(crate) fn told(ways: Vec<(Guid, String)>) -> Self {
        Self(ways)
    }

    /// Returns those of a volume.
    pub(crate) fn of(volume: &Volume) -> Self {
        let protectors = volume.metadata().protectors();
        let way = |own: &KeyProtector<'_>| (own.id(), own.kind().to_string());
        Self(protectors.iter().map(way).collect())
    }

    /// Finds the one that a person names by its ID: all of it or its beginning, in any case, with or without braces.
    pub(crate) fn find(&self, named: &str) -> Result<Guid, CliError> {
        let wanted = named.trim().trim_matches(['{', '}']).to_uppercase();
        let found: Vec<Guid> = self
            .0
            .iter()
            .filter(|(id, _)| wanted.len() >= 4 && id.to_string().starts_with(&wanted))
            .map(|(id, _)| *id)
            .collect();
        let said = match found.as_slice() {
            [only] => return Ok(*only),
            [] => format!("the drive has no way to unlock with the ID `{named}`"),
            _ => format!("`{named}` is the beginning of several IDs"),
        };
        let listed = self.0.iter().map(|(id, title)| format!("{id}  {title}"));
        Err(listed.fold(CliError::could_not(said), CliError::hint))
    }

    /// Names one in a sentence.
    pub(crate) fn name_of(&self, id: Guid) -> String {
        match self.0.iter().find(|(own, _)| *own == id) {
            Some((_, title)) => format!("the {title} with the ID {}", id.key_id()),
            None => format!("the way to unlock with the ID {}", id.key_id()),
        }
    }
}

/// Finds the protector of a volume that a person names by its ID.
pub(crate) fn find_protector(volume: &Volume, named: &str) -> Result<Guid, CliError> {
    Ways::of(volume).find(named)
}

/// Names a protector of a volume in a sentence.
pub(crate) fn name_of(volume: &Volume, id: Guid) -> String {
    Ways::of(volume).name_of(id)
}

/// Puts a refused change into words, with what can be done.
pub(crate) fn refusal(error: &EditError) -> CliError {
    let said = CliError::could_not("the ways to unlock cannot be changed").because(error);
    match error {
        EditError::NoMasterKey => said.hint("unlock with a password, recovery key or startup key instead of `--fvek`"),
        EditError::Decrypted => said.hint("nothing protects this drive, and nothing has to be unlocked"),
        EditError::Converting => said.hint("let the encryption or decryption come to its end, or pause it, first"),
        EditError::Unproven | EditError::Altered(_) => {
            said.hint("`keyhaven check` tells what is wrong; `keyhaven metadata restore` puts saved metadata back")
        }
        EditError::NoBootSector | EditError::Misplaced(_) => {
            said.hint("`keyhaven check` tells what is wrong; the files can still be copied out")
        }
        EditError::CutOff { .. } => said.hint("a copy of a drive that broke off looks like this"),
        EditError::LastProtector(_) => CliError::could_not(error.to_string())
            .hint("add another one first: `keyhaven protector add`")
            .hint("one that works in a single computer (TPM), or needs a card, does not count"),
        EditError::NothingToResumeWith => CliError::could_not(error.to_string())
            .hint("add a password, recovery key or startup key first: `keyhaven protector add`"),
        EditError::CannotRenew { .. } => CliError::could_not(error.to_string()).hint(
            "its part of the key is in the chip or card: `--remove-tpm` removes it, and Windows can add it again",
        ),
        EditError::Write { .. } | EditError::ReadBack { .. } | EditError::NotKept { .. } => said.hint(
            "what could be written is in order: at least one copy of the metadata is whole; run it again to complete \
             the others",
        ),
        _ => said,
    }
}
