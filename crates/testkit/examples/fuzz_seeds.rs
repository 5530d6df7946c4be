//! Cuts seeds for the fuzz targets out of the corpus: `cargo run -p keyhaven-testkit --example fuzz_seeds FOLDER`.
//!
//! Each target gets a folder in FOLDER. The seeds are parts of other people's volumes and stay out of the repository.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use keyhaven_testkit::corpus;

const REGION: usize = 0x1_0000;

fn main() {
    let folder: PathBuf = std::env::args_os().nth(1).expect("a folder for the seeds").into();
    let Some(corpus) = corpus::or_skip() else { return };
    for volume in corpus.volumes() {
        let image = File::open(volume.image()).expect("the image opens");
        let read = |at: u64, len: usize| {
            let mut bytes = vec![0; len];
            let count = image.read_at(&mut bytes, at).unwrap_or(0);
            bytes.truncate(count);
            bytes
        };
        let put = |target: &str, name: &str, bytes: &[u8]| {
            save(&folder, target, &format!("{}-{name}", volume.name), bytes)
        };
        let sector = read(0, 512);
        put("boot_sector", "0", &sector);
        put("content", "0", &read(0, 4096));
        put("partition_table", "0", &read(0, 4096));
        // Standard volumes have the offsets at 0xB0, To Go at 0x1B8; Vista a cluster number.
        let u64_at = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 8).map_or(0, |field| {
                u64::from_le_bytes(field.try_into().expect("eight bytes"))
            })
        };
        for at in [0xb0, 0x1b8] {
            let region = read(u64_at(&sector, at), REGION);
            if region.starts_with(b"-FVE-FS-") {
                // The rest of a region is zeros.
                let used = region
                    .iter()
                    .rposition(|byte| *byte != 0)
                    .map_or(0, |last| last + 1);
                put("metadata_block", "1", &region[..used]);
                put("volume", "1", &[&sector[..], &region[..used]].concat());
                let size = usize::from(u16::from_le_bytes([region[8], region[9]])) * 16;
                let end = 64 + u64_at(&region, 64) as u32 as usize;
                put(
                    "entries",
                    "1",
                    region.get(64 + 48..end.min(size)).unwrap_or_default(),
                );
            }
        }
        let information = read(u64_at(&sector, 0xc8), 0x200);
        if information.starts_with(b"FVE-EOW") {
            put("encrypt_on_write", "information", &information);
            put(
                "encrypt_on_write",
                "bitmap",
                &read(u64_at(&information, 0x38), 0x600),
            );
        }
        for key in volume.recovery_keys() {
            put("key_digits", "1", key.as_bytes());
            put(
                "key_text",
                "1",
                format!("Identifier:\n\n\t11111111-2222-3333-4444-555555555555\n\n\t{key}\n").as_bytes(),
            );
        }
        for secret in volume
            .all_secrets()
            .filter(|secret| secret.kind == corpus::SecretKind::Bek)
        {
            put(
                "key_file",
                "1",
                &fs::read(volume.secret_path(secret)).expect("the key file opens"),
            );
        }
    }
    println!("seeds are in {}", folder.display());
}

fn save(folder: &Path, target: &str, name: &str, bytes: &[u8]) {
    if !bytes.is_empty() {
        let folder = folder.join(target);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(name), bytes).expect("written");
    }
}
