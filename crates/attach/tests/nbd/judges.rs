//! Clients that people use, as judges: libnbd's tools and qemu's.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use keyhaven_attach::Shown;
use keyhaven_testkit::tool;

use crate::devices::Archipelago;
use crate::running::Running;

const MIB: usize = 1 << 20;

/// Runs a judge, which must be content; returns what it printed.
#[track_caller]
pub(crate) fn content<S: AsRef<OsStr>>(judge: &PathBuf, arguments: impl IntoIterator<Item = S>) -> String {
    let output = run(judge, arguments);
    assert!(output.status.success(), "{output:#?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn run<S: AsRef<OsStr>>(judge: &PathBuf, arguments: impl IntoIterator<Item = S>) -> Output {
    Command::new(judge).args(arguments).output().unwrap()
}

/// Bytes of which no part is like another.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len as u64 / 8)
        .flat_map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .collect()
}

/// An image file with something, nothing and something again; its bytes too.
fn image(server_folder: &std::path::Path) -> (PathBuf, Vec<u8>) {
    let mut bytes = noise(12 * MIB);
    bytes[2 * MIB..7 * MIB].fill(0);
    let path = server_folder.join("disk.img");
    let file = File::create(&path).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    for range in [0..2 * MIB, 7 * MIB..12 * MIB] {
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes[range.clone()], range.start as u64).unwrap();
    }
    (path, bytes)
}

/// Serves an image file, to be read or written.
fn serve_image(is_writable: bool) -> (Running, tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes) = image(folder.path());
    let shown = match is_writable {
        true => Shown::Writable(keyhaven_disk::open_writable(&path).unwrap()),
        false => Shown::ReadOnly(keyhaven_disk::open(&path).unwrap()),
    };
    (Running::of(shown), folder, path, bytes)
}

#[test]
fn nbdinfo_is_told_what_the_export_can_do() {
    let Some(nbdinfo) = tool::find("nbdinfo") else {
        return;
    };
    for is_writable in [false, true] {
        let (server, _folder, ..) = serve_image(is_writable);
        let said = content(&nbdinfo, ["--json", &server.uri()]);
        for line in [
            "\"protocol\": \"newstyle-fixed\"",
            "\"structured\": true",
            "\"export-size\": 12582912",
            "\"base:allocation\"",
            "\"can_df\": true",
            "\"can_multi_conn\": true",
            "\"block_size_minimum\": 1",
            "\"block_size_preferred\": 4096",
            "\"block_size_maximum\": 33554432",
            &format!("\"is_read_only\": {}", !is_writable),
            &format!("\"can_flush\": {is_writable}"),
            &format!("\"can_fua\": {is_writable}"),
            &format!("\"can_zero\": {is_writable}"),
            &format!("\"can_trim\": {}", is_writable && cfg!(target_os = "linux")),
        ] {
            assert!(said.contains(line), "{line} is missing: {said}");
        }
        let listed = content(&nbdinfo, ["--list", &server.uri()]);
        assert!(listed.contains("export=\"\":"), "{listed}");
        let missing = run(&nbdinfo, [server.uri().replace("///", "///other")]);
        assert!(!missing.status.success());
    }
}

#[test]
fn nbdinfo_maps_the_holes() {
    let Some(nbdinfo) = tool::find("nbdinfo") else {
        return;
    };
    let len_bytes = 2 * Archipelago::EVERY;
    let server = Running::of(Shown::ReadOnly(Arc::new(Archipelago { len_bytes })));
    let said = content(&nbdinfo, ["--map", &server.uri()]);
    let lines: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let hole = (Archipelago::EVERY - Archipelago::ISLAND).to_string();
    let second = Archipelago::EVERY.to_string();
    let third = (Archipelago::EVERY + Archipelago::ISLAND).to_string();
    assert_eq!(
        lines,
        [
            ["0", "1048576", "0", "data"],
            ["1048576", &hole, "3", "hole,zero"],
            [&second, "1048576", "0", "data"],
            [&third, &hole, "3", "hole,zero"],
        ]
    );
}

#[test]
fn nbdcopy_copies_both_ways() {
    let Some(nbdcopy) = tool::find("nbdcopy") else {
        return;
    };
    let (server, folder, path, bytes) = serve_image(true);
    let copy = folder.path().join("copy.img");
    content(&nbdcopy, [OsStr::new(&server.uri()), copy.as_os_str()]);
    assert!(fs::read(&copy).unwrap() == bytes);

    let turned: Vec<u8> = bytes.iter().rev().copied().collect();
    fs::write(&copy, &turned).unwrap();
    content(
        &nbdcopy,
        [OsStr::new("--flush"), copy.as_os_str(), OsStr::new(&server.uri())],
    );
    server.stop().unwrap();
    assert!(fs::read(&path).unwrap() == turned);
}

#[test]
fn qemu_img_converts_both_ways_and_finds_no_difference() {
    let Some(qemu_img) = tool::find("qemu-img") else {
        return;
    };
    let (server, folder, path, bytes) = serve_image(true);
    let uri = server.uri();
    let copy = folder.path().join("copy.qcow2");
    let copy = copy.to_str().unwrap();
    content(&qemu_img, ["convert", "-f", "raw", "-O", "qcow2", &uri, copy]);
    content(&qemu_img, ["compare", "-f", "qcow2", "-F", "raw", copy, &uri]);
    let map = content(&qemu_img, ["map", "-f", "raw", "--output=json", &uri]);
    let keyhaven_sees_holes = keyhaven_disk::open(&path).unwrap().hole_at(3 * MIB as u64, 1) == 1;
    assert_eq!(map.contains("\"data\": false"), keyhaven_sees_holes, "{map}");

    let turned: Vec<u8> = bytes.iter().rev().copied().collect();
    let source = folder.path().join("turned.img");
    fs::write(&source, &turned).unwrap();
    let source = source.to_str().unwrap();
    content(
        &qemu_img,
        ["convert", "-n", "-f", "raw", "-O", "raw", source, &uri],
    );
    content(&qemu_img, ["compare", "-f", "raw", "-F", "raw", source, &uri]);
    server.stop().unwrap();
    assert!(fs::read(&path).unwrap() == turned);
}

#[test]
fn qemu_io_reads_the_patterns_that_it_wrote() {
    let Some(qemu_io) = tool::find("qemu-io") else {
        return;
    };
    let (server, _folder, path, _) = serve_image(true);
    let commands = [
        "write -P 0x5a 4096 8192",
        "write -P 0xc3 -f 3M 1M",
        "aio_write -P 7 5M 3M",
        "aio_write -P 8 8M 3M",
        "aio_flush",
        "read -P 0x5a 4096 8192",
        "read -P 7 5M 3M",
        "read -P 8 8M 3M",
        "write -z 3584k 64k",
        "write -zu 3648k 64k",
        "write -P 9 1234 777",
        "read -P 0 3584k 128k",
        "read -P 0xc3 3M 512k",
        "read -P 9 1234 777",
        "discard 11M 1M",
        "flush",
    ];
    let mut arguments = vec!["-f".to_owned(), "raw".to_owned()];
    for command in commands {
        arguments.extend(["-c".to_owned(), command.to_owned()]);
    }
    arguments.push(server.uri());
    let said = content(&qemu_io, &arguments);
    assert!(
        !said.contains("verification failed") && !said.contains("failed:"),
        "{said}"
    );
    assert_eq!(said.matches("wrote ").count(), 7, "{said}");
    server.stop().unwrap();
    assert!(
        fs::read(&path).unwrap()[8 * MIB..11 * MIB]
            .iter()
            .all(|byte| *byte == 8)
    );

    let (server, ..) = serve_image(false);
    let refused = run(&qemu_io, ["-f", "raw", "-c", "write 0 512", &server.uri()]);
    assert!(!refused.status.success(), "{refused:#?}");
}

#[test]
fn terabytes_are_read_where_they_are() {
    let (Some(qemu_img), Some(qemu_io), Some(nbdcopy)) = (
        tool::find("qemu-img"),
        tool::find("qemu-io"),
        tool::find("nbdcopy"),
    ) else {
        return;
    };
    let server = Running::of(Shown::ReadOnly(Arc::new(Archipelago { len_bytes: 4 << 40 })));
    let out = server.folder().join("part.img");
    // Islands on both sides of 2 TiB, where numbers of sectors and blocks outgrow 32 bits, and the last.
    for island in [7, 8, 9, 15] {
        let start = island * Archipelago::EVERY;
        let arguments = [
            "dd".to_owned(),
            "-f".to_owned(),
            "raw".to_owned(),
            "bs=65536".to_owned(),
            format!("skip={}", start / 65536 - 1),
            // An image read by dd ends where its count says, counted from its start.
            format!("count={}", start / 65536 + 17),
            format!("if={}", server.uri()),
            format!("of={}", out.display()),
        ];
        content(&qemu_img, &arguments);
        let mut expected = vec![0; 18 * 65536];
        Archipelago::fill(start - 65536, &mut expected);
        let read = fs::read(&out).unwrap();
        assert!(read == expected, "{} bytes of island {island}", read.len());
    }
    let commands = [
        "read -P 0 3T 0",
        "read -P 0 3073G 32M",
        "read -P 0 4095G 64M",
        "map",
    ];
    let mut arguments = vec!["-r", "-f", "raw"];
    for command in &commands {
        arguments.extend(["-c", command]);
    }
    let uri = server.uri();
    arguments.push(&uri);
    let said = content(&qemu_io, &arguments);
    assert!(
        !said.contains("verification failed") && !said.contains("failed:"),
        "{said}"
    );
    // All of it: what is a hole is not asked for.
    content(&nbdcopy, [&uri, "null:"]);
}
