//! Transcripts of `keyhaven ls` and `keyhaven cat`.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::sha256_of;

use crate::desk::{Desk, image};
use crate::files_inside::{Files, set_attribute};

/// A drive with some of everything.
fn varied() -> Option<Files> {
    Files::ntfs("streams_interface=windows,big_writes", |top| {
        fs::create_dir_all(top.join("Users/Ann/Documents")).unwrap();
        fs::create_dir_all(top.join("Users/Bob/Documents")).unwrap();
        fs::write(top.join("Users/Ann/Documents/letter.txt"), "Dear Bob,\r\n").unwrap();
        fs::write(top.join("Users/Bob/Documents/Answer.docx"), vec![7; 100_000]).unwrap();
        fs::write(
            top.join("Users/Ann/Documents/letter.txt:Zone.Identifier"),
            "ZoneId=3",
        )
        .unwrap();
        fs::write(top.join("turned\u{202e}txt.exe"), "x").unwrap();
        fs::write(top.join("hidden.sys"), "secret").unwrap();
        symlink("Users/Ann", top.join("Me")).unwrap();
        symlink("/home/ann", top.join("Away")).unwrap();
        fs::write(top.join("packed.dll"), "").unwrap();
        set_attribute(
            &top.join("packed.dll"),
            "system.ntfs_reparse_data",
            &[&0x8000_0017u32.to_le_bytes()[..], &[16, 0, 0, 0], &[1; 16]].concat(),
        );
        set_attribute(&top.join("hidden.sys"), "system.ntfs_attrib", &7u32.to_le_bytes());
    })
}

#[test]
fn files_are_listed_and_written_out() {
    let Some(files) = varied() else { return };
    let drive = files.drive();
    let ls = |arguments: &[&str]| files.desk.keyhaven([&["ls", &drive], arguments].concat()).go();
    let cat = |path: &str| files.desk.keyhaven(["cat", &drive, path]).go();

    assert_eq!(
        ls(&[]).exits(0).stdout,
        "Away\nhidden.sys\nMe\npacked.dll\nturned\\u{202e}txt.exe\nUsers/\n"
    );
    // As people of Windows write paths, through a link, and with a pattern.
    for path in [
        "C:\\users\\ann\\DOCUMENTS",
        "/Me/Documents/",
        "Users/./Bob/../A*/Documents",
    ] {
        assert_eq!(ls(&[path]).exits(0).stdout, "letter.txt\n", "{path}");
    }
    assert_eq!(
        ls(&["-R", "Users/*/Documents"]).exits(0).stdout,
        "Users/Ann/Documents/letter.txt\nUsers/Bob/Documents/Answer.docx\n"
    );
    let long = ls(&["-l", "--streams", "Me/Documents"]).exits(0).stdout;
    let lines: Vec<&str> = long.lines().collect();
    assert!(
        lines[0].starts_with("-  ---  11  20") && lines[0].ends_with("  letter.txt"),
        "{long}"
    );
    assert!(
        lines[1].starts_with("s  ---   8  ") && lines[1].ends_with("  letter.txt:Zone.Identifier"),
        "{long}"
    );
    let long = ls(&["-l", "hidden.sys"]).exits(0).stdout;
    assert!(long.starts_with("-  rhs  6  20"), "{long}");
    let long = ls(&["-l"]).exits(0).stdout;
    assert!(long.contains("  Away -> /home/ann\n"), "{long}");

    let json = ls(&["--json", "-R", "--streams"]).exits(0).stdout;
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 12, "{json}");
    let letter = lines.iter().find(|line| line["name"] == "letter.txt").unwrap();
    assert_eq!(letter["path"], "Users/Ann/Documents/letter.txt");
    assert_eq!(
        (&letter["kind"], &letter["size_bytes"]),
        (&"file".into(), &11.into())
    );
    assert_eq!(letter["streams"][0]["name"], "Zone.Identifier");
    assert!(letter["modified"].as_str().unwrap().ends_with('Z'));
    let turned = lines.iter().find(|line| line["path"] == "turned\u{202e}txt.exe");
    assert_eq!(turned.unwrap()["system"], false);

    assert_eq!(
        cat("users\\ann\\documents\\LETTER.TXT").exits(0).stdout,
        "Dear Bob,\r\n"
    );
    assert_eq!(
        cat("Me/Documents/letter.txt:zone.identifier").exits(0).stdout,
        "ZoneId=3"
    );
    assert_eq!(
        cat("turned\\u{202e}txt.exe").exits(0).stdout,
        "x",
        "as it is listed"
    );
}

#[test]
fn what_is_not_there_is_told() {
    let Some(files) = varied() else { return };
    let drive = files.drive();
    for (verb, path, parts) in [
        (
            "ls",
            "Users/Anne",
            &["there is no `Anne` in `Users`", "did you mean `Ann`?"][..],
        ),
        (
            "cat",
            "hiden.sys",
            &[
                "there is no `hiden.sys` in the top folder",
                "did you mean `hidden.sys`?",
            ],
        ),
        (
            "ls",
            "nothing/like/this",
            &["there is no `nothing`", "`keyhaven ls` shows what there is"],
        ),
        ("ls", "hidden.sys/x", &["`hidden.sys` is not a folder"]),
        (
            "cat",
            "Users",
            &["`Users` is a folder", "`keyhaven cp -r` copies it"],
        ),
        (
            "cat",
            "packed.dll",
            &[
                "cannot read `packed.dll`",
                "in Windows' compression of system files (CompactOS)",
            ],
        ),
        (
            "cat",
            "Away",
            &["`Away` is a link to `/home/ann`, which is not on this drive"],
        ),
        ("cat", "hidden.sys:note", &["`hidden.sys` has no stream `note`"]),
        ("ls", "*.doc", &["nothing on the drive matches `*.doc`"]),
    ] {
        let run = files.desk.keyhaven([verb, &drive, path]).go().exits(2);
        assert_eq!(run.stdout, "");
        for part in parts {
            assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
        }
    }
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    let Some(files) = varied() else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["cat", &files.drive(), "Users/Bob/Documents/Answer.docx"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("error"), "{said}");
}

#[test]
fn the_files_of_a_real_stick_are_what_windows_wrote() {
    let Some(volume) = corpus::volume_or_skip("dfvfs-bdetogo") else {
        return;
    };
    let desk = Desk::new();
    let run = desk
        .with(SecretKind::Password, &["ls", "-R", &image(&volume)], &volume)
        .exits(0);
    for name in ["a_directory/\n", "a_directory/a_file\n", "passwords.txt\n"] {
        assert!(run.stdout.contains(name), "{name} is missing: {run:#?}");
    }
    let run = desk
        .with(
            SecretKind::Password,
            &["cat", &image(&volume), "A_DIRECTORY\\A_FILE"],
            &volume,
        )
        .exits(0);
    assert_eq!(
        sha256_of(run.stdout.as_bytes()),
        "4a49638d0e1055fd9e4c17fef7fdf4d6ccf892b6d9c2f64164203c4bfb0ec92d"
    );
    let run = desk
        .with(
            SecretKind::Password,
            &["cp", "-r", &image(&volume), "/", &desk.arg("copy")],
            &volume,
        )
        .exits(0);
    assert_eq!(
        sha256_of(fs::File::open(desk.path("copy/passwords.txt")).unwrap()),
        "02a2a6af2f1ecf4720d7d49d640f0d0a269a7ec733e41973bdd34f09dad0e252",
        "{run:#?}"
    );
}

#[test]
fn what_is_no_file_system_is_named() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let run = desk
        .with(SecretKind::Password, &["ls", &image(&volume)], &volume)
        .exits(2);
    assert!(
        run.stderr
            .contains("the drive is unlocked, but its files cannot be read: "),
        "{run:#?}"
    );
    assert!(run.stderr.contains("`keyhaven export` writes"), "{run:#?}");
}
