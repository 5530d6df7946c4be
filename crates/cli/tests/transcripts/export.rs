//! Transcripts of `keyhaven export`: whole or not at all, unless it is asked to go on.

use std::fs::{self, File};
use std::io::Read;
use std::process::Command;

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::{copy_of, sha256_of};

use crate::desk::{Desk, image};
use crate::loop_device::LoopDevice;

/// Exports with the first secret that the manifest lists.
fn export(desk: &Desk, volume: &Volume, arguments: &[&str]) -> crate::transcript::Transcript {
    let secret = volume.all_secrets().next().expect("the manifest lists one");
    let image = image(volume);
    let arguments = [&["--json", "export", image.as_str()], arguments].concat();
    desk.unlocking(&arguments, volume, secret)
}

#[test]
fn whole_volumes_give_the_published_content() {
    // Each cipher that there is a whole volume of, both sector sizes, To Go and a wrong checksum.
    for name in [
        "cs-aes-cbc-128",
        "cs-aes-cbc-256",
        "cs-aes-cbc-elephant-128",
        "cs-aes-xts-128-4k",
        "cs-aes-xts-256",
        "cs-togo-aes-cbc-128",
        "dfvfs-bdetogo",
    ] {
        if name == "cs-aes-cbc-256" && corpus::or_skip().is_none_or(|corpus| corpus.volume(name).is_none()) {
            continue;
        }
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        let desk = Desk::new();
        let run = export(&desk, &volume, &[&desk.arg("out.img")]).exits(0);
        let answer = run.json();
        assert_eq!(answer["complete"], true, "{name}: {run:#?}");
        assert_eq!(answer["bad_bytes"], 0);
        assert_eq!(answer["map"], serde_json::Value::Null);
        let out = File::open(desk.path("out.img")).unwrap();
        assert_eq!(answer["size_bytes"], out.metadata().unwrap().len());
        assert_eq!(Some(sha256_of(out)), volume.plain_sha256, "{name}");
        assert_eq!(desk.names_in("."), ["home", "keys", "out.img", "state"]);
    }
}

#[test]
fn what_is_cut_off_ends_with_the_place_and_no_file() {
    for name in ["df-aes_256", "df-aes-xts_128"] {
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        let desk = Desk::new();
        let run = export(&desk, &volume, &[&desk.arg("out.img")]).exits(2);
        assert_eq!(run.stdout, "");
        for part in [
            "the drive cannot be read to its end; no image was left behind",
            &format!("the data ends at byte {}", volume.size),
            "`--keep-going` writes what can be read",
        ] {
            assert!(run.stderr.contains(part), "{name}: {part:?} is missing: {run:#?}");
        }
        assert_eq!(desk.names_in("."), ["home", "keys", "state"]);
    }
}

#[test]
fn going_on_writes_what_there_is_and_a_map_of_the_rest() {
    for name in ["df-aes_256", "df-aes_256_diffuser"] {
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        let Some(by_peers) = volume
            .plaintext_by_peers
            .iter()
            .find(|peer| peer.size == volume.size)
        else {
            panic!("{name}: others have read as much as there is");
        };
        let desk = Desk::new();
        let run = export(&desk, &volume, &[&desk.arg("out.img"), "--keep-going"]).exits(2);
        let answer = run.json();
        assert!(
            run.stderr.contains("warning: the image is not complete: "),
            "{run:#?}"
        );
        let size = answer["size_bytes"].as_u64().unwrap();
        assert_eq!(answer["complete"], false);
        assert_eq!(answer["bad_bytes"], size - volume.size);
        assert_eq!(answer["bad_ranges"][0]["offset"], volume.size);
        let out = File::open(desk.path("out.img")).unwrap();
        assert_eq!(out.metadata().unwrap().len(), size);
        assert_eq!(sha256_of((&out).take(volume.size)), by_peers.sha256, "{name}");

        // GNU ddrescue's format: `+` for what was read, `?` for what is not there to be tried.
        assert_eq!(answer["map"], format!("{}.map", desk.arg("out.img")));
        let map = fs::read_to_string(desk.path("out.img.map")).unwrap();
        let line = |start: u64, len: u64, sign: char| format!("0x{start:08X}  0x{len:08X}  {sign}");
        for line in [
            line(0, volume.size, '+'),
            line(volume.size, size - volume.size, '?'),
        ] {
            assert!(map.lines().any(|own| own == line), "{line:?} is missing:\n{map}");
        }
    }
}

#[test]
fn nothing_is_overwritten() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let out = desk.write("out.img", "somebody's image");
    std::os::unix::fs::symlink(desk.path("nowhere"), desk.path("link")).unwrap();
    for out in [&out, &desk.arg("link"), &desk.arg("keys")] {
        let run = export(&desk, &volume, &[out]).exits(2);
        assert!(
            run.stderr.contains("exists already and is not overwritten"),
            "{run:#?}"
        );
    }
    assert_eq!(fs::read(desk.path("out.img")).unwrap(), b"somebody's image");
    assert!(!desk.path("nowhere").exists());
    // Not even by way of an option.
    let run = export(&desk, &volume, &[&out, "--keep-going"]).exits(2);
    assert!(run.stderr.contains("is not overwritten"), "{run:#?}");

    let run = export(&desk, &volume, &["-"]).exits(2);
    assert!(
        run.stderr
            .contains("an image cannot be written to standard output"),
        "{run:#?}"
    );
    assert!(!desk.path("-").exists());

    let run = export(&desk, &volume, &[&desk.arg("none/out.img")]).exits(2);
    assert!(run.stderr.contains("there is no folder `"), "{run:#?}");
}

/// Two at once: what the first is writing is none of the second's business.
#[test]
fn what_another_one_is_writing_is_left_alone() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    desk.write("out.img.partial", "what another one is writing");
    let run = export(&desk, &volume, &[&desk.arg("out.img")]).exits(2);
    assert!(
        run.stderr.contains("another Keyhaven may be writing it"),
        "{run:#?}"
    );
    assert_eq!(
        fs::read(desk.path("out.img.partial")).unwrap(),
        b"what another one is writing"
    );
}

#[test]
fn too_little_space_is_told_before_it_is_full() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    // The file system is gone with the name space that the command runs in.
    let script = r#"mount -t tmpfs -o size=8m keyhaven-test "$1" || exit 77
        "$0" export "$2" "$1/out.img" --password env:SECRET; code=$?
        ls -A "$1"; exit $code"#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_keyhaven")])
        .args([desk.arg("keys"), image(&volume)])
        .env("SECRET", volume.secret(SecretKind::Password).unwrap())
        .env("XDG_STATE_HOME", desk.path("state"))
        .output();
    let output = match output {
        Ok(output) if matches!(output.status.code(), Some(0 | 2)) => output,
        _ => {
            eprintln!("SKIPPED: only root may mount a small file system");
            return;
        }
    };
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("error: the image needs 100.00 MiB, and `")
            && stderr.contains("` has 8.00 MiB free\n"),
        "{stderr}"
    );
    assert_eq!(stdout, "", "nothing was begun");
}

#[test]
fn an_unreadable_record_of_encrypted_parts_is_a_refusal() {
    let Some(volume) = corpus::volume_or_skip("cs-partially-encrypted-aes-cbc-128") else {
        return;
    };
    let desk = Desk::new();
    for options in [&[][..], &["--keep-going"]] {
        let run = export(
            &desk,
            &volume,
            &[&[desk.arg("out.img").as_str()], options].concat(),
        )
        .exits(2);
        for part in [
            "the record of which parts of the drive are encrypted cannot be read",
            "its keys are fine: `keyhaven backup`",
        ] {
            assert!(run.stderr.contains(part), "{run:#?}");
        }
        assert!(!desk.path("out.img").exists());
    }
}

#[test]
fn a_copy_is_read_back_when_that_is_asked() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let run = export(&desk, &volume, &["--verify", &desk.arg("out.img")]).exits(0);
    assert_eq!(run.json()["verified"], true);
    let out = File::open(desk.path("out.img")).unwrap();
    assert_eq!(Some(sha256_of(out)), volume.plain_sha256);
}

#[test]
fn what_was_never_written_takes_no_room_when_that_is_asked() {
    use std::os::unix::fs::MetadataExt;

    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    export(&desk, &volume, &[&desk.arg("exact.img")]).exits(0);
    export(&desk, &volume, &["--sparse", "--verify", &desk.arg("sparse.img")]).exits(0);
    let room = |name: &str| fs::metadata(desk.path(name)).unwrap().blocks() * 512;
    assert!(
        room("sparse.img") < room("exact.img") / 2,
        "the image was wiped by its makers"
    );
    let (exact, sparse) = (
        fs::read(desk.path("exact.img")).unwrap(),
        fs::read(desk.path("sparse.img")).unwrap(),
    );
    assert_eq!(exact.len(), sparse.len());
    for (exact, sparse) in exact.chunks(512).zip(sparse.chunks(512)) {
        assert!(sparse == exact || sparse.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_device_is_written_over_only_on_purpose() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-cbc-128") else {
        return;
    };
    let desk = Desk::new();
    let len = volume.size + 4096;
    let file = File::create(desk.path("disk.img")).unwrap();
    file.set_len(len).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xEE; 4096], len - 4096).unwrap();
    let Some(device) = LoopDevice::over(&desk.path("disk.img"), "512") else {
        return;
    };

    let refused = export(&desk, &volume, &[&device.0]).exits(2);
    assert!(refused.stderr.contains("would be lost"), "{refused:#?}");
    assert!(refused.stderr.contains("`--overwrite`"), "{refused:#?}");

    let drive = copy_of(volume.image());
    let Some(itself) = LoopDevice::over(&drive, "512") else {
        return;
    };
    let secret = volume.all_secrets().next().expect("the manifest lists one");
    let drive = drive.to_str().expect("a plain name");
    let refused = desk
        .unlocking(&["export", "--overwrite", drive, &itself.0], &volume, secret)
        .exits(2);
    assert!(
        refused.stderr.contains("is where the drive itself lies"),
        "{refused:#?}"
    );

    let run = export(&desk, &volume, &["--overwrite", "--verify", &device.0]).exits(0);
    assert_eq!(run.json()["verified"], true);
    let mut written = Vec::new();
    File::open(&device.0).unwrap().read_to_end(&mut written).unwrap();
    assert_eq!(
        Some(sha256_of(&written[..volume.size as usize])),
        volume.plain_sha256
    );
    assert_eq!(
        written[volume.size as usize..],
        [0xEE; 4096],
        "what lies behind is kept"
    );
}

#[test]
fn a_pipe_is_no_place_for_an_image() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    let pipe = desk.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let run = export(&desk, &volume, &[&desk.arg("pipe")]).exits(2);
    assert!(run.stderr.contains("is neither a file nor a drive"), "{run:#?}");
}

#[test]
fn a_drive_that_stops_answering_leaves_no_image() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let Some(strace) = keyhaven_testkit::tool::find("strace") else {
        return;
    };
    let desk = Desk::new();
    // From the two hundredth read on, every one fails, as those of a stick do that was pulled out.
    let run = Command::new(strace)
        .args(["-f", "-qq", "-o"])
        .arg(desk.path("trace"))
        .args(["-e", "trace=pread64", "-e", "inject=pread64:error=EIO:when=200+"])
        .arg(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["export", "--password", "env:KEYHAVEN_TEST_SECRET"])
        .arg(volume.image())
        .arg(desk.path("out.img"))
        .env(
            "KEYHAVEN_TEST_SECRET",
            volume
                .secret(SecretKind::Password)
                .expect("the manifest lists one"),
        )
        .output()
        .unwrap();
    let told = String::from_utf8(run.stderr).unwrap();
    assert_eq!(run.status.code(), Some(2), "{told}");
    assert!(
        told.contains("the drive cannot be read to its end; no image was left behind"),
        "{told}"
    );
    assert!(told.contains("Input/output error"), "{told}");
    assert!(!desk.path("out.img").exists() && !desk.path("out.img.partial").exists());
}

/// Vista keeps the first sector of the file system where it is, and so it goes with the boot sector.
#[test]
fn a_drive_of_vista_without_its_boot_sector_is_no_whole_image() {
    let Some(volume) = corpus::volume_or_skip("df-vista") else {
        return;
    };
    let desk = Desk::new();
    let image = copy_of(volume.image());
    let file = File::options().write(true).open(&image).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 512], 0).unwrap();
    let (image, out) = (image.to_str().unwrap(), desk.arg("out.img"));
    for options in [&[][..], &["--keep-going"]] {
        let arguments = [&["export", image, out.as_str()], options].concat();
        let run = desk.with(SecretKind::Recovery, &arguments, &volume).exits(2);
        assert!(run.stderr.contains("no image can be whole"), "{run:#?}");
        assert!(run.stderr.contains("`keyhaven repair --salvage OUT`"), "{run:#?}");
        assert!(!desk.path("out.img").exists());
    }
}
