//! The file system of a new drive: how large it is, where it leaves room, and its making.
//!
//! The tools of the distributions make it, in a sparse temporary file that holds no user data and no secret. Why it ends
//! where it does: docs/decisions/creating.md.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use indicatif::HumanBytes;
use keyhaven_crypto::SectorSize;
use keyhaven_disk::Device;
use keyhaven_fve::create::Placement;
use tempfile::NamedTempFile;

use super::exfat;
use crate::error::CliError;

/// What lies in front of the structures of exFAT and FAT32 and belongs to none of them: behind their boot sectors, and
/// large enough for a copy of the metadata and the moved boot sectors.
const GAP: Range<u64> = 512 << 10..1 << 20;

/// A FAT with fewer clusters is no FAT32.
const MIN_FAT32_CLUSTERS: u64 = 65_525;

/// Smaller file systems are of no use, and at some size the tools refuse.
const MIN_LEN: u64 = 8 << 20;

/// What is put on a new drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// NTFS, what Windows uses for built-in drives
    Ntfs,
    /// exFAT, for sticks and cards of any size
    #[value(name = "exfat")]
    ExFat,
    /// FAT32, for devices that know nothing else; no file of 4 GiB or more
    Fat32,
    /// Nothing: what is on the drive reads as noise until something is written
    None,
}

impl Kind {
    /// Returns the program that makes it and the package it is in.
    fn tool(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ntfs => Some(("mkntfs", "ntfs-3g")),
            Self::ExFat => Some(("mkfs.exfat", "exfatprogs")),
            Self::Fat32 => Some(("mkfs.fat", "dosfstools")),
            Self::None => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ntfs => "NTFS",
            Self::ExFat => "exFAT",
            Self::Fat32 => "FAT32",
            Self::None => "no file system",
        }
    }

    /// Returns a cluster size that keeps what is written at once to a few MiB, and is one that Windows uses.
    fn cluster(self, len_bytes: u64) -> u64 {
        let at_least = |clusters_shift: u32| (len_bytes >> clusters_shift).next_power_of_two();
        match self {
            // A bit for each cluster: at most 8 MiB.
            Self::Ntfs => at_least(26).clamp(4 << 10, 64 << 10),
            // Four bytes for each: at most 8 MiB.
            Self::ExFat => {
                let usual = match len_bytes >> 20 {
                    0..=256 => 4 << 10,
                    257..=32_768 => 32 << 10,
                    _ => 128 << 10,
                };
                at_least(21).clamp(usual, 32 << 20)
            }
            Self::Fat32 => match len_bytes >> 20 {
                0..64 => 512,
                64..128 => 1 << 10,
                128..256 => 2 << 10,
                256..8_192 => 4 << 10,
                8_192..16_384 => 8 << 10,
                16_384..32_768 => 16 << 10,
                _ => 32 << 10,
            },
            Self::None => 4 << 10,
        }
    }
}

/// A file system that fits beside what BitLocker keeps.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) kind: Kind,
    /// What BitLocker keeps for itself.
    pub(super) placement: Placement,
    /// Where the file system ends, in bytes.
    pub(super) len_bytes: u64,
    volume_len: u64,
    /// The size of its clusters, as far as a boot sector of BitLocker can give it.
    pub(super) cluster: u32,
    cluster_len: u64,
    sector_size: SectorSize,
    hidden_sectors: u32,
    label: Option<String>,
    tool: Option<PathBuf>,
}

impl Plan {
    /// Fits a file system into a volume of `volume_len` bytes, and finds the tool that makes it.
    pub(super) fn new(
        kind: Kind,
        volume_len: u64,
        sector_size: SectorSize,
        hidden_sectors: u32,
        label: Option<String>,
    ) -> Result<Self, CliError> {
        if let Some(label) = &label {
            check_label(kind, label)?;
        }
        let mut cluster_len = kind.cluster(volume_len).max(sector_size.bytes_u64());
        let boot_cluster = |len: u64| u32::try_from(len.min(64 << 10)).unwrap_or(64 << 10);
        let too_small = |least: u64| {
            let least = HumanBytes(least);
            CliError::could_not(format!(
                "{} is too small for a drive with {}: it takes {least} at least",
                HumanBytes(volume_len),
                kind.name()
            ))
        };
        let placement = |cluster: u64| {
            let cluster = boot_cluster(cluster);
            match kind {
                Kind::None => {
                    Placement::new(volume_len, sector_size, cluster).map(|placement| (placement, volume_len))
                }
                Kind::Ntfs => Placement::outside(volume_len, sector_size, cluster, 0..0),
                Kind::ExFat | Kind::Fat32 => Placement::outside(volume_len, sector_size, cluster, GAP),
            }
            .map_err(|error| match kind {
                Kind::None => CliError::could_not("the drive cannot be made").because(&error),
                _ => too_small(MIN_LEN),
            })
        };
        if kind != Kind::None && volume_len < MIN_LEN {
            return Err(too_small(MIN_LEN));
        }
        let (mut places, len_bytes) = placement(cluster_len)?;
        if kind == Kind::Fat32 {
            cluster_len =
                fat32_cluster(len_bytes, cluster_len, sector_size.bytes_u64()).ok_or_else(|| {
                    too_small((MIN_FAT32_CLUSTERS + 1024) * sector_size.bytes_u64() + (3 << 20))
                })?;
            if len_bytes / sector_size.bytes_u64() > u64::from(u32::MAX) {
                return Err(CliError::could_not(format!(
                    "{} is too large for FAT32, which counts 4294967295 sectors",
                    HumanBytes(volume_len)
                ))
                .hint("`--fs exfat` is read by everything that is sold today"));
            }
            places = placement(cluster_len)?.0;
        }
        Ok(Self {
            kind,
            placement: places,
            len_bytes,
            volume_len,
            cluster: boot_cluster(cluster_len),
            cluster_len,
            sector_size,
            hidden_sectors,
            label,
            tool: kind
                .tool()
                .map(|(tool, package)| find(tool, package))
                .transpose()?,
        })
    }

    /// Makes the file system, in a file that is gone when it is dropped; `None` where there is to be none.
    pub(super) fn make(&self) -> Result<Option<Image>, CliError> {
        let Some(tool) = &self.tool else { return Ok(None) };
        let failed = |error: &io::Error| {
            CliError::could_not("cannot make a temporary file for the file system")
                .because(error)
                .hint("`TMPDIR` names another folder for it")
        };
        let file = tempfile::Builder::new()
            .prefix("keyhaven-")
            .tempfile()
            .map_err(|error| failed(&error))?;
        file.as_file()
            .set_len(self.len_bytes)
            .map_err(|error| failed(&error))?;
        let output = Command::new(tool)
            .args(self.arguments())
            .arg(file.path())
            .env("LC_ALL", "C.UTF-8")
            .output()
            .map_err(|error| {
                CliError::could_not(format!("cannot run `{}`", tool.display())).because(&error)
            })?;
        let could_not =
            || CliError::could_not(format!("`{}` could not make the file system", tool.display()));
        if !output.status.success() {
            let said = [output.stderr, output.stdout].concat();
            let said = String::from_utf8_lossy(&said);
            let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
            let mut error = could_not();
            // The reason is near the end.
            for line in lines.rev().take(3).collect::<Vec<_>>().into_iter().rev() {
                error = error.hint(format!("it said: {line}"));
            }
            return Err(error);
        }
        if self.kind == Kind::ExFat && self.sector_size != SectorSize::B512 {
            let image =
                keyhaven_disk::open_writable(file.path()).map_err(|error| could_not().because(&error))?;
            exfat::restate(&*image, self.sector_size.bytes()).map_err(|error| could_not().because(&error))?;
        }
        if self.kind == Kind::Ntfs {
            self.put_backup_at_end(&file)
                .map_err(|error| could_not().because(&error))?;
        }
        let device = keyhaven_disk::open(file.path()).map_err(|error| could_not().because(&error))?;
        self.check(&device)?;
        Ok(Some(Image { device, _file: file }))
    }

    /// Puts a copy of NTFS' boot sector where Windows looks for it: in the last sector of the volume, wherever the file
    /// system ends.
    fn put_backup_at_end(&self, image: &NamedTempFile) -> io::Result<()> {
        image.as_file().set_len(self.volume_len)?;
        let image = keyhaven_disk::open_writable(image.path()).map_err(io::Error::other)?;
        let mut boot = vec![0; self.sector_size.bytes()];
        image.read_at(0, &mut boot).map_err(io::Error::other)?;
        image
            .write_at(self.volume_len - boot.len() as u64, &boot)
            .map_err(io::Error::other)
    }

    fn arguments(&self) -> Vec<OsString> {
        let sector = self.sector_size.bytes_u64();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut give = |option: &str, value: String| arguments.extend([option.into(), value.into()]);
        match self.kind {
            Kind::Ntfs => {
                give("--sector-size", sector.to_string());
                give("--cluster-size", self.cluster_len.to_string());
                give("--partition-start", self.hidden_sectors.to_string());
                give("--sectors-per-track", "63".to_owned());
                give("--heads", "255".to_owned());
                if let Some(label) = &self.label {
                    give("--label", label.clone());
                }
                // It takes a file for a mistake unless it is forced.
                arguments.extend(["--fast", "--force", "--quiet"].map(OsString::from));
            }
            Kind::ExFat => {
                give("--cluster-size", self.cluster_len.to_string());
                give("--boundary-align", GAP.end.to_string());
                if let Some(label) = &self.label {
                    give("--volume-label", label.clone());
                }
            }
            Kind::Fat32 => {
                give("-F", "32".to_owned());
                give("-S", sector.to_string());
                give("-s", (self.cluster_len / sector).to_string());
                give("-R", (GAP.end / sector).to_string());
                give("-h", self.hidden_sectors.to_string());
                if let Some(label) = &self.label {
                    give("-n", label.to_uppercase());
                }
            }
            Kind::None => {}
        }
        arguments
    }

    /// Makes sure that the tool left out what it was to leave out: all rests on it.
    fn check(&self, image: &Device) -> Result<(), CliError> {
        let wrong = |what: &str| {
            CliError::could_not(format!(
                "the file system that was made does not fit beside what BitLocker keeps: {what}"
            ))
            .hint("please report it, with the version of the tool that makes it")
        };
        let mut boot = [0; 512];
        image
            .read_at(0, &mut boot)
            .map_err(|error| wrong("it cannot be read").because(&error))?;
        let field = |range: Range<usize>| {
            boot.get(range)
                .unwrap_or_default()
                .iter()
                .rev()
                .fold(0u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let (sector_len, first, end, name) = match self.kind {
            Kind::ExFat => (
                1 << field(108..109).min(12),
                field(80..84),
                field(72..80),
                &b"EXFAT   "[..],
            ),
            Kind::Fat32 => (field(11..13), field(14..16), field(32..36), &b"mkfs.fat"[..]),
            // Its backup boot sector is behind what it counts.
            _ => (
                field(11..13),
                0,
                field(40..48).saturating_add(1),
                &b"NTFS    "[..],
            ),
        };
        let bytes = |sectors: u64| sectors.saturating_mul(sector_len);
        if boot.get(3..11) != Some(name) {
            return Err(wrong("it is none of the kind"));
        }
        if sector_len != self.sector_size.bytes_u64() {
            return Err(wrong("it has sectors of another size"));
        }
        if self.kind != Kind::Ntfs && bytes(first) < GAP.end {
            return Err(wrong("it begins too early"));
        }
        if end == 0 || bytes(end) > self.len_bytes {
            return Err(wrong("it ends too late"));
        }
        Ok(())
    }
}

/// The image of a file system, sparse.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) device: Device,
    /// Held, because it takes the file with it.
    _file: NamedTempFile,
}

/// Halves the clusters until there are enough of them.
fn fat32_cluster(len_bytes: u64, wanted: u64, sector: u64) -> Option<u64> {
    let mut cluster = wanted;
    loop {
        let clusters = len_bytes.checked_sub(GAP.end)? / cluster;
        // Two tables with four bytes for each cluster, and what aligning them takes.
        let tables = (clusters * 8).div_ceil(cluster) + 4;
        if clusters.checked_sub(tables)? >= MIN_FAT32_CLUSTERS {
            return Some(cluster);
        }
        if cluster <= sector {
            return None;
        }
        cluster /= 2;
    }
}

fn check_label(kind: Kind, label: &str) -> Result<(), CliError> {
    let (longest, len) = match kind {
        Kind::Ntfs | Kind::None => (32, label.encode_utf16().count()),
        Kind::ExFat => (11, label.encode_utf16().count()),
        Kind::Fat32 => (11, label.len()),
    };
    let name = kind.name();
    if len > longest {
        return Err(CliError::could_not(format!(
            "the label is too long for {name}: it has {len} characters, and there is room for {longest}"
        )));
    }
    let is_bad = |sign: char| {
        sign.is_control()
            || (kind == Kind::Fat32 && (!sign.is_ascii() || r#""*+,./:;<=>?[\]|"#.contains(sign)))
    };
    match label.chars().find(|sign| is_bad(*sign)) {
        Some(sign) => Err(CliError::could_not(format!(
            "the label has {sign:?}, which cannot be in the label of {name}"
        ))),
        None if label.trim().is_empty() => Err(CliError::could_not("the label is empty")),
        None => Ok(()),
    }
}

/// Finds a program; where only root has its folder in `PATH`, there too.
fn find(tool: &str, package: &str) -> Result<PathBuf, CliError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect();
    let is_program = |candidate: &PathBuf| File::open(candidate).is_ok() && candidate.is_file();
    let beside = folders.iter().filter_map(|folder| {
        let is_bin = folder.file_name().is_some_and(|name| name == "bin");
        is_bin.then(|| folder.with_file_name("sbin"))
    });
    folders
        .iter()
        .cloned()
        .chain(beside)
        .map(|folder: PathBuf| Path::join(&folder, tool))
        .find(is_program)
        .ok_or_else(|| {
            CliError::could_not(format!(
                "`{tool}` is needed to make the file system, and is not here"
            ))
            .hint(format!("install the package {package}"))
            .hint("`--fs none` makes the drive without a file system")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_ends_before_what_is_behind_it() {
        for (kind, len) in [
            (Kind::Ntfs, 1 << 40),
            (Kind::Ntfs, MIN_LEN),
            (Kind::ExFat, 1 << 40),
            (Kind::Fat32, 64 << 20),
            (Kind::Fat32, 1 << 40),
        ] {
            let Ok(plan) = Plan::new(kind, len, SectorSize::B512, 0, None) else {
                eprintln!("SKIPPED: no tool for {kind:?}");
                continue;
            };
            for range in plan.placement.reserved() {
                assert!(range.start >= plan.len_bytes || (GAP.start <= range.start && range.end <= GAP.end));
            }
            assert!(kind == Kind::Fat32 || len / plan.cluster_len <= 1 << 26);
        }
        let refused = |kind, len, sector| Plan::new(kind, len, sector, 0, None).is_err();
        assert!(refused(Kind::Ntfs, MIN_LEN - 1, SectorSize::B512));
        assert!(refused(Kind::Fat32, 32 << 20, SectorSize::B512));
        assert!(refused(Kind::Fat32, 256 << 20, SectorSize::B4096));
        assert!(refused(Kind::Fat32, 4 << 40, SectorSize::B512));
        assert!(refused(Kind::None, 40 << 20, SectorSize::B512));
    }

    #[test]
    fn clusters_are_halved_until_it_is_fat32() {
        assert_eq!(fat32_cluster(63 << 20, 1024, 512), Some(512));
        assert_eq!(fat32_cluster(30 << 20, 512, 512), None);
        assert_eq!(fat32_cluster(300 << 20, 4096, 4096), Some(4096));
        assert_eq!(fat32_cluster(255 << 20, 4096, 4096), None);
        assert_eq!(fat32_cluster(0, 512, 512), None);
    }

    #[test]
    fn labels_are_those_that_fit() {
        assert!(check_label(Kind::Ntfs, "Fotos für später").is_ok());
        assert!(check_label(Kind::Fat32, "BACKUP 2026").is_ok());
        assert!(check_label(Kind::ExFat, "zwölf Zeich.").is_err());
        for label in ["Fotos für", "A/B", "TWELVE CHARS", " ", "a\u{7}b"] {
            assert!(check_label(Kind::Fat32, label).is_err(), "{label:?}");
        }
    }
}
