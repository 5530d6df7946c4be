//! FAT, made by dosfstools and filled by mtools.

use std::ffi::OsString;
use std::process::Command;

use keyhaven_attach::files::{self, Cleanliness, FileSystemKind, FilesError, Mark};

use crate::made::{Made, program, run};
use crate::model::{Folder, find};

/// A volume of one kind of FAT with a tree on it.
fn filled(bits: &str, sectors_per_cluster: &str, len_mib: u64, tree: &Folder) -> Option<Made> {
    let (mkfs, mcopy) = (program("mkfs.vfat")?, program("mcopy")?);
    let made = Made::with(
        &mkfs,
        &["-F", bits, "-s", sectors_per_cluster, "-n", "HAVEN"],
        len_mib,
    );
    let source = tempfile::tempdir().unwrap();
    tree.write_to(source.path());
    let names: Vec<OsString> = std::fs::read_dir(source.path())
        .unwrap()
        .map(|entry| entry.unwrap().path().into_os_string())
        .collect();
    run(Command::new(mcopy)
        .args(["-s", "-Q", "-m", "-i"])
        .arg(made.image())
        .args(names)
        .arg("::/")
        .env("LC_ALL", "C.UTF-8"));
    Some(made)
}

#[test]
fn fat32_has_what_was_put_there() {
    let tree = Folder::plain(600);
    let Some(made) = filled("32", "8", 300, &tree) else {
        return;
    };
    let found = made.tree();
    assert_eq!(found.kind(), FileSystemKind::Fat);
    assert_eq!(found.label(), Some("HAVEN"));
    let space = found.space();
    assert_eq!(space.block_len_bytes, 4096);
    assert!(space.free_bytes.unwrap() < space.total_bytes);
    tree.check(&*found);
    assert!(matches!(
        found.read_link(find(&*found, "lower.txt")),
        Err(FilesError::NotALink)
    ));
    assert!(matches!(
        found.list(find(&*found, "lower.txt"), &mut |_| panic!()),
        Err(FilesError::NotADirectory)
    ));
}

#[test]
fn fat16_has_what_was_put_there() {
    let tree = Folder::plain(300);
    let Some(made) = filled("16", "4", 24, &tree) else {
        return;
    };
    tree.check(&*made.tree());
}

#[test]
fn fat12_has_what_was_put_there() {
    let tree = Folder::plain(20);
    let Some(made) = filled("12", "8", 8, &tree) else {
        return;
    };
    tree.check(&*made.tree());
}

#[test]
fn a_mark_of_use_is_seen() {
    for (bits, len_mib, in_boot_sector, in_table) in [("16", 20, 0x25, None), ("32", 34, 0x41, Some(0x08))] {
        let Some(made) = filled(bits, "1", len_mib, &Folder::default()) else {
            return;
        };
        assert_eq!(files::state(&made.device()).unwrap(), Cleanliness::Clean);
        let clean = std::fs::read(made.image()).unwrap();
        keyhaven_testkit::patch(made.image(), in_boot_sector, &[1]);
        assert_eq!(
            files::state(&made.device()).unwrap(),
            Cleanliness::Dirty(Mark::InUse)
        );
        // Bit 27 of the second entry of the table, clear when in use.
        if let Some(bit) = in_table {
            std::fs::write(made.image(), &clean).unwrap();
            let reserved = u64::from(u16::from_le_bytes([clean[14], clean[15]])) * 512;
            let at = reserved + 7;
            keyhaven_testkit::patch(made.image(), at, &[clean[at as usize] & !bit]);
            assert_eq!(
                files::state(&made.device()).unwrap(),
                Cleanliness::Dirty(Mark::InUse)
            );
        }
    }
}
