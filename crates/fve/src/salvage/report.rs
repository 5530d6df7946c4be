//! What a salvage rests on, to be shown to the person whose data they are.

use std::fmt;

use crate::encryption_method::EncryptionMethod;

/// Something that was found, and from what it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// Sectors of several copies make one whose checksum is right.
    Combined {
        /// The copies that gave sectors, by where they lie, in bytes.
        copies: Vec<u64>,
    },
    /// Entries were taken out of damaged copies; each key in them proves itself when it is opened.
    Entries {
        /// How many.
        count: usize,
        /// Where they were found: the starts of regions, in bytes.
        places: Vec<u64>,
    },
    /// The header of the metadata is the same in several damaged copies.
    HeaderAgreed {
        /// In how many.
        copies: usize,
    },
    /// Entries are from a key package.
    Package,
    /// The boot sector says where the metadata are.
    BootSector,
    /// The sealed hash proves the metadata as Windows last wrote them.
    Sealed,
    /// The first sectors decrypt to a boot sector.
    FirstSector {
        /// Of which file system.
        file_system: &'static str,
    },
    /// The moved boot sectors were found by decrypting sectors.
    MovedFound {
        /// Where, in bytes.
        at: u64,
        /// Of which file system they are.
        file_system: &'static str,
    },
    /// The file system's own copy of the boot sector was found by decrypting sectors.
    BackupFound {
        /// Where, in bytes.
        at: u64,
    },
    /// The boot sector says how large the volume is, and that is what there is.
    SizeAgrees {
        /// The size, in bytes.
        len_bytes: u64,
    },
    /// The method was found by decrypting.
    Method(EncryptionMethod),
    /// The last sector that holds anything decrypts to something that has a meaning: encryption reaches to the end.
    EncryptedToTheEnd {
        /// Where that sector is, in bytes.
        at: u64,
    },
    /// Sectors that mean something decrypted end here, and those that mean something as they are begin.
    Boundary {
        /// Where, in bytes.
        at: u64,
    },
}

/// Something that was taken for granted because a person said so, or that stays unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Assumption {
    /// That the whole volume is encrypted.
    FullyEncrypted,
    /// The header of the metadata is as the only copy of it says, whose checksum is wrong.
    HeaderUnproven,
    /// Where the metadata lay is not known: what is there reads as noise, where Windows shows zeros.
    MetadataPlacesUnknown,
    /// The first sector of the file system is lost, and with it what says how large the volume is. Vista keeps that sector in
    /// its place.
    FirstSectorLost,
    /// A drive with FAT is no BitLocker To Go drive: of these more than the boot sectors are moved.
    NotToGo,
    /// The file system's boot sector is its own copy of it, and the sectors behind it are not known: zeros.
    MovedSectorsUnknown,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |places: &[u64]| {
            let texts: Vec<String> = places.iter().map(|at| format!("{at:#x}")).collect();
            texts.join(", ")
        };
        match self {
            Self::Combined { copies } => write!(
                f,
                "metadata: sectors of the damaged copies at bytes {} make one whose checksum is right",
                list(copies)
            ),
            Self::Entries { count, places } => write!(
                f,
                "metadata: {count} entries were taken out of what is left at bytes {}",
                list(places)
            ),
            Self::HeaderAgreed { copies } => {
                write!(
                    f,
                    "state of the encryption: the same in {copies} damaged copies of the metadata"
                )
            }
            Self::Package => f.write_str("keys: boxes of the key package"),
            Self::BootSector => f.write_str("places of the metadata: BitLocker's boot sector"),
            Self::Sealed => f.write_str("metadata: the sealed hash is right; they are as Windows wrote them"),
            Self::FirstSector { file_system } => {
                write!(
                    f,
                    "start of the drive: decrypts to a boot sector of {file_system}"
                )
            }
            Self::MovedFound { at, file_system } => write!(
                f,
                "moved boot sectors: byte {at:#x} decrypts to a boot sector of {file_system}"
            ),
            Self::BackupFound { at } => {
                write!(f, "boot sector: its copy at byte {at:#x}, found by decrypting")
            }
            Self::SizeAgrees { len_bytes } => {
                write!(
                    f,
                    "size: the boot sector says {len_bytes} bytes, and there are as many"
                )
            }
            Self::Method(method) => write!(f, "method: {method}, found by decrypting"),
            Self::EncryptedToTheEnd { at } => write!(
                f,
                "encrypted part: reaches to the end; the sector at byte {at:#x} has a meaning only when decrypted"
            ),
            Self::Boundary { at } => write!(
                f,
                "encrypted part: ends at byte {at:#x}; in front of it sectors have a meaning decrypted, behind it as they are"
            ),
        }
    }
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FullyEncrypted => "the whole drive is encrypted",
            Self::HeaderUnproven => {
                "the state of the encryption is as the only readable copy of the metadata says, whose checksum is wrong"
            }
            Self::MetadataPlacesUnknown => {
                "no data of yours are where the metadata lay; where that was is not known, and it is shown as it decrypts"
            }
            Self::FirstSectorLost => {
                "the drive ends where it seems to; the first sector of its file system is lost, and is shown as it is"
            }
            Self::NotToGo => {
                "the drive is no BitLocker To Go drive (one that Windows XP could read): else its start is noise"
            }
            Self::MovedSectorsUnknown => {
                "the file system starts without its start-up code: only its boot sector was found, in a copy"
            }
        })
    }
}
