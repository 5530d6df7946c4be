//! Disk images as files: copies to damage, patches, hashes. All of them leave holes where zeros are.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tempfile::TempPath;

/// How much is read, and how long a run of zeros must be to become a hole.
const BLOCK_LEN: usize = 64 * 1024;

/// Makes a private, writable copy of the image at `path`; it is deleted when the value is dropped.
///
/// Zeros become holes, so a copy of a trimmed volume costs some kilobytes of disk.
///
/// # Panics
///
/// If the image cannot be read or the copy cannot be written.
#[track_caller]
pub fn copy_of(path: impl AsRef<Path>) -> TempPath {
    let path = path.as_ref();
    let attempt = || -> io::Result<TempPath> {
        let mut source = File::open(path)?;
        let mut copy = tempfile::Builder::new()
            .prefix("keyhaven-")
            .suffix(".img")
            .tempfile()?;
        copy_sparse(&mut source, copy.as_file_mut(), |_| ())?;
        Ok(copy.into_temp_path())
    };
    attempt().unwrap_or_else(|error| panic!("cannot copy {}: {error}", path.display()))
}

/// Overwrites the bytes of the file at `path` from byte `offset` on.
///
/// # Panics
///
/// If the patch does not lie wholly inside the file, or cannot be written.
#[track_caller]
pub fn patch(path: impl AsRef<Path>, offset: u64, bytes: &[u8]) {
    let path = path.as_ref();
    let attempt = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let end = offset + bytes.len() as u64;
        let len = file.metadata()?.len();
        assert!(
            end <= len,
            "a patch up to byte {end} reaches past the end of the file ({len} bytes)"
        );
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    };
    attempt().unwrap_or_else(|error| panic!("cannot patch {}: {error}", path.display()));
}

/// Returns the SHA-256 of everything `source` gives, in lower-case hexadecimal.
///
/// # Panics
///
/// If reading fails.
#[track_caller]
pub fn sha256_of(mut source: impl Read) -> String {
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_LEN];
    loop {
        match source.read(&mut block) {
            Ok(0) => return hex::encode(hasher.finalize()),
            Ok(count) => hasher.update(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => panic!("cannot read what is to be hashed: {error}"),
        }
    }
}

/// Copies `source` to the empty file `target`, leaving holes, and shows every block to `inspect`.
pub(crate) fn copy_sparse(
    source: &mut impl Read,
    target: &mut File,
    mut inspect: impl FnMut(&[u8]),
) -> io::Result<()> {
    let zeros = vec![0; BLOCK_LEN];
    let mut block = vec![0; BLOCK_LEN];
    let mut len = 0;
    loop {
        let count = read_full(source, &mut block)?;
        let data = &block[..count];
        if count == 0 {
            // A hole at the end exists only once the length says so.
            return target.set_len(len);
        }
        inspect(data);
        if *data == zeros[..count] {
            target.seek_relative(count as i64)?;
        } else {
            target.write_all(data)?;
        }
        len += count as u64;
    }
}

/// Fills `block` as far as the source goes, so that blocks stay aligned whatever the source gives.
fn read_full(source: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match source.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mostly_zeros() -> Vec<u8> {
        let mut bytes = vec![0; 5 * BLOCK_LEN + 17];
        bytes[2 * BLOCK_LEN + 5] = 1;
        bytes
    }

    fn written(bytes: &[u8]) -> TempPath {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file.into_temp_path()
    }

    #[test]
    fn a_copy_has_the_same_bytes() {
        let bytes = mostly_zeros();
        assert_eq!(std::fs::read(copy_of(written(&bytes))).unwrap(), bytes);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_copy_has_holes() {
        use std::os::unix::fs::MetadataExt;

        let copy = copy_of(written(&mostly_zeros()));
        let allocated = std::fs::metadata(&copy).unwrap().blocks() * 512;
        assert!(
            allocated <= 2 * BLOCK_LEN as u64,
            "{allocated} bytes are allocated"
        );
    }

    #[test]
    fn a_patch_changes_only_its_bytes() {
        let copy = copy_of(written(b"one two three"));
        patch(&copy, 4, b"TWO");
        assert_eq!(std::fs::read(&copy).unwrap(), b"one TWO three");
    }

    #[test]
    #[should_panic(expected = "past the end")]
    fn a_patch_never_lengthens_a_file() {
        patch(written(b"short"), 4, b"TWO");
    }

    #[test]
    fn the_hash_is_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&b"abc"[..]), expected);
    }
}
