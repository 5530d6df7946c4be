//! A drive that Windows knows: what it tells, and what lies on the medium.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use keyhaven_backup::drive::Drive;
use keyhaven_backup::receipt::ProvenBy;
use keyhaven_fve::{Guid, Volume};
use keyhaven_windows::{EncryptableVolume, Error, RecordsError, recovery_records};

use super::{AskedDrive, Computer, Told, raw, refusal};
use crate::context::Context;
use crate::error::CliError;

/// How often a changed drive is read until the medium shows the change, and how long after one another.
const TRIES: u32 = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// A drive that Windows knows.
#[derive(Debug)]
pub(crate) struct Live<'p> {
    /// The volume, to be asked.
    pub(crate) volume: EncryptableVolume<'p>,
    /// What Windows tells of it.
    pub(crate) told: Told,
    /// What our own reader finds on the medium beneath; none where that cannot be read.
    pub(crate) beneath: Option<Volume>,
    /// In what both differ.
    pub(crate) differences: Vec<String>,
}

/// What keys of a drive are tried on.
#[derive(Debug)]
pub(crate) enum Opener<'a> {
    /// The drive itself.
    Drive(&'a Volume),
    /// What Windows says opens it.
    Windows(AskedDrive),
}

impl<'p> Live<'p> {
    /// Asks Windows, reads the medium, compares both, and says in what they differ.
    ///
    /// # Errors
    /// Windows tells nothing of the drive.
    pub(crate) fn of(
        volume: EncryptableVolume<'p>,
        computer: &Computer,
        context: &Context,
    ) -> Result<Self, CliError> {
        let live = Self::quietly(volume, computer).map_err(|error| refusal(&error))?;
        live.warn(context);
        Ok(live)
    }

    fn warn(&self, context: &Context) {
        for difference in &self.differences {
            context.ui.warn(difference);
        }
    }

    /// Does the same, and says nothing.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn quietly(volume: EncryptableVolume<'p>, computer: &Computer) -> Result<Self, Error> {
        let told = Told::of(&volume)?;
        let beneath = if told.is_encrypted() {
            computer.device_under(&volume).and_then(raw::read)
        } else {
            None
        };
        let differences = beneath
            .as_ref()
            .map(|beneath| differences(&told, beneath))
            .unwrap_or_default();
        Ok(Self {
            volume,
            told,
            beneath,
            differences,
        })
    }

    /// Asks and reads everything again, after something was changed.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn again(self, computer: &Computer, context: &Context) -> Result<Self, CliError> {
        let mut live = self;
        for _ in 0..TRIES {
            live = Self::quietly(live.volume, computer).map_err(|error| refusal(&error))?;
            if live.differences.is_empty() {
                return Ok(live);
            }
            // What Windows has changed may still be on its way to the medium.
            context.interrupt.check()?;
            thread::sleep(BETWEEN_TRIES);
        }
        live.warn(context);
        Ok(live)
    }

    /// Returns what a person calls it.
    pub(crate) fn name(&self) -> &str {
        &self.told.name
    }

    /// Returns the identifier of the volume.
    ///
    /// # Errors
    /// It is not encrypted.
    pub(crate) fn volume_id(&self) -> Result<Guid, CliError> {
        self.told
            .volume_id
            .filter(|_| self.told.is_encrypted())
            .ok_or_else(|| CliError::no(format!("{} is not encrypted with BitLocker", self.name())))
    }

    /// Tells whether there is Windows' word only: the drive is unlocked, and cannot be read beneath.
    pub(crate) fn is_only_asked(&self) -> bool {
        self.told.is_encrypted() && !self.told.is_locked() && self.beneath.is_none()
    }

    /// Goes on only if the drive is encrypted and unlocked.
    pub(crate) fn check_unlocked(&self) -> Result<(), CliError> {
        self.volume_id()?;
        if self.told.is_locked() {
            return Err(CliError::could_not(format!("{} is locked", self.name()))
                .hint(format!("unlock it first: `keyhaven unlock {}`", self.name())));
        }
        Ok(())
    }

    /// Returns what keys are tried on: the drive itself where it can be read, else what Windows says opens it.
    ///
    /// # Errors
    /// Windows does not give the keys. For a locked drive that cannot be read there are none.
    pub(crate) fn opener(&self) -> Result<Opener<'_>, CliError> {
        if let Some(beneath) = &self.beneath {
            return Ok(Opener::Drive(beneath));
        }
        let keys = if self.told.is_locked() {
            Vec::new()
        } else {
            match recovery_records(&self.volume, true) {
                // A policy may keep startup keys back, and recovery keys not.
                Err(RecordsError::Windows(Error::Refused { .. })) => recovery_records(&self.volume, false),
                answer => answer,
            }
            .map_err(|error| no_keys(&error))?
        };
        Ok(Opener::Windows(AskedDrive::new(
            self.volume_id()?,
            self.told.protectors_as_on_the_drive(),
            keys,
        )))
    }
}

impl Opener<'_> {
    /// Returns the drive that keys are tried on.
    pub(crate) fn drive(&self) -> &dyn Drive {
        match self {
            Self::Drive(volume) => *volume,
            Self::Windows(asked) => asked,
        }
    }

    /// Tells what a key that opens it is proven by.
    pub(crate) fn proven_by(&self) -> ProvenBy {
        match self {
            Self::Drive(_) => ProvenBy::Drive,
            Self::Windows(_) => ProvenBy::Windows,
        }
    }
}

/// Says why there are no keys to be saved.
pub(crate) fn no_keys(error: &RecordsError) -> CliError {
    match error {
        RecordsError::Windows(error) => refusal(error),
        other => CliError::could_not(CliError::chain(other)),
    }
}

/// Compares what Windows says with what lies on the medium: the identifiers of the volume and of its protectors.
fn differences(told: &Told, beneath: &Volume) -> Vec<String> {
    let name = &told.name;
    let metadata = beneath.metadata();
    let mut differences = Vec::new();
    if told.volume_id != Some(metadata.volume_id()) {
        differences.push(format!(
            "Windows says that the volume ID of {name} is {}, and the medium says {}",
            told.volume_id
                .map_or_else(|| "none".to_owned(), |id| id.to_string()),
            metadata.volume_id()
        ));
    }
    let told_ids: BTreeSet<Guid> = told.protectors.iter().map(|protector| protector.id).collect();
    // An open key is no way to unlock that Windows lists.
    let there: BTreeSet<Guid> = Drive::protectors(beneath)
        .into_iter()
        .filter(|(_, kind)| *kind != keyhaven_fve::ProtectorKind::ClearKey)
        .map(|(id, _)| id)
        .collect();
    for id in told_ids.difference(&there) {
        differences.push(format!(
            "Windows lists the key protector {id} of {name}, which is not on the medium"
        ));
    }
    for id in there.difference(&told_ids) {
        differences.push(format!(
            "the key protector {id} is on the medium of {name}, and Windows does not list it"
        ));
    }
    differences
}
