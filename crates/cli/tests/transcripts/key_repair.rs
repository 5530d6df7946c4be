//! Transcripts of `keyhaven key repair` on real volumes: what is wrong with a key is found and proven, and what is said
//! on the way tells nobody the key who should not see it.

use keyhaven_testkit::corpus::{self, Volume};
use serde_json::json;

use crate::desk::{Desk, image};
use crate::transcript::Transcript;

const VOLUME: &str = "cs-aes-xts-128";

/// Its recovery key, and what that belongs to.
const KEY: &str = "235818-357951-253979-013365-241120-245575-342914-591910";
const KEY_ID: &str = "64311DEA";
const PROTECTOR_ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

/// The recovery key of image df-recovery_password, format spec 9.3: valid, for another drive.
const OTHER_KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

/// Set to have the searches run that take minutes.
const LONG: &str = "KEYHAVEN_LONG_SEARCH";

fn volume() -> Option<Volume> {
    corpus::volume_or_skip(VOLUME)
}

fn repair(volume: &Volume, written: &str, more: &[&str]) -> Transcript {
    let image = image(volume);
    let mut arguments = vec!["key", "repair", &image, "--recovery-key", "-"];
    arguments.extend(more);
    Desk::new().keyhaven(arguments).stdin(written).go()
}

/// Checks that a key is found and that standard error shows no part of it.
#[track_caller]
fn finds(run: Transcript, key: &str) {
    let run = run.exits(0);
    assert_eq!(run.stdout, format!("{key}\n"), "{run:#?}");
    for block in key.split('-') {
        assert!(!run.stderr.contains(block), "{block} is shown: {run:#?}");
    }
    assert!(run.stderr.contains("and it opens the drive"), "{run:#?}");
}

fn with_blocks(change: impl FnOnce(&mut Vec<&str>)) -> String {
    let mut blocks = KEY.split('-').collect();
    change(&mut blocks);
    blocks.join("-")
}

#[test]
fn one_wrong_digit_is_found_in_a_moment() {
    let Some(volume) = volume() else { return };
    let run = repair(&volume, &KEY.replace("253979", "253879"), &[]);
    assert!(
        run.stderr
            .contains("block 3: \u{b7}\u{b7}\u{b7}\u{b7}\u{b7}\u{b7}: mistyped"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("; block 3 is not as it was given."),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains(&format!("has the key ID {KEY_ID}")),
        "{run:#?}"
    );
    finds(run, KEY);
}

#[test]
fn a_swap_and_exchanged_blocks_are_found_in_a_moment() {
    let Some(volume) = volume() else { return };
    finds(repair(&volume, &KEY.replace("591910", "519910"), &[]), KEY);
    let exchanged = with_blocks(|blocks| blocks.swap(4, 5));
    let run = repair(&volume, &exchanged, &[]);
    assert!(
        run.stderr.contains("; blocks 5, 6 are not as they were given."),
        "{run:#?}"
    );
    assert!(run.stderr.contains("most likely that of another one"), "{run:#?}");
    finds(run, KEY);
}

#[test]
fn digits_that_cannot_be_read_and_dropped_ones_are_found() {
    let Some(volume) = volume() else { return };
    let written = KEY
        .replace("357951", "35?951")
        .replace("013365", "maybe 013365 or 013366");
    finds(repair(&volume, &written, &[]), KEY);
    let run = KEY.replace('-', "");
    finds(
        repair(&volume, &format!("{}{}", &run[..20], &run[21..]), &[]),
        KEY,
    );
    finds(repair(&volume, KEY, &[]), KEY);
}

#[test]
fn the_answer_as_json() {
    let Some(volume) = volume() else { return };
    let run = repair(&volume, &KEY.replace("253979", "253978"), &["--json"]).exits(0);
    let answer = run.json();
    assert_eq!(answer["found"], json!(true));
    assert_eq!(answer["recovery_key"], json!(KEY));
    assert_eq!(answer["protector_id"], json!(PROTECTOR_ID));
    assert_eq!(answer["corrected_blocks"], json!([3]));
    assert_eq!(answer["shard"], json!("1/1"));
    assert!(answer["tried"].as_u64().is_some_and(|tried| tried > 0));
}

#[test]
fn what_is_found_and_cannot_be_saved_is_shown() {
    let Some(volume) = volume() else { return };
    let desk = Desk::new();
    let (image, place) = (image(&volume), format!("file:{}/", desk.arg("nowhere")));
    let arguments = ["key", "repair", &image, "--recovery-key", "-", "--to", &place];
    let run = desk
        .keyhaven(arguments)
        .stdin(KEY.replace("253979", "253978"))
        .go()
        .exits(2);
    assert_eq!(run.stdout, format!("{KEY}\n"));
    assert!(run.stderr.contains("not saved"), "{run:#?}");
}

#[test]
fn what_is_found_is_saved_and_proven_instead_of_shown() {
    let Some(volume) = volume() else { return };
    let desk = Desk::new();
    let (image, place) = (image(&volume), format!("file:{}", desk.arg("keys")));
    let arguments = ["key", "repair", &image, "--recovery-key", "-", "--to", &place];
    let run = desk
        .keyhaven(arguments)
        .stdin(KEY.replace("253979", "253978"))
        .go()
        .exits(0);
    assert_eq!(run.stdout, "");
    assert!(
        run.stderr.contains("saved and proven: key ID 64311DEA"),
        "{run:#?}"
    );
    let names = desk.names_in("keys");
    let [name] = names.as_slice() else {
        panic!("one file: {names:?}")
    };
    let saved = desk.path("keys").join(name);
    let verified = desk
        .keyhaven(["verify", &image, saved.to_str().unwrap()])
        .go()
        .exits(0);
    assert!(verified.stdout.starts_with("opens"), "{verified:#?}");
}

#[test]
fn a_key_of_another_drive_is_searched_to_the_end_and_not_found() {
    let Some(volume) = volume() else { return };
    // A block of which a single value is left, so that the end is near.
    let written = OTHER_KEY.replace("514998", "51?998");
    let run = repair(&volume, &written, &["--most", "1"]).exits(1);
    assert!(
        run.stdout.starts_with("not found: none of 1 keys opens"),
        "{run:#?}"
    );
    assert!(
        run.stderr
            .contains("Not tried, because there would be more than `--most`"),
        "{run:#?}"
    );
    assert!(run.stderr.contains("The key may be another drive's"), "{run:#?}");
}

#[test]
fn a_search_of_years_is_not_begun() {
    let Some(volume) = volume() else { return };
    let written = with_blocks(|blocks| {
        blocks[1] = "------";
        blocks[6] = "?";
    });
    let run = repair(&volume, &written, &[]).exits(2);
    assert!(run.stderr.contains("4,294,967,296 keys"), "{run:#?}");
    assert!(run.stderr.contains(" years to try them all"), "{run:#?}");
    assert!(run.stderr.contains("if you can read digit "), "{run:#?}");
    assert!(run.stderr.contains("`--however-long`"), "{run:#?}");
}

#[test]
fn what_is_not_understood_is_said_and_not_repeated() {
    let Some(volume) = volume() else { return };
    let run = repair(&volume, "235818-hunter2-253979", &[]).exits(2);
    assert!(run.stderr.contains("character 8, in block 2"), "{run:#?}");
    assert!(
        !run.stderr.contains("hunter") && !run.stderr.contains("235818"),
        "{run:#?}"
    );
    let run = repair(&volume, "", &[]).exits(2);
    assert!(run.stderr.contains("there is no digit in it"), "{run:#?}");
    let image = image(&volume);
    let run = Desk::new().keyhaven(["key", "repair", &image]).go().exits(2);
    assert!(run.stderr.contains("`file:PATH`"), "{run:#?}");
    let run = repair(&volume, KEY, &["--shard", "3/2"]).exits(2);
    assert!(run.stderr.contains("the third of eight"), "{run:#?}");
    let run = repair(&volume, KEY, &["--key-id", "DEADBEEF"]).exits(1);
    assert!(run.stderr.contains(KEY_ID), "{run:#?}");
}

#[test]
fn a_part_of_a_search_finds_what_is_in_it_and_leaves_no_state() {
    let Some(volume) = volume() else { return };
    let desk = Desk::new();
    let (image, state) = (image(&volume), desk.arg("state-file"));
    // The sixth block is lost, and so the key is at the position of that block's value.
    let written = with_blocks(|blocks| blocks[5] = "------");
    let position = 245_575 / 11;
    let parts = 16_384;
    let shard = format!("{}/{parts}", position % parts + 1);
    let arguments = [
        "key",
        "repair",
        &image,
        "--recovery-key",
        "-",
        "--shard",
        &shard,
        "--state",
        &state,
    ];
    let run = desk.keyhaven(arguments).stdin(written.clone()).go();
    finds(run, KEY);
    assert!(!desk.path("state-file").exists());
    // Another part has nothing, and a file that is something else is left alone.
    let arguments = [
        "key",
        "repair",
        &image,
        "--recovery-key",
        "-",
        "--shard",
        "1/16384",
        "--state",
        &state,
    ];
    let run = desk.keyhaven(arguments).stdin(written.clone()).go().exits(1);
    assert!(run.stderr.contains("one part of the search"), "{run:#?}");
    desk.write("state-file", "something else");
    let run = desk.keyhaven(arguments).stdin(written).go().exits(2);
    assert!(
        run.stderr.contains("does not keep how far a search is"),
        "{run:#?}"
    );
}

#[cfg(unix)]
#[test]
fn a_stopped_search_goes_on_with_the_same_command() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let Some(volume) = volume() else { return };
    let desk = Desk::new();
    let image = image(&volume);
    let written = with_blocks(|blocks| blocks[5] = "------");
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["key", "repair", &image, "--recovery-key", "-"])
        .env("XDG_STATE_HOME", desk.arg("state"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(written.as_bytes()).unwrap();
    let searches = desk.path("state").join("keyhaven/searches");
    let patience = Instant::now() + Duration::from_secs(30);
    while !searches.read_dir().is_ok_and(|mut files| files.next().is_some()) {
        assert!(Instant::now() < patience, "the search never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(700));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("the same command goes on there"), "{stderr}");
    let file = searches.read_dir().unwrap().next().unwrap().unwrap().path();
    let state = std::fs::read_to_string(&file).unwrap();
    for block in KEY.split('-') {
        assert!(!state.contains(block), "{state}");
    }
    let document: serde_json::Value = serde_json::from_str(&state).unwrap();
    let done: u64 = document["done"].as_str().unwrap().parse().unwrap();
    // Six at a time, and at least one batch was through.
    assert!((1..10_000).contains(&done), "{state}");
}

#[test]
fn hashes_for_other_programs_are_printed() {
    let Some(volume) = volume() else { return };
    let image = image(&volume);
    let desk = Desk::new();
    let run = desk
        .keyhaven(["key", "repair", &image, "--export-hash", "john"])
        .go()
        .exits(0);
    assert!(run.stdout.starts_with("$bitlocker$3$16$"), "{run:#?}");
    let run = desk
        .keyhaven(["key", "repair", &image, "--export-hash", "hashcat"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("hashcat cannot search for this"), "{run:#?}");
    let run = desk
        .keyhaven(["password", "repair", &image, "--export-hash", "hashcat"])
        .go()
        .exits(0);
    let parts: Vec<&str> = run.stdout.trim().split('$').collect();
    assert_eq!(&parts[..4], ["", "bitlocker", "1", "16"]);
    assert_eq!((parts[4].len(), parts[5], parts[6]), (32, "1048576", "12"));
    assert_eq!((parts[7].len(), parts[8], parts[9].len()), (24, "60", 120));
}

#[test]
fn every_wrong_digit_and_a_lost_block_on_a_real_drive() {
    if std::env::var_os(LONG).is_none() {
        eprintln!("SKIPPED: takes minutes; set {LONG}=1 to run it");
        return;
    }
    let Some(volume) = volume() else { return };
    for (at, sign) in KEY.char_indices().filter(|(_, sign)| sign.is_ascii_digit()) {
        let wrong = if sign == '9' {
            '0'
        } else {
            char::from(sign as u8 + 1)
        };
        let mut written = KEY.to_owned();
        written.replace_range(at..=at, &wrong.to_string());
        finds(repair(&volume, &written, &[]), KEY);
    }
    // One of eight parts, about three minutes on two processors, with the key in it.
    let written = with_blocks(|blocks| blocks[7] = "------");
    let shard = format!("{}/8", 591_910 / 11 % 8 + 1);
    finds(repair(&volume, &written, &["--shard", &shard]), KEY);
}
