//! Keys that a person has in files: their own digits, Windows' text file, a page, a photo, a vault, a key file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use keyhaven_backup::found::{FoundContent, FoundKey};
use keyhaven_backup::reading::ReadPlaceError;
use keyhaven_backup::{reading, text};
use keyhaven_fve::keys::{ExternalKey, MistypedRecoveryPassword, RecoveryPassword};
use keyhaven_fve::{Credential, Guid, KeyPackage};
use zeroize::Zeroizing;

use crate::context::Context;
use crate::error::CliError;
use crate::mistyped;
use crate::secret_source::SecretSource;
use crate::vault_args::AskVault;

const NAMED_AFTER_ITS_ID: &str = "a startup key file is named after its ID, which `keyhaven info` shows for the drive; Windows hides it on the stick";

/// Reads a recovery key from a SOURCE: 48 digits, or anything that has some in it.
///
/// Where it holds several keys, that whose ID is among the drive's is taken.
pub(crate) fn recovery_key(
    source: &SecretSource,
    ours: &[Guid],
    context: &Context,
) -> Result<RecoveryPassword, CliError> {
    let (found, place) = match source {
        // `<(command)` of a shell is a pipe that somebody is writing to; any other could be waited for without end.
        SecretSource::File(path) if !path.starts_with("/dev/fd") => {
            let mut secrets = AskVault::asking(context);
            let found = reading::read_file(path, &mut secrets)
                .map_err(|error| {
                    let said = CliError::could_not("cannot read the recovery key").because(&error);
                    match error {
                        ReadPlaceError::LockedVault => said.hint(
                            "at a terminal you are asked for the passphrase; elsewhere, open the vault first: `age -d FILE`, \
                             with `--recovery-key -` behind a pipe",
                        ),
                        _ => said,
                    }
                })?;
            (found, format!("`{}`", path.display()))
        }
        _ => {
            let typed = source.read_text("the recovery key", context)?;
            match RecoveryPassword::parse(typed.expose_secret()) {
                Ok(key) => return Ok(key),
                Err(error) => {
                    let found = text::scan(typed.expose_secret());
                    // Of mere digits, what is wrong with them says more than a search does.
                    let is_longer_text = matches!(error, MistypedRecoveryPassword::NotDigits { .. });
                    if found.is_empty() || !is_longer_text {
                        return Err(mistyped::refusal(typed.expose_secret(), &error));
                    }
                    (found, "what was given".to_owned())
                }
            }
        }
    };
    choose(found, ours, &place)
}

fn choose(found: Vec<FoundKey>, ours: &[Guid], place: &str) -> Result<RecoveryPassword, CliError> {
    let mut keys = Vec::new();
    let mut damaged = None;
    for key in found {
        let marked = key.ids.iter().any(|id| ours.contains(id));
        match key.content {
            FoundContent::Key(Credential::RecoveryPassword(password)) => keys.push((marked, password)),
            FoundContent::Mistyped(error) => damaged = Some(error),
            _ => {}
        }
    }
    // A key that is marked as this drive's comes first.
    keys.sort_by_key(|(marked, _)| !marked);
    let count = keys.len();
    match (keys.into_iter().next(), damaged) {
        (Some((true, key)), _) => Ok(key),
        (Some((false, key)), _) if count == 1 => Ok(key),
        (Some(_), _) => Err(CliError::no(format!(
            "{place} holds {count} recovery keys, and none is marked as this drive's"
        ))
        .hint("`keyhaven verify` tries them all")),
        (None, Some(error)) => Err(
            CliError::no(format!("the recovery key in {place} is mistyped: {error}"))
                .hint("`keyhaven key check` offers the likely corrections"),
        ),
        (None, None) => Err(CliError::no(format!("there is no recovery key in {place}")).hint(
            "a recovery key has 48 digits in 8 blocks of 6; `keyhaven find` looks for it in whole folders",
        )),
    }
}

/// Reads a startup key file.
pub(crate) fn startup_key(path: &Path) -> Result<ExternalKey, CliError> {
    let is_none = || CliError::could_not(format!("`{}` is not a startup key file (.BEK)", path.display()));
    let read = reading::read_file(path, &mut reading::NoSecrets).map_err(|error| match error {
        ReadPlaceError::Io { .. } => CliError::could_not("cannot read the startup key")
            .because(&error)
            .hint(NAMED_AFTER_ITS_ID),
        _ => is_none().because(&error).hint(NAMED_AFTER_ITS_ID),
    })?;
    let key = read.into_iter().find_map(|found| match found.content {
        FoundContent::Key(Credential::ExternalKey(key)) => Some(key),
        _ => None,
    });
    key.ok_or_else(|| {
        is_none().hint("a text file with 48 digits is a recovery key: `--recovery-key file:PATH`")
    })
}

/// No file with key packages is longer, in bytes.
const MAX_PACKAGE_LEN: u64 = keyhaven_backup::key_package::MAX_LEN_BYTES as u64;

/// Reads a key package, in any form; of several, that which is for `volume_id`.
pub(crate) fn key_package(path: &Path, volume_id: Option<Guid>) -> Result<KeyPackage, CliError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let named = || format!("`{}`", path.display());
    File::open(path)
        .and_then(|file| file.take(MAX_PACKAGE_LEN).read_to_end(&mut bytes))
        .map_err(|error| {
            CliError::could_not(format!("cannot read the key package {}", named())).because(&error)
        })?;
    let mut packages = keyhaven_backup::key_package::read(&bytes).map_err(|error| {
        CliError::could_not(format!("{} is not a key package", named()))
            .because(&error)
            .hint(
                "`keyhaven key-package save` writes one; Windows' are called `BitLocker Key Package {…}.KPG`",
            )
    })?;
    let count = packages.len();
    let ours = packages
        .iter()
        .position(|package| volume_id.is_some() && package.volume_id() == volume_id);
    match (ours, count) {
        (Some(index), _) => Ok(packages.swap_remove(index)),
        (None, 1) => Ok(packages.swap_remove(0)),
        (None, _) => Err(CliError::could_not(format!(
            "{} holds {count} key packages, and nothing tells which is this drive's",
            named()
        ))
        .hint("`keyhaven key-package show` lists them; put the right one into a file of its own")),
    }
}
