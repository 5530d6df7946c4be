//! What NTFS counts in.

use keyhaven_disk::Device;

use super::{ReserveError, Units, read};
use crate::files::bytes::{u8_at, u16_at};

fn parse(boot: &[u8]) -> Option<Units> {
    let sector_len = u32::from(u16_at(boot, 0x0b)?);
    // From 0x81 on, the negative exponent of a power of two.
    let per_cluster = match u32::from(u8_at(boot, 0x0d)?) {
        exponent @ 0x81..=0xff => 1u32.checked_shl(0x100 - exponent)?,
        count => count,
    };
    Some(Units {
        sector_len,
        cluster_len: sector_len.checked_mul(per_cluster)?,
    })
}

pub(super) fn units(device: &Device) -> Result<Units, ReserveError> {
    let boot = read(device, 0, 512)?;
    parse(&boot).ok_or_else(|| ReserveError::Damaged("its boot sector makes no sense".to_owned()))
}
