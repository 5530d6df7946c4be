//! What Windows 8 and later add to the entry that says where the moved sectors are.
//!
//! Source: format spec 2.6; the fields of the system that made the volume are inferred from volumes of many builds.

/// The known fields of that part; the others are 0, or the same on every volume seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedVirtualization {
    /// Bits of what kind of volume it is: see the constants.
    pub flags: u64,
    /// Logical size of a sector, in bytes.
    pub sector_size: u32,
    /// Physical size of a sector, in bytes.
    pub physical_sector_size: u32,
    /// The build number of the Windows that made the volume.
    pub build: u32,
    /// Where a part lies that Windows keeps free as well, in bytes.
    pub spare_offset: u64,
    /// How long that is.
    pub spare_len_bytes: u32,
}

/// Set where physical sectors are larger than 512 bytes.
pub const FLAG_LARGE_SECTORS: u64 = 1;
/// Set on every volume but those of BitLocker To Go.
pub const FLAG_1: u64 = 1 << 1;
/// Set on volumes that hold data rather than an operating system.
pub const FLAG_DATA: u64 = 1 << 3;

impl ExtendedVirtualization {
    /// Length on disk.
    pub const LEN_BYTES: usize = 76;

    /// Writes the part.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN_BYTES] {
        let mut bytes = [0; Self::LEN_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &5u16.to_le_bytes());
        put(2, &(Self::LEN_BYTES as u16).to_le_bytes());
        put(8, &self.flags.to_le_bytes());
        put(28, &self.sector_size.to_le_bytes());
        put(32, &self.physical_sector_size.to_le_bytes());
        // The system's version: 10.0 in numbers, the Windows NT platform, a workstation.
        put(36, &10u32.to_le_bytes());
        put(44, &self.build.to_le_bytes());
        put(48, &2u32.to_le_bytes());
        put(56, &[0x10, 0x01, 1, 2]);
        put(60, &self.spare_offset.to_le_bytes());
        put(68, &self.spare_len_bytes.to_le_bytes());
        bytes
    }

    /// Changes where the part lies that Windows keeps free as well, and how long it is, in bytes.
    pub fn set_spare(bytes: &mut [u8], offset: u64, len_bytes: u32) {
        if bytes.len() >= Self::LEN_BYTES {
            bytes[SPARE_OFFSET].copy_from_slice(&offset.to_le_bytes());
            bytes[SPARE_LEN].copy_from_slice(&len_bytes.to_le_bytes());
        }
    }

    /// Returns that part; `None` where there is none.
    #[must_use]
    pub fn spare(bytes: &[u8]) -> Option<std::ops::Range<u64>> {
        let offset = u64::from_le_bytes(bytes.get(SPARE_OFFSET)?.try_into().ok()?);
        let len_bytes = u32::from_le_bytes(bytes.get(SPARE_LEN)?.try_into().ok()?);
        let end = offset.checked_add(u64::from(len_bytes))?;
        (len_bytes > 0).then_some(offset..end)
    }

    /// Returns where the log of a conversion lies and how long it is, in bytes; `None` where there is none.
    #[must_use]
    pub fn conversion_log(bytes: &[u8]) -> Option<(u64, u64)> {
        let offset = u64::from_le_bytes(bytes.get(LOG_OFFSET)?.try_into().ok()?);
        let len_bytes = u32::from_le_bytes(bytes.get(LOG_LEN)?.try_into().ok()?);
        (len_bytes > 0).then_some((offset, u64::from(len_bytes)))
    }

    /// Changes where the log of a conversion lies and how long it is: offset and length in bytes, both 0 for none.
    ///
    /// Volumes of Windows 7 do not have this part; where it is needed it is made, for sectors of `sector_size`.
    pub fn set_conversion_log(bytes: &mut Vec<u8>, (offset, len_bytes): (u64, u64), sector_size: u32) {
        if bytes.len() < LOG_LEN.end {
            if len_bytes == 0 {
                return;
            }
            let made = Self {
                flags: FLAG_1 | FLAG_DATA,
                sector_size,
                physical_sector_size: sector_size,
                build: 0,
                spare_offset: 0,
                spare_len_bytes: 0,
            };
            *bytes = made.to_bytes().to_vec();
        }
        bytes[LOG_OFFSET].copy_from_slice(&offset.to_le_bytes());
        bytes[LOG_LEN].copy_from_slice(&(len_bytes as u32).to_le_bytes());
    }
}

const LOG_OFFSET: std::ops::Range<usize> = 16..24;
const LOG_LEN: std::ops::Range<usize> = 24..28;
const SPARE_OFFSET: std::ops::Range<usize> = 60..68;
const SPARE_LEN: std::ops::Range<usize> = 68..72;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_one_is_written_again() {
        // Images cs-aes-xts-128 and cs-aes-xts-128-4k.
        for (flags, sector_size, build, real) in [
            (
                FLAG_1 | FLAG_DATA,
                512,
                16299,
                "05004c00000000000a0000000000000000000000000000000000000000020000000200000a00000000000000ab3f00000200\
                 0000000000001001010200701a02000000000000010000000000",
            ),
            (
                FLAG_LARGE_SECTORS | FLAG_1 | FLAG_DATA,
                4096,
                18362,
                "05004c00000000000b0000000000000000000000000000000000000000100000001000000a00000000000000ba4700000200\
                 0000000000001001010200701a02000000000000010000000000",
            ),
        ] {
            let written = ExtendedVirtualization {
                flags,
                sector_size,
                physical_sector_size: sector_size,
                build,
                spare_offset: 0x21a_7000,
                spare_len_bytes: 0x1_0000,
            };
            assert_eq!(hex::encode(written.to_bytes()), real);
        }
    }
}
