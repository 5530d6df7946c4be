//! NTFS, made and filled by ntfs-3g.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;

use keyhaven_attach::files::{self, Cleanliness, FileSystemKind, FilesError, Mark, NodeKind, Storage};

use crate::made::{Made, program, set_attribute};
use crate::model::{Folder, Numbers, check_file, entries, find, text, whole};

const COMPRESSED: u32 = 0x800;

fn programs() -> Option<(PathBuf, PathBuf)> {
    Some((program("mkntfs")?, program("ntfs-3g")?))
}

/// A volume that `fill` writes to.
fn filled(arguments: &[&str], len_mib: u64, options: &str, fill: impl FnOnce(&Path)) -> Option<Made> {
    let (mkntfs, ntfs_3g) = programs()?;
    let arguments = [&["-Q", "-F", "-q", "-L", "Häven"], arguments].concat();
    let made = Made::with(&mkntfs, &arguments, len_mib);
    made.fill_ntfs(&ntfs_3g, options, fill)?;
    Some(made)
}

#[test]
fn ntfs_has_what_was_put_there() {
    let tree = Folder::varied(3000);
    let Some(made) = filled(&[], 48, "big_writes", |top| tree.write_to(top)) else {
        return;
    };
    let found = made.tree();
    assert_eq!(found.kind(), FileSystemKind::Ntfs);
    assert_eq!(found.label(), Some("Häven"));
    let space = found.space();
    assert_eq!(space.block_len_bytes, 4096);
    assert!((1 << 20..space.total_bytes).contains(&space.free_bytes.unwrap()));
    tree.check(&*found);
    assert_eq!(files::state(&made.device()).unwrap(), Cleanliness::Clean);
}

#[test]
fn clusters_of_every_length() {
    let tree = Folder::varied(150);
    for (cluster, len_mib) in [("512", 24), ("65536", 64), ("2097152", 512)] {
        let Some(made) = filled(&["-c", cluster], len_mib, "big_writes", |top| tree.write_to(top)) else {
            return;
        };
        assert_eq!(made.tree().space().block_len_bytes.to_string(), cluster);
        tree.check(&*made.tree());
    }
}

#[test]
fn sectors_of_4096_bytes() {
    let tree = Folder::varied(150);
    let Some(made) = filled(&["-s", "4096"], 48, "big_writes", |top| tree.write_to(top)) else {
        return;
    };
    tree.check(&*made.tree());
}

#[test]
fn compressed_files_are_unpacked() {
    let mut numbers = Numbers::new(3);
    let mut tree = Folder::default();
    tree.file("text.txt", text(300_001));
    tree.file("noise.bin", numbers.noise(200_003));
    tree.file("zeros.bin", vec![0; 1 << 20]);
    tree.file("short.txt", text(1000));
    tree.file("unit.txt", text(65_536));
    let mut mixed = text(70_000);
    mixed.extend_from_slice(&numbers.noise(70_000));
    mixed.extend_from_slice(&[0; 140_000]);
    mixed.extend_from_slice(&text(70_000));
    tree.file("mixed.bin", mixed);

    let Some(made) = filled(&[], 24, "compression", |top| {
        let folder = top.join("packed");
        fs::create_dir(&folder).unwrap();
        set_attribute(&folder, "system.ntfs_attrib", &COMPRESSED.to_le_bytes());
        tree.write_to(&folder);
    }) else {
        return;
    };
    let found = made.tree();
    let mut expected = Folder::default();
    *expected.folder("packed") = tree;
    expected.check(&*found);

    let text = found.attributes(find(&*found, "packed/text.txt")).unwrap();
    assert!(
        text.allocated_bytes < text.len_bytes / 2,
        "{} of {} bytes: it was not compressed, which this is about",
        text.allocated_bytes,
        text.len_bytes
    );
}

#[test]
fn a_large_sparse_file() {
    const LEN: u64 = 5 << 30;
    let places = [0u64, 4095, 1 << 20, (1 << 32) - 3, LEN - 10];

    let Some(made) = filled(&[], 16, "big_writes", |top| {
        let mut file = File::create(top.join("sparse.bin")).unwrap();
        for place in places {
            file.seek(SeekFrom::Start(place)).unwrap();
            file.write_all(b"here it is").unwrap();
        }
        file.set_len(LEN).unwrap();
    }) else {
        return;
    };
    let found = made.tree();
    let node = find(&*found, "sparse.bin");
    let attributes = found.attributes(node).unwrap();
    assert_eq!(attributes.len_bytes, LEN);
    assert!(attributes.allocated_bytes < 1 << 20);
    for place in places {
        let start = place.saturating_sub(100);
        let mut buf = [1; 300];
        let count = found.read(node, start, &mut buf).unwrap();
        let mut expected = [0; 300];
        for other in places {
            for (index, byte) in b"here it is".iter().enumerate() {
                let at = (other + index as u64).wrapping_sub(start) as usize;
                if let Some(slot) = expected.get_mut(at) {
                    *slot = *byte;
                }
            }
        }
        assert_eq!(count as u64, (LEN - start).min(300));
        assert_eq!(buf[..count], expected[..count], "around byte {place}");
        assert_eq!(found.hole_at(node, place, 10).unwrap(), 0);
    }

    // From hole to hole, everything that was written is passed.
    let (mut at, mut stored) = (0, 0);
    while at < LEN {
        let hole = found.hole_at(node, at, LEN - at).unwrap();
        if hole == 0 {
            stored += 1;
        }
        at += hole.max(4096 - at % 4096);
    }
    assert!((5..=7).contains(&stored), "{stored} clusters are stored");
}

#[test]
fn alternate_data_streams() {
    let mut numbers = Numbers::new(4);
    let long = numbers.noise(300_000);
    let Some(made) = filled(&[], 16, "streams_interface=windows,big_writes", |top| {
        fs::create_dir(top.join("folder")).unwrap();
        fs::write(top.join("file.txt"), "content").unwrap();
        fs::write(
            top.join("file.txt:Zone.Identifier"),
            "[ZoneTransfer]\r\nZoneId=3\r\n",
        )
        .unwrap();
        fs::write(top.join("file.txt:Größe 漢字"), &long).unwrap();
        fs::write(top.join("file.txt:empty"), "").unwrap();
        fs::write(top.join("folder:note"), "of a folder").unwrap();
        // So many that a list of attributes is needed.
        fs::write(top.join("many.txt"), "much").unwrap();
        for index in 0..40 {
            fs::write(
                top.join(format!("many.txt:stream {index:02}")),
                vec![b'x'; 100 + index],
            )
            .unwrap();
        }
        fs::write(top.join("plain.txt"), "plain").unwrap();
    }) else {
        return;
    };
    let found = made.tree();
    let names = |path: &str| -> Vec<(String, u64)> {
        let streams = found.streams(find(&*found, path)).unwrap();
        streams
            .into_iter()
            .map(|stream| (stream.name, stream.len_bytes))
            .collect()
    };
    let named = |name: &str, len: u64| (name.to_owned(), len);
    let mut of_file = names("file.txt");
    of_file.sort();
    assert_eq!(
        of_file,
        [
            named("Größe 漢字", 300_000),
            named("Zone.Identifier", 26),
            named("empty", 0)
        ]
    );
    assert_eq!(names("folder"), [named("note", 11)]);
    assert_eq!(names("plain.txt"), []);
    assert_eq!(names("many.txt").len(), 40);

    let file = find(&*found, "file.txt");
    let read = |node, stream: &str, offset, len| {
        let mut buf = vec![0xEE; len];
        found.read_stream(node, stream, offset, &mut buf).map(|count| {
            buf.truncate(count);
            buf
        })
    };
    assert_eq!(read(file, "zone.identifier", 1, 12).unwrap(), b"ZoneTransfer");
    assert_eq!(read(file, "Größe 漢字", 0, 400_000).unwrap(), long);
    assert_eq!(
        read(file, "GRÖSSE 漢字", 299_990, 100).ok(),
        None,
        "ß has no capital there"
    );
    assert_eq!(read(file, "grÖßE 漢字", 299_990, 100).unwrap(), long[299_990..]);
    assert_eq!(read(file, "empty", 0, 9).unwrap(), b"");
    assert_eq!(
        read(find(&*found, "folder"), "note", 0, 99).unwrap(),
        b"of a folder"
    );
    let many = find(&*found, "many.txt");
    assert_eq!(read(many, "stream 39", 0, 999).unwrap(), [b'x'; 139]);
    assert_eq!(whole(&*found, many), b"much");
    assert!(matches!(read(file, "none", 0, 1), Err(FilesError::NoSuchStream)));
}

#[test]
fn a_file_in_hundreds_of_pieces() {
    // Two files that grow in turns lie in single clusters, until a list of attributes is needed.
    let mut numbers = Numbers::new(9);
    let one = numbers.noise(300 * 512);
    let other = numbers.noise(300 * 512);
    let Some(made) = filled(&["-c", "512"], 16, "no_def_opts,silent", |top| {
        let mut files = [
            (File::create(top.join("one.bin")).unwrap(), &one),
            (File::create(top.join("other.bin")).unwrap(), &other),
        ];
        for start in (0..one.len()).step_by(512) {
            for (file, content) in &mut files {
                file.write_all(&content[start..start + 512]).unwrap();
                file.sync_data().unwrap();
            }
        }
    }) else {
        return;
    };
    let found = made.tree();
    let entries = entries(&*found, found.root());
    check_file(&*found, &entries["one.bin"], &one, "one.bin");
    check_file(&*found, &entries["other.bin"], &other, "other.bin");
}

#[test]
fn links_and_names() {
    let Some(made) = filled(&[], 16, "big_writes", |top| {
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::create_dir(top.join("Users")).unwrap();
        fs::write(top.join("a/file.txt"), "content").unwrap();
        fs::hard_link(top.join("a/file.txt"), top.join("a/b/same.txt")).unwrap();
        symlink("../file.txt", top.join("a/b/link")).unwrap();
        // As Windows makes them.
        let point = |tag: u32, flags: &[u8], target: &str| {
            let target: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let len = (target.len() as u16).to_le_bytes();
            let mut data = [&[0, 0], &len[..], &len, &[0, 0], flags, &target].concat();
            let mut point = tag.to_le_bytes().to_vec();
            point.extend_from_slice(&(data.len() as u16).to_le_bytes());
            point.extend_from_slice(&[0, 0]);
            point.append(&mut data);
            point
        };
        const JUNCTION: u32 = 0xA000_0003;
        const SYMLINK: u32 = 0xA000_000C;
        for (name, is_folder, value) in [
            ("a/junction", true, point(JUNCTION, &[], "\\??\\C:\\Users")),
            ("a/b/top", true, point(JUNCTION, &[], "\\??\\C:\\")),
            (
                "a/elsewhere",
                true,
                point(JUNCTION, &[], "\\??\\D:\\Nothing here"),
            ),
            ("a/above", false, point(SYMLINK, &[1, 0, 0, 0], "\\..\\..\\Users")),
            ("a/relative", false, point(SYMLINK, &[1, 0, 0, 0], "b\\same.txt")),
            (
                "a/packed",
                false,
                [&0x8000_0017u32.to_le_bytes()[..], &[16, 0, 0, 0], &[1; 16]].concat(),
            ),
        ] {
            if is_folder {
                fs::create_dir(top.join(name)).unwrap();
            } else {
                fs::write(top.join(name), "").unwrap();
            }
            set_attribute(&top.join(name), "system.ntfs_reparse_data", &value);
        }
        fs::write(top.join("Long file name.txt"), "long").unwrap();
        set_attribute(
            &top.join("Long file name.txt"),
            "system.ntfs_dos_name",
            b"LONGFI~1.TXT",
        );
        // A stream of its own beside the content.
        set_attribute(&top.join("Long file name.txt"), "user.note", b"not shown");
        set_attribute(
            &top.join("Long file name.txt"),
            "system.ntfs_attrib",
            &(0x1u32 | 0x2 | 0x20).to_le_bytes(),
        );
    }) else {
        return;
    };
    let found = made.tree();
    let file = found.attributes(find(&*found, "a/file.txt")).unwrap();
    assert_eq!((file.hard_links, file.len_bytes), (2, 7));
    assert_eq!(find(&*found, "a/file.txt"), find(&*found, "a/b/same.txt"));

    for (path, target) in [
        ("a/b/link", "../file.txt"),
        ("a/junction", "../Users"),
        ("a/b/top", "../.."),
        ("a/elsewhere", "D:/Nothing here"),
        ("a/above", "../Users"),
        ("a/relative", "b/same.txt"),
    ] {
        let node = find(&*found, path);
        assert_eq!(
            found.attributes(node).unwrap().kind,
            NodeKind::SymbolicLink,
            "{path}"
        );
        assert_eq!(found.attributes(node).unwrap().len_bytes, target.len() as u64);
        assert_eq!(found.read_link(node).unwrap(), target, "{path}");
        let (folder, name) = path.rsplit_once('/').unwrap();
        let listed = &entries(&*found, find(&*found, folder))[name];
        assert_eq!(listed.kind, NodeKind::SymbolicLink, "{path}");
    }
    assert!(matches!(
        found.read(find(&*found, "a/packed"), 0, &mut [0; 10]),
        Err(FilesError::Unsupported {
            how: Storage::SystemCompression
        })
    ));

    // What stands in the place of its content there is a hole, and no content.
    assert!(found.hole_at(find(&*found, "a/packed"), 0, 10).is_err());

    // The short name is another way to the file, not another file.
    let top: Vec<String> = entries(&*found, found.root()).into_keys().collect();
    assert_eq!(top, ["Long file name.txt", "Users", "a"]);
    let long = find(&*found, "Long file name.txt");
    assert_eq!(find(&*found, "longfi~1.txt"), long);
    let attributes = found.attributes(long).unwrap();
    assert_eq!(attributes.hard_links, 1);
    assert!(attributes.is_read_only && attributes.is_hidden && !attributes.is_system);
    assert_eq!(whole(&*found, long), b"long");
    // The file system's own files are not there, not even by number.
    assert_eq!(found.lookup(found.root(), "$MFT").unwrap(), None);
    assert!(matches!(
        found.attributes(keyhaven_attach::files::NodeId(1 << 48)),
        Err(FilesError::NotFound)
    ));
}

#[test]
fn many_threads_read_at_once() {
    let tree = Folder::varied(100);
    let Some(made) = filled(&[], 24, "big_writes", |top| tree.write_to(top)) else {
        return;
    };
    let found = made.tree();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| tree.check(&*found));
        }
    });
}

#[test]
fn sleeping_windows_is_seen() {
    for (start, expected) in [
        (&b"HIBR"[..], Cleanliness::Hibernated),
        (b"hibr", Cleanliness::Hibernated),
        (b"WAKE", Cleanliness::Clean),
        (&[0; 4096], Cleanliness::Clean),
    ] {
        let Some(made) = filled(&[], 8, "big_writes", |top| {
            fs::write(top.join("hiberfil.sys"), [start, &[0; 8192]].concat()).unwrap();
        }) else {
            return;
        };
        assert_eq!(files::state(&made.device()).unwrap(), expected);
    }
}

#[test]
fn a_volume_that_asks_for_a_check_is_seen() {
    let Some(mkntfs) = program("mkntfs") else { return };
    let made = Made::with(&mkntfs, &["-Q", "-F", "-q"], 8);
    assert_eq!(files::state(&made.device()).unwrap(), Cleanliness::Clean);
    // Record 3 of the table, which mkntfs puts at cluster 4: its $VOLUME_INFORMATION.
    let image = fs::read(made.image()).unwrap();
    let record = &image[4 * 4096 + 3 * 1024..][..1024];
    let at = record
        .windows(4)
        .position(|window| window == [0x70, 0, 0, 0])
        .unwrap();
    let flags = 4 * 4096 + 3 * 1024 + at + 0x18 + 10;
    keyhaven_testkit::patch(made.image(), flags as u64, &[1]);
    assert_eq!(
        files::state(&made.device()).unwrap(),
        Cleanliness::Dirty(Mark::NeedsCheck)
    );
}

#[test]
fn an_unfinished_log_is_seen() {
    let Some(mkntfs) = program("mkntfs") else { return };
    let made = Made::with(&mkntfs, &["-Q", "-F", "-q"], 8);
    // mkntfs fills the log with ones, and nothing else of that length.
    let image = fs::read(made.image()).unwrap();
    let log = image
        .chunks(4096)
        .position(|cluster| cluster.iter().all(|byte| *byte == 0xFF))
        .unwrap() as u64
        * 4096;
    let restart_page = |number: u8, version: u8, client: u16, flags: u16| {
        let mut page = [0; 512];
        page[..4].copy_from_slice(b"RSTR");
        page[0x18] = 0x30;
        page[0x1C] = version;
        page[0x30] = number;
        page[0x3C..0x3E].copy_from_slice(&client.to_le_bytes());
        page[0x3E..0x40].copy_from_slice(&flags.to_le_bytes());
        page
    };
    let unfinished = Cleanliness::Dirty(Mark::UnfinishedLog);
    for (first, second, expected) in [
        (restart_page(1, 1, 0, 0), [0xFF; 512], unfinished.clone()),
        (restart_page(1, 1, 0, 2), [0xFF; 512], Cleanliness::Clean),
        (restart_page(1, 1, 0xFFFF, 0), [0xFF; 512], Cleanliness::Clean),
        // The newer page counts.
        (
            restart_page(1, 1, 0, 2),
            restart_page(2, 1, 0, 0),
            unfinished.clone(),
        ),
        (
            restart_page(3, 1, 0, 2),
            restart_page(2, 1, 0, 0),
            Cleanliness::Clean,
        ),
        // As Windows leaves it that shuts down fast.
        (restart_page(1, 2, 0, 2), [0xFF; 512], unfinished.clone()),
        ([0; 512], [0; 512], unfinished),
    ] {
        keyhaven_testkit::patch(made.image(), log, &first);
        keyhaven_testkit::patch(made.image(), log + 4096, &second);
        assert_eq!(files::state(&made.device()).unwrap(), expected);
    }
}
