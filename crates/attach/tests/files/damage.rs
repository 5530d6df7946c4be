//! Volumes that were changed at random: whatever they say, nothing panics, hangs or grows.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhaven_attach::files::{self, FileTree, NodeId, NodeKind};

use crate::made::{Made, program, run};
use crate::model::{Folder, Numbers, text};

/// More than any of these volumes has.
const ENTRIES_MAX: usize = 20_000;

/// Looks at everything that a tree admits to have.
pub(crate) fn visit(tree: &dyn FileTree) {
    tree.label();
    tree.space();
    let mut left = vec![(tree.root(), 0)];
    let mut entries = 0;
    while let Some((node, depth)) = left.pop() {
        let _ = tree.attributes(node);
        let mut found = Vec::new();
        let _ = tree.list(node, &mut |entry| {
            entries += 1;
            found.push(entry);
            if entries < ENTRIES_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        for entry in found {
            let _ = tree.lookup(node, &entry.name);
            let _ = tree.attributes(entry.node);
            let _ = tree.read_link(entry.node);
            let _ = tree.hole_at(entry.node, 100, u64::MAX);
            for stream in tree.streams(entry.node).unwrap_or_default().iter().take(9) {
                let _ = tree.read_stream(entry.node, &stream.name, 100, &mut [0; 5000]);
            }
            if entry.kind == NodeKind::Directory && depth < 8 && left.len() < 200 {
                left.push((entry.node, depth + 1));
            }
            let mut buf = vec![0; 70_000];
            for offset in [0, 65_000, u64::MAX - 10] {
                let _ = tree.read(entry.node, offset, &mut buf);
            }
        }
    }
    let _ = tree.attributes(NodeId(u64::MAX));
    let _ = tree.read(NodeId(0), 0, &mut [0; 10]);
}

/// Visits `rounds` changed copies of an image. Changes fall where the image is not empty.
fn visit_changed(image: &[u8], rounds: u64) {
    // A block without content says nothing.
    let blocks: Vec<usize> = image
        .chunks(512)
        .enumerate()
        .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
        .map(|(index, _)| index * 512)
        .collect();
    for round in 0..rounds {
        let mut numbers = Numbers::new(round + 1);
        let mut changed = image.to_vec();
        for _ in 0..1 + numbers.below(12) {
            // The first blocks say the most.
            let block = if numbers.below(3) == 0 {
                blocks[numbers.below(blocks.len() as u64 / 8) as usize]
            } else {
                blocks[numbers.below(blocks.len() as u64) as usize]
            };
            let at = (block + numbers.below(512) as usize).min(changed.len() - 8);
            match numbers.below(5) {
                0 => changed[at] = numbers.next() as u8,
                1 => changed[at] ^= 1 << numbers.below(8),
                2 => changed[at..at + 4].copy_from_slice(&(numbers.next() as u32).to_le_bytes()),
                3 => changed[at..at + 8].fill(0xFF),
                _ => {
                    let other = blocks[numbers.below(blocks.len() as u64) as usize];
                    changed.copy_within(
                        other..(other + 512).min(image.len()),
                        block.min(image.len() - 512),
                    );
                }
            }
        }
        let started = Instant::now();
        let device: keyhaven_disk::Device = Arc::new(changed);
        let _ = files::state(&device);
        if let Ok(tree) = files::open(device) {
            visit(&*tree);
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "round {round} took {took:?}");
    }
}

/// As many as the variable says, to try for longer by hand.
pub(crate) fn rounds(usual: u64) -> u64 {
    std::env::var("KEYHAVEN_DAMAGE_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(usual)
}

fn small_tree() -> Folder {
    let mut tree = Folder::default();
    tree.file("a file.txt", text(3000));
    tree.file("empty", Vec::new());
    tree.file("content.bin", Numbers::new(5).noise(40_000));
    let folder = tree.folder("a folder with a long name");
    for index in 0..60 {
        folder.file(&format!("file with a longer name {index}.txt"), text(index));
    }
    folder.folder("below").file("deep.txt", text(20));
    tree
}

#[test]
fn damaged_ntfs() {
    let (Some(mkntfs), Some(ntfs_3g)) = (program("mkntfs"), program("ntfs-3g")) else {
        return;
    };
    let made = Made::with(&mkntfs, &["-Q", "-F", "-q", "-z", "0"], 2);
    let filled = made.fill_ntfs(&ntfs_3g, "compression", |top| {
        let packed = top.join("packed");
        std::fs::create_dir(&packed).unwrap();
        crate::made::set_attribute(&packed, "system.ntfs_attrib", &0x800u32.to_le_bytes());
        std::fs::write(packed.join("text.txt"), text(150_000)).unwrap();
        std::os::unix::fs::symlink("packed", top.join("link")).unwrap();
        small_tree().write_to(top);
    });
    if filled.is_some() {
        visit_changed(&std::fs::read(made.image()).unwrap(), rounds(80));
    }
}

#[test]
fn damaged_fat() {
    let (Some(mkfs), Some(mcopy)) = (program("mkfs.vfat"), program("mcopy")) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    small_tree().write_to(source.path());
    for (bits, len_mib, usual) in [("12", 2, 60), ("16", 9, 40), ("32", 34, 20)] {
        let made = Made::with(&mkfs, &["-F", bits], len_mib);
        let names = std::fs::read_dir(source.path())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        run(std::process::Command::new(&mcopy)
            .args(["-s", "-Q", "-i"])
            .arg(made.image())
            .args(names)
            .arg("::/"));
        visit_changed(&std::fs::read(made.image()).unwrap(), rounds(usual));
    }
}

#[test]
fn damaged_exfat() {
    let (Some(mkfs), Some(fuse), Some(losetup)) = (
        program("mkfs.exfat"),
        program("mount.exfat-fuse"),
        program("losetup"),
    ) else {
        return;
    };
    let made = Made::with(&mkfs, &[], 4);
    let filled = made.fill_exfat(&fuse, &losetup, |top| small_tree().write_to(top));
    if filled.is_some() {
        visit_changed(&std::fs::read(made.image()).unwrap(), rounds(200));
    }
}
