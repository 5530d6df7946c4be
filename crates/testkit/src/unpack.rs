//! Packed images made into raw ones: once, by whichever of many test processes comes first.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use lzma_rust2::XzReader;
use sha2::{Digest, Sha256};

use crate::image::copy_sparse;

/// Returns the raw image of `packed` in the folder `cache`, unpacked and checked if it is not there yet.
///
/// The whole image is hashed when it is unpacked; later calls trust a stamp of size and time of change,
/// because every test is a process of its own and hashing 100 MB in each would dominate the run.
pub(crate) fn unpacked(packed: &Path, sha256: &str, name: &str, cache: &Path) -> io::Result<PathBuf> {
    let place = Place::new(cache, name);
    if place.is_stamped(sha256) {
        return Ok(place.image);
    }

    fs::create_dir_all(cache)?;
    let lock = File::create(&place.lock)?;
    lock.lock()?;
    // Another process may have done the work while this one waited for the lock.
    if !place.is_stamped(sha256) {
        unpack(packed, sha256, &place, cache)?;
    }
    Ok(place.image)
}

struct Place {
    image: PathBuf,
    stamp: PathBuf,
    lock: PathBuf,
}

impl Place {
    fn new(cache: &Path, name: &str) -> Self {
        let file = |suffix| cache.join(format!("{name}.{suffix}"));
        Self {
            image: file("img"),
            stamp: file("stamp"),
            lock: file("lock"),
        }
    }

    fn is_stamped(&self, sha256: &str) -> bool {
        let stamp = fs::read_to_string(&self.stamp).ok();
        stamp.is_some() && stamp == stamp_of(&self.image, sha256).ok()
    }
}

fn unpack(packed: &Path, sha256: &str, place: &Place, cache: &Path) -> io::Result<()> {
    let mut reader = XzReader::new(BufReader::new(File::open(packed)?), true);
    let mut raw = tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempfile_in(cache)?;
    let mut hasher = Sha256::new();
    copy_sparse(&mut reader, raw.as_file_mut(), |block| hasher.update(block))?;

    let found = hex::encode(hasher.finalize());
    if found != sha256 {
        let message = format!("the image has SHA-256 {found}, expected {sha256}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }

    // Tests share this file: one that damages it must make a copy.
    let mut permissions = raw.as_file().metadata()?.permissions();
    permissions.set_readonly(true);
    raw.as_file().set_permissions(permissions)?;
    raw.persist(&place.image)?;

    let mut stamp = tempfile::Builder::new().prefix(".stamping-").tempfile_in(cache)?;
    io::Write::write_all(&mut stamp, stamp_of(&place.image, sha256)?.as_bytes())?;
    stamp.persist(&place.stamp)?;
    Ok(())
}

fn stamp_of(image: &Path, sha256: &str) -> io::Result<String> {
    let metadata = fs::metadata(image)?;
    let changed = metadata
        .modified()?
        .duration_since(UNIX_EPOCH)
        .map_err(io::Error::other)?;
    Ok(format!("{sha256} {} {}\n", metadata.len(), changed.as_nanos()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use lzma_rust2::{XzOptions, XzWriter};

    use super::*;
    use crate::image::sha256_of;

    fn packed(folder: &Path, streams: &[&[u8]]) -> PathBuf {
        let path = folder.join("packed.xz");
        let mut file = File::create(&path).unwrap();
        for stream in streams {
            let mut writer = XzWriter::new(&mut file, XzOptions::with_preset(0)).unwrap();
            writer.write_all(stream).unwrap();
            writer.finish().unwrap();
        }
        path
    }

    #[test]
    fn streams_one_after_another_are_one_image() {
        let folder = tempfile::tempdir().unwrap();
        let packed = packed(folder.path(), &[b"one ", b"two"]);
        let image = unpacked(&packed, &sha256_of(&b"one two"[..]), "v", folder.path()).unwrap();
        assert_eq!(fs::read(image).unwrap(), b"one two");
    }

    #[test]
    fn a_wrong_hash_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let packed = packed(folder.path(), &[b"one"]);
        let error = unpacked(&packed, &sha256_of(&b"two"[..]), "v", folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(!folder.path().join("v.img").exists());
    }

    #[test]
    fn a_changed_image_is_unpacked_again() {
        let folder = tempfile::tempdir().unwrap();
        let (packed, hash) = (packed(folder.path(), &[b"one"]), sha256_of(&b"one"[..]));
        let image = unpacked(&packed, &hash, "v", folder.path()).unwrap();
        fs::remove_file(&image).unwrap();
        fs::write(&image, b"spoiled").unwrap();
        let again = unpacked(&packed, &hash, "v", folder.path()).unwrap();
        assert_eq!(fs::read(again).unwrap(), b"one");
    }

    #[test]
    fn many_at_once_get_the_same_whole_image() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = vec![7; 300_000];
        let (packed, hash) = (packed(folder.path(), &[&bytes]), sha256_of(&bytes[..]));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let image = unpacked(&packed, &hash, "v", folder.path()).unwrap();
                    let mut found = Vec::new();
                    File::open(image).unwrap().read_to_end(&mut found).unwrap();
                    assert_eq!(found, bytes);
                });
            }
        });
    }
}
