//! Where the moved boot sectors are and how sectors are encrypted, found by decrypting: a sector that turns into the boot
//! sector of a file system was encrypted with this key, by this method, in sectors of this size, at this place.

use keyhaven_crypto::{SectorCipher, SectorSize};
use keyhaven_disk::Device;

use super::search::Stopped;
use crate::keys::FullVolumeEncryptionKey;
use crate::scan::{Found, Watch, each_chunk, read_up_to};

/// A file system's first sector, as far as it says where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FsBoot {
    /// Its name.
    pub(super) file_system: &'static str,
    /// Size of the volume in bytes, as it says; with the copy of the boot sector that NTFS has behind it.
    pub(super) len_bytes: u64,
    /// Where NTFS has its copy of the boot sector, in bytes.
    pub(super) backup_at: Option<u64>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) fvek: FullVolumeEncryptionKey,
    pub(super) sector_size: SectorSize,
    /// Where the moved boot sectors are; `None` where only a copy of the first of them is left.
    pub(super) moved_at: Option<u64>,
    /// Where that copy is.
    pub(super) backup_at: Option<u64>,
    /// The first sector of the file system.
    pub(super) first: Vec<u8>,
    pub(super) boot: FsBoot,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoGeometry {
    /// No sector decrypts to the start of a file system.
    #[error("no sector decrypts to the boot sector of a file system")]
    Nothing,
    /// Several do that could be it.
    #[error("the sectors at bytes {} all decrypt to a boot sector that could be the drive's", list(.0))]
    Ambiguous(Vec<u64>),
    /// The search was stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

fn list(places: &[u64]) -> String {
    let texts: Vec<String> = places.iter().map(|at| format!("{at:#x}")).collect();
    texts.join(", ")
}

/// A sector that decrypts to a boot sector.
#[derive(Debug, Clone)]
struct Candidate {
    at: u64,
    first: Vec<u8>,
    boot: FsBoot,
    /// Behind it is the program that Windows starts from.
    has_program: bool,
}

impl Candidate {
    fn is_backup(&self) -> bool {
        self.boot.backup_at == Some(self.at)
    }
}

/// So many are looked at: a drive may hold images of others.
const MAX_CANDIDATES: usize = 256;
/// Windows moves 8 KiB.
pub(super) const MOVED_LEN_BYTES: u64 = 0x2000;

/// Finds the moved boot sectors, trying each key with each size of sectors on every sector.
pub(super) fn find(
    device: &Device,
    keys: Vec<FullVolumeEncryptionKey>,
    sector_sizes: &[SectorSize],
    watch: &mut Watch<'_>,
) -> Result<Geometry, NoGeometry> {
    let mut trials = Vec::new();
    for (key, own) in keys.iter().enumerate() {
        trials.extend(sector_sizes.iter().map(|size| Trial {
            key,
            sector_size: *size,
            cipher: own.cipher(*size),
            candidates: Vec::new(),
        }));
    }
    search(device, &mut trials, watch)?;
    // With another method or size nothing decrypts.
    let Some(best) = trials
        .into_iter()
        .filter(|trial| !trial.candidates.is_empty())
        .max_by_key(|trial| trial.candidates.len())
    else {
        return Err(NoGeometry::Nothing);
    };
    let fvek = keys.into_iter().nth(best.key).ok_or(NoGeometry::Nothing)?;
    let (sector_size, candidates) = (best.sector_size, best.candidates);
    let backup = candidates
        .iter()
        .find(|candidate| candidate.is_backup() && candidate.boot.len_bytes <= device.len_bytes());
    let chosen = choose(&candidates, backup, device.len_bytes())?;
    let backup_at = backup.map(|backup| backup.at);
    let (moved_at, of) = match (chosen, backup) {
        (Some(moved), _) => (Some(moved.at), moved),
        (None, Some(backup)) => (None, backup),
        (None, None) => return Err(NoGeometry::Nothing),
    };
    Ok(Geometry {
        fvek,
        sector_size,
        moved_at,
        backup_at,
        first: of.first.clone(),
        boot: of.boot.clone(),
    })
}

/// A key and a size of sectors, and what they make boot sectors of.
struct Trial {
    /// Which of the keys.
    key: usize,
    sector_size: SectorSize,
    cipher: SectorCipher,
    candidates: Vec<Candidate>,
}

/// Chooses the moved boot sectors among the candidates; `None` where none can be them.
fn choose<'a>(
    candidates: &'a [Candidate],
    backup: Option<&Candidate>,
    len_bytes: u64,
) -> Result<Option<&'a Candidate>, NoGeometry> {
    // An image of another drive, kept on this one, says another size or starts at its own place.
    let rank = |candidate: &Candidate| {
        let as_backup = backup.is_some_and(|backup| backup.first == candidate.first);
        let same_size = candidate.boot.len_bytes == len_bytes;
        (as_backup, same_size, candidate.has_program)
    };
    let fits = |candidate: &&Candidate| !candidate.is_backup() && candidate.boot.len_bytes <= len_bytes;
    let Some(best) = candidates.iter().filter(fits).map(rank).max() else {
        return Ok(None);
    };
    let first: Vec<&Candidate> = candidates
        .iter()
        .filter(fits)
        .filter(|one| rank(one) == best)
        .collect();
    match first.as_slice() {
        [only] => Ok(Some(only)),
        several => Err(NoGeometry::Ambiguous(several.iter().map(|one| one.at).collect())),
    }
}

/// Goes through the device and decrypts every sector where it lies.
///
/// The search ends with a boot sector that says the size of the device and has its program behind it: an image that is
/// kept on the drive cannot be as large as that.
fn search(device: &Device, trials: &mut [Trial], watch: &mut Watch<'_>) -> Result<(), NoGeometry> {
    let outcome: Found<()> = each_chunk(device, 0..device.len_bytes(), watch, |at, bytes| {
        for trial in trials.iter_mut() {
            let sector = trial.sector_size.bytes();
            let whole = bytes.len() / sector * sector;
            let mut run = bytes.get(..whole).unwrap_or_default().to_vec();
            trial.cipher.decrypt(at, &mut run);
            for (i, plain) in (0u64..).step_by(sector).zip(run.chunks(sector)) {
                let Some(boot) = FsBoot::read(plain) else { continue };
                let at = at + i;
                let has_program = has_program(device, &trial.cipher, at + sector as u64, sector);
                let is_it = has_program && boot.len_bytes == device.len_bytes();
                trial.candidates.push(Candidate {
                    at,
                    has_program,
                    first: plain.to_vec(),
                    boot,
                });
                if is_it || trial.candidates.len() >= MAX_CANDIDATES {
                    return Some(());
                }
            }
        }
        None
    });
    match outcome {
        Found::Stopped => Err(NoGeometry::Stopped(Stopped)),
        _ => Ok(()),
    }
}

/// Tells whether the sector at `at` decrypts to the start of NTFS' start-up program, which begins with its name.
fn has_program(device: &Device, cipher: &SectorCipher, at: u64, sector: usize) -> bool {
    const NAME: &[u8] = b"B\0O\0O\0T\0M\0G\0R\0";

    let Ok(mut bytes) = read_up_to(device, at, sector) else {
        return false;
    };
    if bytes.len() < sector {
        return false;
    }
    cipher.decrypt(at, &mut bytes);
    memchr::memmem::find(bytes.get(..64).unwrap_or_default(), NAME).is_some()
}

impl FsBoot {
    /// Recognises the first sector of NTFS, exFAT or FAT; `None` if it is none, or says what cannot be.
    pub(super) fn read(sector: &[u8]) -> Option<Self> {
        let sector = sector.get(..512)?;
        if sector.get(510..) != Some(&[0x55, 0xaa]) {
            return None;
        }
        let u16_at = |at: usize| {
            sector
                .get(at..)?
                .first_chunk()
                .map(|bytes| u16::from_le_bytes(*bytes))
        };
        let u32_at = |at: usize| {
            sector
                .get(at..)?
                .first_chunk()
                .map(|bytes| u32::from_le_bytes(*bytes))
        };
        let u64_at = |at: usize| {
            sector
                .get(at..)?
                .first_chunk()
                .map(|bytes| u64::from_le_bytes(*bytes))
        };
        if sector.get(3..11) == Some(b"EXFAT   ") {
            let shift = u32::from(*sector.get(0x6c)?);
            let len_bytes = u64_at(0x48)?.checked_mul(1u64.checked_shl(shift)?)?;
            return (9..=12).contains(&shift).then_some(Self {
                file_system: "exFAT",
                len_bytes,
                backup_at: None,
            });
        }
        let bytes_per_sector = u64::from(u16_at(0x0b)?);
        if !matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096) {
            return None;
        }
        if sector.get(3..11) == Some(b"NTFS    ") {
            // NTFS counts without the last sector, which holds the copy.
            let backup_at = u64_at(0x28)?.checked_mul(bytes_per_sector)?;
            return (backup_at > 0).then_some(Self {
                file_system: "NTFS",
                len_bytes: backup_at.checked_add(bytes_per_sector)?,
                backup_at: Some(backup_at),
            });
        }
        let is_fat = matches!(sector.first(), Some(0xeb | 0xe9))
            && sector.get(0x0d)?.is_power_of_two()
            && matches!(sector.get(0x10), Some(1 | 2))
            && matches!(sector.get(0x15), Some(0xf0 | 0xf8..=0xff))
            && u16_at(0x0e)? > 0;
        let sectors = match u16_at(0x13)? {
            0 => u64::from(u32_at(0x20)?),
            few => u64::from(few),
        };
        (is_fat && sectors > 0).then_some(Self {
            file_system: "FAT",
            len_bytes: sectors * bytes_per_sector,
            backup_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ntfs(sectors: u64) -> Vec<u8> {
        let mut sector = vec![0; 512];
        sector[3..11].copy_from_slice(b"NTFS    ");
        sector[0x0b..0x0d].copy_from_slice(&512u16.to_le_bytes());
        sector[0x28..0x30].copy_from_slice(&sectors.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    }

    fn candidate(at: u64, sectors: u64, has_program: bool) -> Candidate {
        let first = ntfs(sectors);
        Candidate {
            at,
            boot: FsBoot::read(&first).expect("a boot sector"),
            first,
            has_program,
        }
    }

    #[test]
    fn an_image_of_another_drive_is_not_taken_for_the_drive() {
        let len_bytes = 100 * 512;
        let (own, backup) = (candidate(0x2000, 99, true), candidate(99 * 512, 99, false));
        let foreign = candidate(0x4000, 50, true);
        let all = [foreign, own, backup.clone()];
        let chosen = choose(&all, Some(&backup), len_bytes).expect("one is best");
        assert_eq!(chosen.map(|one| one.at), Some(0x2000));
        let twice = [candidate(0x2000, 99, true), candidate(0x6000, 99, true)];
        assert!(
            matches!(choose(&twice, None, len_bytes), Err(NoGeometry::Ambiguous(places)) if places == [0x2000, 0x6000])
        );
        assert!(choose(&[backup], None, len_bytes).expect("no choice").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 512), name in 0usize..3) {
            let mut bytes = bytes;
            bytes[3..11].copy_from_slice([b"NTFS    ", b"EXFAT   ", b"MSDOS5.0"][name]);
            bytes[510..].copy_from_slice(&[0x55, 0xaa]);
            let _ = FsBoot::read(&bytes);
        }
    }
}
