//! A volume: recognised, its metadata read, locked. It holds no secret.

use std::ops::ControlFlow;
use std::sync::Arc;

use keyhaven_crypto::SectorSize;
use keyhaven_disk::{Device, ReadError};

use crate::copies::{MetadataCopy, boot_offsets, choose, read_copies};
use crate::credential::{Attempt, Credential, Stretches};
use crate::eow::EowMap;
use crate::error::{DataError, EowProblem, OpenError, UnlockError};
use crate::format::block::MAX_REGION_LEN_BYTES;
use crate::format::boot_sector::{self, BootLayout, BootSector};
use crate::guid::Guid;
use crate::keys::{ExternalKey, FullVolumeEncryptionKey, RecoveryPassword, VolumeMasterKey};
use crate::layout::Layout;
use crate::metadata::{Conversion, Integrity, Metadata};
use crate::protector::{KeyProtector, ProtectorKind};
use crate::record::{RecordKey, RecoveryRecord};
use crate::scan::{self, Found, ScanProgress, Watch, read_up_to};
use crate::state::{VolumeFormat, VolumeState};
use crate::unlocked::UnlockedVolume;
use crate::writable::NotWritable;

/// How a volume is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Takes metadata whose checksums are wrong: for damaged or edited volumes.
    pub ignore_checksums: bool,
    /// Takes this copy of the metadata, 1 to 3, and no other.
    pub metadata_copy: Option<u8>,
    /// Searches the whole volume for metadata where the boot sector does not lead to any.
    pub scan: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            ignore_checksums: false,
            metadata_copy: None,
            scan: true,
        }
    }
}

/// A volume that has been recognised and is locked.
#[derive(Debug)]
pub struct Volume {
    device: Device,
    boot: Option<BootSector>,
    format: VolumeFormat,
    sector_size: SectorSize,
    metadata_offsets: [Option<u64>; 3],
    copies: Vec<MetadataCopy>,
    /// The copy in use, then those that may take its place.
    candidates: Vec<Arc<Metadata>>,
    /// What encrypted-on-write volumes record of their chunks.
    eow: Option<Result<EowMap, EowProblem>>,
    /// Where that record is, in bytes.
    eow_offsets: Option<[u64; 2]>,
    checksums_count: bool,
    /// What the plaintext begins with where the moved sectors are lost.
    restored_start: Vec<u8>,
}

/// A volume that was put together from what is left of one.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) device: Device,
    pub(crate) boot: Option<BootSector>,
    /// `None` where the boot sector, the metadata or the device say it.
    pub(crate) sector_size: Option<SectorSize>,
    pub(crate) metadata_offsets: [Option<u64>; 3],
    pub(crate) metadata: Metadata,
    pub(crate) checksums_count: bool,
    pub(crate) restored_start: Vec<u8>,
    /// Whether parts of a record of encrypted chunks lie on the device, whatever the metadata say.
    pub(crate) has_record: bool,
}

/// The proof that a key opens a volume. Nothing was decrypted for it but the master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// The protector that it opened; `None` for the volume's own keys.
    pub protector_id: Option<Guid>,
}

/// The keys of a volume after it was opened.
#[derive(Debug)]
pub struct Unlocked {
    metadata: Arc<Metadata>,
    vmk: Option<VolumeMasterKey>,
    fvek: Option<FullVolumeEncryptionKey>,
    protector_id: Option<Guid>,
    integrity: Integrity,
}

impl Unlocked {
    /// Returns the protector that was opened; `None` for the volume's own keys.
    #[must_use]
    pub fn protector_id(&self) -> Option<Guid> {
        self.protector_id
    }

    /// Returns the metadata that the key belongs to: those in use, or another copy where those are altered.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns what the sealed hash of the metadata says.
    #[must_use]
    pub fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// Returns the master key; `None` where the volume was opened with the sector key.
    #[must_use]
    pub fn vmk(&self) -> Option<&VolumeMasterKey> {
        self.vmk.as_ref()
    }

    /// Returns the sector key; `None` where nothing is encrypted.
    #[must_use]
    pub fn fvek(&self) -> Option<&FullVolumeEncryptionKey> {
        self.fvek.as_ref()
    }

    /// Puts keys that were found together with the metadata of the volume that they are of.
    pub(crate) fn of_keys(
        volume: &Volume,
        vmk: Option<VolumeMasterKey>,
        fvek: FullVolumeEncryptionKey,
    ) -> Self {
        let metadata = Arc::clone(&volume.candidates[0]);
        Self {
            integrity: metadata.integrity(vmk.as_ref()),
            metadata,
            vmk,
            fvek: Some(fvek),
            protector_id: None,
        }
    }

    /// Takes out both keys.
    pub(crate) fn into_keys(self) -> (Option<VolumeMasterKey>, Option<FullVolumeEncryptionKey>) {
        (self.vmk, self.fvek)
    }
}

impl Volume {
    /// Recognises a volume and reads its metadata.
    ///
    /// All three copies are read. One with the right checksum is taken, that with the highest nonce counter if they
    /// differ, the first if they do not. Where the boot sector does not lead to metadata, the volume is searched for
    /// them (`watch` is told how far the search is and may stop it).
    ///
    /// # Errors
    /// [`OpenError`] when it is no BitLocker volume, or its metadata are of no use.
    pub fn open(device: Device, options: &OpenOptions, watch: &mut Watch<'_>) -> Result<Self, OpenError> {
        if let Some(copy) = options.metadata_copy.filter(|copy| !(1..=3).contains(copy)) {
            return Err(OpenError::NoSuchCopy(copy));
        }
        let sector = match read_up_to(&device, 0, boot_sector::LEN_BYTES) {
            Ok(sector) => sector,
            Err(ReadError::PastEnd { .. }) => return Err(OpenError::NotBitLocker { searched: false }),
            // A drive may have lost just this sector.
            Err(_) if options.scan => Vec::new(),
            Err(error) => return Err(OpenError::Read(error)),
        };
        let boot = BootSector::read(&sector);
        let mut offsets = boot.as_ref().map_or([None; 3], boot_offsets);
        let mut blocks = read_copies(&device, &mut offsets);

        if blocks.iter().all(Result::is_err) && options.scan {
            match scan::metadata(&device, watch) {
                Found::It(found) => {
                    offsets = found.map(Some);
                    blocks = read_copies(&device, &mut offsets);
                }
                Found::Stopped => return Err(OpenError::Stopped),
                Found::Nothing if boot.is_none() => return Err(OpenError::NotBitLocker { searched: true }),
                Found::Nothing => {}
            }
        } else if boot.is_none() && blocks.iter().all(Result::is_err) {
            return Err(OpenError::NotBitLocker { searched: false });
        }

        let (copies, candidates) = choose(blocks, offsets, options)?;
        let Some(metadata) = candidates.first() else {
            unreachable!("choosing gives at least one copy or an error")
        };
        let sector_size = sector_size(boot.as_ref(), metadata, &device)?;
        let mut volume = Self {
            format: VolumeFormat::Windows7,
            boot,
            sector_size,
            metadata_offsets: offsets,
            copies,
            candidates,
            eow: None,
            eow_offsets: None,
            checksums_count: !options.ignore_checksums,
            restored_start: Vec::new(),
            device,
        };
        volume.read_eow(false, watch)?;
        volume.format = volume.recognise_format();
        Ok(volume)
    }

    /// Makes a volume of what is left of one.
    pub(crate) fn of_parts(parts: Parts, watch: &mut Watch<'_>) -> Result<Self, OpenError> {
        let sector_size = match parts.sector_size {
            Some(size) => size,
            None => sector_size(parts.boot.as_ref(), &parts.metadata, &parts.device)?,
        };
        let copies = (1..)
            .zip(parts.metadata_offsets)
            .map(|(number, offset)| MetadataCopy {
                number,
                offset,
                problem: None,
                used: false,
            });
        let mut volume = Self {
            format: VolumeFormat::Windows7,
            boot: parts.boot,
            sector_size,
            metadata_offsets: parts.metadata_offsets,
            copies: copies.collect(),
            candidates: vec![Arc::new(parts.metadata)],
            eow: None,
            eow_offsets: None,
            checksums_count: parts.checksums_count,
            restored_start: parts.restored_start,
            device: parts.device,
        };
        volume.read_eow(parts.has_record, watch)?;
        volume.format = volume.recognise_format();
        Ok(volume)
    }

    /// Returns what the plaintext begins with where the moved sectors are lost; empty where they are not.
    pub(crate) fn restored_start(&self) -> &[u8] {
        &self.restored_start
    }

    /// Returns the metadata in use.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.candidates[0]
    }

    /// Returns what was found in the three places for metadata.
    #[must_use]
    pub fn copies(&self) -> &[MetadataCopy] {
        &self.copies
    }

    /// Tells whether the first sector could be recognised. Where it could not, the metadata were searched for.
    #[must_use]
    pub fn has_boot_sector(&self) -> bool {
        self.boot.is_some()
    }

    /// Tells whether the first sector leads to the places that the metadata in use list. Vista's names only one of them.
    pub(crate) fn has_right_boot_sector(&self) -> bool {
        let listed = self.metadata().block().metadata_offsets;
        match self.boot.as_ref().map(|boot| boot.layout) {
            None => false,
            Some(BootLayout::Vista { .. }) => true,
            Some(
                BootLayout::Standard { metadata_offsets }
                | BootLayout::EncryptOnWrite { metadata_offsets, .. }
                | BootLayout::ToGo { metadata_offsets },
            ) => metadata_offsets == listed,
        }
    }

    /// Returns the generation of the format.
    #[must_use]
    pub fn format(&self) -> VolumeFormat {
        self.format
    }

    /// Returns the size of a sector in bytes.
    #[must_use]
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// Returns the device that the volume lies on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Returns the size of the volume in bytes: what its metadata or boot sector say, or that of the device where they
    /// do not. A cut-off image is smaller than this.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let sector = self.sector_size.bytes_u64();
        let on_device = self.device.len_bytes() / sector * sector;
        on_device.max(self.stated_size_bytes().unwrap_or(0))
    }

    /// Returns the size of the volume in bytes as its metadata or boot sector say it; `None` where neither does.
    #[must_use]
    pub fn stated_size_bytes(&self) -> Option<u64> {
        let sector = self.sector_size.bytes_u64();
        let block = self.metadata().block();
        let stated = match self.metadata().conversion() {
            Conversion::Encrypted if block.version == 2 => Some(block.state_offset),
            _ => None,
        };
        let by_boot_sector = self
            .boot
            .as_ref()
            .and_then(|boot| boot.total_sectors?.checked_mul(sector));
        let by_record = self
            .eow
            .as_ref()
            .and_then(|eow| eow.as_ref().ok())
            .map(EowMap::end);
        let largest = [stated, by_boot_sector, by_record].into_iter().flatten().max();
        largest
            .map(|largest| largest / sector * sector)
            .filter(|size| *size > 0)
    }

    /// Returns how much of the volume is encrypted, in bytes; `None` where that cannot be told.
    #[must_use]
    pub fn encrypted_bytes(&self) -> Option<u64> {
        let block = self.metadata().block();
        match (self.metadata().conversion(), &self.eow) {
            (Conversion::Decrypted, _) => Some(0),
            (Conversion::Unknown { .. }, _) => None,
            (_, Some(Ok(map))) => Some(map.encrypted_bytes()),
            (_, Some(Err(_))) => None,
            (Conversion::Encrypted, None) => Some(self.size_bytes()),
            (_, None) => Some(block.state_offset),
        }
    }

    /// Returns what encryption protects of the volume right now.
    #[must_use]
    pub fn state(&self) -> VolumeState {
        let whole = if self.metadata().is_suspended() {
            VolumeState::Suspended
        } else {
            VolumeState::Encrypted
        };
        match self.metadata().conversion() {
            Conversion::Decrypted => VolumeState::Decrypted,
            Conversion::Unknown { .. } => VolumeState::Unknown,
            Conversion::Encrypting { paused: false } => VolumeState::Encrypting,
            Conversion::Encrypting { paused: true } => VolumeState::EncryptionPaused,
            Conversion::Decrypting { paused: false } => VolumeState::Decrypting,
            Conversion::Decrypting { paused: true } => VolumeState::DecryptionPaused,
            Conversion::Encrypted => match &self.eow {
                None => whole,
                Some(Ok(map)) if map.is_wholly_encrypted() => whole,
                Some(Err(_)) => VolumeState::Unknown,
                Some(Ok(_)) if self.metadata().has_paused_flag() => VolumeState::EncryptionPaused,
                Some(Ok(_)) => VolumeState::Encrypting,
            },
        }
    }

    /// Returns why the record of encrypted chunks cannot be used, where there is one and it cannot.
    #[must_use]
    pub fn eow_problem(&self) -> Option<&EowProblem> {
        self.eow.as_ref().and_then(|eow| eow.as_ref().err())
    }

    /// Proves that a credential opens the volume, against the metadata alone: nothing is decrypted but the master key.
    ///
    /// # Errors
    /// [`UnlockError`]; [`UnlockError::is_answer`] tells a "no" from a failure.
    pub fn prove(&self, credential: &Credential) -> Result<Proof, UnlockError> {
        if let Credential::FullVolumeEncryptionKey(key) = credential {
            return self
                .unlock_with_fvek(key.expose_secret())
                .map(|_| Proof { protector_id: None });
        }
        self.try_all(credential, None).map(|opened| Proof {
            protector_id: opened.protector_id,
        })
    }

    /// Proves that a credential opens one certain protector.
    ///
    /// # Errors
    /// As [`prove`](Self::prove).
    pub fn prove_protector(&self, credential: &Credential, protector_id: Guid) -> Result<Proof, UnlockError> {
        self.try_all(credential, Some(protector_id)).map(|opened| Proof {
            protector_id: opened.protector_id,
        })
    }

    /// Opens the volume: finds its master key and its sector key.
    ///
    /// All protectors of the credential's kind are tried. Where the metadata in use turn out to be altered, an
    /// unaltered copy takes their place.
    ///
    /// # Errors
    /// [`UnlockError`].
    pub fn unlock(&self, credential: &Credential) -> Result<Unlocked, UnlockError> {
        if let Credential::FullVolumeEncryptionKey(key) = credential {
            return self.unlock_with_fvek(key.expose_secret());
        }
        let opened = self.try_all(credential, None)?;
        let fvek = opened.metadata.fvek(&opened.vmk);
        if fvek.is_none() {
            return Err(match self.metadata().encryption_method() {
                Err(code) if code != 0 => UnlockError::UnknownMethod(code),
                _ => UnlockError::NoSectorKey,
            });
        }
        Ok(Unlocked {
            metadata: opened.metadata,
            vmk: Some(opened.vmk),
            fvek,
            protector_id: opened.protector_id,
            integrity: opened.integrity,
        })
    }

    /// Opens a volume on which nothing is encrypted; `None` if something may be.
    #[must_use]
    pub fn unlock_decrypted(&self) -> Option<Unlocked> {
        (self.metadata().conversion() == Conversion::Decrypted).then(|| Unlocked {
            metadata: Arc::clone(&self.candidates[0]),
            vmk: None,
            fvek: None,
            protector_id: None,
            integrity: self.metadata().integrity(None),
        })
    }

    /// Returns every key of the volume that its master key lets out: recovery keys and key files, in the order of the
    /// protectors.
    #[must_use]
    pub fn records(&self, unlocked: &Unlocked) -> Vec<RecoveryRecord> {
        let Some(vmk) = &unlocked.vmk else {
            return Vec::new();
        };
        let metadata = &unlocked.metadata;
        let record = |protector: &KeyProtector<'_>| {
            let key = match protector.kind() {
                ProtectorKind::RecoveryPassword => protector.kept_secrets().find_map(|sealed| {
                    let inside = sealed.open_key(vmk.key())?;
                    let key = keyhaven_crypto::Secret::from_slice(inside.key.expose_secret())?;
                    Some(RecordKey::RecoveryPassword(RecoveryPassword::from_key(key)))
                })?,
                ProtectorKind::StartupKey => protector.kept_secrets().find_map(|sealed| {
                    let inside = sealed.open_key(vmk.key())?;
                    let key = keyhaven_crypto::Secret::from_slice(inside.key.expose_secret())?;
                    Some(RecordKey::ExternalKey(ExternalKey::new(
                        protector.id(),
                        Some(metadata.volume_id()),
                        protector.name(),
                        protector.modified(),
                        key,
                    )))
                })?,
                _ => return None,
            };
            Some(RecoveryRecord {
                volume_id: metadata.volume_id(),
                protector_id: protector.id(),
                description: metadata.description(),
                modified: protector.modified(),
                key,
            })
        };
        metadata.protectors().iter().filter_map(record).collect()
    }

    /// Shows the plaintext.
    ///
    /// # Errors
    /// [`DataError`] where it is not known which parts are encrypted, or how: that is never guessed.
    pub fn data(&self, unlocked: Unlocked) -> Result<UnlockedVolume, DataError> {
        self.look(&unlocked)
    }

    /// Shows the plaintext to who needs the keys for more than that.
    ///
    /// # Errors
    /// As [`data`](Self::data).
    pub fn look(&self, unlocked: &Unlocked) -> Result<UnlockedVolume, DataError> {
        if let Conversion::Unknown { current, next } = unlocked.metadata.conversion() {
            return Err(DataError::UnknownState { current, next });
        }
        let eow = match &self.eow {
            Some(Err(problem)) => return Err(DataError::Eow(problem.clone())),
            Some(Ok(map)) => Some(map),
            None => None,
        };
        let replayed = crate::convert::replayed(&self.device, &unlocked.metadata, unlocked.fvek.as_ref())
            .map_err(DataError::Journal)?;
        let (device, position) = match replayed {
            Some((device, position)) => (device, Some(position)),
            None => (Arc::clone(&self.device), None),
        };
        let layout = Layout::new(self, &unlocked.metadata, eow, position)?;
        let cipher = unlocked.fvek.as_ref().map(|fvek| fvek.cipher(self.sector_size));
        if cipher.is_none() && layout.has_encrypted_parts() {
            return Err(DataError::NoKey(unlocked.metadata.block().dataset.method));
        }
        Ok(UnlockedVolume::new(
            device,
            layout,
            cipher,
            self.sector_size,
            NotWritable::judge(self, unlocked),
        ))
    }

    /// Returns where the record of encrypted chunks is, in bytes; `None` where there is none.
    pub(crate) fn eow_offsets(&self) -> Option<[u64; 2]> {
        self.eow_offsets
    }

    pub(crate) fn metadata_offsets(&self) -> [Option<u64>; 3] {
        self.metadata_offsets
    }

    /// Returns how much of the volume one metadata copy takes (format spec 2.1).
    pub(crate) fn metadata_region_len_bytes(&self) -> u64 {
        if self.metadata().block().version == 1 {
            let sectors = self
                .boot
                .as_ref()
                .map_or(8, |boot| u64::from(boot.sectors_per_cluster).max(1));
            (sectors * self.sector_size.bytes_u64())
                .max(1)
                .max(0x4000)
                .next_multiple_of(self.sector_size.bytes_u64())
        } else {
            (MAX_REGION_LEN_BYTES as u64).next_multiple_of(self.sector_size.bytes_u64())
        }
    }

    fn try_all(&self, credential: &Credential, only: Option<Guid>) -> Result<Opened, UnlockError> {
        let mut stretches = Stretches::default();
        let mut first_error = None;
        let mut unproven = None;
        let mut seen = Vec::new();
        for metadata in &self.candidates {
            // Copies are the same on a healthy volume: once is enough.
            if seen.contains(&metadata.block().actual_sha256) {
                continue;
            }
            let error = match try_one(metadata, credential, only, &mut stretches) {
                Ok((vmk, protector_id)) => {
                    let integrity = metadata.integrity(Some(&vmk));
                    let opened = Opened {
                        metadata: Arc::clone(metadata),
                        vmk,
                        protector_id,
                        integrity,
                    };
                    match integrity {
                        Integrity::Right => return Ok(opened),
                        Integrity::Altered if self.checksums_count => UnlockError::Altered,
                        // A write that was cut off may have torn the hash, which no checksum covers: another copy may be
                        // whole.
                        _ => {
                            unproven.get_or_insert(opened);
                            continue;
                        }
                    }
                }
                Err(error) => error,
            };
            seen.push(metadata.block().actual_sha256);
            // That a right key met altered metadata says more than that another copy does not know it.
            if first_error.is_none() || matches!(error, UnlockError::Altered) {
                first_error = Some(error);
            }
        }
        unproven.ok_or_else(|| first_error.unwrap_or(UnlockError::WrongKey { tried: Vec::new() }))
    }

    /// No box proves a sector key: the first sector of the plaintext has to.
    fn unlock_with_fvek(&self, key: &[u8]) -> Result<Unlocked, UnlockError> {
        let method = self
            .metadata()
            .encryption_method()
            .map_err(UnlockError::UnknownMethod)?;
        let length = UnlockError::KeyLength {
            method,
            expected: method.key_len_bytes(),
            found: key.len(),
        };
        let unlocked = |key: &[u8]| {
            Some(Unlocked {
                metadata: Arc::clone(&self.candidates[0]),
                vmk: None,
                fvek: Some(FullVolumeEncryptionKey::from_slice(method, key)?),
                protector_id: None,
                integrity: Integrity::Missing,
            })
        };
        let Some(trial) = unlocked(key) else {
            return Err(length);
        };
        let data = self
            .data(trial)
            .map_err(|error| UnlockError::Data(Box::new(error)))?;
        let mut first = [0; 512];
        keyhaven_disk::BlockDevice::read_at(&data, 0, &mut first)
            .map_err(|error| UnlockError::Data(Box::new(DataError::Read(error))))?;
        // Every file system that Windows encrypts starts with a boot sector, which ends like this.
        if first[510..] != [0x55, 0xaa] {
            return Err(UnlockError::WrongKey { tried: Vec::new() });
        }
        unlocked(key).ok_or(length)
    }

    fn read_eow(&mut self, has_record: bool, watch: &mut Watch<'_>) -> Result<(), OpenError> {
        let offsets = match &self.boot {
            Some(BootSector {
                layout: BootLayout::EncryptOnWrite { eow_offsets, .. },
                ..
            }) => *eow_offsets,
            Some(_) => return Ok(()),
            None => {
                let decrypted = self.metadata().conversion() == Conversion::Decrypted;
                if !self.metadata().has_eow_flag() && !decrypted && !has_record {
                    return Ok(());
                }
                // Windows 10 puts the record 0x22000 behind the first metadata (format spec 5.2).
                let likely = self.metadata_offsets[0].unwrap_or(0).saturating_add(0x22000);
                match scan::eow_information(&self.device, likely, watch) {
                    Found::It(offsets) => offsets,
                    Found::Stopped => return Err(OpenError::Stopped),
                    Found::Nothing if decrypted => return Ok(()),
                    Found::Nothing => {
                        self.eow = Some(Err(EowProblem {
                            what: "the record of encrypted parts".to_owned(),
                            offset: likely,
                            reason: "it was not found".to_owned(),
                        }));
                        return Ok(());
                    }
                }
            }
        };
        self.eow = Some(EowMap::read(&self.device, offsets));
        self.eow_offsets = Some(offsets);
        Ok(())
    }

    fn recognise_format(&self) -> VolumeFormat {
        match self.boot.as_ref().map(|boot| boot.layout) {
            Some(BootLayout::Vista { .. }) => VolumeFormat::Vista,
            Some(BootLayout::ToGo { .. }) => VolumeFormat::ToGo,
            Some(BootLayout::EncryptOnWrite { .. }) => VolumeFormat::Eow,
            Some(BootLayout::Standard { .. }) => VolumeFormat::Windows7,
            None if self.metadata().block().version == 1 => VolumeFormat::Vista,
            None if self.eow.is_some() => VolumeFormat::Eow,
            // Only the discovery file system of BitLocker To Go makes Windows move more than the boot sectors.
            None if self
                .metadata()
                .virtualized(self.sector_size.bytes_u64())
                .is_some_and(|moved| moved.len_bytes > 0x1_0000) =>
            {
                VolumeFormat::ToGo
            }
            None => VolumeFormat::Windows7,
        }
    }
}

struct Opened {
    metadata: Arc<Metadata>,
    vmk: VolumeMasterKey,
    protector_id: Option<Guid>,
    integrity: Integrity,
}

/// Tries a credential on the protectors of one metadata copy.
pub(crate) fn try_one(
    metadata: &Metadata,
    credential: &Credential,
    only: Option<Guid>,
    stretches: &mut Stretches,
) -> Result<(VolumeMasterKey, Option<Guid>), UnlockError> {
    let Some(wanted) = credential.protector_kind() else {
        let Credential::VolumeMasterKey(vmk) = credential else {
            return Err(UnlockError::WrongKey { tried: Vec::new() });
        };
        return if metadata.is_vmk(vmk) {
            Ok((
                VolumeMasterKey::new(keyhaven_crypto::Secret::init_with(|own| {
                    *own = *vmk.key().expose_secret()
                })),
                None,
            ))
        } else {
            Err(UnlockError::WrongKey { tried: Vec::new() })
        };
    };
    let all = metadata.protectors();
    let mut fitting: Vec<KeyProtector<'_>> = all
        .iter()
        .copied()
        .filter(|protector| protector.kind() == wanted && only.is_none_or(|id| id == protector.id()))
        .collect();
    if fitting.is_empty() {
        let present = all.iter().map(KeyProtector::kind).collect();
        return Err(UnlockError::NoSuchProtector { wanted, present });
    }
    // A key file names its protector: that one first.
    if let Credential::ExternalKey(key) = credential {
        fitting.sort_by_key(|protector| protector.id() != key.protector_id());
    }
    let mut failure = None;
    let mut tried = Vec::new();
    for protector in fitting {
        let Some(unlock) = wanted.spec().and_then(|spec| spec.unlock) else {
            continue;
        };
        match unlock(protector, credential, stretches) {
            Attempt::Opened(vmk) => return Ok((vmk, Some(protector.id()))),
            Attempt::WrongKey => tried.push(protector.id()),
            Attempt::UnknownStretch => failure = Some(UnlockError::UnknownStretch(protector.id())),
            Attempt::Damaged => failure = Some(UnlockError::DamagedProtector(protector.id())),
            Attempt::NotMine => {}
        }
    }
    Err(failure.unwrap_or(UnlockError::WrongKey { tried }))
}

fn sector_size(
    boot: Option<&BootSector>,
    metadata: &Metadata,
    device: &Device,
) -> Result<SectorSize, OpenError> {
    let stated = boot
        .map(|boot| u32::from(boot.bytes_per_sector))
        .filter(|size| *size != 0);
    // Where the original file system was exFAT the boot sector has 0 (format spec 1.2).
    let size = stated
        .or_else(|| metadata.sector_size())
        .unwrap_or_else(|| device.sector_size());
    SectorSize::new(size)
        .or_else(|| SectorSize::new(metadata.sector_size()?))
        .ok_or(OpenError::SectorSize(size))
}

/// A watch that never stops a search.
pub fn unwatched(_: ScanProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
