//! Transcripts of ways to unlock a drive that are wrong, missing or oddly written: each message names the cause and the
//! next step, and nothing but an answer is an answer.

use std::fs;

use keyhaven_testkit::corpus::{self, SecretKind};

use crate::desk::{Desk, image};
use crate::transcript::Transcript;

const VOLUME: &str = "cs-aes-xts-128";

/// Its recovery key, and what that belongs to.
const KEY: &str = "235818-357951-253979-013365-241120-245575-342914-591910";
const KEY_ID: &str = "64311DEA";
const PROTECTOR_ID: &str = "64311DEA-4587-4029-924A-BA299647998E";

/// The recovery key of image df-recovery_password, format spec 9.3: valid, for another drive.
const OTHER_KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";
const OTHER_ID: &str = "A5B1C2D3-0000-4000-8000-000000000001";

/// Checks that an error names the cause.
#[track_caller]
fn names(run: &Transcript, parts: &[&str]) {
    for part in parts {
        assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
    }
    let is_error = |line: &str| line.starts_with("error: ");
    assert!(run.stderr.lines().any(is_error), "{run:#?}");
    assert_eq!(run.stdout, "", "{run:#?}");
}

/// Checks that it says what to do next, too.
#[track_caller]
fn says(run: &Transcript, parts: &[&str]) {
    names(run, parts);
    assert!(run.stderr.contains("\nhint: "), "no next step: {run:#?}");
}

/// Proves a recovery key that is given on standard input.
fn verify(typed: &str) -> Option<Transcript> {
    let volume = corpus::volume_or_skip(VOLUME)?;
    let desk = Desk::new();
    let arguments = ["verify", &image(&volume), "--recovery-key", "-"];
    Some(desk.keyhaven(arguments).stdin(typed).go())
}

#[test]
fn a_wrong_password_is_told_from_a_pin() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let image = image(&volume);
    for arguments in [
        &["backup", "--to", "stdout", &image][..],
        &["verify", &image],
        &["export", &image, "out.img"],
    ] {
        let run = desk
            .keyhaven(arguments.iter().chain(&["--password", "-"]))
            .stdin("Anaconda\n")
            .go()
            .exits(1);
        says(
            &run,
            &[
                "error: the password does not open this drive",
                "hint: check keyboard layout and capitals; a Windows PIN or sign-in password is not a BitLocker password",
                &format!("`--recovery-key` (key ID {KEY_ID})"),
            ],
        );
    }
    assert!(!desk.path("out.img").exists());
}

#[test]
fn a_wrong_digit_is_found_in_its_block() {
    let mistyped = KEY.replace("241120", "241121");
    for typed in [
        mistyped.clone(),
        mistyped.replace('-', ""),
        mistyped.replace('-', " "),
    ] {
        let Some(run) = verify(&typed) else { return };
        says(
            &run.exits(1),
            &[
                "block 5 of the recovery key is mistyped",
                "hint: look at block 5 again",
            ],
        );
    }
    let two = mistyped.replace("591910", "591919");
    let Some(run) = verify(&two) else { return };
    says(
        &run.exits(1),
        &["block 5 of", "block 8 of", "hint: look at blocks 5, 8 again"],
    );
}

#[test]
fn digits_that_are_missing_are_counted() {
    for (typed, said) in [
        (
            &KEY[..48],
            &[
                "the recovery key has 42 digits, expected 48 in 8 blocks of 6",
                "hint: 6 digits are missing: a whole block may have been left out",
            ],
        ),
        (
            &KEY[..53],
            &[
                "block 8 of the recovery key has 4 digits, expected 6",
                "hint: look at block 8 again",
            ],
        ),
        (
            "",
            &["the recovery key has 0 digits", "hint: give all of its digits"],
        ),
    ] {
        let Some(run) = verify(typed) else { return };
        says(&run.exits(1), said);
    }
    let Some(run) = verify(&format!("{KEY}-123123")) else {
        return;
    };
    says(
        &run.exits(1),
        &["has 54 digits, expected 48", "hint: there are digits too many"],
    );
}

#[test]
fn swapped_blocks_and_keys_of_other_drives_are_well_formed() {
    for typed in [&KEY.replace("235818-357951", "357951-235818"), OTHER_KEY] {
        let Some(run) = verify(typed) else { return };
        says(
            &run.exits(1),
            &[
                &format!("the recovery key does not open this drive (tried on {KEY_ID})"),
                "hint: it is well formed, so it is for another drive, or its blocks are in the wrong order",
            ],
        );
    }
}

#[test]
fn the_right_key_is_right_however_it_is_written() {
    let full_width: String = KEY
        .chars()
        .map(|sign| match sign.to_digit(10) {
            Some(digit) => char::from_u32(0xFF10 + digit).unwrap(),
            None => '－',
        })
        .collect();
    for typed in [
        KEY.to_owned(),
        format!("{KEY}\r\n"),
        KEY.replace('-', ""),
        KEY.replace('-', " "),
        KEY.replace('-', " - "),
        KEY.replace('-', "–"),
        KEY.replace('-', "\n"),
        full_width,
    ] {
        let Some(run) = verify(&typed) else { return };
        let run = run.exits(0);
        assert!(run.stdout.contains(PROTECTOR_ID), "{typed:?}: {run:#?}");
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn letters_are_told_with_what_they_may_be() {
    let Some(run) = verify(&KEY.replace("013365", "O13365")) else {
        return;
    };
    says(
        &run.exits(1),
        &[
            "a recovery key has only digits, but character 22 is not one",
            "hint: look at block 4: the letter O may be a zero there, and I or l a one",
        ],
    );
}

#[test]
fn in_a_pipe_the_ways_in_are_listed() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-startup-key") else {
        return;
    };
    let desk = Desk::new();
    let image = image(&volume);
    for arguments in [
        &["backup", "--to", "stdout", &image][..],
        &["export", &image, "out.img"],
        &["--json", "export", &image, "out.img"],
    ] {
        let run = desk.keyhaven(arguments).go().exits(2);
        for part in [
            "the drive is locked and no way to unlock it was given",
            "`--password`",
            "`--recovery-key` (key ID 294BC732)",
            "`--startup-key` (4381F759-C4F8-4DE0-BB61-FC33A831BDA5.BEK)",
        ] {
            assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
        }
        assert_eq!(run.stdout, "");
    }
    // An option without a SOURCE would ask, and nobody is there to answer.
    for option in ["--password", "--recovery-key", "--vmk", "--fvek"] {
        let run = desk
            .keyhaven(["backup", "--to", "stdout", &image, option])
            .go()
            .exits(2);
        says(&run, &["no terminal"]);
    }
}

#[test]
fn startup_keys_that_do_not_fit_are_told_from_files_that_are_none() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-startup-key") else {
        return;
    };
    let Some(bek) = volume.all_secrets().find(|secret| secret.kind == SecretKind::Bek) else {
        panic!("the manifest lists one");
    };
    let bek = fs::read(volume.secret_path(bek)).unwrap();
    let desk = Desk::new();
    let drive = image(&volume);
    let backup = |drive: &str, file: &str| {
        desk.keyhaven(["backup", "--to", "stdout", drive, "--startup-key", file])
            .go()
    };

    if let Some(other) = corpus::file_or_skip("startup_key.bek") {
        let run = backup(&drive, other.to_str().unwrap()).exits(1);
        says(
            &run,
            &[
                "the startup key does not open this drive (tried on 4381F759)",
                "`--startup-key` (4381F759-",
            ],
        );
    }
    let junk: Vec<u8> = (0..156_u8)
        .map(|number| number.wrapping_mul(151) ^ 0x5A)
        .collect();
    for (name, content) in [
        ("junk.BEK", junk.as_slice()),
        ("short.BEK", &bek[..100]),
        ("empty.BEK", &[]),
        ("text.BEK", b"not a key at all\n"),
    ] {
        let run = backup(&drive, &desk.write(name, content)).exits(2);
        says(&run, &[name, "is not a startup key file (.BEK)"]);
    }
    let run = backup(&drive, &desk.arg("nowhere.BEK")).exits(2);
    says(
        &run,
        &[
            "nowhere.BEK",
            "No such file",
            "hint: a startup key file is named after its ID",
        ],
    );
    // Somebody takes the recovery key's file for the startup key.
    let run = backup(&drive, &desk.write("key.txt", KEY)).exits(2);
    says(
        &run,
        &["hint: a text file with 48 digits is a recovery key: `--recovery-key file:PATH`"],
    );

    let Some(without) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let run = backup(&image(&without), &desk.write("right.BEK", &bek)).exits(1);
    says(
        &run,
        &[
            "this drive has no startup key (.BEK file)",
            "`--password`",
            KEY_ID,
        ],
    );
}

#[test]
fn a_drive_without_a_password_says_what_opens_it() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-smart-card") else {
        return;
    };
    let desk = Desk::new();
    let run = desk
        .keyhaven(["backup", "--to", "stdout", &image(&volume), "--password", "-"])
        .stdin("anaconda")
        .go()
        .exits(1);
    says(
        &run,
        &[
            "this drive has no password",
            "hint: this drive can be opened with `--recovery-key` (key ID 1F9DA098)",
        ],
    );
}

/// What Windows saves, in the encoding that it saves it in.
fn windows_text(id: &str, key: &str) -> Vec<u8> {
    let text = format!(
        "BitLocker Drive Encryption recovery key \0\r\n\r\nTo verify that this is the correct recovery key, compare the \
         start of the following identifier with the identifier value displayed on your PC.\r\n\r\nIdentifier:\r\n\r\n\t\
         {id}\r\n\r\nIf the above identifier matches the one displayed by your PC then use the following key to unlock \
         your drive.\r\n\r\nRecovery Key:\r\n\r\n\t{key}\r\n"
    );
    let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes);
    [0xFF, 0xFE].into_iter().chain(utf16).collect()
}

#[test]
fn a_file_with_the_recovery_key_in_it_will_do() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let image = image(&volume);
    let verify = |file: &str| {
        desk.keyhaven(["verify", &image, "--recovery-key", &format!("file:{file}")])
            .go()
    };
    let plain = format!("{KEY}\n");
    let several = format!(
        "office PC  {OTHER_ID}  {OTHER_KEY}\nthis one  {PROTECTOR_ID}  {KEY}\n{OTHER_ID} {OTHER_KEY}\n"
    );
    for (name, content) in [
        ("windows.TXT", windows_text(PROTECTOR_ID, KEY)),
        ("digits.txt", plain.into_bytes()),
        ("several.txt", several.into_bytes()),
    ] {
        let run = verify(&desk.write(name, content)).exits(0);
        assert!(run.stdout.contains(PROTECTOR_ID), "{name}: {run:#?}");
    }

    let mistyped = windows_text(PROTECTOR_ID, &KEY.replace("241120", "241121"));
    let run = verify(&desk.write("mistyped.TXT", mistyped)).exits(1);
    says(
        &run,
        &[
            "mistyped.TXT` is mistyped: block 5 of the recovery key",
            "`keyhaven key check`",
        ],
    );

    let others = format!(
        "{OTHER_ID} {OTHER_KEY}\n{OTHER_ID} {}\n",
        OTHER_KEY.replace("284867", "596541")
    );
    let run = verify(&desk.write("others.txt", others)).exits(1);
    says(
        &run,
        &["others.txt` holds 2 recovery keys, and none is marked as this drive's"],
    );

    let run = verify(&desk.write("letter.txt", "Dear Sir or Madam,\nI have lost my key.\n")).exits(1);
    says(&run, &["there is no recovery key in", "letter.txt"]);
    let german =
        format!("Bezeichner:\r\n\r\n\t{PROTECTOR_ID}\r\n\r\nWiederherstellungsschlüssel:\r\n\r\n\t{KEY}\r\n");
    let utf16: Vec<u8> = german.encode_utf16().flat_map(u16::to_be_bytes).collect();
    verify(&desk.write("german.TXT", [&[0xFE, 0xFF], utf16.as_slice()].concat())).exits(0);

    let run = verify(&desk.arg("nowhere.txt")).exits(2);
    names(
        &run,
        &["cannot read the recovery key", "nowhere.txt", "No such file"],
    );
}

#[test]
fn a_file_that_windows_wrote_is_read() {
    let (Some(volume), Some(folder)) = (
        corpus::volume_or_skip(VOLUME),
        corpus::file_or_skip("tpm/password"),
    ) else {
        return;
    };
    let desk = Desk::new();
    let file = folder.join("BitLocker Recovery Key 92C7E8E2-CE52-4B7F-98A0-F48E218418BD.TXT");
    let source = format!("file:{}", file.display());
    // It is for another drive: that it is read to the end shows in the answer.
    let run = desk
        .keyhaven(["verify", &image(&volume), "--recovery-key", &source])
        .go()
        .exits(1);
    says(
        &run,
        &[
            "the recovery key does not open this drive",
            "hint: it is well formed",
        ],
    );
    let run = desk
        .keyhaven(["find", "92c7e8e2", folder.to_str().unwrap()])
        .go()
        .exits(0);
    assert!(run.stdout.starts_with("92C7E8E2  "), "{run:#?}");
}

#[test]
fn a_page_and_a_vault_have_the_recovery_key_in_them() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let desk = Desk::new();
    let image = image(&volume);
    let passphrase = format!("file:{}", desk.write("passphrase", "vermilion-Zq7\n"));
    let (page, vault) = (desk.arg("page.pdf"), desk.arg("keys.age"));
    let places = [format!("pdf:{page}"), format!("vault:{vault}")];
    let arguments = [
        "backup",
        &image,
        "--to",
        &places[0],
        "--to",
        &places[1],
        "--passphrase",
        &passphrase,
    ];
    desk.with(SecretKind::Password, &arguments, &volume).exits(0);

    let source = format!("file:{page}");
    let run = desk
        .keyhaven(["verify", &image, "--recovery-key", &source])
        .go()
        .exits(0);
    assert!(run.stdout.contains(PROTECTOR_ID), "{run:#?}");
    // Nobody is there to be asked for its passphrase.
    let source = format!("file:{vault}");
    let run = desk
        .keyhaven(["verify", &image, "--recovery-key", &source])
        .go()
        .exits(2);
    says(
        &run,
        &[
            "it is a vault",
            "hint: at a terminal you are asked",
            "`age -d FILE`",
        ],
    );
}

#[test]
fn each_right_way_in_is_proven_without_unlocking() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-startup-key") else {
        return;
    };
    let bek = volume.all_secrets().find(|secret| secret.kind == SecretKind::Bek);
    let bek = volume.secret_path(bek.expect("the manifest lists one"));
    let fvek = volume.fvek_hex.clone().expect("the manifest lists one");
    let secret = |kind| volume.secret(kind).expect("the manifest lists one");
    let desk = Desk::new();
    let verify = |option: &str, source: &str, value: &str| {
        desk.keyhaven(["verify", &image(&volume), option, source])
            .env("GIVEN", value)
            .go()
    };
    let bek = bek.to_str().unwrap();
    for (option, source, value) in [
        ("--password", "env:GIVEN", secret(SecretKind::Password)),
        ("--recovery-key", "env:GIVEN", secret(SecretKind::Recovery)),
        ("--recovery-password", "env:GIVEN", secret(SecretKind::Recovery)),
        ("--startup-key", bek, ""),
        ("--bek", bek, ""),
        ("--fvek", "env:GIVEN", &fvek),
    ] {
        let run = verify(option, source, value).exits(0);
        assert!(run.stdout.starts_with("opens "), "{run:#?}");
        assert_eq!(run.stderr, "");
    }
    let run = verify("--fvek", "env:GIVEN", &"1".repeat(64)).exits(1);
    says(&run, &["does not open this drive"]);
    for (option, source, said) in [
        (
            "--password",
            "env:KEYHAVEN_TEST_NOT_SET",
            "`KEYHAVEN_TEST_NOT_SET`",
        ),
        ("--password", "file:/does/not/exist", "`/does/not/exist`"),
        ("--vmk", "fd:987", "/dev/fd/987"),
    ] {
        names(&verify(option, source, "").exits(2), &[said]);
    }
}

#[test]
fn a_clear_key_is_used_without_asking_and_said_aloud() {
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128-clearkey-only") else {
        return;
    };
    let desk = Desk::new();
    let run = desk
        .keyhaven(["export", &image(&volume), &desk.arg("out.img")])
        .go()
        .exits(0);
    assert!(
        run.stderr
            .contains("warning: protection is suspended: anyone can read this drive\n"),
        "{run:#?}"
    );
    assert!(desk.path("out.img").exists());
}

#[test]
fn passwords_of_any_script_open_their_drives() {
    let mut tried = 0;
    for volume in corpus::volumes() {
        for secret in volume.all_secrets() {
            if secret.kind != SecretKind::Password || secret.value.is_ascii() {
                continue;
            }
            tried += 1;
            let desk = Desk::new();
            let image = image(&volume);
            // From a file with the line end of another system, too.
            let file = desk.write("password", format!("{}\r\n", secret.value));
            for source in [&format!("file:{file}"), "env:PASSWORD"] {
                desk.keyhaven(["verify", &image, "--password", source])
                    .env("PASSWORD", &secret.value)
                    .go()
                    .exits(0);
            }
        }
    }
    if tried == 0 {
        eprintln!("SKIPPED: no volume of this corpus has a password that is not ASCII");
    }
}

#[test]
fn raw_keys_open_the_drive_too() {
    let Some(volume) = corpus::volume_or_skip(VOLUME) else {
        return;
    };
    let fvek = volume.fvek_hex.clone().expect("the manifest lists one");
    let expected = volume.plain_sha256.clone().expect("the manifest lists one");
    let desk = Desk::new();
    let image = image(&volume);
    let out = desk.arg("out.img");
    let with_colons = fvek
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap())
        .collect::<Vec<_>>()
        .join(":");
    for text in [fvek.to_uppercase(), with_colons] {
        desk.keyhaven(["export", &image, &out, "--fvek", "-"])
            .stdin(format!("{text}\n"))
            .go()
            .exits(0);
        assert_eq!(
            keyhaven_testkit::sha256_of(fs::File::open(&out).unwrap()),
            expected
        );
        fs::remove_file(&out).unwrap();
    }

    // Without the VMK, the drive's own recovery key stays sealed.
    let run = desk
        .keyhaven(["backup", "--to", "stdout", &image, "--fvek", "-"])
        .stdin(fvek.clone())
        .go()
        .exits(2);
    says(&run, &["its recovery key cannot be read out of it"]);

    for (option, typed, code, said) in [
        (
            "--fvek",
            "xyz",
            2,
            "the full volume encryption key is not a row of hexadecimal digits",
        ),
        (
            "--fvek",
            &fvek[..62],
            2,
            "a key for aes-xts-128 has 32 bytes, not 31",
        ),
        (
            "--vmk",
            "00112233",
            2,
            "a volume master key has 32 bytes (64 hexadecimal digits), not 4",
        ),
        (
            "--vmk",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            1,
            "the volume master key does not open this drive",
        ),
    ] {
        let run = desk
            .keyhaven(["export", &image, &out, option, "-"])
            .stdin(typed)
            .go()
            .exits(code);
        names(&run, &[said]);
        assert!(!run.stderr.contains(&fvek[..16]), "{run:#?}");
    }
}
