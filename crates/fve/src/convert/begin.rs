//! Making a plain volume one of BitLocker's of which nothing is encrypted yet.

use keyhaven_disk::WritableDevice;

use super::{ConvertError, Direction, PAUSED};
use crate::create::{MOVED_LEN_BYTES, Placement, PreparedVolume};
use crate::format::boot_sector;
use crate::format::datum::Value;
use crate::format::virtualization::ExtendedVirtualization;
use crate::metadata_builder::MetadataBuilder;

/// Puts the metadata of a new volume on `medium`, whose content stays as it is and stays readable.
///
/// The places that the volume keeps, `placement`, must have been reserved; they need not be those that it was prepared
/// with, so that its keys can be saved before anything is changed for that. Nothing is encrypted afterwards, and the conversion is
/// paused. Until the very last step, in which 512 bytes are written, what is on the medium is the plain volume.
///
/// # Errors
/// [`ConvertError`]; the medium has the plain volume then, unless it failed in the last step.
pub fn begin(
    prepared: &PreparedVolume,
    placement: &Placement,
    medium: &dyn WritableDevice,
) -> Result<(), ConvertError> {
    let (expected, found) = (prepared.len_bytes(), medium.len_bytes());
    if found < expected {
        return Err(ConvertError::CutOff { expected, found });
    }
    let mut front = vec![0; MOVED_LEN_BYTES as usize];
    medium.read_at(0, &mut front)?;
    medium.write_at(placement.moved_offset, &front)?;
    let spare = placement.spare.end.saturating_sub(placement.spare.start);
    medium.write_at(placement.spare.start, &vec![0; spare as usize])?;
    medium.flush()?;

    let mut metadata = MetadataBuilder::read(prepared.region())?;
    let block = metadata.block_mut();
    block.current_state = PAUSED;
    block.next_state = Direction::Encrypt.state();
    // The sectors in front are not where they seem, so that this is true of them already. Readers take 0 for "unknown".
    block.state_offset = MOVED_LEN_BYTES;
    block.metadata_offsets = placement.metadata_offsets;
    block.virtualized_offset = placement.moved_offset;
    for datum in &mut block.datums {
        if let Value::Virtualization { offset, extended, .. } = &mut datum.value {
            *offset = placement.moved_offset;
            ExtendedVirtualization::set_spare(extended, placement.spare.start, spare as u32);
        }
    }
    let created = block.dataset.created;
    let region = metadata.seal(prepared.vmk(), created)?;
    for offset in placement.metadata_offsets {
        medium.write_at(offset, &region)?;
        medium.flush()?;
        let mut kept = vec![0; region.len()];
        medium.read_at(offset, &mut kept)?;
        if kept != region {
            return Err(ConvertError::NotKept { offset });
        }
    }
    medium.write_at(0, &boot_sector_over(&front, prepared, placement))?;
    medium.flush()?;
    Ok(())
}

/// Makes the new boot sector, which keeps what the old one says of the medium's and the file system's units.
///
/// 512 bytes are all that is read of it. More are not written, even where sectors are larger: a medium that cannot
/// write less does it in one piece.
fn boot_sector_over(old: &[u8], prepared: &PreparedVolume, placement: &Placement) -> Vec<u8> {
    let mut new = prepared.front()[..boot_sector::LEN_BYTES].to_vec();
    for (at, offset) in [0xb0, 0xb8, 0xc0].into_iter().zip(placement.metadata_offsets) {
        new[at..at + 8].copy_from_slice(&offset.to_le_bytes());
    }
    let field = |at: usize| u16::from_le_bytes([old[at], old[at + 1]]);
    let is_boot_sector = old[510..512] == [0x55, 0xaa];
    let bytes_per_sector = field(0x0b);
    // 0 is what exFAT has there (format spec 1.2).
    if is_boot_sector
        && (bytes_per_sector == 0 || usize::from(bytes_per_sector) == prepared.sector_size().bytes())
    {
        new[0x0b..0x0e].copy_from_slice(&old[0x0b..0x0e]);
        if bytes_per_sector != 0 {
            // Geometry and the sectors in front of the volume.
            new[0x18..0x20].copy_from_slice(&old[0x18..0x20]);
        }
    }
    new
}
