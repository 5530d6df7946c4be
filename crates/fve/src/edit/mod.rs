//! Changing the ways to open a volume: its metadata are read, changed in memory, and written in an order that a crash
//! cannot harm.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use keyhaven_fve::{Randomness, Unlocked, Volume, edit::Edit, create::NewProtector};
//! # use keyhaven_fve::{format::FileTime, keys::RecoveryPassword};
//! # let (volume, unlocked): (Volume, Unlocked) = unimplemented!();
//! # let (medium, now): (keyhaven_disk::Writable, FileTime) = unimplemented!();
//! # let random: &mut Randomness<'_> = unimplemented!();
//! let mut edit = Edit::begin(&volume, &unlocked, now)?;
//! let added = edit.add(NewProtector::RecoveryPassword(RecoveryPassword::generate(random)?), random)?;
//! edit.commit(&*medium)?;
//! # Ok(()) }
//! ```
//!
//! What is not known stays as it is, byte for byte. Nothing is written before [`Edit::commit`], and that is done whole or
//! leaves the volume as it was before: [`standing`] says how. The rules of Windows for who may be removed are kept, and
//! one more: see [`Edit::remove`].

mod error;
mod preview;
mod rekey;
mod standing;

use std::sync::Arc;

use keyhaven_crypto::{Secret, SecretBytes};
use keyhaven_disk::WritableDevice;

use crate::error::OpenError;
use crate::format::FileTime;
use crate::format::datum::{Datum, SealedDatum, Value};
use crate::guid::Guid;
use crate::keys::{FullVolumeEncryptionKey, Password, VolumeMasterKey};
use crate::metadata::{Conversion, Integrity, Metadata};
use crate::metadata_builder::MetadataBuilder;
use crate::protector::{KeyProtector, NewProtector, ProtectorKind};
use crate::randomness::Randomness;
use crate::record::RecoveryRecord;
use crate::volume::{OpenOptions, Unlocked, Volume, unwatched};

pub use error::EditError;
use standing::Standing;
pub(crate) use standing::{CopyError, first_free_nonce, write_copy};

/// The metadata of an unlocked volume, being changed.
#[derive(Debug)]
pub struct Edit {
    standing: Standing,
    metadata: MetadataBuilder,
    vmk: VolumeMasterKey,
    fvek: FullVolumeEncryptionKey,
    /// When this happens, in whole milliseconds, and later than any nonce that the volume has.
    time: FileTime,
}

/// A protector that was added.
#[derive(Debug)]
pub struct Added {
    /// Its identifier.
    pub id: Guid,
    /// Its kind.
    pub kind: ProtectorKind,
    /// The key where it is worth keeping elsewhere: a recovery key or a key file.
    pub record: Option<RecoveryRecord>,
}

/// What becomes of protectors that cannot be made anew without the chip, card or server that they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrenewable {
    /// Nothing is changed: [`EditError::CannotRenew`].
    Refuse,
    /// They are removed.
    Remove,
}

impl Edit {
    /// Takes up the metadata of an unlocked volume. `now` is the time that new entries get; where the volume has nonces
    /// of a later one, the first moment after those is taken.
    ///
    /// Where the copies of the metadata differ because a change was interrupted, the newest copy that the master key
    /// belongs to is taken, so that an interrupted change is carried on rather than undone.
    ///
    /// # Errors
    /// [`EditError`] where the metadata must not be changed: they are altered, or the volume is in a state in which
    /// more than them would have to be.
    pub fn begin(volume: &Volume, unlocked: &Unlocked, now: FileTime) -> Result<Self, EditError> {
        let vmk = unlocked.vmk().ok_or(EditError::NoMasterKey)?;
        if !volume.has_boot_sector() {
            return Err(EditError::NoBootSector);
        }
        if let Some(problem) = volume.eow_problem() {
            return Err(EditError::Eow(problem.clone()));
        }
        let (standing, metadata) = Standing::read(volume, unlocked, vmk)?;
        let meaning = Metadata::new(standing.base_block()?);
        match meaning.conversion() {
            Conversion::Decrypted => return Err(EditError::Decrypted),
            // A pause that was written down is a state to start from; anything else has something in flight.
            Conversion::Encrypted
            | Conversion::Encrypting { paused: true }
            | Conversion::Decrypting { paused: true } => {}
            _ => return Err(EditError::Converting),
        }
        if meaning.integrity(Some(vmk)) != Integrity::Right {
            return Err(EditError::Unproven);
        }
        let fvek = meaning.fvek(vmk).ok_or(EditError::NoSectorKey)?;
        if unlocked.fvek().is_none_or(|own| own.key() != fvek.key()) {
            return Err(EditError::NoSectorKey);
        }
        let whole_milliseconds = FileTime(now.0 / STEPS_PER_MILLISECOND * STEPS_PER_MILLISECOND);
        Ok(Self {
            time: whole_milliseconds.max(standing.first_free_time()),
            standing,
            metadata,
            vmk: copy_of(vmk),
            fvek,
        })
    }

    /// Returns the protectors as they are now in memory.
    #[must_use]
    pub fn protectors(&self) -> Vec<KeyProtector<'_>> {
        self.datums().iter().filter_map(KeyProtector::of).collect()
    }

    /// Adds a way to open the volume, behind those that it has.
    ///
    /// # Errors
    /// [`EditError`] when there is no randomness or no nonce left.
    pub fn add(&mut self, new: NewProtector, random: &mut Randomness<'_>) -> Result<Added, EditError> {
        let made = new.make(&self.vmk, &mut self.metadata, self.time, random)?;
        self.metadata.add(made.datum);
        Ok(Added {
            id: made.id,
            kind: made.kind,
            record: made.key.map(|key| RecoveryRecord {
                volume_id: self.metadata.block().dataset.id,
                protector_id: made.id,
                description: self.description(),
                modified: self.time,
                key,
            }),
        })
    }

    /// Removes a way to open the volume.
    ///
    /// As with Windows, the last one goes only while protection is suspended, when the open key opens the volume. And
    /// more careful than Windows: those that need the chip of one computer, or a card or server, do not count.
    ///
    /// # Errors
    /// [`EditError::NoSuchProtector`] and [`EditError::LastProtector`].
    pub fn remove(&mut self, id: Guid) -> Result<(), EditError> {
        let kind = self.kind_of(id)?;
        if kind == ProtectorKind::ClearKey {
            return self.resume();
        }
        let suspended = self.has(|kind| kind == ProtectorKind::ClearKey);
        let another = self
            .protectors()
            .iter()
            .any(|own| own.id() != id && opens_anywhere(own.kind()));
        if !another && !suspended {
            return Err(EditError::LastProtector(id));
        }
        self.datums_mut().retain(|datum| !is(datum, id));
        Ok(())
    }

    /// Puts another password in the place of one. As with Windows, the protector gets another identifier.
    ///
    /// # Errors
    /// [`EditError::NoSuchProtector`] and [`EditError::NotAPassword`].
    pub fn change_password(
        &mut self,
        id: Guid,
        password: Password,
        random: &mut Randomness<'_>,
    ) -> Result<Added, EditError> {
        if self.kind_of(id)? != ProtectorKind::Password {
            return Err(EditError::NotAPassword(id));
        }
        let made = NewProtector::Password(password).make(&self.vmk, &mut self.metadata, self.time, random)?;
        if let Some(datum) = self.datums_mut().iter_mut().find(|datum| is(datum, id)) {
            *datum = made.datum;
        }
        Ok(Added {
            id: made.id,
            kind: made.kind,
            record: None,
        })
    }

    /// Suspends protection: a key to the master key lies open from then on, and anybody can read the volume.
    ///
    /// # Errors
    /// [`EditError::AlreadySuspended`].
    pub fn suspend(&mut self, random: &mut Randomness<'_>) -> Result<Added, EditError> {
        if self.has(|kind| kind == ProtectorKind::ClearKey) {
            return Err(EditError::AlreadySuspended);
        }
        self.add(NewProtector::ClearKey, random)
    }

    /// Resumes protection: no key lies open any longer.
    ///
    /// Whoever read the metadata meanwhile knows the master key; [`rotate_vmk`](Self::rotate_vmk) makes that worthless.
    ///
    /// # Errors
    /// [`EditError::NotSuspended`], and [`EditError::NothingToResumeWith`] where nothing else would open the volume.
    pub fn resume(&mut self) -> Result<(), EditError> {
        if !self.has(|kind| kind == ProtectorKind::ClearKey) {
            return Err(EditError::NotSuspended);
        }
        if !self.has(opens_anywhere) {
            return Err(EditError::NothingToResumeWith);
        }
        self.datums_mut()
            .retain(|datum| KeyProtector::of(datum).is_none_or(|own| own.kind() != ProtectorKind::ClearKey));
        Ok(())
    }

    /// Puts another master key in the place of the volume's, and wraps everything that was under the old one anew: the
    /// sector key, the auto-unlock key, and every protector through the copy of its secret that the volume keeps. No
    /// password, recovery key or key file changes.
    ///
    /// Returns the protectors that were removed because they could not be made anew.
    ///
    /// # Errors
    /// [`EditError::CannotRenew`] where there are such and `unrenewable` says to refuse, [`EditError::LastProtector`]
    /// where nothing else would be left, [`EditError::UnknownEntries`] where something that is not understood may be
    /// under the old key. After an error the edit is of no use.
    pub fn rotate_vmk(
        &mut self,
        unrenewable: Unrenewable,
        random: &mut Randomness<'_>,
    ) -> Result<Vec<(Guid, ProtectorKind)>, EditError> {
        let new = VolumeMasterKey::generate(random)?;
        let gone = rekey::rotate(&mut self.metadata, &self.vmk, &new, self.time, unrenewable)?;
        if let Some((id, _)) = gone.first()
            && !self.has(opens_anywhere)
            && !self.has(|kind| kind == ProtectorKind::ClearKey)
        {
            return Err(EditError::LastProtector(*id));
        }
        self.vmk = new;
        Ok(gone)
    }

    /// Puts the changed metadata together, ready to be looked at and written.
    ///
    /// # Errors
    /// [`EditError`] where they do not fit their place, or do not read back as they should.
    pub fn seal(mut self) -> Result<SealedEdit, EditError> {
        let region = self.metadata.seal(&self.vmk, self.time)?;
        self.check(&region)?;
        Ok(SealedEdit {
            standing: self.standing,
            region,
        })
    }

    /// Writes the changed metadata to `medium`: [`seal`](Self::seal) and [`SealedEdit::commit`].
    ///
    /// # Errors
    /// As both.
    pub fn commit(self, medium: &dyn WritableDevice) -> Result<(), EditError> {
        self.seal()?.commit(medium)
    }

    /// Reads what is about to be written as the next reader will.
    fn check(&self, region: &[u8]) -> Result<(), EditError> {
        let read = MetadataBuilder::read(region)?;
        let block = read.block();
        if !block.crc32_is_right() {
            return Err(EditError::NotAsMade("their checksum is wrong"));
        }
        let metadata = Metadata::new(read.into_block());
        if metadata.integrity(Some(&self.vmk)) != Integrity::Right {
            return Err(EditError::NotAsMade("their sealed hash is wrong"));
        }
        if metadata
            .fvek(&self.vmk)
            .is_none_or(|fvek| fvek.key() != self.fvek.key())
        {
            return Err(EditError::NotAsMade("the sector key is another"));
        }
        Ok(())
    }

    fn kind_of(&self, id: Guid) -> Result<ProtectorKind, EditError> {
        let all = self.protectors();
        let found = all.iter().find(|own| own.id() == id);
        found
            .map(KeyProtector::kind)
            .ok_or(EditError::NoSuchProtector(id))
    }

    fn has(&self, wanted: impl Fn(ProtectorKind) -> bool) -> bool {
        self.protectors().iter().any(|own| wanted(own.kind()))
    }

    fn description(&self) -> Option<String> {
        self.datums().iter().find_map(|datum| match &datum.value {
            Value::Text(text) if datum.role == crate::format::datum::role::DESCRIPTION => {
                Some(text.to_string())
            }
            _ => None,
        })
    }

    fn datums(&self) -> &[Datum] {
        &self.metadata.block().datums
    }

    fn datums_mut(&mut self) -> &mut Vec<Datum> {
        &mut self.metadata.block_mut().datums
    }
}

/// Changed metadata that are not written yet.
#[derive(Debug)]
pub struct SealedEdit {
    standing: Standing,
    /// What all three copies become.
    region: Vec<u8>,
}

impl SealedEdit {
    /// Shows the volume as it will be, so that a new key can be proven before anything is written.
    ///
    /// # Errors
    /// [`OpenError`], where the device fails.
    pub fn preview(&self, volume: &Volume) -> Result<Volume, OpenError> {
        let device = self.standing.shown_with(volume.device().clone(), &self.region);
        let options = OpenOptions {
            scan: false,
            ..OpenOptions::default()
        };
        Volume::open(Arc::new(device), &options, &mut unwatched)
    }

    /// Writes the metadata to `medium`, which is the device that the volume was opened from.
    ///
    /// # Errors
    /// [`EditError`]. Before the first copy has been written whole, the volume is as it was; after that it is as it was
    /// to become, and the next edit brings the other copies up to it.
    pub fn commit(&self, medium: &dyn WritableDevice) -> Result<(), EditError> {
        self.standing.replace(&self.region, medium)
    }
}

const STEPS_PER_MILLISECOND: u64 = 10_000;

/// Tells whether a protector of this kind opens a volume by what a person can have, wherever the drive is.
#[must_use]
pub fn opens_anywhere(kind: ProtectorKind) -> bool {
    matches!(
        kind,
        ProtectorKind::Password | ProtectorKind::RecoveryPassword | ProtectorKind::StartupKey
    )
}

fn is(datum: &Datum, id: Guid) -> bool {
    KeyProtector::of(datum).is_some_and(|own| own.id() == id)
}

fn copy_of(vmk: &VolumeMasterKey) -> VolumeMasterKey {
    VolumeMasterKey::new(Secret::init_with(|own| *own = *vmk.key().expose_secret()))
}

/// Puts the content of a box into a new one, under another key or another nonce.
fn reseal(inside: &Datum, key: &Secret<32>, nonce: [u8; 12]) -> SealedDatum {
    SealedDatum::seal(key, nonce, inside)
}

/// Puts another key into a box that holds a key, with the type and flags that the old one has.
fn reseal_with(old: Datum, content: &Secret<32>, key: &Secret<32>, nonce: [u8; 12]) -> Option<SealedDatum> {
    let Value::Key(mut inside) = old.value else {
        return None;
    };
    inside.key = SecretBytes::copy_of(content.expose_secret());
    let datum = Datum {
        value: Value::Key(inside),
        ..old
    };
    Some(SealedDatum::seal(key, nonce, &datum))
}
