//! Transcripts of `keyhaven cp`.

use std::fs::{self, File, FileTimes};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::files_inside::{Files, run, tree_of};
use crate::shown::wait_until;

/// How many files the trees have here; `KEYHAVEN_TEST_FILES` says another number.
const FILES: u32 = 300;

fn file_count() -> u32 {
    std::env::var("KEYHAVEN_TEST_FILES").map_or(FILES, |number| number.parse().unwrap())
}

/// Numbers that are the same at every run.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut fill = keyhaven_testkit::numbers(seed);
    move || {
        let mut bytes = [0; 8];
        fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }
}

/// Writes so many files of all lengths, in folders, with old times.
fn fill(top: &Path, count: u32) {
    let mut next = numbers(u64::from(count));
    let folders = [
        "",
        "Users/Ann/Documents",
        "Users/Ann/Größe 漢字",
        "a/b/c/d/e",
        "Program Files (x86)",
    ];
    for folder in folders {
        fs::create_dir_all(top.join(folder)).unwrap();
    }
    for index in 0..count {
        let folder = folders[next() as usize % folders.len()];
        let name = match index % 7 {
            0 => format!("{} {index}.txt", "long name ".repeat(20)),
            1 => format!("Übersicht {index}.pdf"),
            2 => format!("no ending {index}"),
            _ => format!("file {index:04}.dat"),
        };
        let len = match index % 10 {
            0 => 0,
            1..=5 => next() % 700,
            6..=8 => next() % 20_000,
            _ => next() % 90_000,
        };
        let content: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
        let path = top.join(folder).join(name);
        fs::write(&path, &content[..len as usize]).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + next() % 500_000_000);
        // exfat-fuse takes both or none.
        let times = FileTimes::new().set_modified(old).set_accessed(old);
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(times).unwrap();
    }
}

#[test]
fn a_tree_of_ntfs_is_what_ntfs_3g_shows_of_the_exported_image() {
    let Some(files) = Files::ntfs("big_writes", |top| {
        fill(top, file_count());
        let mut sparse = File::create(top.join("sparse.img")).unwrap();
        sparse.write_all(b"begin").unwrap();
        sparse.seek(SeekFrom::Start(64 << 20)).unwrap();
        sparse.write_all(b"end").unwrap();
        fs::hard_link(top.join("sparse.img"), top.join("a/same.img")).unwrap();
        symlink("../Users/Ann", top.join("a/ann")).unwrap();
    }) else {
        return;
    };
    let desk = &files.desk;
    let (drive, copy) = (files.drive(), desk.arg("copy"));
    let copied = desk
        .keyhaven(["--json", "cp", "-r", "--links", &drive, "/", &copy])
        .go()
        .exits(0)
        .json();
    desk.keyhaven(["export", &drive, &desk.arg("exported.img")])
        .go()
        .exits(0);
    let seen = files.mounted("exported.img", "ro").unwrap();
    let expected = tree_of(&seen.path);
    let found = tree_of(&desk.path("copy"));
    for (path, what) in &expected {
        assert_eq!(found.get(path), Some(what), "{path}");
    }
    assert_eq!(found.len(), expected.len());
    assert_eq!(copied["complete"], true);
    assert_eq!(copied["copied_files"], u64::from(file_count()) + 2);
    assert_eq!(copied["copied_links"], 1);

    let (sparse, same) = (desk.path("copy/sparse.img"), desk.path("copy/a/same.img"));
    let (sparse, same) = (sparse.metadata().unwrap(), same.metadata().unwrap());
    assert!(sparse.blocks() * 512 < 4 << 20, "{} blocks", sparse.blocks());
    assert_eq!(sparse.ino(), same.ino(), "hard links are copied once");
    drop(seen);

    // Again: nothing is overwritten, and everything is there already.
    let again = desk.keyhaven(["cp", "-r", &drive, "Users", &copy]).go().exits(2);
    assert!(again.stderr.contains("which is not overwritten"), "{again:#?}");
    fs::remove_file(desk.path("copy/a/same.img")).unwrap();
    let again = desk
        .keyhaven(["--json", "cp", "-r", "--continue", &drive, "/", &copy])
        .go()
        .exits(0)
        .json();
    assert_eq!(
        (&again["copied_files"], &again["already_there"]),
        (&1.into(), &(file_count() + 1).into())
    );
}

#[test]
fn trees_of_fat32_and_exfat_are_what_was_put_there() {
    for (name, made) in [
        ("fat32", Files::fat32 as fn(fn(&Path)) -> Option<Files>),
        ("exfat", Files::exfat),
    ] {
        let Some(files) = made(|top| fill(top, 60)) else {
            continue;
        };
        let given = files.desk.path("expected");
        fs::create_dir(&given).unwrap();
        fill(&given, 60);
        let run = files
            .desk
            .keyhaven(["cp", "-r", &files.drive(), "/", &files.desk.arg("copy")])
            .go()
            .exits(0);
        assert!(run.stderr.contains("copied 60 files"), "{name}: {run:#?}");
        let (expected, found) = (tree_of(&given), tree_of(&files.desk.path("copy")));
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (path, (what, modified)) in &expected {
            let (what_found, modified_found) = &found[path];
            assert_eq!(what_found, what, "{name}: {path}");
            // FAT keeps two seconds; folders were not made old.
            let is_close = modified_found.abs_diff(*modified) <= 2_000_000_000;
            assert!(
                is_close || what == "folder",
                "{name}: {path}: {modified_found}, not {modified}"
            );
        }
    }
}

#[test]
fn what_is_in_the_way_stays_and_what_cannot_be_read_does_not_stop_the_rest() {
    let Some(files) = Files::ntfs("streams_interface=windows", |top| {
        fs::create_dir(top.join("folder")).unwrap();
        for name in ["one.txt", "two.txt", "folder/three.txt"] {
            fs::write(top.join(name), name).unwrap();
        }
        fs::write(top.join("one.txt:note"), "a stream").unwrap();
        fs::write(top.join("packed.dll"), "").unwrap();
        crate::files_inside::set_attribute(
            &top.join("packed.dll"),
            "system.ntfs_reparse_data",
            &[&0x8000_0017u32.to_le_bytes()[..], &[16, 0, 0, 0], &[1; 16]].concat(),
        );
        symlink("one.txt", top.join("link")).unwrap();
    }) else {
        return;
    };
    let desk = &files.desk;
    let drive = files.drive();
    fs::create_dir(desk.path("copy")).unwrap();
    desk.write("outside", "outside");
    desk.write("copy/one.txt", "mine");
    symlink(desk.path("outside"), desk.path("copy/two.txt")).unwrap();
    symlink(desk.path("keys"), desk.path("copy/folder")).unwrap();

    let copy = desk.arg("copy");
    let told = desk.keyhaven(["cp", "-r", &drive, "/", &copy]).go().exits(2);
    for part in [
        "`one.txt` was not copied: there is a file of this name, which is not overwritten",
        "`two.txt` was not copied: there is a file of this name, which is not overwritten",
        "`folder` was not copied: there is something else of this name",
        "`packed.dll` was not copied: the content of the file is kept in Windows' compression of system files",
        "left out 1 link or entry without content; `--links` copies links",
        "not complete: 4 files and folders could not be copied",
    ] {
        assert!(told.stderr.contains(part), "{part:?} is missing: {told:#?}");
    }
    assert_eq!(fs::read(desk.path("copy/one.txt")).unwrap(), b"mine");
    assert_eq!(desk.names_in("copy"), ["folder", "one.txt", "two.txt"]);
    assert!(desk.names_in("keys").is_empty());

    // Files are replaced, and a link as such: what it leads to stays.
    desk.keyhaven(["cp", "-r", "--overwrite", &drive, "/", &copy])
        .go()
        .exits(2);
    assert_eq!(fs::read(desk.path("copy/one.txt")).unwrap(), b"one.txt");
    assert_eq!(fs::read(desk.path("copy/two.txt")).unwrap(), b"two.txt");
    assert!(!desk.path("copy/two.txt").is_symlink());
    assert_eq!(fs::read(desk.path("outside")).unwrap(), b"outside");
    assert!(
        desk.names_in("keys").is_empty(),
        "a link to a folder is not followed"
    );

    desk.keyhaven(["cp", "--streams", &drive, "one.txt", &desk.arg("new.txt")])
        .go()
        .exits(0);
    assert_eq!(fs::read(desk.path("new.txt")).unwrap(), b"one.txt");
    assert_eq!(fs::read(desk.path("new.txt:note")).unwrap(), b"a stream");
    desk.keyhaven(["cp", &drive, "one.txt:note", &desk.arg("note")])
        .go()
        .exits(0);
    assert_eq!(fs::read(desk.path("note")).unwrap(), b"a stream");

    for (arguments, parts) in [
        (
            &["folder", "new"][..],
            &["`folder` is a folder", "`-r` copies it"][..],
        ),
        (&["-r", "folder", "new.txt"], &["`new.txt` exists already"]),
        (&["one.txt", "two.txt", "none"], &["there is no folder `none`"]),
        (&["one.txt", "none/one.txt"], &["there is no folder `none`"]),
        (
            &["*.txt", "none"],
            &["there is no folder `none`, and 2 things to copy"],
        ),
        (
            &["one.txt", "new.txt"],
            &["`new.txt` exists already and is not overwritten"],
        ),
        (
            &["on.txt", "new"],
            &["there is no `on.txt`", "did you mean `one.txt`?"],
        ),
    ] {
        let run = desk.keyhaven([&["cp", &drive], arguments].concat()).go().exits(2);
        for part in parts {
            assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
        }
    }
}

#[test]
fn names_that_the_target_cannot_hold_are_changed_and_told() {
    let Some(files) = Files::ntfs("big_writes", |top| {
        fs::create_dir(top.join("what?")).unwrap();
        for name in [
            "a:b",
            "what?/con.txt",
            "dots..",
            "Readme.txt",
            "README.txt",
            "plain.txt",
        ] {
            fs::write(top.join(name), name).unwrap();
        }
    }) else {
        return;
    };
    let desk = &files.desk;
    let target = File::create_new(desk.path("target.img")).unwrap();
    target.set_len(8 << 20).unwrap();
    run(Command::new("mkntfs")
        .args(["--fast", "--force", "--quiet"])
        .arg(desk.path("target.img")));
    let target = files.mounted("target.img", "windows_names").unwrap();
    let told = desk
        .keyhaven(["cp", "-r", &files.drive(), "/", &desk.arg("seen")])
        .go()
        .exits(0);
    for (name, in_copy) in [
        ("a:b", "a_b"),
        ("what?/con.txt", "what_/con_.txt"),
        ("dots..", "dots__"),
        ("README.txt", "README.txt"),
        ("Readme.txt", "Readme (2).txt"),
        ("plain.txt", "plain.txt"),
    ] {
        assert_eq!(
            fs::read_to_string(target.path.join(in_copy)).unwrap(),
            name,
            "{told:#?}"
        );
        let last = in_copy.rsplit('/').next().unwrap();
        let is_told = told.stderr.contains(&format!("`{name}` is `{last}` in the copy"));
        assert_eq!(is_told, name != in_copy, "{name}: {told:#?}");
    }
}

/// A file system in memory, until it is dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn on(path: PathBuf, options: &str) -> Self {
        fs::create_dir(&path).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path));
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_leaves_no_half_file() {
    let Some(files) = Files::ntfs("big_writes", |top| {
        for index in 0..200 {
            fs::write(top.join(format!("{index:03}")), [b'x'; 100]).unwrap();
        }
        fs::write(top.join("long"), vec![b'y'; 2 << 20]).unwrap();
    }) else {
        return;
    };
    let desk = &files.desk;
    let small = desk.path("small");
    let _small = Tmpfs::on(small.clone(), "size=300k");
    let cp = |path: &str| {
        desk.keyhaven(["cp", "-r", &files.drive(), path, &desk.arg("small")])
            .go()
            .exits(2)
    };

    let told = cp("/");
    assert!(told.stderr.contains("the files need 2.0"), "{told:#?}");
    assert!(told.stderr.contains("nothing was copied"), "{told:#?}");
    assert!(desk.names_in("small").is_empty());

    // By their lengths they fit; by what files take up they do not.
    let told = cp("0*");
    assert!(told.stderr.contains("there is no room left in "), "{told:#?}");
    let names = desk.names_in("small");
    assert!((50..100).contains(&names.len()), "{names:?}");
    for name in names {
        assert_eq!(fs::read(small.join(&name)).unwrap(), [b'x'; 100], "{name}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told_once() {
    let Some(files) = Files::ntfs("big_writes", |top| fill(top, 10)) else {
        return;
    };
    let desk = &files.desk;
    let _fixed = Tmpfs::on(desk.path("fixed"), "ro");
    let told = desk
        .keyhaven(["cp", "-r", &files.drive(), "/", &desk.arg("fixed")])
        .go()
        .exits(2);
    assert_eq!(told.stderr.matches("cannot be written").count(), 1, "{told:#?}");
}

#[test]
fn ctrl_c_leaves_whole_files_and_the_rest_can_be_copied_later() {
    let Some(files) = Files::ntfs("big_writes", |top| fill(top, 300)) else {
        return;
    };
    let desk = &files.desk;
    fs::create_dir(desk.path("copy")).unwrap();
    let arguments = ["cp", "-r", "--continue", &files.drive(), "/", &desk.arg("copy")];
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| !desk.names_in("copy").is_empty());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let code = child.wait().unwrap().code();
    // It may have been quicker.
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
    let found = tree_of(&desk.path("copy"));
    let copied = found.len();
    let expected = {
        fs::create_dir(desk.path("expected")).unwrap();
        fill(&desk.path("expected"), 300);
        tree_of(&desk.path("expected"))
    };
    for (path, what) in found {
        if what.0 != "folder" {
            assert_eq!(Some(&what), expected.get(&path), "{path}");
        }
    }
    desk.keyhaven(arguments).go().exits(0);
    let whole = tree_of(&desk.path("copy"));
    assert_eq!(whole.len(), expected.len(), "{copied} at first");
}

#[test]
fn damaged_file_systems_are_copied_as_far_as_they_go() {
    let Some(files) = Files::ntfs("big_writes", |top| fill(top, 60)) else {
        return;
    };
    let plain = fs::read(files.desk.path("plain.img")).unwrap();
    // Where mkntfs puts the table; ntfs-3g lets it grow from there.
    let records: Vec<usize> = (0..plain.len())
        .step_by(1024)
        .filter(|at| plain[*at..].starts_with(b"FILE"))
        .collect();
    assert!(records.len() > 60, "{} records", records.len());
    let mut files = files;
    for seed in 1..=2u64 {
        let mut next = numbers(seed);
        let image = File::options()
            .write(true)
            .open(files.desk.path("plain.img"))
            .unwrap();
        image.write_all_at(&plain, 0).unwrap();
        for _ in 0..40 {
            let record = records[next() as usize % records.len()];
            let at = record + next() as usize % 400;
            let byte = next() as u8;
            // The table's own records are another test's.
            if record >= records[24] {
                image.write_all_at(&[byte], at as u64).unwrap();
            }
        }
        files = files.encrypted().unwrap();
        let copy = files.desk.arg(&format!("copy {seed}"));
        let run = files
            .desk
            .keyhaven(["cp", "-r", "--streams", "--links", &files.drive(), "/", &copy])
            .go();
        assert!(matches!(run.code, Some(0 | 2)), "{run:#?}");
        assert!(!run.stderr.contains("panicked"), "{run:#?}");
        let found = tree_of(Path::new(&copy));
        assert!(found.keys().all(|path| !path.ends_with(".partial")), "{found:?}");
    }
}
