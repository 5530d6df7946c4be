//! A volume: recognised, its metadata read, locked. It holds no secret.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use keyhaven_crypto::SectorSize;
use keyhaven_disk::{Device, ReadError};

use crate::credential::{Attempt, Credential, Stretches};
use crate::encryption_method::EncryptionMethod;
use crate::eow::EowMap;
use crate::format::ShapeError;
use crate::format::block::{InformationBlock, MAX_REGION_LEN_BYTES};
use crate::format::boot_sector::{self, BootLayout, BootSector};
use crate::guid::Guid;
use crate::keys::{ExternalKey, FullVolumeEncryptionKey, RecoveryPassword, VolumeMasterKey};
use crate::layout::{Layout, LayoutError};
use crate::metadata::{Conversion, Integrity, Metadata};
use crate::protector::{KeyProtector, ProtectorKind};
use crate::record::{RecordKey, RecoveryRecord};
use crate::scan::{self, Found, ScanProgress, Watch, read_up_to};
use crate::unlocked::UnlockedVolume;

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

/// Which generation of the format a volume has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeFormat {
    /// Windows 7 to 11.
    Windows7,
    /// Windows Vista.
    Vista,
    /// A removable drive with a readable part in front.
    ToGo,
    /// Encrypted on write: a record says which parts are encrypted.
    Eow,
}

impl VolumeFormat {
    /// Returns the name that JSON output uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Windows7 => "windows7",
            Self::Vista => "vista",
            Self::ToGo => "to_go",
            Self::Eow => "eow",
        }
    }
}

/// What encryption protects of a volume right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VolumeState {
    /// Nothing is encrypted.
    Decrypted,
    /// All of it is.
    Encrypted,
    /// All of it is, but the key lies open.
    Suspended,
    /// A growing part is.
    Encrypting,
    /// A growing part is to be; nothing happens at the moment.
    EncryptionPaused,
    /// A shrinking part is.
    Decrypting,
    /// A shrinking part is to be; nothing happens at the moment.
    DecryptionPaused,
    /// The metadata give numbers that are not known, or cannot say.
    Unknown,
}

impl VolumeState {
    /// Returns the name that JSON output uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decrypted => "decrypted",
            Self::Encrypted => "encrypted",
            Self::Suspended => "suspended",
            Self::Encrypting => "encrypting",
            Self::EncryptionPaused => "encryption_paused",
            Self::Decrypting => "decrypting",
            Self::DecryptionPaused => "decryption_paused",
            Self::Unknown => "unknown",
        }
    }
}

/// One of the three places where a volume keeps its metadata, and what was found there.
#[derive(Debug)]
pub struct MetadataCopy {
    /// 1 to 3.
    pub number: u8,
    /// Where it is, in bytes from the start of the volume; `None` where nothing says it.
    pub offset: Option<u64>,
    /// What is wrong with it; `None` if nothing is.
    pub problem: Option<CopyProblem>,
    /// Whether it is the one in use.
    pub used: bool,
}

/// What is wrong with a metadata copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyProblem {
    /// Nothing says where it is.
    #[error("its place is not known")]
    NoPlace,
    /// Its place is not inside the volume, or not at the start of a sector.
    #[error("its place (byte {offset:#x}) cannot be right")]
    OutsideVolume {
        /// The place.
        offset: u64,
    },
    /// It could not be read.
    #[error("it cannot be read")]
    Unreadable(#[source] ReadError),
    /// It is overwritten or cut off.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// Its checksum does not match.
    #[error("its checksum is wrong (stored {stored}, computed {computed:#010x})")]
    Checksum {
        /// What is stored, or that nothing is.
        stored: String,
        /// What it should be.
        computed: u32,
    },
    /// It says that it belongs elsewhere.
    #[error("it does not list its own place among the copies")]
    Misplaced,
    /// It is well-formed but does not have the same content as the one in use.
    #[error("it differs from copy {used}, which is in use")]
    Differs {
        /// The copy in use.
        used: u8,
    },
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
    checksums_count: bool,
}

/// Why the record of encrypted chunks is of no use.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} at byte {offset:#x} cannot be used: {reason}")]
pub struct EowProblem {
    /// Which part of the record.
    pub what: String,
    /// Where, in bytes from the start of the volume.
    pub offset: u64,
    /// What is wrong.
    pub reason: String,
}

/// Why a volume could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no sign of BitLocker in the first sector, nor (where it was searched) anywhere.
    #[error("not a BitLocker volume")]
    NotBitLocker {
        /// Whether the whole volume was searched.
        searched: bool,
    },
    /// The first sector could not be read.
    #[error("the first sector cannot be read")]
    Read(#[source] ReadError),
    /// It is a BitLocker volume, and no copy of its metadata is of use.
    #[error("a BitLocker volume, but none of its metadata copies can be used")]
    NoMetadata {
        /// What is wrong with each.
        copies: Vec<MetadataCopy>,
        /// Whether ignoring checksums would give one.
        checksums_only: bool,
    },
    /// The copy that was asked for is not there.
    #[error("there is no metadata copy {0}, only copies 1 to 3")]
    NoSuchCopy(u8),
    /// The sector size is none that occurs.
    #[error("the volume says its sectors have {0} bytes, expected 512, 1024, 2048 or 4096")]
    SectorSize(u32),
    /// The search was stopped.
    #[error("the search for metadata was stopped")]
    Stopped,
}

/// Why a credential did not open a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// It was tried and does not open the volume.
    #[error("it does not open this drive")]
    WrongKey {
        /// The protectors on which it was tried.
        tried: Vec<Guid>,
    },
    /// The volume has no protector of this kind.
    #[error("this drive has no {wanted}")]
    NoSuchProtector {
        /// What was tried to be used.
        wanted: ProtectorKind,
        /// What it has instead.
        present: Vec<ProtectorKind>,
    },
    /// The protector stretches secrets in a way that is not public (FIPS mode).
    #[error("protector {0} was made in FIPS mode (PBKDF2), which cannot be tried yet")]
    UnknownStretch(Guid),
    /// The protector lacks a part.
    #[error("protector {0} is damaged: it does not say how its key is made")]
    DamagedProtector(Guid),
    /// The key opens the volume, but its metadata were altered since Windows wrote them.
    #[error("the key is right, but the drive's metadata were changed after Windows wrote them")]
    Altered,
    /// The key opens the volume, but the key of its sectors is missing or of an unknown kind.
    #[error("the key is right, but the key of the sectors is missing or damaged")]
    NoSectorKey,
    /// The sector key given does not have the size that the method needs.
    #[error("a key for {method} has {expected} bytes, not {found}")]
    KeyLength {
        /// The volume's method.
        method: EncryptionMethod,
        /// Bytes that such a key has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The volume is encrypted by a method that is not known.
    #[error("the encryption method {0:#06x} is not known")]
    UnknownMethod(u16),
    /// The plaintext could not be looked at.
    #[error("the drive cannot be read to try the key")]
    Data(#[source] Box<DataError>),
}

impl UnlockError {
    /// Tells whether this is an answer (the key is not one of this drive) rather than a failure.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::WrongKey { .. } | Self::NoSuchProtector { .. })
    }
}

/// Why an unlocked volume's content cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// It is not known which parts are encrypted.
    #[error("the record of which parts of the drive are encrypted cannot be read")]
    Eow(#[source] EowProblem),
    /// The places in the metadata contradict each other.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The state of the encryption is not known.
    #[error("the drive is in state {current} going to {next}, which is not known")]
    UnknownState {
        /// Current state.
        current: u16,
        /// Next state.
        next: u16,
    },
    /// There is no key for the encrypted parts.
    #[error("there is no key for the encrypted parts (method {0:#06x})")]
    NoKey(u16),
    /// The first sector could not be read.
    #[error("the first sector cannot be read")]
    Read(#[source] ReadError),
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
            checksums_count: !options.ignore_checksums,
            device,
        };
        volume.read_eow(watch)?;
        volume.format = volume.recognise_format();
        Ok(volume)
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
        let largest = [stated, by_boot_sector, by_record]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or(0);
        on_device.max(largest / sector * sector)
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
        if let Conversion::Unknown { current, next } = unlocked.metadata.conversion() {
            return Err(DataError::UnknownState { current, next });
        }
        let eow = match &self.eow {
            Some(Err(problem)) => return Err(DataError::Eow(problem.clone())),
            Some(Ok(map)) => Some(map),
            None => None,
        };
        let layout = Layout::new(self, &unlocked.metadata, eow)?;
        let cipher = unlocked.fvek.as_ref().map(|fvek| fvek.cipher(self.sector_size));
        if cipher.is_none() && layout.has_encrypted_parts() {
            return Err(DataError::NoKey(unlocked.metadata.block().dataset.method));
        }
        Ok(UnlockedVolume::new(
            Arc::clone(&self.device),
            layout,
            cipher,
            self.sector_size,
        ))
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
        let mut seen = Vec::new();
        for metadata in &self.candidates {
            // Copies are the same on a healthy volume: once is enough.
            if seen.contains(&metadata.block().actual_sha256) {
                continue;
            }
            seen.push(metadata.block().actual_sha256);
            let error = match try_one(metadata, credential, only, &mut stretches) {
                Ok((vmk, protector_id)) => {
                    let integrity = metadata.integrity(Some(&vmk));
                    if integrity == Integrity::Altered && self.checksums_count {
                        UnlockError::Altered
                    } else {
                        return Ok(Opened {
                            metadata: Arc::clone(metadata),
                            vmk,
                            protector_id,
                            integrity,
                        });
                    }
                }
                Err(error) => error,
            };
            // That a right key met altered metadata says more than that another copy does not know it.
            if first_error.is_none() || matches!(error, UnlockError::Altered) {
                first_error = Some(error);
            }
        }
        Err(first_error.unwrap_or(UnlockError::WrongKey { tried: Vec::new() }))
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

    fn read_eow(&mut self, watch: &mut Watch<'_>) -> Result<(), OpenError> {
        let offsets = match &self.boot {
            Some(BootSector {
                layout: BootLayout::EncryptOnWrite { eow_offsets, .. },
                ..
            }) => *eow_offsets,
            Some(_) => return Ok(()),
            None => {
                let decrypted = self.metadata().conversion() == Conversion::Decrypted;
                if !self.metadata().has_eow_flag() && !decrypted {
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

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

struct Opened {
    metadata: Arc<Metadata>,
    vmk: VolumeMasterKey,
    protector_id: Option<Guid>,
    integrity: Integrity,
}

/// Tries a credential on the protectors of one metadata copy.
fn try_one(
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

/// Returns where the boot sector says the metadata are.
fn boot_offsets(boot: &BootSector) -> [Option<u64>; 3] {
    match boot.layout {
        BootLayout::Standard { metadata_offsets }
        | BootLayout::EncryptOnWrite { metadata_offsets, .. }
        | BootLayout::ToGo { metadata_offsets } => metadata_offsets.map(Some),
        BootLayout::Vista { metadata_cluster } => {
            let cluster = u64::from(boot.sectors_per_cluster) * u64::from(boot.bytes_per_sector);
            [
                metadata_cluster.checked_mul(cluster).filter(|offset| *offset > 0),
                None,
                None,
            ]
        }
    }
}

type ReadCopy = Result<InformationBlock, CopyProblem>;

/// Reads the three copies. Places that are not known are taken from a copy that knows them.
fn read_copies(device: &Device, offsets: &mut [Option<u64>; 3]) -> Vec<ReadCopy> {
    let read = |offset: &Option<u64>| {
        let offset = offset.ok_or(CopyProblem::NoPlace)?;
        if offset == 0 || !offset.is_multiple_of(512) {
            return Err(CopyProblem::OutsideVolume { offset });
        }
        let region = read_up_to(device, offset, MAX_REGION_LEN_BYTES).map_err(CopyProblem::Unreadable)?;
        Ok(InformationBlock::read(&region)?)
    };
    let mut blocks: Vec<ReadCopy> = offsets.iter().map(read).collect();
    // A boot sector may be damaged in part, and that of Vista names only one place.
    let listed = blocks
        .iter()
        .flatten()
        .find(|block| block.crc32_is_right())
        .or_else(|| blocks.iter().flatten().next())
        .map(|block| block.metadata_offsets);
    if let Some(listed) = listed {
        for ((block, offset), listed) in blocks.iter_mut().zip(offsets).zip(listed) {
            if block.is_err() && *offset != Some(listed) {
                *offset = Some(listed);
                *block = read(offset);
            }
        }
    }
    blocks
}

/// Judges the copies, and orders those that can be used.
fn choose(
    blocks: Vec<ReadCopy>,
    offsets: [Option<u64>; 3],
    options: &OpenOptions,
) -> Result<(Vec<MetadataCopy>, Vec<Arc<Metadata>>), OpenError> {
    let mut copies = Vec::new();
    let mut usable = Vec::new();
    let mut checksums_only = false;
    for ((number, block), offset) in (1u8..).zip(blocks).zip(offsets) {
        let wanted = options.metadata_copy.is_none_or(|copy| copy == number);
        let problem = match block {
            Err(problem) => Some(problem),
            Ok(block) => {
                let problem = problem_of(&block, offset);
                let checksum = matches!(problem, Some(CopyProblem::Checksum { .. }));
                checksums_only |= checksum && wanted;
                if wanted && (!checksum || options.ignore_checksums) {
                    usable.push((problem.is_some(), number, block));
                }
                problem
            }
        };
        copies.push(MetadataCopy {
            number,
            offset,
            problem,
            used: false,
        });
    }
    // Sound ones first, then the newest; the first of equals.
    usable.sort_by_key(|(problem, number, block)| {
        (
            *problem,
            std::cmp::Reverse(block.dataset.next_nonce_counter),
            *number,
        )
    });
    let Some((_, used, first)) = usable.first() else {
        return Err(OpenError::NoMetadata {
            copies,
            checksums_only,
        });
    };
    let (used, content) = (*used, first.actual_sha256);
    for copy in &mut copies {
        copy.used = copy.number == used;
        let differs = usable
            .iter()
            .any(|(_, number, block)| *number == copy.number && block.actual_sha256 != content);
        if differs && copy.problem.is_none() {
            copy.problem = Some(CopyProblem::Differs { used });
        }
    }
    Ok((
        copies,
        usable
            .into_iter()
            .map(|(_, _, block)| Arc::new(Metadata::new(block)))
            .collect(),
    ))
}

fn problem_of(block: &InformationBlock, offset: Option<u64>) -> Option<CopyProblem> {
    if !block.crc32_is_right() {
        let stored = block
            .validation
            .as_ref()
            .map_or("nothing".to_owned(), |stored| format!("{:#010x}", stored.crc32));
        return Some(CopyProblem::Checksum {
            stored,
            computed: block.actual_crc32,
        });
    }
    let at_home = offset.is_some_and(|offset| block.metadata_offsets.contains(&offset));
    (!at_home).then_some(CopyProblem::Misplaced)
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
