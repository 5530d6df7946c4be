//! No secret leaves the program where it should not: every verb, every way to give a secret, every way to fail.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keyhaven_testkit::copy_of;
use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use tempfile::TempDir;

const PASSPHRASE: &str = "vermilion-Zq7-passphrase";
const WRONG_PASSWORD: &str = "vermilion-Zq7-wrong-password";
const WRONG_PASSPHRASE: &str = "vermilion-Zq7-wrong-passphrase";

/// A valid key of no drive here: that of image df-recovery_password, format spec 9.3.
const OTHER_KEY: &str = "284867-596541-514998-422114-660297-261613-215424-199408";

/// Bytes that must not be found, and what they are.
#[derive(Default)]
struct Secrets(Vec<(String, Vec<u8>)>);

impl Secrets {
    fn text(&mut self, name: &str, text: &str) {
        self.0.push((name.to_owned(), text.as_bytes().to_vec()));
        let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.0.push((format!("{name} in UTF-16"), utf16));
    }

    /// A block by itself is too short to be looked for: three in a row are what nobody else writes.
    fn recovery_key(&mut self, name: &str, digits: &str) {
        let blocks: Vec<&str> = digits.split('-').collect();
        for (number, three) in blocks.windows(3).enumerate() {
            for between in ["-", "", " ", "\n", ", ", "\", \""] {
                self.text(
                    &format!("{name}, blocks from {} on", number + 1),
                    &three.join(between),
                );
            }
        }
        let raw: Vec<u8> = blocks
            .iter()
            .flat_map(|block| {
                let value: u32 = block.parse().unwrap();
                u16::try_from(value / 11).unwrap().to_le_bytes()
            })
            .collect();
        self.bytes(name, &raw);
    }

    fn bytes(&mut self, name: &str, raw: &[u8]) {
        self.0.push((format!("{name} as bytes"), raw.to_vec()));
        let hex = hex::encode(raw);
        self.0
            .push((format!("{name} in hexadecimal"), hex.as_bytes().to_vec()));
        self.0
            .push((format!("{name} in HEXADECIMAL"), hex.to_uppercase().into_bytes()));
        // The way `{:?}` prints bytes.
        let debug = format!("{:?}", &raw[..8]);
        let debug = debug.trim_matches(['[', ']']).as_bytes().to_vec();
        self.0.push((format!("{name} as a list of numbers"), debug));
    }

    fn of(volume: &Volume) -> Self {
        let mut secrets = Self::default();
        for secret in volume.all_secrets() {
            match secret.kind {
                SecretKind::Password => secrets.text("the password", &secret.value),
                SecretKind::Recovery => secrets.recovery_key("the recovery key", &secret.value),
                _ => {}
            }
        }
        if let Some(fvek) = &volume.fvek_hex {
            secrets.bytes("the FVEK", &hex::decode(fvek).unwrap());
        }
        secrets.text("the passphrase", PASSPHRASE);
        secrets.text("the wrong password", WRONG_PASSWORD);
        secrets.text("the wrong passphrase", WRONG_PASSPHRASE);
        secrets.recovery_key("the other drive's key", OTHER_KEY);
        secrets
    }

    #[track_caller]
    fn absent_in(&self, place: &str, haystack: &[u8]) {
        let searched = as_text(haystack);
        for (name, needle) in &self.0 {
            assert!(
                !searched.contains(&as_text(needle)),
                "{name} is in {place}: {}",
                String::from_utf8_lossy(haystack)
            );
        }
    }

    /// Looks at every name and every content in a folder.
    #[track_caller]
    fn absent_under(&self, place: &str, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            self.absent_in(&format!("a name in {place}"), path.as_os_str().as_encoded_bytes());
            if path.is_dir() {
                self.absent_under(place, &path);
            } else {
                self.absent_in(
                    &format!("{} in {place}", path.display()),
                    &fs::read(&path).unwrap(),
                );
            }
        }
    }
}

/// Makes one character of each byte, so that the standard library's fast search for text can be used.
fn as_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Folders of its own for everything that the program may write.
struct Sandbox {
    folder: TempDir,
    image: PathBuf,
    secrets: Secrets,
}

/// How a secret is given to a run.
#[derive(Clone, Copy)]
enum Way {
    File,
    Env,
    Stdin,
    Fd,
}

impl Sandbox {
    fn for_volume(volume: &Volume) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["state", "tmp", "home", "out", "said", "given"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self {
            folder,
            image: volume.image(),
            secrets: Secrets::of(volume),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that a person could have, and returns its path.
    fn given(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path("given").join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str], secret: Option<(&str, Way, &str)>) -> Heard {
        self.run_with(arguments, secret, &[])
    }

    /// Runs the program, looks at it from outside while it runs, and at all it left afterwards. `secret` is an
    /// option, the way it is given, and the secret. Of what it printed only standard error is searched here.
    fn run_with(
        &self,
        arguments: &[&str],
        secret: Option<(&str, Way, &str)>,
        environment: &[(&str, &str)],
    ) -> Heard {
        let said = |name: &str| File::create(self.path("said").join(name)).unwrap();
        // The shell opens descriptor 3, which the standard library cannot, and becomes the program.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec 3<"$GIVEN"; unset GIVEN; exec "$0" "$@""#])
            .arg(env!("CARGO_BIN_EXE_keyhaven"))
            .env("GIVEN", "/dev/null")
            .args(arguments)
            .current_dir(self.path("out"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("TMPDIR", self.path("tmp"))
            .env("HOME", self.path("home"))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(said("stdout"))
            .stderr(said("stderr"));
        let mut in_environment = false;
        if let Some((option, way, value)) = secret {
            let file = self.given("secret", value);
            let source = match way {
                Way::File => format!("file:{file}"),
                Way::Env => {
                    in_environment = true;
                    command.env("KEYHAVEN_TEST_SECRET", value);
                    "env:KEYHAVEN_TEST_SECRET".to_owned()
                }
                Way::Stdin => {
                    command.stdin(File::open(&file).unwrap());
                    "-".to_owned()
                }
                Way::Fd => {
                    command.env("GIVEN", &file);
                    "fd:3".to_owned()
                }
            };
            // `key check` takes its SOURCE without an option.
            command.args((!option.is_empty()).then_some(option)).arg(source);
        }
        let mut child = command.spawn().expect("the program starts");
        let code = self.watch(&mut child, in_environment);
        let stdout = fs::read_to_string(self.path("said/stdout")).unwrap();
        let stderr = fs::read_to_string(self.path("said/stderr")).unwrap();
        let line = arguments.join(" ");
        self.secrets
            .absent_in(&format!("standard error of `{line}`"), stderr.as_bytes());
        self.secrets.absent_under("the state folder", &self.path("state"));
        self.secrets
            .absent_under("the temporary folder", &self.path("tmp"));
        self.secrets.absent_under("the home folder", &self.path("home"));
        self.names_of_outputs_hold_nothing();
        Heard {
            line,
            stdout,
            stderr,
            code,
        }
    }

    fn watch(&self, child: &mut Child, in_environment: bool) -> Option<i32> {
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            // Both can be gone, or be closed to us, at any time: the better.
            if let Ok(arguments) = fs::read(proc.join("cmdline")) {
                self.secrets.absent_in("the arguments", &arguments);
            }
            if let Ok(environment) = fs::read(proc.join("environ"))
                && !in_environment
            {
                self.secrets.absent_in("the environment", &environment);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn names_of_outputs_hold_nothing(&self) {
        for entry in fs::read_dir(self.path("out")).unwrap() {
            let name: OsString = entry.unwrap().file_name();
            self.secrets.absent_in("a file name", name.as_encoded_bytes());
        }
    }
}

/// What a run said.
#[derive(Debug)]
struct Heard {
    line: String,
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Heard {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Checks standard output, too: for everything but the verbs that are there to show a key.
    #[track_caller]
    fn quiet_about(self, secrets: &Secrets) -> Self {
        secrets.absent_in(
            &format!("standard output of `{}`", self.line),
            self.stdout.as_bytes(),
        );
        self
    }
}

/// How much is said.
const LOUDNESS: [&[&str]; 3] = [&["-vvv"], &["-vvv", "--json"], &["--quiet"]];

fn mistyped(key: &str) -> String {
    let last = key.chars().last().unwrap();
    let other = if last == '8' { '7' } else { '8' };
    format!("{}{other}", &key[..key.len() - 1])
}

#[test]
fn the_search_finds_what_is_there() {
    let mut secrets = Secrets::default();
    secrets.recovery_key("the key", OTHER_KEY);
    secrets.text("the password", PASSPHRASE);
    let found = |text: &str| {
        let haystack = format!("before {text} after");
        std::panic::catch_unwind(|| secrets.absent_in("the text", haystack.as_bytes())).is_err()
    };
    assert!(!found("nothing here, 284867-596541 alone neither"));
    assert!(found(OTHER_KEY));
    assert!(found(&OTHER_KEY.replace('-', "")[12..40]));
    assert!(found(PASSPHRASE));
    // Its blocks over 11, each as two bytes: what the drive keeps.
    let raw = "2965d7d3e2b6e6957beae75c804cd046";
    assert!(found(raw) && found(&raw.to_uppercase()));
}

/// The volume with the most ways in, and what opens it.
struct Ways {
    volume: Volume,
    password: String,
    recovery_key: String,
    startup_key: String,
}

fn ways_or_skip() -> Option<Ways> {
    let volume = corpus::volume_or_skip("cs-aes-xts-128-startup-key")?;
    let bek = volume
        .all_secrets()
        .find(|secret| secret.kind == SecretKind::Bek)?;
    Some(Ways {
        password: volume.secret(SecretKind::Password)?.to_owned(),
        recovery_key: volume.secret(SecretKind::Recovery)?.to_owned(),
        startup_key: volume.secret_path(bek).to_str()?.to_owned(),
        volume,
    })
}

fn master_key(ways: &Ways) -> Vec<u8> {
    use keyhaven_fve::keys::Password;
    use keyhaven_fve::{Credential, OpenOptions, unwatched};

    let device = keyhaven_disk::open(&ways.volume.image()).unwrap();
    let volume = keyhaven_fve::Volume::open(device, &OpenOptions::default(), &mut unwatched).unwrap();
    let password = Password::new(keyhaven_crypto::SecretText::copy_of(&ways.password));
    let unlocked = volume.unlock(&Credential::Password(password)).unwrap();
    unlocked.vmk().unwrap().key().expose_secret().to_vec()
}

impl Ways {
    fn sandbox(&self) -> Sandbox {
        let mut sandbox = Sandbox::for_volume(&self.volume);
        sandbox.secrets.bytes("the VMK", &master_key(self));
        sandbox
    }
}

#[test]
fn unlocking_keeps_every_secret_to_itself() {
    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    let image = sandbox.image.to_str().unwrap();
    let vmk = hex::encode(master_key(&ways));
    let fvek = ways.volume.fvek_hex.clone().unwrap();
    let wrong_hex = |hex: &str| hex.replace(['a', '3'], "5");
    let cases: Vec<(&str, String, i32)> = vec![
        // Two lines in a file are no password.
        ("--password", format!("{WRONG_PASSWORD}\n{}", ways.password), 2),
        ("--password", ways.password.clone(), 0),
        ("--password", WRONG_PASSWORD.to_owned(), 1),
        ("--recovery-key", ways.recovery_key.clone(), 0),
        ("--recovery-key", OTHER_KEY.to_owned(), 1),
        ("--recovery-key", mistyped(&ways.recovery_key), 1),
        ("--recovery-key", ways.recovery_key[..41].to_owned(), 1),
        ("--recovery-key", ways.recovery_key.replacen('-', "x", 1), 1),
        ("--recovery-key", WRONG_PASSWORD.to_owned(), 1),
        ("--vmk", vmk.clone(), 0),
        ("--vmk", wrong_hex(&vmk), 1),
        ("--vmk", vmk[..60].to_owned(), 2),
        ("--vmk", format!("{vmk}g"), 2),
        ("--fvek", wrong_hex(&fvek), 1),
        ("--fvek", fvek[..60].to_owned(), 2),
        ("--fvek", format!("{fvek}g"), 2),
    ];
    let ways_in = [Way::File, Way::Env, Way::Stdin, Way::Fd];
    for (number, (option, secret, code)) in cases.iter().enumerate() {
        let way = ways_in[number % ways_in.len()];
        let loudness = LOUDNESS[number % LOUDNESS.len()];
        let arguments = [loudness, &["verify", image]].concat();
        let heard = sandbox.run(&arguments, Some((option, way, secret)));
        heard.exits(*code).quiet_about(&sandbox.secrets);
    }
    for (file, code) in [
        (ways.startup_key.clone(), 0),
        (sandbox.given("junk.bek", [7; 156]), 2),
        (sandbox.given("text.bek", &ways.recovery_key), 2),
    ] {
        for loudness in LOUDNESS {
            let arguments = [loudness, &["verify", image, "--startup-key", &file]].concat();
            sandbox
                .run(&arguments, None)
                .exits(code)
                .quiet_about(&sandbox.secrets);
        }
    }
}

#[test]
fn saving_and_looking_for_keys_keeps_them_to_the_saved_files() {
    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    let image = sandbox.image.to_str().unwrap();
    let out = sandbox.path("out");
    let password = sandbox.given("password", &ways.password);
    let password = format!("--password=file:{password}");
    let pass = Some(("--passphrase", Way::Stdin, PASSPHRASE));

    for (number, loudness) in LOUDNESS.iter().enumerate() {
        let name = |kind: &str, extension: &str| format!("{kind}:./{number}.{extension}");
        let [text, page, vault] = [("file", "txt"), ("pdf", "pdf"), ("vault", "age")]
            .map(|(kind, extension)| ["--to".to_owned(), name(kind, extension)]);
        // Closing and opening a vault takes a second each: one is enough.
        let places = if number == 0 {
            [text, page, vault].concat()
        } else {
            [text, page].concat()
        };
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        let arguments = [
            loudness,
            &["backup", image, &password, "--force-place"][..],
            &places[..],
        ]
        .concat();
        sandbox
            .run(&arguments, pass)
            .exits(0)
            .quiet_about(&sandbox.secrets);
    }
    // Only with `stdout` it is shown, and then not on standard error.
    let heard = sandbox.run(
        &["-vvv", "backup", image, &password, "--to", "stdout", "--json"],
        None,
    );
    assert!(heard.stdout.contains(&ways.recovery_key), "{heard:#?}");
    heard.exits(0);

    // A text, a page, a vault, and everything that can be wrong with them.
    let text = fs::read(out.join("0.txt")).unwrap();
    let (start, _) = text.split_at(text.len() / 2);
    fs::write(out.join("half.txt"), start).unwrap();
    fs::write(out.join("mistyped.txt"), mistyped(&ways.recovery_key)).unwrap();
    fs::write(out.join("other.txt"), OTHER_KEY).unwrap();
    fs::write(out.join("letters.txt"), ways.recovery_key.replace('0', "O")).unwrap();
    fs::copy(&ways.startup_key, out.join("key.BEK")).unwrap();
    let vault = fs::read(out.join("0.age")).unwrap();
    fs::write(out.join("half.age"), &vault[..vault.len() - 20]).unwrap();
    fs::write(out.join("junk.pdf"), [b"%PDF-1.7\n", start].concat()).unwrap();

    let key_id = "00000000";
    for (round, loudness) in LOUDNESS.into_iter().enumerate() {
        for (number, (verb, passphrase, code)) in [
            (&["verify", image, "."][..], PASSPHRASE, 0),
            (&["verify", image, "--try-all", "."], WRONG_PASSPHRASE, 0),
            (&["verify", image, "./other.txt"], PASSPHRASE, 1),
            (&["verify", image, "./mistyped.txt"], PASSPHRASE, 1),
            (&["verify", image, "./half.age"], PASSPHRASE, 1),
            (&["verify", image, "./0.age"], WRONG_PASSPHRASE, 1),
            (&["find", image, "."], PASSPHRASE, 0),
            (&["find", key_id, "."], WRONG_PASSPHRASE, 1),
        ]
        .into_iter()
        .enumerate()
        {
            // Seconds each, for the vaults: one loudness for each is enough.
            if verb.contains(&".") && number % 2 != round {
                continue;
            }
            let arguments = [loudness, verb].concat();
            let heard = sandbox.run(&arguments, Some(("--passphrase", Way::Env, passphrase)));
            heard.exits(code).quiet_about(&sandbox.secrets);
        }
        for verb in [
            &["status"][..],
            &["status", image],
            &["info", image],
            &["drives"],
            &["completions", "bash"],
            &["man"],
        ] {
            let heard = sandbox.run(&[loudness, verb].concat(), None);
            assert!(matches!(heard.code, Some(0..=2)), "{heard:#?}");
            heard.quiet_about(&sandbox.secrets);
        }
        // Nothing is overwritten, and the reason quotes nothing of what is there.
        let heard = sandbox.run(
            &[
                loudness,
                &[
                    "backup",
                    image,
                    &password,
                    "--force-place",
                    "--to",
                    "file:./other.txt",
                ],
            ]
            .concat(),
            None,
        );
        heard.exits(2).quiet_about(&sandbox.secrets);
    }
    let ledger = fs::read_to_string(sandbox.path("state/keyhaven/ledger.json")).unwrap();
    assert!(ledger.contains("0.txt"), "the ledger was in use: {ledger}");
    for name in ["0.txt", "0.pdf", "0.age"] {
        let mode = fs::metadata(out.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn checking_a_key_says_only_what_it_is_asked_for() {
    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    for (number, (key, code)) in [
        (ways.recovery_key.clone(), 0),
        (ways.recovery_key.replace('-', ""), 0),
        (mistyped(&ways.recovery_key), 1),
        (ways.recovery_key[..50].to_owned(), 1),
        (format!("{} {WRONG_PASSWORD}", ways.recovery_key), 1),
    ]
    .into_iter()
    .enumerate()
    {
        for loudness in LOUDNESS {
            let way = [Way::File, Way::Env, Way::Stdin, Way::Fd][number % 4];
            let arguments = [loudness, &["key", "check"]].concat();
            let heard = sandbox.run(&arguments, Some(("", way, &key)));
            heard.exits(code).quiet_about(&sandbox.secrets);
        }
    }
}

#[test]
fn changing_a_drive_keeps_every_secret_to_itself() {
    const NEW_PASSWORD: &str = "vermilion-Zq7-new-password";
    let Some(ways) = ways_or_skip() else { return };
    let mut sandbox = ways.sandbox();
    sandbox.secrets.text("the new password", NEW_PASSWORD);
    let copy = copy_of(&sandbox.image);
    let image = copy.to_str().unwrap();
    let password = Some(("--password", Way::Stdin, ways.password.as_str()));
    let new_password = sandbox.given("new-password", NEW_PASSWORD);
    let new_password = format!("--new-password=file:{new_password}");
    let loud = |number: usize, verb: &[&str], more: &[&str]| -> Vec<String> {
        let all = [LOUDNESS[number % LOUDNESS.len()], verb, &[image, "--yes"], more].concat();
        all.into_iter().map(str::to_owned).collect()
    };
    let cases: [(&[&str], &[&str], i32); 7] = [
        (
            &["protector", "add"],
            &["--new-recovery-key", "--to", "file:./first.txt"],
            0,
        ),
        (&["protector", "add"], &["--new-startup-key", "."], 0),
        (
            &["protector", "add"],
            &["--new-recovery-key", "--to", "file:./nowhere/at/all.txt"],
            2,
        ),
        (&["suspend"], &[], 0),
        (&["resume"], &["--new-master-key"], 0),
        (&["rotate"], &["--to", "file:./second.txt"], 2),
        (&["protector", "change"], &[&new_password], 0),
    ];
    for round in 0..2 {
        // Each says as much once as it can; only the first time is there something to add.
        for (number, (verb, more, code)) in cases.iter().enumerate().skip(if round == 0 { 0 } else { 3 }) {
            let arguments = loud(number + round, verb, more);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let secret = match round {
                0 => password,
                _ => Some(("--password", Way::Fd, NEW_PASSWORD)),
            };
            let heard = sandbox.run(&arguments, secret);
            heard.exits(*code).quiet_about(&sandbox.secrets);
        }
    }
    let wrong = Some(("--password", Way::File, WRONG_PASSWORD));
    for (number, verb) in [&["suspend"][..], &["check"]].iter().enumerate() {
        let arguments = [LOUDNESS[number], verb, &[image]].concat();
        let secret = if verb == &["check"] {
            wrong
        } else {
            Some(("--password", Way::Env, NEW_PASSWORD))
        };
        let code = if verb == &["check"] { 1 } else { 2 };
        sandbox
            .run(&arguments, secret)
            .exits(code)
            .quiet_about(&sandbox.secrets);
    }
    sandbox
        .run(&["-vvv", "metadata", "save", image, "saved.metadata"], None)
        .exits(0)
        .quiet_about(&sandbox.secrets);

    // What was made meanwhile is nowhere but where it was saved.
    let saved = fs::read_to_string(sandbox.path("out/first.txt")).ok();
    let text = saved.unwrap_or_else(|| {
        let bytes = fs::read(sandbox.path("out/first.txt")).unwrap();
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    });
    let digits = text
        .split_whitespace()
        .find(|word| word.len() == 55 && word.split('-').all(|block| block.len() == 6))
        .expect("the file has the key");
    let mut made = Secrets::default();
    made.recovery_key("the new recovery key", digits);
    made.absent_under("the state folder", &sandbox.path("state"));
    made.absent_under("the temporary folder", &sandbox.path("tmp"));
    made.absent_in(
        "the saved metadata",
        &fs::read(sandbox.path("out/saved.metadata")).unwrap(),
    );
}

#[test]
fn exporting_says_nothing_of_keys() {
    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    let image = sandbox.image.to_str().unwrap();
    let given = Some(("--recovery-key", Way::Fd, ways.recovery_key.as_str()));
    let heard = sandbox.run(&["-vvv", "export", image, "plain.img"], given);
    heard.exits(0).quiet_about(&sandbox.secrets);
    // There already.
    let heard = sandbox.run(&["-vvv", "--json", "export", image, "plain.img"], given);
    heard.exits(2).quiet_about(&sandbox.secrets);
    let heard = sandbox.run(&["-vvv", "export", image, "no/such/folder.img"], given);
    heard.exits(2).quiet_about(&sandbox.secrets);
}

#[cfg(target_os = "linux")]
#[test]
fn creating_says_nothing_of_keys_and_leaves_none_in_temporary_files() {
    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    fs::create_dir(sandbox.path("saved")).unwrap();
    let place = format!("file:{}/", sandbox.path("saved").to_str().unwrap());
    // The drive's own secrets are those of the volume at hand: its password and its recovery key.
    for (number, (option, way, secret, code)) in [
        ("--password", Way::Env, ways.password.as_str(), 0),
        ("--recovery-key", Way::File, ways.recovery_key.as_str(), 0),
        ("--recovery-key", Way::Stdin, &mistyped(&ways.recovery_key), 1),
        (
            "--password",
            Way::Fd,
            &"vermilion-Zq7-wrong-password".repeat(10),
            2,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for loudness in LOUDNESS {
            let drive = format!("new-{number}-{}.img", loudness.concat().len());
            let arguments = [
                loudness,
                &["create", &drive, "--size", "44M", "--fs", "none", "--to", &place],
            ]
            .concat();
            let heard = sandbox.run(&arguments, Some((option, way, secret)));
            heard.exits(code).quiet_about(&sandbox.secrets);
        }
    }
    // Where the key cannot be saved.
    let given = Some(("--password", Way::Env, ways.password.as_str()));
    let arguments = [
        "-vvv",
        "create",
        "no.img",
        "--size",
        "44M",
        "--fs",
        "none",
        "--to",
        "file:no/such/folder/",
    ];
    let heard = sandbox.run(&arguments, given);
    heard.exits(2).quiet_about(&sandbox.secrets);
}

#[test]
fn variables_for_developers_change_nothing() {
    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    let image = sandbox.image.to_str().unwrap();
    let loud = [("RUST_BACKTRACE", "full"), ("RUST_LOG", "trace")];
    for secret in [&ways.password, WRONG_PASSWORD] {
        let given = Some(("--password", Way::File, secret));
        let quiet = sandbox.run(&["-vvv", "verify", image], given);
        let heard = sandbox.run_with(&["-vvv", "verify", image], given, &loud);
        assert_eq!(
            (&heard.stdout, &heard.stderr, heard.code),
            (&quiet.stdout, &quiet.stderr, quiet.code)
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_dumps_no_core_and_holds_its_keys_in_memory() {
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    let Some(ways) = ways_or_skip() else { return };
    let sandbox = ways.sandbox();
    let password = sandbox.given("password", &ways.password);
    // It asks for the passphrase of the vault last: by then the drive is unlocked and its keys are read.
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
        .args(["--verbose", "backup"])
        .arg(&sandbox.image)
        .arg(format!("--password=file:{password}"))
        .args(["--to", "vault:./vault.age", "--force-place", "--passphrase=-"])
        .current_dir(sandbox.path("out"))
        .env("XDG_STATE_HOME", sandbox.path("state"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stderr = child.stderr.take().unwrap();
    let mut said = String::new();
    let mut byte = [0];
    while !said.contains("saving to vault") && stderr.read(&mut byte).unwrap() == 1 {
        said.push(char::from(byte[0]));
    }
    assert!(said.contains("saving to vault"), "{said}");
    std::thread::sleep(Duration::from_millis(300));

    let proc = PathBuf::from(format!("/proc/{}", child.id()));
    let limits = fs::read_to_string(proc.join("limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let core: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(&core[4..6], ["0", "0"], "{limits}");
    // What is not dumpable belongs to root, whoever runs it.
    assert_eq!(fs::metadata(proc.join("mem")).unwrap().uid(), 0);
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let locked = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
    let locked: u64 = locked.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(locked > 0, "{status}");

    writeln!(child.stdin.take().unwrap(), "{PASSPHRASE}").unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    sandbox.secrets.absent_in("standard error", said.as_bytes());
}
