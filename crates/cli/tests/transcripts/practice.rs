//! Transcripts of `keyhaven practice`: the whole way, and what it leaves.

use std::fs;

use keyhaven_testkit::tool;

use crate::desk::Desk;

#[test]
fn the_bad_day_ends_well_and_leaves_nothing() {
    let desk = Desk::new();
    fs::create_dir(desk.path("tmp")).unwrap();
    let run = desk
        .keyhaven(["practice"])
        .env("TMPDIR", &desk.arg("tmp"))
        .go()
        .exits(0);
    assert_eq!(run.stdout, "", "there is no data, only talk");
    for part in [
        "1. A drive.",
        "2. The backup.",
        "/safe-place/page.pdf\n",
        "3. The bad day.",
        "   ... and does not open it.",
        "4. The search.",
        "   opens the drive: ",
        "5. The way back.",
        "   | if you can read this, the way back into an encrypted drive has worked",
        "The practice drive and its key are cleared away.\n",
    ] {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    assert_eq!(desk.names_in("tmp"), [""; 0]);
    assert_eq!(desk.names_in("state"), [""; 0], "a key for nothing is not noted");
}

#[test]
fn what_is_left_in_a_folder_is_a_drive_to_play_with() {
    let desk = Desk::new();
    let folder = desk.arg("practice");
    let answer = desk
        .keyhaven(["practice", "--json", &folder])
        .go()
        .exits(0)
        .json();
    assert_eq!(answer["folder"], folder);
    assert_eq!(answer["recovered"], true);
    assert_eq!(
        desk.names_in("practice"),
        ["letter.txt", "practice-drive.img", "safe-place"]
    );
    let saved = answer["saved"].as_array().unwrap();
    assert_eq!(saved.len(), 2);
    assert_eq!(
        answer["found"].as_array().unwrap().len(),
        2,
        "the page is found as well"
    );

    // The other verbs agree.
    let drive = desk.arg("practice/practice-drive.img");
    let verified = desk
        .keyhaven(["verify", "--json", &drive, &desk.arg("practice/safe-place")])
        .go()
        .exits(0)
        .json();
    let verdicts: Vec<&str> = verified["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["opens", "opens"]);
    assert_eq!(
        verified["results"][0]["protector_id"].as_str().unwrap()[..8],
        answer["key_id"]
    );

    // So does a program of others, and finds the letter.
    let key = fs::read_dir(desk.path("practice/safe-place"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "TXT"))
        .unwrap();
    let text = fs::read(key).unwrap();
    let text = String::from_utf16_lossy(
        &text
            .as_chunks::<2>()
            .0
            .iter()
            .map(|unit| u16::from_le_bytes(*unit))
            .collect::<Vec<_>>(),
    );
    let digits = text.split_whitespace().find(|word| word.len() == 55).unwrap();
    let (Some(dislocker), Some(mtype)) = (tool::find("dislocker-file"), tool::find("mtype")) else {
        return;
    };
    let plain = desk.arg("plain.img");
    let opened = std::process::Command::new(dislocker)
        .args(["-V", &drive, &format!("-p{digits}"), "--", &plain])
        .output()
        .unwrap();
    assert!(opened.status.success(), "{opened:?}");
    let letter = std::process::Command::new(mtype)
        .args(["-i", &plain, "::letter.txt"])
        .output()
        .unwrap();
    assert!(letter.status.success(), "{letter:?}");
    assert_eq!(letter.stdout, fs::read(desk.path("practice/letter.txt")).unwrap());
}

#[test]
fn nothing_is_put_beside_what_somebody_has() {
    let desk = Desk::new();
    desk.write("keys/somebody.txt", "theirs");
    let run = desk.keyhaven(["practice", &desk.arg("keys")]).go().exits(2);
    assert!(run.stderr.contains("is not empty"), "{run:#?}");
    assert_eq!(desk.names_in("keys"), ["somebody.txt"]);
    let run = desk.keyhaven(["practice", &desk.arg("none/below")]).go().exits(2);
    assert!(run.stderr.contains("cannot practise in `"), "{run:#?}");
    desk.keyhaven(["practice", &desk.arg("home")]).go().exits(0);
    assert_eq!(desk.names_in("home").len(), 3, "an empty folder will do");
}
