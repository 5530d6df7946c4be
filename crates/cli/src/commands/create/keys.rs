//! The keys of a new drive: what was chosen, what is saved, and what proves them afterwards.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use keyhaven_backup::destination::{FileDestination, SaveContext, save_and_prove};
use keyhaven_crypto::SecretText;
use keyhaven_fve::create::{NewProtector, PreparedVolume};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{Password, RecoveryPassword};
use keyhaven_fve::{Credential, ProtectorKind, RecordKey, RecoveryRecord};

use crate::context::Context;
use crate::error::CliError;
use crate::secret_source::{self, GENERATE};
use crate::{key_source, mistyped, new_password, randomness};

/// The ways to open a new drive.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// Open it with a password: from a SOURCE, or asked for
    #[arg(long, value_name = "SOURCE", num_args = 0..=1, require_equals = true, help_heading = "Keys")]
    pub(crate) password: Option<Option<OsString>>,

    /// Its recovery key: `generate` for a new one, as without this option, or 48 digits from a SOURCE
    #[arg(long, value_name = "generate|SOURCE", num_args = 0..=1, require_equals = true, visible_alias = "recovery-password", help_heading = "Keys")]
    pub(crate) recovery_key: Option<Option<OsString>>,

    /// Open it with a startup key as well, whose file (.BEK) is put into this folder
    #[arg(long, value_name = "DIR", help_heading = "Keys")]
    pub(crate) startup_key: Option<PathBuf>,
}

/// The secrets that were chosen.
pub(crate) struct Keys {
    /// Twice: one goes into the drive, one proves it.
    password: Option<(Password, Password)>,
    recovery_key: RecoveryPassword,
    has_startup_key: bool,
}

impl KeyArgs {
    /// Refuses what nothing would open, and places that are not there, before anybody types anything.
    pub(crate) fn check(&self, no_backup: bool) -> Result<(), CliError> {
        if no_backup && self.password.is_none() && self.startup_key.is_none() {
            return Err(CliError::could_not(
                "nothing would open the drive: its recovery key is saved nowhere, and it has no password",
            )
            .hint("`--to PLACE` saves the key; `--password` sets a password"));
        }
        match &self.startup_key {
            Some(folder) if !folder.is_dir() => Err(CliError::could_not(format!(
                "there is no folder `{}` for the startup key",
                folder.display()
            ))),
            _ => Ok(()),
        }
    }

    /// Reads the secrets, or asks for them, or makes them.
    pub(crate) fn read(&self, context: &Context) -> Result<Keys, CliError> {
        let password = match &self.password {
            Some(source) => {
                let text = new_password::read(source.as_ref(), context)?;
                let again = Password::new(SecretText::copy_of(text.expose_secret()));
                Some((Password::new(text), again))
            }
            None => None,
        };
        let recovery_key = match &self.recovery_key {
            Some(None) => context.ui.ask_recovery_key()?,
            Some(Some(source)) if source != GENERATE => {
                let digits = secret_source::required(source)?.read_text("the recovery key", context)?;
                RecoveryPassword::parse(digits.expose_secret())
                    .map_err(|error| mistyped::refusal(digits.expose_secret(), &error))?
            }
            _ => RecoveryPassword::generate(&mut randomness::of_the_system).map_err(|error| {
                CliError::could_not("cannot make a recovery key: the system gives no randomness")
                    .because(&error)
            })?,
        };
        Ok(Keys {
            password,
            recovery_key,
            has_startup_key: self.startup_key.is_some(),
        })
    }

    /// Puts the startup key's file into its folder and proves it there; returns its path.
    pub(crate) fn save_startup_key(
        &self,
        prepared: &PreparedVolume,
        context: &Context,
    ) -> Result<Option<PathBuf>, CliError> {
        let Some(folder) = &self.startup_key else {
            return Ok(None);
        };
        context.ui.detail("saving the startup key");
        let now = Timestamp::now();
        let save = SaveContext {
            drive: String::new(),
            saved_on: String::new(),
            saved_at: FileTime::from_timestamp(now),
        };
        let not_saved = || {
            CliError::could_not(format!(
                "the startup key could not be saved in `{}`, so nothing was made",
                folder.display()
            ))
        };
        let preview = prepared.preview().map_err(|error| not_saved().because(&error))?;
        let destination = FileDestination::new(folder.clone()).with_startup_keys();
        let records = startup_records(prepared.records());
        let copies = save_and_prove(&destination, records, &preview, &save)
            .map_err(|error| not_saved().because(&error))?;
        match copies.into_iter().next() {
            Some(copy) if copy.is_proven() => Ok(copy.saved.path),
            Some(copy) => Err(not_saved().hint(copy.problem.unwrap_or_default())),
            None => Err(not_saved()),
        }
    }
}

impl Keys {
    /// Returns what the drive is made with, and what opens it afterwards.
    pub(crate) fn split(self) -> (Vec<NewProtector>, Proofs) {
        let mut protectors = Vec::new();
        let mut proofs = Vec::new();
        if let Some((password, again)) = self.password {
            protectors.push(NewProtector::Password(password));
            proofs.push((Credential::Password(again), ProtectorKind::Password));
        }
        let again = copy_of(&self.recovery_key);
        protectors.push(NewProtector::RecoveryPassword(self.recovery_key));
        proofs.push((
            Credential::RecoveryPassword(again),
            ProtectorKind::RecoveryPassword,
        ));
        if self.has_startup_key {
            protectors.push(NewProtector::ExternalKey);
        }
        (protectors, proofs)
    }
}

/// What opens a drive, and what kind it is.
pub(crate) type Proofs = Vec<(Credential, ProtectorKind)>;

/// Reads the startup key as a person has it: from its file.
pub(crate) fn startup_key_proof(path: &Path) -> Result<(Credential, ProtectorKind), CliError> {
    let key = key_source::startup_key(path)?;
    Ok((Credential::ExternalKey(key), ProtectorKind::StartupKey))
}

fn copy_of(key: &RecoveryPassword) -> RecoveryPassword {
    RecoveryPassword::from_key(keyhaven_crypto::Secret::from(*key.key().expose_secret()))
}

/// Returns the recovery keys among the records, which come before the startup keys.
pub(crate) fn recovery_records(records: &[RecoveryRecord]) -> &[RecoveryRecord] {
    records.split_at(first_startup_key(records)).0
}

fn startup_records(records: &[RecoveryRecord]) -> &[RecoveryRecord] {
    records.split_at(first_startup_key(records)).1
}

fn first_startup_key(records: &[RecoveryRecord]) -> usize {
    records
        .iter()
        .take_while(|record| matches!(record.key, RecordKey::RecoveryPassword(_)))
        .count()
}
