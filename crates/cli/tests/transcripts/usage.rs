//! Transcripts of help, manual pages, completions, and of using it wrongly.

use std::process::{Command, Stdio};

use crate::transcript::keyhaven;

#[test]
fn every_verb_in_help_has_help_and_a_page() {
    let help = keyhaven(["--help"]).go().exits(0).stdout;
    let verbs: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .collect();
    assert!(verbs.contains(&"info") && verbs.contains(&"key"), "{help}");
    for verb in verbs {
        let run = keyhaven([verb, "--help"]).go().exits(0);
        assert!(run.stdout.contains("Usage: keyhaven "), "{run:?}");
        let run = keyhaven(["man", verb]).go().exits(0);
        assert!(run.stdout.contains(&format!(".TH keyhaven-{verb} 1")), "{run:?}");
    }
}

#[test]
fn pages_are_written_to_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    keyhaven([std::ffi::OsStr::new("man"), folder.path().as_os_str()])
        .go()
        .exits(0);
    for name in [
        "keyhaven.1",
        "keyhaven-info.1",
        "keyhaven-key.1",
        "keyhaven-key-check.1",
    ] {
        let page = std::fs::read_to_string(folder.path().join(name)).expect(name);
        assert!(page.contains(".SH NAME"), "{name}");
    }
    let both = [
        keyhaven(["man", "key", "check"]).go().exits(0),
        keyhaven(["man", "key-check"]).go().exits(0),
    ];
    assert_eq!(both[0].stdout, both[1].stdout);
    let run = keyhaven(["man", "nothing-like-it"]).go().exits(2);
    assert!(
        run.stderr
            .starts_with("error: `nothing-like-it` is neither a verb nor a folder\n")
    );
}

#[test]
fn completions_are_for_this_program() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = keyhaven(["completions", shell]).go().exits(0);
        assert!(
            run.stdout.contains("keyhaven") && run.stdout.contains("completions"),
            "{shell}"
        );
    }
    keyhaven(["completions", "cmd"]).go().exits(2);
}

#[test]
fn wrong_usage_exits_with_2() {
    let run = keyhaven(["backpu"]).go().exits(2);
    assert!(
        run.stderr.starts_with("error: unrecognized subcommand 'backpu'"),
        "{run:?}"
    );
    keyhaven::<&str>([]).go().exits(2);
    keyhaven(["key"]).go().exits(2);
    keyhaven(["info"]).go().exits(2);
    keyhaven(["key", "check", "--no-such-option"]).go().exits(2);
    let run = keyhaven(["--json", "backpu"]).go().exits(2);
    let error: serde_json::Value = serde_json::from_str(&run.stderr).expect("one JSON object");
    assert_eq!(error["error"]["code"], 2);
    assert_eq!(error["error"]["message"], "unrecognized subcommand 'backpu'");
}

#[test]
fn a_secret_among_the_arguments_is_refused_and_not_repeated() {
    for arguments in [
        &["info", "disk.img", "--password", "hunter2"][..],
        &["info", "--password", "hunter2", "disk.img"],
        &["info", "disk.img", "--password=hunter2"],
        &["--json", "info", "disk.img", "--recovery-key", "hunter2"],
        &["info", "disk.img", "--recovery-password=hunter2"],
    ] {
        let run = keyhaven(arguments).go().exits(2);
        assert!(!run.stderr.contains("hunter2"), "{run:?}");
        assert!(run.stderr.contains("`file:PATH`"), "{run:?}");
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn a_reader_that_leaves_is_no_news() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["completions", "bash"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(2));
}
