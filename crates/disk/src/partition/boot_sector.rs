//! The first sector of a file system in Microsoft's tradition: a jump, a maker's name, a parameter block.
//!
//! It ends in 55 AA as a master boot record does, which is why partition tables need to know it.
//!
//! Sources: Microsoft's FAT specification (fatgen103), sections 3.1 and 3.5; the exFAT specification, section 3.1.

/// What the parameter block of a boot sector says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BootSector {
    /// exFAT, which keeps the classic parameter block zero.
    ExFat,
    /// ReFS, which has no parameter block.
    ReFs,
    /// NTFS.
    Ntfs,
    /// One of the FATs, told apart by their number of clusters.
    Fat(FatKind),
    /// A parameter block of something else.
    Other,
}

/// Which FAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FatKind {
    /// Fewer than 4085 clusters.
    Fat12,
    /// Fewer than 65525 clusters.
    Fat16,
    /// More.
    Fat32,
}

impl BootSector {
    /// Reads a boot sector, `None` if the sector is not one of a file system.
    pub(crate) fn parse(sector: &[u8; 512]) -> Option<Self> {
        let maker: &[u8; 8] = array_at(sector, 3)?;
        match maker {
            b"EXFAT   " => return Some(Self::ExFat),
            b"ReFS\0\0\0\0" => return Some(Self::ReFs),
            _ => {}
        }
        if !begins_with_jump(sector) || !sector.ends_with(&[0x55, 0xAA]) {
            return None;
        }
        let block = ParameterBlock::parse(sector)?;
        Some(match (maker, block.fat_kind()) {
            (b"NTFS    ", _) => Self::Ntfs,
            (_, Some(kind)) => Self::Fat(kind),
            (_, None) => Self::Other,
        })
    }
}

fn begins_with_jump(sector: &[u8; 512]) -> bool {
    matches!(sector, [0xEB, _, 0x90, ..] | [0xE9, ..])
}

/// The part of the parameter block that all have, and what FAT adds to it.
struct ParameterBlock {
    bytes_per_sector: u16,
    sectors_per_cluster: u8,
    reserved_sectors: u16,
    fats: u8,
    root_entries: u16,
    sectors: u32,
    sectors_per_fat: u32,
}

impl ParameterBlock {
    /// Reads the block if it is plausible: boot code that happens to lie there is not.
    fn parse(sector: &[u8; 512]) -> Option<Self> {
        let byte = |offset: usize| sector.get(offset).copied();
        let word = |offset| array_at(sector, offset).map(|bytes| u16::from_le_bytes(*bytes));
        let double = |offset| array_at(sector, offset).map(|bytes| u32::from_le_bytes(*bytes));
        let either = |short: u16, long: u32| if short == 0 { long } else { u32::from(short) };

        let media = byte(21)?;
        let block = Self {
            bytes_per_sector: word(11)?,
            sectors_per_cluster: byte(13)?,
            reserved_sectors: word(14)?,
            fats: byte(16)?,
            root_entries: word(17)?,
            sectors: either(word(19)?, double(32)?),
            sectors_per_fat: either(word(22)?, double(36)?),
        };
        let plausible = matches!(block.bytes_per_sector, 512 | 1024 | 2048 | 4096)
            // NTFS writes clusters of more than 128 sectors as a negative power of two.
            && (block.sectors_per_cluster.is_power_of_two() || block.sectors_per_cluster >= 0xF4)
            && (media == 0xF0 || media >= 0xF8);
        plausible.then_some(block)
    }

    /// Returns which FAT this describes, `None` if it describes none.
    fn fat_kind(&self) -> Option<FatKind> {
        if self.reserved_sectors == 0 || !matches!(self.fats, 1 | 2) || self.sectors_per_fat == 0 {
            return None;
        }
        let root_sectors = (u64::from(self.root_entries) * 32).div_ceil(u64::from(self.bytes_per_sector));
        let before_data = u64::from(self.reserved_sectors)
            + u64::from(self.fats) * u64::from(self.sectors_per_fat)
            + root_sectors;
        let data_sectors = u64::from(self.sectors).checked_sub(before_data)?;
        Some(
            match data_sectors.checked_div(u64::from(self.sectors_per_cluster))? {
                // FAT32 has no root directory of fixed size, however few its clusters.
                _ if self.root_entries == 0 => FatKind::Fat32,
                0..4085 => FatKind::Fat12,
                4085..65525 => FatKind::Fat16,
                _ => FatKind::Fat32,
            },
        )
    }
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<&[u8; N]> {
    bytes.get(offset..)?.first_chunk()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Makes the first sector of a FAT of this many sectors, eight to the cluster.
    pub(crate) fn fat(sectors: u32, root_entries: u16) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[..11].copy_from_slice(b"\xEB\x58\x90MSWIN4.1");
        sector[11..13].copy_from_slice(&512u16.to_le_bytes());
        sector[13] = 8;
        sector[14..16].copy_from_slice(&32u16.to_le_bytes());
        sector[16] = 2;
        sector[17..19].copy_from_slice(&root_entries.to_le_bytes());
        sector[21] = 0xF8;
        sector[32..36].copy_from_slice(&sectors.to_le_bytes());
        sector[36..40].copy_from_slice(&100u32.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xAA]);
        sector
    }

    /// Makes the first sector of an NTFS.
    pub(crate) fn ntfs() -> [u8; 512] {
        let mut sector = [0; 512];
        sector[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
        sector[11..13].copy_from_slice(&512u16.to_le_bytes());
        sector[13] = 8;
        sector[21] = 0xF8;
        sector[510..].copy_from_slice(&[0x55, 0xAA]);
        sector
    }

    #[test]
    fn the_fats_are_told_apart() {
        assert_eq!(
            BootSector::parse(&fat(8 * 4000, 512)),
            Some(BootSector::Fat(FatKind::Fat12))
        );
        assert_eq!(
            BootSector::parse(&fat(8 * 60_000, 512)),
            Some(BootSector::Fat(FatKind::Fat16))
        );
        assert_eq!(
            BootSector::parse(&fat(8 * 100_000, 0)),
            Some(BootSector::Fat(FatKind::Fat32))
        );
        assert_eq!(
            BootSector::parse(&fat(10, 512)),
            Some(BootSector::Other),
            "smaller than its own tables"
        );
    }

    #[test]
    fn ntfs_is_known_even_with_huge_clusters() {
        let mut sector = ntfs();
        assert_eq!(BootSector::parse(&sector), Some(BootSector::Ntfs));
        sector[13] = 0xF6;
        assert_eq!(BootSector::parse(&sector), Some(BootSector::Ntfs));
    }

    #[test]
    fn a_parameter_block_of_unknown_make_is_one() {
        let mut sector = ntfs();
        sector[3..11].copy_from_slice(b"-ANY-FS-");
        assert_eq!(BootSector::parse(&sector), Some(BootSector::Other));
    }

    #[test]
    fn boot_code_is_none() {
        let mut grub = [0; 512];
        grub[..3].copy_from_slice(&[0xEB, 0x63, 0x90]);
        grub[510..].copy_from_slice(&[0x55, 0xAA]);
        assert_eq!(BootSector::parse(&grub), None);
        assert_eq!(BootSector::parse(&[0x90; 512]), None);
    }
}
