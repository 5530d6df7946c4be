//! What is on a device, named for messages.
//!
//! [`identify`] recognises file systems, encrypted volumes, images of virtual disks, archives and documents by
//! their signatures, so that a refusal can say what was found instead. It is a guess good enough for a sentence,
//! not a check that the content is sound: whoever looks for a format of their own looks before asking here. It
//! reads little more than 1 MiB and never fails: a device that ends early or cannot be read is an answer too.
//!
//! Sources: the magic file of file(1) and the probes of libblkid for where signatures lie, the specifications of
//! the formats for what the fields say.

use std::fmt;

use crate::device::Device;
use crate::partition::{self, BootSector, FatKind};

/// Too short to be a volume of any kind, in bytes.
const SECTOR_LEN: usize = 512;

/// How much of the start is looked at to call a device empty, in bytes.
const ZEROS_LEN: u64 = 1 << 20;

/// How much is read at once, and how much decides between text and noise, in bytes.
const SAMPLE_LEN: usize = 64 * 1024;

/// A file larger than this is not called a text, in bytes.
const TEXT_LEN_MAX: u64 = 1 << 20;

/// Names what is on a device.
///
/// Returns [`Content::Unknown`] or [`Content::Random`] where no signature is known; never an error.
#[must_use]
pub fn identify(device: &Device) -> Content {
    let probe = Probe { device };
    let len_bytes = device.len_bytes();
    if len_bytes == 0 {
        return Content::TooShort { len_bytes };
    }
    let Some(start) = probe.sample(0, SAMPLE_LEN) else {
        return Content::Unreadable;
    };
    if let Some(content) = by_structure(&probe, &start).or_else(|| by_signature(&probe)) {
        return content;
    }
    if is_text(&start, len_bytes) {
        return Content::Text;
    }
    if len_bytes < SECTOR_LEN as u64 {
        return Content::TooShort { len_bytes };
    }
    if start.iter().all(|byte| *byte == 0) {
        // File systems that keep away from the start were looked for above.
        return if probe.starts_with_zeros() {
            Content::Zeros
        } else {
            Content::Unknown
        };
    }
    if looks_random(&start) {
        Content::Random
    } else {
        Content::Unknown
    }
}

/// What is on a device, as far as its signatures tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// NTFS.
    Ntfs,
    /// exFAT.
    ExFat,
    /// FAT with 12-bit entries.
    Fat12,
    /// FAT with 16-bit entries.
    Fat16,
    /// FAT with 32-bit entries.
    Fat32,
    /// ReFS.
    ReFs,
    /// Linux ext2.
    Ext2,
    /// Linux ext3.
    Ext3,
    /// Linux ext4.
    Ext4,
    /// Linux btrfs.
    Btrfs,
    /// XFS.
    Xfs,
    /// F2FS.
    F2fs,
    /// ZFS, a member of a pool.
    Zfs,
    /// Apple APFS, a container.
    Apfs,
    /// Apple HFS+ or HFSX.
    HfsPlus,
    /// The file system of a CD.
    Iso9660,
    /// The file system of a DVD.
    Udf,
    /// A compressed read-only file system.
    Squashfs,
    /// A volume encrypted with LUKS 1.
    Luks1,
    /// A volume encrypted with LUKS 2.
    Luks2,
    /// Linux swap space.
    Swap,
    /// A physical volume of Linux LVM.
    LvmPhysicalVolume,
    /// A member of a Linux software RAID.
    MdRaid,
    /// A whole disk with partitions.
    PartitionedDisk,
    /// A virtual disk of Hyper-V or Virtual PC (VHD).
    Vhd,
    /// A virtual disk of Hyper-V (VHDX).
    Vhdx,
    /// A virtual disk of QEMU.
    Qcow2,
    /// A virtual disk of VMware.
    Vmdk,
    /// The text file that describes a virtual disk of VMware, whose data is in other files.
    VmdkDescriptor,
    /// A virtual disk of VirtualBox.
    Vdi,
    /// A disk image of macOS.
    Dmg,
    /// A forensic image of EnCase (E01).
    Ewf,
    /// A forensic image of EnCase 7 (Ex01).
    Ewf2,
    /// A forensic image in the Advanced Forensic Format.
    Aff,
    /// A Windows installation image.
    Wim,
    /// A file compressed with gzip.
    Gzip,
    /// A file compressed with xz.
    Xz,
    /// A file compressed with bzip2.
    Bzip2,
    /// A file compressed with Zstandard.
    Zstd,
    /// A ZIP archive, or a document built on one.
    Zip,
    /// A 7-Zip archive.
    SevenZip,
    /// A RAR archive.
    Rar,
    /// A tar archive.
    Tar,
    /// A file encrypted with age.
    Age,
    /// A PDF document.
    Pdf,
    /// A PNG picture.
    Png,
    /// A JPEG picture.
    Jpeg,
    /// A text file.
    Text,
    /// Nothing but zeros in the first MiB.
    Zeros,
    /// Bytes without a pattern: encrypted or compressed by something that leaves no signature.
    Random,
    /// Data that no signature here names.
    Unknown,
    /// Too short to be anything.
    TooShort {
        /// How long it is.
        len_bytes: u64,
    },
    /// The beginning cannot be read.
    Unreadable,
}

/// Writes what it is so that it fits behind "this is": "an NTFS file system (not encrypted)".
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ntfs => "an NTFS file system (not encrypted)",
            Self::ExFat => "an exFAT file system (not encrypted)",
            Self::Fat12 => "a FAT12 file system (not encrypted)",
            Self::Fat16 => "a FAT16 file system (not encrypted)",
            Self::Fat32 => "a FAT32 file system (not encrypted)",
            Self::ReFs => "a ReFS file system (not encrypted)",
            Self::Ext2 => "an ext2 file system (Linux)",
            Self::Ext3 => "an ext3 file system (Linux)",
            Self::Ext4 => "an ext4 file system (Linux)",
            Self::Btrfs => "a btrfs file system (Linux)",
            Self::Xfs => "an XFS file system (Linux)",
            Self::F2fs => "an F2FS file system (Linux)",
            Self::Zfs => "a member of a ZFS pool",
            Self::Apfs => "an APFS container (Apple)",
            Self::HfsPlus => "an HFS+ file system (Apple)",
            Self::Iso9660 => "the image of a CD (ISO 9660)",
            Self::Udf => "the image of a DVD (UDF)",
            Self::Squashfs => "a squashfs file system (Linux)",
            Self::Luks1 => "a LUKS1 encrypted volume (Linux)",
            Self::Luks2 => "a LUKS2 encrypted volume (Linux)",
            Self::Swap => "swap space (Linux)",
            Self::LvmPhysicalVolume => "a physical volume of LVM (Linux)",
            Self::MdRaid => "a member of a software RAID (Linux)",
            Self::PartitionedDisk => "a whole disk with a partition table",
            Self::Vhd => "a virtual disk (VHD): convert it to a raw image first",
            Self::Vhdx => "a virtual disk (VHDX): convert it to a raw image first",
            Self::Qcow2 => "a virtual disk (QCOW2): convert it to a raw image first",
            Self::Vmdk => "a virtual disk (VMDK): convert it to a raw image first",
            Self::VmdkDescriptor => "the description of a virtual disk (VMDK), whose data is in other files",
            Self::Vdi => "a virtual disk (VDI): convert it to a raw image first",
            Self::Dmg => "a disk image of macOS (DMG): convert it to a raw image first",
            Self::Ewf => "a forensic image (EWF, E01): convert it to a raw image first",
            Self::Ewf2 => "a forensic image (EWF2, Ex01): convert it to a raw image first",
            Self::Aff => "a forensic image (AFF): convert it to a raw image first",
            Self::Wim => "a Windows installation image (WIM)",
            Self::Gzip => "a compressed file (gzip): unpack it first",
            Self::Xz => "a compressed file (xz): unpack it first",
            Self::Bzip2 => "a compressed file (bzip2): unpack it first",
            Self::Zstd => "a compressed file (zstd): unpack it first",
            Self::Zip => "an archive (zip): unpack it first",
            Self::SevenZip => "an archive (7z): unpack it first",
            Self::Rar => "an archive (rar): unpack it first",
            Self::Tar => "an archive (tar): unpack it first",
            Self::Age => "an encrypted file (age)",
            Self::Pdf => "a PDF document",
            Self::Png => "a picture (PNG)",
            Self::Jpeg => "a picture (JPEG)",
            Self::Text => "a text file",
            Self::Zeros => "empty: nothing but zeros at its start",
            Self::Random => "bytes without any pattern: encrypted in another way, or overwritten",
            Self::Unknown => "data of an unknown kind",
            Self::TooShort { len_bytes } => return write!(f, "too short to be a drive ({len_bytes} bytes)"),
            Self::Unreadable => "unreadable from its first byte on",
        })
    }
}

/// Where a signature lies.
enum At {
    Start(u64),
    /// Counted back from the end.
    End(u64),
}

/// Signatures that say enough by themselves, in the order in which they are tried: those that begin a file, then
/// those inside file systems, then those that outlive what they once described.
const SIGNATURES: &[(At, &[u8], Content)] = &[
    (At::Start(0), b"vhdxfile", Content::Vhdx),
    (At::Start(0), b"conectix", Content::Vhd),
    (At::Start(0), b"QFI\xFB", Content::Qcow2),
    (At::Start(0), b"KDMV", Content::Vmdk),
    (At::Start(0), b"COWD", Content::Vmdk),
    (At::Start(0), b"# Disk DescriptorFile", Content::VmdkDescriptor),
    (At::Start(64), b"\x7F\x10\xDA\xBE", Content::Vdi),
    (At::Start(0), b"EVF\x09\x0D\x0A\xFF\x00", Content::Ewf),
    (At::Start(0), b"EVF2\x0D\x0A\x81\x00", Content::Ewf2),
    (At::Start(0), b"AFF10\x0D\x0A\x00", Content::Aff),
    (At::Start(0), b"MSWIM\0\0\0", Content::Wim),
    (At::Start(0), b"\xFD7zXZ\0", Content::Xz),
    (At::Start(0), b"\x1F\x8B\x08", Content::Gzip),
    (At::Start(0), b"\x28\xB5\x2F\xFD", Content::Zstd),
    (At::Start(4), b"1AY&SY", Content::Bzip2),
    (At::Start(0), b"PK\x03\x04", Content::Zip),
    (At::Start(0), b"PK\x05\x06", Content::Zip),
    (At::Start(0), b"7z\xBC\xAF\x27\x1C", Content::SevenZip),
    (At::Start(0), b"Rar!\x1A\x07", Content::Rar),
    (At::Start(257), b"ustar", Content::Tar),
    (At::Start(0), b"age-encryption.org/v1", Content::Age),
    (At::Start(0), b"-----BEGIN AGE ENCRYPTED FILE-----", Content::Age),
    (At::Start(0), b"%PDF-", Content::Pdf),
    (At::Start(0), b"\x89PNG\r\n\x1A\n", Content::Png),
    (At::Start(0), b"\xFF\xD8\xFF", Content::Jpeg),
    (At::Start(0), b"XFSB", Content::Xfs),
    (At::Start(0), b"hsqs", Content::Squashfs),
    (At::Start(32), b"NXSB", Content::Apfs),
    (At::Start(0x1_0040), b"_BHRfS_M", Content::Btrfs),
    (At::Start(1024), b"\x10\x20\xF5\xF2", Content::F2fs),
    (At::Start(1024), b"H+\x00\x04", Content::HfsPlus),
    (At::Start(1024), b"HX\x00\x05", Content::HfsPlus),
    (At::Start(0x8001), b"CD001", Content::Iso9660),
    (At::Start(0x8001), b"BEA01", Content::Udf),
    // At the end of the first page, whose size depends on the machine.
    (At::Start(4096 - 10), b"SWAPSPACE2", Content::Swap),
    (At::Start(8192 - 10), b"SWAPSPACE2", Content::Swap),
    (At::Start(16384 - 10), b"SWAPSPACE2", Content::Swap),
    (At::Start(65536 - 10), b"SWAPSPACE2", Content::Swap),
    // RAID superblocks 1.1 and 1.2.
    (At::Start(0), b"\xFC\x4E\x2B\xA9\x01\0\0\0", Content::MdRaid),
    (At::Start(4096), b"\xFC\x4E\x2B\xA9\x01\0\0\0", Content::MdRaid),
    // A VHD of fixed size is a raw image with this behind it; older writers left the last byte out.
    (At::End(512), b"conectix", Content::Vhd),
    (At::End(511), b"conectix", Content::Vhd),
    (At::End(512), b"koly", Content::Dmg),
];

fn by_signature(probe: &Probe<'_>) -> Option<Content> {
    let len = probe.device.len_bytes();
    let found = SIGNATURES.iter().find(|(at, magic, _)| {
        let offset = match at {
            At::Start(offset) => Some(*offset),
            At::End(before) => len.checked_sub(*before),
        };
        offset.is_some_and(|offset| probe.has(offset, magic))
    });
    found
        .map(|(_, _, content)| *content)
        .or_else(|| raid_at_the_end(probe))
        .or_else(|| zfs(probe))
}

/// Recognises what takes more than a signature, from the start of the device.
fn by_structure(probe: &Probe<'_>, start: &[u8]) -> Option<Content> {
    luks(start)
        .or_else(|| fixed_vhd(probe))
        .or_else(|| boot_sector(start))
        .or_else(|| ext(start))
        .or_else(|| lvm(start))
}

fn luks(start: &[u8]) -> Option<Content> {
    if !start.starts_with(b"LUKS\xBA\xBE") {
        return None;
    }
    match start.get(6..8)? {
        [0, 1] => Some(Content::Luks1),
        _ => Some(Content::Luks2),
    }
}

/// Before the boot sector, because a VHD of fixed size begins with the disk inside it.
fn fixed_vhd(probe: &Probe<'_>) -> Option<Content> {
    let footer = probe.device.len_bytes().checked_sub(512)?;
    probe.has(footer, b"conectix").then_some(Content::Vhd)
}

fn boot_sector(start: &[u8]) -> Option<Content> {
    let sector: &[u8; SECTOR_LEN] = start.first_chunk()?;
    match BootSector::parse(sector) {
        Some(BootSector::Ntfs) => Some(Content::Ntfs),
        Some(BootSector::ExFat) => Some(Content::ExFat),
        Some(BootSector::ReFs) => Some(Content::ReFs),
        Some(BootSector::Fat(FatKind::Fat12)) => Some(Content::Fat12),
        Some(BootSector::Fat(FatKind::Fat16)) => Some(Content::Fat16),
        Some(BootSector::Fat(FatKind::Fat32)) => Some(Content::Fat32),
        Some(BootSector::Other) => Some(Content::Unknown),
        // The image of a CD that also starts from a USB stick has a partition table as well.
        None if partition::is_table(sector) && start.get(0x8001..0x8006) == Some(b"CD001".as_slice()) => {
            Some(Content::Iso9660)
        }
        None if partition::is_table(sector) => Some(Content::PartitionedDisk),
        None => None,
    }
}

/// Tells the three apart by the features that the later ones brought.
fn ext(start: &[u8]) -> Option<Content> {
    const SUPERBLOCK: usize = 1024;
    const HAS_JOURNAL: u32 = 0x4;
    /// Extents, 64-bit block numbers, multiple mount protection, flexible groups and what came later.
    const EXT4_INCOMPATIBLE: u32 = !0x3F;
    /// Huge files, group checksums, many links, large inodes and what came later.
    const EXT4_READ_ONLY: u32 = !0x7;

    let double = |offset: usize| {
        let bytes = start.get(SUPERBLOCK + offset..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    if start.get(SUPERBLOCK + 0x38..SUPERBLOCK + 0x3A)? != [0x53, 0xEF] {
        return None;
    }
    Some(
        if double(0x60)? & EXT4_INCOMPATIBLE != 0 || double(0x64)? & EXT4_READ_ONLY != 0 {
            Content::Ext4
        } else if double(0x5C)? & HAS_JOURNAL != 0 {
            Content::Ext3
        } else {
            Content::Ext2
        },
    )
}

/// The label may be in any of the first four sectors.
fn lvm(start: &[u8]) -> Option<Content> {
    let mut sectors = start.chunks_exact(SECTOR_LEN).take(4);
    let labelled =
        |sector: &[u8]| sector.starts_with(b"LABELONE") && sector.get(24..32) == Some(b"LVM2 001".as_slice());
    sectors.any(labelled).then_some(Content::LvmPhysicalVolume)
}

/// RAID superblocks 1.0 and 0.90 lie near the end, at a place that is a multiple of 4 and of 64 KiB.
fn raid_at_the_end(probe: &Probe<'_>) -> Option<Content> {
    let len = probe.device.len_bytes();
    let version_1_0 = (len / 512).checked_sub(16).map(|sector| sector / 8 * 8 * 512);
    let version_0_90 = (len / 0x1_0000).checked_sub(1).map(|block| block * 0x1_0000);
    let found = version_1_0.is_some_and(|at| probe.has(at, b"\xFC\x4E\x2B\xA9\x01\0\0\0"))
        || version_0_90.is_some_and(|at| probe.has(at, b"\xFC\x4E\x2B\xA9\0\0\0\0"));
    found.then_some(Content::MdRaid)
}

/// A label of ZFS holds a ring of 128 uberblocks, of which some are in use.
fn zfs(probe: &Probe<'_>) -> Option<Content> {
    const RING: u64 = 128 * 1024;
    const MAGIC: u64 = 0x00BA_B10C;
    let ring = probe.read(RING, 128 * 1024)?;
    let in_use = |block: &&[u8]| {
        let magic = block.first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(magic) == MAGIC || u64::from_be_bytes(magic) == MAGIC
    };
    // One could be chance or a leftover.
    (ring.chunks_exact(1024).filter(in_use).count() >= 2).then_some(Content::Zfs)
}

/// Printable text in UTF-8, or in UTF-16 with its byte order mark.
fn is_text(start: &[u8], len_bytes: u64) -> bool {
    if len_bytes > TEXT_LEN_MAX {
        return false;
    }
    let printable =
        |character: char| !character.is_control() || matches!(character, '\t' | '\n' | '\r' | '\u{c}');
    match start {
        [0xFF, 0xFE, rest @ ..] => {
            utf16(rest, u16::from_le_bytes).all(|decoded| decoded.is_some_and(printable))
        }
        [0xFE, 0xFF, rest @ ..] => {
            utf16(rest, u16::from_be_bytes).all(|decoded| decoded.is_some_and(printable))
        }
        _ => match std::str::from_utf8(start) {
            Ok(text) => text.chars().all(printable),
            // A character cut in two by the end of the sample is no fault.
            Err(error) if error.error_len().is_none() => {
                let valid = start.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(valid).is_ok_and(|text| !text.is_empty() && text.chars().all(printable))
            }
            Err(_) => false,
        },
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> impl Iterator<Item = Option<char>> {
    let units = bytes
        .chunks_exact(2)
        .filter_map(move |pair| pair.first_chunk().map(|pair| unit(*pair)));
    char::decode_utf16(units).map(Result::ok)
}

/// Whether all byte values are about as frequent as chance would have them (a chi-squared test).
fn looks_random(sample: &[u8]) -> bool {
    // Fewer bytes say too little.
    if sample.len() < 4096 {
        return false;
    }
    let mut counts = [0u32; 256];
    for byte in sample {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let expected = sample.len() as f64 / 256.0;
    let chi_squared: f64 = counts
        .iter()
        .map(|count| (f64::from(*count) - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: the mean is 255, the deviation 22.6; noise does not leave six deviations.
    (255.0 - 6.0 * 22.6..255.0 + 6.0 * 22.6).contains(&chi_squared)
}

/// Reads that have no errors: what cannot be read is not there.
struct Probe<'a> {
    device: &'a Device,
}

impl Probe<'_> {
    fn read(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len as u64)?;
        if end > self.device.len_bytes() {
            return None;
        }
        let mut bytes = vec![0; len];
        self.device.read_at(offset, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Reads up to `len` bytes, fewer where the device ends or fails; `None` if not a sector can be read.
    fn sample(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        let there = self.device.len_bytes().saturating_sub(offset);
        let len = usize::try_from(there).unwrap_or(usize::MAX).min(len);
        self.read(offset, len)
            .or_else(|| self.read(offset, len.min(4096)))
            .or_else(|| self.read(offset, len.min(SECTOR_LEN)))
    }

    fn has(&self, offset: u64, magic: &[u8]) -> bool {
        self.read(offset, magic.len()).is_some_and(|bytes| bytes == magic)
    }

    fn starts_with_zeros(&self) -> bool {
        let end = self.device.len_bytes().min(ZEROS_LEN);
        let mut offset = 0;
        while offset < end {
            let len = usize::try_from(end - offset)
                .unwrap_or(SAMPLE_LEN)
                .min(SAMPLE_LEN);
            match self.read(offset, len) {
                Some(bytes) if bytes.iter().all(|byte| *byte == 0) => offset += len as u64,
                _ => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{BlockDevice, ReadError, View};

    fn content_of(bytes: Vec<u8>) -> Content {
        identify(&(Arc::new(bytes) as Device))
    }

    /// An image of `len` bytes, zeros but for the bytes given.
    fn image(len: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut image = vec![0; len];
        for (offset, bytes) in parts {
            image[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        image
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x2545_F491_4F6C_DD1Du64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn every_signature_of_the_list_is_found_where_it_lies() {
        const LEN: usize = 300_000;
        for (at, magic, expected) in SIGNATURES {
            let offset = match at {
                At::Start(offset) => *offset as usize,
                At::End(before) => LEN - *before as usize,
            };
            assert_eq!(
                content_of(image(LEN, &[(offset, magic)])),
                *expected,
                "{expected:?} at {offset}"
            );
        }
    }

    #[test]
    fn encrypted_volumes_of_linux_are_told_apart() {
        assert_eq!(
            content_of(image(4096, &[(0, b"LUKS\xBA\xBE\x00\x01")])),
            Content::Luks1
        );
        assert_eq!(
            content_of(image(4096, &[(0, b"LUKS\xBA\xBE\x00\x02")])),
            Content::Luks2
        );
    }

    #[test]
    fn the_exts_are_told_apart_by_their_features() {
        let ext = |features: [u32; 3]| {
            let [compatible, incompatible, read_only] = features.map(u32::to_le_bytes);
            content_of(image(
                8192,
                &[
                    (1024 + 0x38, b"\x53\xEF"),
                    (1024 + 0x5C, &compatible),
                    (1024 + 0x60, &incompatible),
                    (1024 + 0x64, &read_only),
                ],
            ))
        };
        assert_eq!(ext([0x38, 0x2, 0x3]), Content::Ext2);
        assert_eq!(ext([0x3C, 0x2, 0x3]), Content::Ext3);
        assert_eq!(ext([0x3C, 0x2C2, 0x46B]), Content::Ext4);
    }

    #[test]
    fn boot_sectors_are_told_apart() {
        let boot = |maker: &[u8]| {
            image(
                4096,
                &[
                    (0, b"\xEB\x52\x90"),
                    (3, maker),
                    (11, b"\x00\x02\x08"),
                    (21, b"\xF8"),
                    (510, b"\x55\xAA"),
                ],
            )
        };
        assert_eq!(content_of(boot(b"NTFS    ")), Content::Ntfs);
        assert_eq!(content_of(boot(b"EXFAT   ")), Content::ExFat);
        assert_eq!(content_of(boot(b"ReFS\0\0\0\0")), Content::ReFs);
        assert_eq!(content_of(boot(b"-ANY-FS-")), Content::Unknown);
    }

    #[test]
    fn disks_with_partitions_and_the_images_around_them_are_told_apart() {
        let entry = b"\x80\0\0\0\x07\0\0\0\x01\0\0\0\x01\0\0\0";
        let disk = image(100_000, &[(446, entry), (510, b"\x55\xAA")]);
        assert_eq!(content_of(disk.clone()), Content::PartitionedDisk);
        let mut vhd = disk.clone();
        vhd.extend(image(512, &[(0, b"conectix")]));
        assert_eq!(content_of(vhd), Content::Vhd);
        let mut hybrid = disk;
        hybrid[0x8001..0x8006].copy_from_slice(b"CD001");
        assert_eq!(content_of(hybrid), Content::Iso9660);
    }

    #[test]
    fn members_of_pools_are_known() {
        assert_eq!(
            content_of(image(4096, &[(512, b"LABELONE"), (536, b"LVM2 001")])),
            Content::LvmPhysicalVolume
        );
        let old = image(300_000, &[(3 * 65536, b"\xFC\x4E\x2B\xA9\0\0\0\0")]);
        assert_eq!(content_of(old), Content::MdRaid);
        let near_end = (300_000 / 512 - 16) / 8 * 8 * 512;
        assert_eq!(
            content_of(image(300_000, &[(near_end, b"\xFC\x4E\x2B\xA9\x01\0\0\0")])),
            Content::MdRaid
        );
        let uberblock = b"\x0C\xB1\xBA\0\0\0\0\0";
        let pool = [(131_072, &uberblock[..]), (131_072 + 5 * 1024, uberblock)];
        assert_eq!(content_of(image(300_000, &pool)), Content::Zfs);
    }

    #[test]
    fn texts_are_known_in_the_encodings_of_windows() {
        assert_eq!(
            content_of("Recovery key: déjà vu\r\n".as_bytes().to_vec()),
            Content::Text
        );
        let utf16: Vec<u8> = "\u{feff}Schlüssel\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(content_of(utf16), Content::Text);
        let long = "é".repeat(SAMPLE_LEN);
        assert_eq!(
            content_of(format!("a{long}").into_bytes()),
            Content::Text,
            "cut inside a character"
        );
        assert_eq!(
            content_of(b"\x01\x02text".to_vec()),
            Content::TooShort { len_bytes: 6 }
        );
        assert_eq!(
            content_of("a".repeat(2 << 20).into_bytes()),
            Content::Unknown,
            "too long for a text"
        );
    }

    #[test]
    fn empty_short_and_patternless_devices_are_answers() {
        assert_eq!(content_of(vec![]), Content::TooShort { len_bytes: 0 });
        assert_eq!(content_of(vec![0; 511]), Content::TooShort { len_bytes: 511 });
        assert_eq!(content_of(vec![0; 512]), Content::Zeros);
        assert_eq!(content_of(vec![0; 3 << 20]), Content::Zeros);
        assert_eq!(
            content_of(image(3 << 20, &[((1 << 20) - 1, b"x")])),
            Content::Unknown
        );
        assert_eq!(content_of(noise(100_000)), Content::Random);
        assert_eq!(content_of(vec![0x90; 100_000]), Content::Unknown);
    }

    #[test]
    fn a_medium_that_ends_or_fails_early_is_an_answer() {
        let cut_off = View::new(Arc::new(image(600, &[(0, b"LUKS\xBA\xBE\x00\x02")])), 0, 1 << 30);
        assert_eq!(identify(&(Arc::new(cut_off) as Device)), Content::Luks2);

        #[derive(Debug)]
        struct Dead;
        impl BlockDevice for Dead {
            fn len_bytes(&self) -> u64 {
                1 << 30
            }
            fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
                Err(ReadError::Io {
                    offset,
                    len_bytes: buf.len() as u64,
                    source: io::ErrorKind::Other.into(),
                })
            }
        }
        assert_eq!(identify(&(Arc::new(Dead) as Device)), Content::Unreadable);
    }

    #[test]
    fn the_words_fit_into_a_sentence() {
        assert_eq!(Content::Ntfs.to_string(), "an NTFS file system (not encrypted)");
        assert_eq!(Content::Xz.to_string(), "a compressed file (xz): unpack it first");
        assert_eq!(
            Content::TooShort { len_bytes: 3 }.to_string(),
            "too short to be a drive (3 bytes)"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert!(!content_of(bytes).to_string().is_empty());
        }

        #[test]
        fn any_signature_in_any_surroundings_is_safe(
            len in 0usize..140_000,
            fill in any::<u8>(),
            which in proptest::collection::vec((0..SIGNATURES.len(), any::<u8>(), 0usize..140_000), 0..4),
        ) {
            let mut bytes = vec![fill; len];
            for (signature, change, at) in which {
                let (place, magic, _) = &SIGNATURES[signature];
                let offset = match place {
                    At::Start(offset) => Some(*offset as usize),
                    At::End(before) => len.checked_sub(*before as usize),
                };
                if let Some(target) = offset.and_then(|start| bytes.get_mut(start..start + magic.len())) {
                    target.copy_from_slice(magic);
                }
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = change;
                }
            }
            prop_assert!(!content_of(bytes).to_string().is_empty());
        }
    }
}
