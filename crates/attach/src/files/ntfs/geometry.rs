//! What the boot sector says about where things are.

use crate::files::bytes::{u8_at, u16_at, u64_at};

/// The longest cluster that Windows makes, in bytes.
const CLUSTER_LEN_MAX: u64 = 2 << 20;

/// What a file record may measure, in bytes; Windows makes 1,024 and, on sectors of that length, 4,096.
const RECORD_LEN: std::ops::RangeInclusive<u64> = 512..=64 * 1024;

/// The sizes and places that an NTFS boot sector gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// The length of a cluster in bytes.
    pub(super) cluster_len: u64,
    /// How many clusters there are.
    pub(super) clusters: u64,
    /// The length of a file record in bytes, a multiple of 512.
    pub(super) record_len: usize,
    /// Where the master file table begins, in bytes.
    pub(super) mft_offset: u64,
    /// Where the copy of its first records is, in bytes.
    pub(super) mirror_offset: u64,
}

impl Geometry {
    /// Reads a boot sector; the error says what is wrong with it.
    pub(super) fn parse(sector: &[u8]) -> Result<Self, String> {
        let field = |value: Option<u64>| value.ok_or("the boot sector is too short");
        let sector_len = field(u16_at(sector, 0x0B).map(u64::from))?;
        if !(256..=4096).contains(&sector_len) || !sector_len.is_power_of_two() {
            return Err(format!("the boot sector gives sectors of {sector_len} bytes"));
        }

        // From 0x80 on, the negative exponent of a power of two: clusters of more than 64 KiB.
        let sectors_per_cluster = match field(u8_at(sector, 0x0D).map(u64::from))? {
            exponent @ 0x81..=0xFF => 1u64 << (0x100 - exponent).min(63),
            count => count,
        };
        let cluster_len = sector_len
            .checked_mul(sectors_per_cluster)
            .filter(|len| len.is_power_of_two() && (512..=CLUSTER_LEN_MAX).contains(len))
            .ok_or_else(|| format!("the boot sector gives clusters of {sectors_per_cluster} sectors"))?;

        let sectors = field(u64_at(sector, 0x28))?;
        let clusters = sectors / sectors_per_cluster;

        let record_len = match u8_at(sector, 0x40).map(u8::cast_signed) {
            Some(exponent @ ..0) => 1u64.checked_shl(u32::from(exponent.unsigned_abs())),
            Some(count) => cluster_len.checked_mul(u64::from(count.unsigned_abs())),
            None => None,
        };
        let record_len = record_len
            .filter(|len| RECORD_LEN.contains(len) && len.is_multiple_of(512))
            .and_then(|len| usize::try_from(len).ok())
            .ok_or("the boot sector gives file records of an impossible length")?;

        let place = |at: usize, name: &str| {
            u64_at(sector, at)
                .filter(|cluster| *cluster < clusters)
                .and_then(|cluster| cluster.checked_mul(cluster_len))
                .ok_or_else(|| format!("the boot sector puts {name} outside of the volume"))
        };
        Ok(Self {
            cluster_len,
            clusters,
            record_len,
            mft_offset: place(0x30, "the master file table")?,
            // Only needed when the table is damaged.
            mirror_offset: place(0x38, "the copy of the master file table").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(per_cluster: u8, record: i8) -> [u8; 512] {
        let mut sector = [0; 512];
        sector[0x0B..0x0D].copy_from_slice(&512u16.to_le_bytes());
        sector[0x0D] = per_cluster;
        sector[0x28..0x30].copy_from_slice(&0x10_0000u64.to_le_bytes());
        sector[0x30..0x38].copy_from_slice(&4u64.to_le_bytes());
        sector[0x38..0x40].copy_from_slice(&2u64.to_le_bytes());
        sector[0x40] = record as u8;
        sector
    }

    #[test]
    fn usual_and_large_clusters() {
        let usual = Geometry::parse(&sector(8, -10)).unwrap();
        assert_eq!(
            usual,
            Geometry {
                cluster_len: 4096,
                clusters: 0x2_0000,
                record_len: 1024,
                mft_offset: 16384,
                mirror_offset: 8192,
            }
        );
        // 2 MiB: an exponent.
        assert_eq!(Geometry::parse(&sector(0xF4, -10)).unwrap().cluster_len, 2 << 20);
        // One cluster a record.
        assert_eq!(Geometry::parse(&sector(2, 1)).unwrap().record_len, 1024);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert!(Geometry::parse(&sector(0, -10)).is_err());
        assert!(Geometry::parse(&sector(0x80, -10)).is_ok());
        assert!(Geometry::parse(&sector(0x81, -10)).is_err());
        assert!(Geometry::parse(&sector(8, -128)).is_err());
        assert!(Geometry::parse(&sector(8, 0)).is_err());
        assert!(Geometry::parse(&sector(8, 127)).is_err());
        assert!(Geometry::parse(&[0; 20]).is_err());
    }
}
