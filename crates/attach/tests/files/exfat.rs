//! exFAT, made by exfatprogs and filled by exfat-fuse.

use keyhaven_attach::files::{self, Cleanliness, FileSystemKind, Mark};

use crate::made::{Made, program};
use crate::model::Folder;

fn filled(len_mib: u64, tree: &Folder) -> Option<Made> {
    let (mkfs, fuse, losetup) = (
        program("mkfs.exfat")?,
        program("mount.exfat-fuse")?,
        program("losetup")?,
    );
    let made = Made::with(&mkfs, &["-L", "Haven"], len_mib);
    made.fill_exfat(&fuse, &losetup, |mountpoint| tree.write_to(mountpoint))?;
    Some(made)
}

#[test]
fn exfat_has_what_was_put_there() {
    let tree = Folder::varied(700);
    let Some(made) = filled(64, &tree) else { return };
    let found = made.tree();
    assert_eq!(found.kind(), FileSystemKind::ExFat);
    assert_eq!(found.label(), Some("Haven"));
    assert!(found.space().free_bytes.unwrap() < found.space().total_bytes);
    tree.check(&*found);
}

#[test]
fn marks_in_the_boot_sector_are_seen() {
    const FLAGS: u64 = 106;

    let Some(mkfs) = program("mkfs.exfat") else { return };
    let made = Made::with(&mkfs, &[], 8);
    for (flags, expected) in [
        (0, Cleanliness::Clean),
        (2, Cleanliness::Dirty(Mark::InUse)),
        (4, Cleanliness::Dirty(Mark::MediaFailure)),
    ] {
        keyhaven_testkit::patch(made.image(), FLAGS, &[flags]);
        assert_eq!(files::state(&made.device()).unwrap(), expected);
    }
}
