//! Transcripts of `keyhaven key check`.

use crate::transcript::keyhaven;
use serde_json::json;

// The recovery key of image df-recovery_password, format spec 9.3.
const REAL: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

const VALID: &str = "valid: 48 digits, and the check of each of the 8 blocks comes out\n";

#[test]
fn a_key_is_read_from_every_source() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), format!("{REAL}\r\n")).unwrap();
    for (arguments, stdin) in [
        (&["key", "check"][..], REAL),
        (&["key", "check", "-"], REAL),
        (&["key", "check", "fd:0"], REAL),
        (&["key", "check", "file:key"], ""),
        (&["key", "check", "env:KEY"], ""),
        (&["--quiet", "key", "check", "env:KEY"], ""),
    ] {
        let run = keyhaven(arguments)
            .within(folder.path())
            .env("KEY", REAL)
            .stdin(stdin)
            .go()
            .exits(0);
        assert_eq!(
            (run.stdout.as_str(), run.stderr.as_str()),
            (VALID, ""),
            "{arguments:?}"
        );
    }
}

#[test]
fn every_way_of_writing_it_is_fine() {
    for text in [
        REAL.replace('-', ""),
        REAL.replace('-', " "),
        format!("{REAL}\n"),
        format!("\u{FEFF}{REAL}\r\n"),
        REAL.replace('-', "\n"),
        REAL.replace('2', "２"),
    ] {
        let run = keyhaven(["key", "check", "-"]).stdin(text).go().exits(0);
        assert_eq!(run.stdout, VALID);
    }
}

#[test]
fn digits_as_arguments_are_taken_with_a_warning() {
    for arguments in [vec![REAL], REAL.split('-').collect(), vec!["--", REAL]] {
        let run = keyhaven([&["key", "check"][..], &arguments].concat())
            .go()
            .exits(0);
        assert_eq!(run.stdout, VALID);
        assert!(
            run.stderr
                .starts_with("warning: the key was given as an argument"),
            "{run:?}"
        );
        assert!(!run.stderr.contains("284867"), "{run:?}");
    }
}

#[test]
fn mistyped_blocks_are_named_with_corrections() {
    let mistyped = REAL.replace("514998", "574998").replace("199408", "999999");
    let run = keyhaven(["key", "check"]).stdin(mistyped.clone()).go().exits(1);
    assert!(
        run.stdout.starts_with(
            "not valid: block 3 is mistyped (its check does not come out)\n  did you mean 514998, "
        ),
        "{run:?}"
    );
    assert!(
        run.stdout
            .contains("\nnot valid: block 8 is mistyped (no block is above 720885)\n"),
        "{run:?}"
    );
    assert_eq!(run.stderr, "");

    let run = keyhaven(["key", "check", "--json"]).stdin(mistyped).go().exits(1);
    let answer = run.json();
    assert_eq!(answer["valid"], json!(false));
    assert_eq!(answer["bad_blocks"], json!([3, 8]));
    assert_eq!(answer["suggestions"]["3"][0], json!("514998"));
}

#[test]
fn a_valid_key_in_json() {
    let run = keyhaven(["key", "check", "--json"]).stdin(REAL).go().exits(0);
    assert_eq!(
        run.json(),
        json!({"valid": true, "bad_blocks": [], "suggestions": {}})
    );
}

#[test]
fn what_is_no_key_at_all_is_explained() {
    for (text, said) in [
        (
            "",
            "not valid: the recovery key has 0 digits, expected 48 in 8 blocks of 6\n",
        ),
        (
            "284867-596541",
            "not valid: the recovery key has 12 digits, expected 48 in 8 blocks of 6\n",
        ),
        (
            "28486l",
            "not valid: a recovery key has only digits, but character 6 is not one\n",
        ),
    ] {
        let run = keyhaven(["key", "check"]).stdin(text).go().exits(1);
        assert_eq!(run.stdout, said);
    }
    let run = keyhaven(["key", "check", "--json"]).stdin("28486l").go().exits(1);
    assert_eq!(run.json()["bad_blocks"], json!([]));

    let short = REAL.replace("660297", "66029");
    let run = keyhaven(["key", "check"]).stdin(short).go().exits(1);
    assert!(run.stdout.contains("block 5 has 5 digits, expected 6"), "{run:?}");
    assert!(run.stdout.contains("660297"), "{run:?}");
}

#[test]
fn sources_that_give_nothing_are_errors() {
    for (source, said) in [
        (
            "file:/does/not/exist",
            "error: cannot open `/does/not/exist` to read the recovery key: No such file or directory",
        ),
        (
            "env:KEYHAVEN_TEST_NOT_SET",
            "error: the environment variable `KEYHAVEN_TEST_NOT_SET`",
        ),
        ("fd:987", "error: cannot open `/dev/fd/987`"),
    ] {
        let run = keyhaven(["key", "check", source]).go().exits(2);
        assert!(run.stderr.starts_with(said), "{run:?}");
        assert_eq!(run.stdout, "");
    }
    let too_long = vec![b'1'; 70_000];
    let run = keyhaven(["key", "check"]).stdin(too_long).go().exits(2);
    assert_eq!(run.stderr, "error: the recovery key is longer than 64 KiB\n");
    let run = keyhaven(["key", "check"]).stdin([0xFF, b'1']).go().exits(2);
    assert_eq!(
        run.stderr,
        "error: the recovery key is not text in UTF-8 or UTF-16\n"
    );
}

#[test]
fn ctrl_c_stops_the_wait_for_input() {
    use std::io::Read;
    use std::process::{Command, Stdio};

    let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["key", "check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // Once: the second would end it whatever it does. The pipe stays open all the while.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(interrupted.is_ok_and(|status| status.success()));
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "stopped; nothing lost\n");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
