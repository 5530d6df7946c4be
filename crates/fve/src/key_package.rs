//! A key package: what opens a volume's sector key with a recovery key, kept apart from the volume.
//!
//! With it and the recovery key nothing of the volume's own metadata is needed to get at its data. By itself it opens
//! nothing: every key in it is in a box.

use zeroize::Zeroizing;

use crate::credential::Credential;
use crate::encryption_method::EncryptionMethod;
use crate::error::UnlockError;
use crate::format::ShapeError;
use crate::format::block::{DatasetHeader, InformationBlock};
use crate::format::datum::{Datum, Value, role};
use crate::format::key_package::{Framing, KeyPackageFile};
use crate::guid::Guid;
use crate::keys::{FullVolumeEncryptionKey, VolumeMasterKey};
use crate::metadata::Metadata;
use crate::protector::KeyProtector;
use crate::saved_metadata::SavedMetadata;
use crate::volume::{Unlocked, Volume, try_one};

/// The boxes of one volume that lead from a person's key to its sector key.
#[derive(Debug)]
pub struct KeyPackage {
    metadata: Metadata,
    framing: Framing,
}

/// What a package opened to.
#[derive(Debug)]
pub struct PackageKeys {
    /// The master key.
    pub vmk: VolumeMasterKey,
    /// The key of the sectors.
    pub fvek: FullVolumeEncryptionKey,
    /// The protector that the person's key opened; `None` for the master key itself.
    pub protector_id: Option<Guid>,
}

/// Why no package can be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoKeyPackage {
    /// There is no such protector.
    #[error("the drive has no way to unlock with the ID {0}")]
    NoSuchProtector(Guid),
    /// The volume has no box with its sector key.
    #[error("the metadata have no key of the sectors")]
    NoSectorKey,
    /// It does not fit its form.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl KeyPackage {
    /// Takes what one protector of a volume needs: its entry, the sector key's, and the description.
    ///
    /// # Errors
    /// [`NoKeyPackage`].
    pub fn of(metadata: &Metadata, protector_id: Guid) -> Result<Self, NoKeyPackage> {
        let block = metadata.block();
        let protector = |datum: &&Datum| KeyProtector::of(datum).is_some_and(|own| own.id() == protector_id);
        if !block.datums.iter().any(|datum| protector(&datum)) {
            return Err(NoKeyPackage::NoSuchProtector(protector_id));
        }
        let is_fvek = |datum: &Datum| datum.role == role::FVEK && matches!(datum.value, Value::Sealed(_));
        if !block.datums.iter().any(is_fvek) {
            return Err(NoKeyPackage::NoSectorKey);
        }
        let mut list = Zeroizing::new(Vec::new());
        for datum in &block.datums {
            if datum.role == role::DESCRIPTION || is_fvek(datum) || protector(&datum) {
                list.extend_from_slice(&datum.to_bytes());
            }
        }
        let file = KeyPackageFile {
            framing: Framing::Dataset,
            header: Some(block.dataset),
            datums: Datum::read_list(&list)?,
        };
        // What cannot be written is better told now.
        file.to_bytes()?;
        Ok(Self::from(file))
    }

    /// Reads a package: the bytes of a file of any framing, saved metadata among them.
    ///
    /// # Errors
    /// [`ShapeError`] where they are none.
    pub fn read(bytes: &[u8]) -> Result<Self, ShapeError> {
        if let Ok(saved) = SavedMetadata::read(bytes) {
            return KeyPackageFile::read(saved.region()).map(Self::from);
        }
        KeyPackageFile::read(bytes).map(Self::from)
    }

    /// Writes the package: a header and the entries (format spec 6).
    ///
    /// # Errors
    /// [`ShapeError`] where it was read from a file that does not say which volume it is of.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, ShapeError> {
        let block = self.metadata.block();
        let mut list = Zeroizing::new(Vec::new());
        for datum in &block.datums {
            list.extend_from_slice(&datum.to_bytes());
        }
        KeyPackageFile {
            framing: Framing::Dataset,
            header: self.volume_id().map(|_| block.dataset),
            datums: Datum::read_list(&list)?,
        }
        .to_bytes()
    }

    /// Returns what stood around the entries in the file.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns the identifier of the volume that it is of, where the file says it.
    #[must_use]
    pub fn volume_id(&self) -> Option<Guid> {
        Some(self.metadata.volume_id()).filter(|id| *id != Guid::ZERO)
    }

    /// Returns how the volume's sectors are encrypted, where the file says it; the box with their key always does.
    #[must_use]
    pub fn encryption_method(&self) -> Option<EncryptionMethod> {
        self.metadata.encryption_method().ok()
    }

    /// Returns what Windows noted when the volume was first encrypted.
    #[must_use]
    pub fn description(&self) -> Option<String> {
        self.metadata.description()
    }

    /// Returns the ways to open it.
    #[must_use]
    pub fn protectors(&self) -> Vec<KeyProtector<'_>> {
        self.metadata.protectors()
    }

    /// Tells whether it holds the box with the sector key; without that it only helps where the volume still has it.
    #[must_use]
    pub fn has_sector_key(&self) -> bool {
        let is_fvek = |datum: &Datum| datum.role == role::FVEK && matches!(datum.value, Value::Sealed(_));
        self.metadata.block().datums.iter().any(is_fvek)
    }

    /// Returns the name that Windows gives the file of a protector's package (format spec 6).
    #[must_use]
    pub fn file_name(protector_id: Guid) -> String {
        format!("BitLocker Key Package {{{protector_id}}}.KPG")
    }

    /// Opens the package with a person's key, and needs nothing else for it.
    ///
    /// # Errors
    /// [`UnlockError`]; [`UnlockError::NoSectorKey`] where the key is right and the box with the sector key is missing.
    pub fn open(&self, credential: &Credential) -> Result<PackageKeys, UnlockError> {
        let (vmk, protector_id) = try_one(&self.metadata, credential, None, &mut Default::default())?;
        let fvek = self.metadata.fvek(&vmk).ok_or(UnlockError::NoSectorKey)?;
        Ok(PackageKeys {
            vmk,
            fvek,
            protector_id,
        })
    }

    /// Returns the entries.
    pub(crate) fn datums(&self) -> &[Datum] {
        &self.metadata.block().datums
    }

    /// Returns the header, where the file had one.
    pub(crate) fn header(&self) -> Option<&DatasetHeader> {
        self.volume_id().map(|_| &self.metadata.block().dataset)
    }
}

impl From<KeyPackageFile> for KeyPackage {
    fn from(file: KeyPackageFile) -> Self {
        let dataset = file.header.unwrap_or(DatasetHeader::LOST);
        // Metadata in which nothing but the entries is known: their state, above all, is not.
        let block = InformationBlock::of_entries(dataset, file.datums);
        Self {
            metadata: Metadata::new(block),
            framing: file.framing,
        }
    }
}

impl Volume {
    /// Opens the volume with the keys in a package: where its own boxes with them are damaged, or were made anew since.
    ///
    /// # Errors
    /// [`UnlockError`]; a package of another volume is a wrong key.
    pub fn unlock_with_package(
        &self,
        package: &KeyPackage,
        credential: &Credential,
    ) -> Result<Unlocked, UnlockError> {
        let keys = package.open(credential)?;
        let vmk = Credential::VolumeMasterKey(keys.vmk);
        match self.unlock(&vmk) {
            Err(UnlockError::WrongKey { .. } | UnlockError::NoSectorKey) => {
                let stored = keyhaven_crypto::SecretBytes::copy_of(keys.fvek.stored());
                self.unlock(&Credential::FullVolumeEncryptionKey(stored))
            }
            outcome => outcome,
        }
    }
}
