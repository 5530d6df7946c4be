//! Volumes that a test makes for itself: of any size, with content of its choice, open to a clear key.

use std::path::Path;
use std::sync::Arc;

use keyhaven_disk::{Writable, WritableDevice};
use keyhaven_fve::create::{NewProtector, NewVolume};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::{Credential, EncryptionMethod, OpenOptions, Volume, WritableVolume, unwatched};

/// Noticed once the volume is seen elsewhere: 2024.
const MADE: FileTime = FileTime(0x01da_3c00_0000_0000);

/// Makes a volume in a new sparse file that needs no key to be opened.
pub(crate) fn make(path: &Path, len_bytes: u64, method: EncryptionMethod) {
    let file = std::fs::File::create_new(path).unwrap();
    file.set_len(len_bytes).unwrap();
    let mut new = NewVolume::new(len_bytes, method, MADE);
    new.description = "KEYHAVEN TEST".to_owned();
    new.protectors.push(NewProtector::ClearKey);
    // Keys of a test may be foreseen.
    let mut state = len_bytes;
    let mut random = |bytes: &mut [u8]| {
        for byte in bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (state >> 56) as u8;
        }
        Ok(())
    };
    let prepared = new.prepare(&mut random).unwrap();
    prepared
        .write(&*keyhaven_disk::open_writable(path).unwrap())
        .unwrap();
}

/// Opens such a volume, to be read and written.
pub(crate) fn open(path: &Path) -> WritableVolume {
    let medium: Writable = keyhaven_disk::open_writable(path).unwrap();
    let volume = Volume::open(medium.clone(), &OpenOptions::default(), &mut unwatched).unwrap();
    let unlocked = volume.unlock(&Credential::ClearKey).unwrap();
    volume
        .data(unlocked)
        .unwrap()
        .writable(Arc::clone(&medium))
        .unwrap()
}

/// Writes into such a volume.
pub(crate) fn write(path: &Path, offset: u64, bytes: &[u8]) {
    let volume = open(path);
    volume.write_at(offset, bytes).unwrap();
    volume.flush().unwrap();
}
