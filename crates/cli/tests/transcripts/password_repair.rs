//! Transcripts of `keyhaven password repair` on a real volume.

use keyhaven_testkit::corpus;

use crate::desk::{Desk, image};

const VOLUME: &str = "cs-aes-xts-128";

#[test]
fn a_word_a_near_miss_and_a_mask_are_found() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let (desk, image) = (Desk::new(), image(&volume));
    let words = desk.write("words", "python\nAnaconda\nboa\n");
    for (arguments, stdin) in [
        (&["--words", words.as_str()][..], ""),
        (&["--words", "-", "--changes", "none"], "python\nanaconda\n"),
        (&["--password", "-"], "ANACONDA\n"),
        (&["--mask", "-", "-1", "nd"], "anaco?1?1a\n"),
    ] {
        let all = [&["password", "repair", &image][..], arguments].concat();
        let run = desk.keyhaven(all).stdin(stdin).go().exits(0);
        assert_eq!(run.stdout, "anaconda\n", "{run:#?}");
        assert!(!run.stderr.contains("anaconda"), "{run:#?}");
    }
    let all = [
        "password",
        "repair",
        &image,
        "--words",
        &words,
        "--changes",
        "none",
        "--json",
    ];
    let answer = desk.keyhaven(all).go().exits(1).json();
    assert_eq!((&answer["found"], &answer["tried"]), (&false.into(), &3.into()));
}

#[test]
fn a_mask_with_parts_of_the_password_is_no_argument() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let (desk, image) = (Desk::new(), image(&volume));
    let run = desk
        .keyhaven(["password", "repair", &image, "--mask", "hunter?d"])
        .go()
        .exits(2);
    assert!(
        !run.stderr.contains("hunter") && run.stderr.contains("`file:PATH`"),
        "{run:#?}"
    );
    let run = desk
        .keyhaven(["password", "repair", &image, "--mask", "?d?x"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("the `?` at character 3"), "{run:#?}");
    let run = desk
        .keyhaven(["password", "repair", &image, "--mask", "?a?a?a?a?a?a?a?a"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("years to try them all"), "{run:#?}");
    let run = desk.keyhaven(["password", "repair", &image]).go().exits(2);
    assert!(run.stderr.contains("`--words FILE`"), "{run:#?}");
    let run = desk
        .keyhaven(["password", "repair", &image, "--words", "no-such-file"])
        .go()
        .exits(2);
    assert!(
        run.stderr.contains("cannot read the words in `no-such-file`"),
        "{run:#?}"
    );
}
