//! A small FAT16 file system with one file in it, made without any tool: practice must work on every computer.
//!
//! Source: Microsoft's FAT specification (fatgen103), sections on the boot sector, the FAT and directory entries.

const SECTOR_LEN: usize = 512;
const SECTORS_PER_CLUSTER: usize = 4;
const CLUSTER_LEN: usize = SECTOR_LEN * SECTORS_PER_CLUSTER;
const ROOT_ENTRIES: usize = 512;
const ENTRY_LEN: usize = 32;
/// Of fewer or more clusters it would be another FAT.
const CLUSTERS: std::ops::Range<usize> = 4_085..65_525;

const VOLUME_LABEL: u8 = 0x08;
const ARCHIVE: u8 = 0x20;

/// What is put into the file system.
pub(super) struct Content<'a> {
    /// Its name, eleven characters filled up with blanks.
    pub(super) label: &'a [u8; 11],
    /// The file's name, eight characters and three, filled up with blanks.
    pub(super) name: &'a [u8; 11],
    pub(super) bytes: &'a [u8],
    /// Year, month and day.
    pub(super) date: (u16, u16, u16),
}

/// Makes a file system of `len_bytes` that leaves out everything from its boot sector to `first_byte`.
///
/// Returns `None` where that is no FAT16, or the file does not fit.
pub(super) fn image(len_bytes: usize, first_byte: usize, content: &Content<'_>) -> Option<Vec<u8>> {
    let (sectors, reserved) = (len_bytes / SECTOR_LEN, first_byte / SECTOR_LEN);
    let root_sectors = ROOT_ENTRIES * ENTRY_LEN / SECTOR_LEN;
    // A little more than the clusters that are left beside the two tables need.
    let fat_sectors = (sectors / SECTORS_PER_CLUSTER + 2).div_ceil(SECTOR_LEN / 2);
    let root = reserved + 2 * fat_sectors;
    let heap = root + root_sectors;
    let clusters = sectors.checked_sub(heap)? / SECTORS_PER_CLUSTER;
    let used = content.bytes.len().div_ceil(CLUSTER_LEN);
    if !CLUSTERS.contains(&clusters) || used == 0 || used > clusters {
        return None;
    }

    let mut image = vec![0; len_bytes];
    let mut put = |at: usize, bytes: &[u8]| -> Option<()> {
        image
            .get_mut(at..at.checked_add(bytes.len())?)?
            .copy_from_slice(bytes);
        Some(())
    };
    put(0, &[0xeb, 0x3c, 0x90])?;
    put(3, b"MSDOS5.0")?;
    put(11, &(SECTOR_LEN as u16).to_le_bytes())?;
    put(13, &[SECTORS_PER_CLUSTER as u8])?;
    put(14, &u16::try_from(reserved).ok()?.to_le_bytes())?;
    put(16, &[2])?;
    put(17, &(ROOT_ENTRIES as u16).to_le_bytes())?;
    match u16::try_from(sectors) {
        Ok(sectors) => put(19, &sectors.to_le_bytes())?,
        Err(_) => put(32, &u32::try_from(sectors).ok()?.to_le_bytes())?,
    }
    put(21, &[0xf8])?;
    put(22, &u16::try_from(fat_sectors).ok()?.to_le_bytes())?;
    put(24, &[63, 0, 255, 0])?;
    put(36, &[0x80, 0, 0x29])?;
    put(39, &[0x26, 0x20, 0x24, 0x11])?;
    put(43, content.label)?;
    put(54, b"FAT16   ")?;
    put(510, &[0x55, 0xaa])?;

    for copy in 0..2 {
        let fat = (reserved + copy * fat_sectors) * SECTOR_LEN;
        put(fat, &[0xf8, 0xff, 0xff, 0xff])?;
        for number in 0..used {
            let last = number + 1 == used;
            let next = if last {
                0xffff
            } else {
                u16::try_from(number + 3).ok()?
            };
            put(fat + 2 * (number + 2), &next.to_le_bytes())?;
        }
    }
    let (year, month, day) = content.date;
    let date = year.saturating_sub(1980) << 9 | month << 5 | day;
    let entry = |name: &[u8; 11], kind: u8, cluster: u16, len: u32| {
        let mut entry = [0; ENTRY_LEN];
        entry[..11].copy_from_slice(name);
        entry[11] = kind;
        entry[24..26].copy_from_slice(&date.to_le_bytes());
        entry[26..28].copy_from_slice(&cluster.to_le_bytes());
        entry[28..32].copy_from_slice(&len.to_le_bytes());
        entry
    };
    let root = root * SECTOR_LEN;
    let len = u32::try_from(content.bytes.len()).ok()?;
    put(root, &entry(content.label, VOLUME_LABEL, 0, 0))?;
    put(root + ENTRY_LEN, &entry(content.name, ARCHIVE, 2, len))?;
    put(heap * SECTOR_LEN, content.bytes)?;
    Some(image)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyhaven_attach::files;

    use super::*;

    fn content(bytes: &[u8]) -> Content<'_> {
        Content {
            label: b"PRACTICE   ",
            name: b"LETTER  TXT",
            bytes,
            date: (2026, 11, 24),
        }
    }

    #[test]
    fn the_file_is_read_back_and_nothing_lies_in_the_gap() {
        let bytes: Vec<u8> = (0..50_000u32).flat_map(u32::to_le_bytes).collect();
        let image = image(16 << 20, 1 << 20, &content(&bytes)).expect("it fits");
        assert!(image[512..1 << 20].iter().all(|byte| *byte == 0));
        let tree = files::open(Arc::new(image)).expect("a file system");
        assert_eq!(tree.label(), Some("PRACTICE"));
        let node = tree
            .lookup(tree.root(), "LETTER.TXT")
            .expect("readable")
            .expect("there");
        let mut found = vec![0; bytes.len() + 1];
        assert_eq!(tree.read(node, 0, &mut found).expect("readable"), bytes.len());
        assert!(found[..bytes.len()] == bytes);
    }

    #[test]
    fn the_checker_of_others_finds_no_fault() {
        let Some(fsck) = keyhaven_testkit::tool::find("fsck.fat") else {
            return;
        };
        let image = image(16 << 20, 1 << 20, &content(b"Dear diary,")).expect("it fits");
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), image).expect("written");
        let output = std::process::Command::new(fsck)
            .arg("-n")
            .arg(file.path())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
    }

    #[test]
    fn what_is_no_fat16_is_not_made() {
        for (len, first) in [
            (4 << 20, 1 << 20),
            (1 << 20, 2 << 20),
            (256 << 20, 1 << 20),
            (16 << 20, 40 << 20),
        ] {
            assert!(image(len, first, &content(b"x")).is_none(), "{len}");
        }
        assert!(image(16 << 20, 1 << 20, &content(b"")).is_none());
    }
}
