//! A whole small volume: opened, described, tried with a key file (the one credential that costs no stretch), and, if
//! it says that it is not encrypted or has an open key, held against the rules, taken up to be changed, and read to its
//! end.
//!
//! The input is a boot sector and one metadata region; the three copies are laid where the boot sector wants them if
//! that is within a mebibyte.
#![no_main]

use std::sync::Arc;

use keyhaven_disk::BlockDevice;
use keyhaven_fve::edit::Edit;
use keyhaven_fve::format::FileTime;
use keyhaven_fve::format::boot_sector::{BootLayout, BootSector};
use keyhaven_fve::{Credential, OpenOptions, SavedMetadata, Volume, rules, unwatched};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((sector, region)) = bytes.split_at_checked(512) else { return };
    let mut image = vec![0u8; 1 << 20];
    image[..512].copy_from_slice(sector);
    let offsets = match BootSector::read(sector).map(|boot| boot.layout) {
        Some(BootLayout::Standard { metadata_offsets })
        | Some(BootLayout::ToGo { metadata_offsets })
        | Some(BootLayout::EncryptOnWrite { metadata_offsets, .. }) => metadata_offsets,
        _ => [0x1_0000, 0x3_0000, 0x5_0000],
    };
    for offset in offsets {
        let Ok(offset) = usize::try_from(offset) else { continue };
        if let Some(place) = offset.checked_add(region.len()).and_then(|end| image.get_mut(offset..end)) {
            place.copy_from_slice(region);
        }
    }
    let options = OpenOptions { ignore_checksums: true, ..OpenOptions::default() };
    let Ok(volume) = Volume::open(Arc::new(image), &options, &mut unwatched) else { return };
    let _ = (volume.state(), volume.encrypted_bytes(), volume.copies().len());
    for protector in volume.metadata().protectors() {
        let _ = (protector.kind().to_string(), protector.name(), protector.backup_hints());
    }
    let unlocked = volume.unlock_decrypted().or_else(|| volume.unlock(&Credential::ClearKey).ok());
    let _ = rules::check(&volume, unlocked.as_ref());
    let Some(unlocked) = unlocked else { return };
    let _ = Edit::begin(&volume, &unlocked, FileTime(0)).and_then(|edit| edit.seal().map(|_| ()));
    let _ = SavedMetadata::take(&volume, FileTime(0));
    let _ = volume.records(&unlocked);
    if let Ok(data) = volume.data(unlocked) {
        let mut buf = vec![0; 0x1_0001];
        let mut at = 0;
        // A size field may claim exabytes: the interesting part is where there is data.
        while at < data.len_bytes().min(2 << 20) {
            let len = (data.len_bytes() - at).min(buf.len() as u64) as usize;
            let _ = data.read_at(at, &mut buf[..len]);
            let hole = data.hole_at(at, len as u64);
            assert!(hole <= len as u64);
            at += len as u64;
        }
    }
});
