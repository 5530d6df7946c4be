//! Damaged drives, full disks, readers that leave, Ctrl-C: never a panic, never a hang, never a success that is none.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::{copy_of, patch, tool};
use serde_json::Value;
use tempfile::TempDir;

const VOLUME: &str = "cs-aes-xts-128";

/// Where its three metadata copies lie, in bytes.
const COPIES: [u64; 3] = [35_213_312, 46_256_128, 57_909_248];

/// Nothing here takes longer: a hang is a failure, not a test that never ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is saved and said goes here.
struct Sandbox {
    folder: TempDir,
    volume: Volume,
}

#[derive(Debug)]
struct Heard {
    stdout: String,
    stderr: String,
    code: Option<i32>,
    took: Duration,
}

impl Sandbox {
    fn or_skip() -> Option<Self> {
        let volume = corpus::volume_or_skip(VOLUME)?;
        let folder = tempfile::tempdir().unwrap();
        for name in ["state", "out"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let sandbox = Self { folder, volume };
        fs::write(sandbox.path("password"), sandbox.secret(SecretKind::Password)).unwrap();
        fs::write(sandbox.path("key"), sandbox.secret(SecretKind::Recovery)).unwrap();
        fs::write(sandbox.path("fvek"), sandbox.volume.fvek_hex.as_ref().unwrap()).unwrap();
        Some(sandbox)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, kind: SecretKind) -> &str {
        self.volume.secret(kind).expect("the manifest lists one")
    }

    /// Returns a run; `@` at the start of an argument stands for the sandbox.
    fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyhaven"));
        for argument in arguments {
            let text = argument.as_ref().to_string_lossy();
            match text.split_once('@') {
                Some((before, name)) => command.arg(format!("{before}{}", self.path(name).display())),
                None => command.arg(argument),
            };
        }
        command
            .current_dir(self.path("out"))
            .env("XDG_STATE_HOME", self.path("state"))
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Heard {
        self.hear(self.command(arguments))
    }

    #[track_caller]
    fn hear(&self, mut command: Command) -> Heard {
        let start = Instant::now();
        let file = || tempfile::tempfile_in(self.folder.path()).unwrap();
        let (mut stdout, mut stderr) = (file(), file());
        command
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap());
        let code = wait(command.spawn().expect("the program starts"));
        let text = |file: &mut File| {
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        let heard = Heard {
            stdout: text(&mut stdout),
            stderr: text(&mut stderr),
            code,
            took: start.elapsed(),
        };
        assert!(
            matches!(heard.code, Some(0..=2)) && !heard.stderr.contains("this is a bug"),
            "{command:?}: {heard:#?}"
        );
        heard
    }

    /// Checks that a backup that says it succeeded printed the drive's own key and nothing else.
    #[track_caller]
    fn assert_only_the_key(&self, backup: &Heard, about: &dyn std::fmt::Debug) {
        if backup.code != Some(0) {
            return;
        }
        let answer: Value = serde_json::from_str(&backup.stdout).expect("JSON");
        let keys = answer["recovery_keys"].as_array().expect("a list");
        assert!(!keys.is_empty(), "{about:?}: {backup:#?}");
        for key in keys {
            assert_eq!(
                key["recovery_key"],
                self.secret(SecretKind::Recovery),
                "{about:?}: {backup:#?}"
            );
        }
        for receipt in answer["receipts"].as_array().expect("a list") {
            assert_eq!(receipt["proven"], true, "{about:?}: {backup:#?}");
        }
    }

    fn names_in(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[track_caller]
fn wait(mut child: Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Heard {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is missing: {self:#?}");
        self
    }
}

/// Numbers without a pattern, the same every time (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

#[test]
fn an_image_cut_off_anywhere_is_refused_or_told() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    let image = copy_of(sandbox.volume.image());
    let mut lengths = vec![0, 1, 511, 512, 513, 4095, 4096, 4097, 65_536];
    for copy in COPIES {
        for more in [
            -1_i64, 0, 1, 63, 64, 111, 112, 511, 512, 1000, 4096, 65_535, 65_536,
        ] {
            lengths.push(copy.checked_add_signed(more).unwrap());
        }
    }
    lengths.extend([sandbox.volume.size - 512, sandbox.volume.size - 1]);
    lengths.sort_unstable();
    for length in lengths.into_iter().rev() {
        OpenOptions::new()
            .write(true)
            .open(&image)
            .unwrap()
            .set_len(length)
            .unwrap();
        let info = sandbox.run([OsStr::new("info"), "--json".as_ref(), image.as_os_str()]);
        if length <= COPIES[0] {
            assert_eq!(info.code, Some(2), "{length}: {info:#?}");
            assert!(info.stderr.contains("\"hint\":\""), "{length}: {info:#?}");
            continue;
        }
        let unlock = [image.as_os_str(), "--password=file:@password".as_ref()];
        let backup = sandbox.run(
            ["backup", "--json", "--to=stdout"]
                .map(OsStr::new)
                .into_iter()
                .chain(unlock),
        );
        sandbox.assert_only_the_key(&backup, &length);
        // The copy of the boot sector and the ends of the metadata are needed, too, so `info` may know more.
        assert!(
            info.code == Some(0) || backup.code == Some(2),
            "{length}: {info:#?}"
        );

        // The sector key opens without a stretch.
        let export = sandbox.run([
            OsStr::new("export"),
            image.as_os_str(),
            "plain.img".as_ref(),
            "--fvek=file:@fvek".as_ref(),
        ]);
        assert_eq!(export.code, Some(2), "{length}: {export:#?}");
        assert_eq!(sandbox.names_in("out"), [""; 0], "{length}");
    }
}

#[test]
fn mutated_metadata_are_never_believed() {
    const ROUNDS: u64 = 200;
    let Some(sandbox) = Sandbox::or_skip() else { return };
    let image = copy_of(sandbox.volume.image());
    let mut original = Vec::new();
    let mut file = File::open(&image).unwrap();
    file.seek(SeekFrom::Start(COPIES[0])).unwrap();
    file.take(64 * 1024).read_to_end(&mut original).unwrap();
    // What follows the entries is filler.
    let used = original.len() - original.iter().rev().take_while(|byte| **byte == 0).count();
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let mut outcomes = [0; 3];
    for round in 0..ROUNDS {
        let mut bytes = original.clone();
        for _ in 0..=noise.below(4) {
            // Half of all hits are in the headers, where lengths, counts and offsets are.
            let end = if noise.below(2) == 0 { 160 } else { used };
            let place = noise.below(end);
            match noise.below(4) {
                0 => bytes[place] ^= 1 << noise.below(8),
                1 => bytes[place] = noise.next() as u8,
                2 => bytes[place] = [0, 1, 0x7F, 0x80, 0xFF][noise.below(5)],
                _ => {
                    let from = noise.below(used);
                    let len = noise.below(64).min(bytes.len() - from.max(place));
                    bytes.copy_within(from..from + len, place);
                }
            }
        }
        // Each copy has its own place in it; only then are the three believed alike.
        for copy in COPIES {
            patch(&image, copy, &bytes);
        }
        let image = image.as_os_str();
        let ignore = OsStr::new("--ignore-checksums");
        let info = sandbox.run([OsStr::new("info"), "--json".as_ref(), ignore, image]);
        assert!(
            info.code == Some(0) || info.code == Some(2),
            "round {round}: {info:#?}"
        );
        outcomes[info.code.unwrap() as usize] += 1;
        assert!(info.took < Duration::from_secs(10), "round {round}: {info:#?}");
        if round % 3 == 0 {
            let key = OsStr::new("--recovery-key=file:@key");
            sandbox.run([OsStr::new("verify"), "--json".as_ref(), ignore, image, key]);
        }
        if round % 3 == 1 {
            let password = OsStr::new("--password=file:@password");
            let backup = sandbox.run([
                OsStr::new("backup"),
                "--json".as_ref(),
                "--to=stdout".as_ref(),
                ignore,
                image,
                password,
            ]);
            sandbox.assert_only_the_key(&backup, &round);
        }
        if round % 10 == 2 {
            // With the checksums in force nearly nothing passes.
            let info = sandbox.run([OsStr::new("info"), image]);
            assert!(
                info.code == Some(0) || info.code == Some(2),
                "round {round}: {info:#?}"
            );
        }
    }
    eprintln!("info said yes to {} and no to {}", outcomes[0], outcomes[2]);
    assert!(
        outcomes[0] > 20 && outcomes[2] > 20,
        "the mutations reach far and wide"
    );
}

/// A file system without room, unmounted at the end.
struct FullDisk(PathBuf);

impl FullDisk {
    fn or_skip(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mount = tool::find("mount")?;
        let mounted = Command::new(mount)
            .args(["-t", "tmpfs", "-o", "size=64k", "keyhaven-test"])
            .arg(&at)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: only root may mount a small file system");
            return None;
        }
        let disk = Self(at);
        let mut filler = File::create(disk.0.join("filler")).unwrap();
        while filler.write_all(&[1; 4096]).is_ok() {}
        Some(disk)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_left_as_it_was() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    fs::write(sandbox.path("passphrase"), "a passphrase").unwrap();
    let Some(_full) = FullDisk::or_skip(sandbox.path("full")) else {
        return;
    };
    let image = sandbox.volume.image();
    let image = image.to_str().unwrap();
    for place in [
        "file:@full",
        "file:@full/named.txt",
        "pdf:@full",
        "vault:@full/keys.age",
    ] {
        sandbox
            .run([
                "backup",
                image,
                "--password=file:@password",
                "--passphrase=file:@passphrase",
                "--force-place",
                "--to",
                place,
            ])
            .exits(2)
            .says("No space left on device");
        assert_eq!(sandbox.names_in("full"), ["filler"], "{place}");
    }
    sandbox
        .run(["export", image, "@full/plain.img", "--fvek=file:@fvek"])
        .exits(2)
        .says("the image needs ");
    assert_eq!(sandbox.names_in("full"), ["filler"]);

    // One place that fails takes nothing from the others, and the exit code tells it.
    let heard = sandbox.run([
        "backup",
        image,
        "--password=file:@password",
        "--force-place",
        "--to=file:@full",
        "--to=file:./saved.txt",
    ]);
    heard
        .exits(2)
        .says("No space left on device")
        .says("saved and proven");
    assert_eq!(sandbox.names_in("out"), ["saved.txt"]);
    // The list of what was saved cannot be written either: said, and no reason to fail.
    let mut command = sandbox.command([
        "backup",
        image,
        "--password=file:@password",
        "--force-place",
        "--to=file:./saved-again.txt",
    ]);
    command.env("XDG_STATE_HOME", sandbox.path("full"));
    sandbox
        .hear(command)
        .exits(0)
        .says("warning: it could not be noted");
}

#[test]
fn a_reader_that_leaves_or_is_full_is_no_panic() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    let image = sandbox.volume.image();
    let image = image.to_str().unwrap();
    for arguments in [
        &["info", image][..],
        &["info", "--json", image],
        &["verify", image, "@key"],
        &["find", image, "@key"],
        &["status", image],
        &["backup", image, "--password=file:@password", "--to=stdout"],
        &[
            "backup",
            "--json",
            image,
            "--password=file:@password",
            "--to=stdout",
        ],
        &["key", "check", "file:@key"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = sandbox
            .command(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            matches!(output.status.code(), Some(1..=2)),
            "{arguments:?}: {output:?}"
        );
        assert!(!stderr.contains("bug"), "{arguments:?}: {stderr}");

        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = sandbox
            .command(arguments)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(
            stderr.contains("cannot write to standard output"),
            "{arguments:?}: {stderr}"
        );
    }
}

#[test]
fn ctrl_c_during_an_export_leaves_no_image() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    // Large, so that it is not done before the signal comes.
    let Some(large) = corpus::volume_or_skip("df-eow_partial") else {
        return;
    };
    let Some(kill) = tool::find("kill") else { return };
    fs::write(
        sandbox.path("password"),
        large.secret(SecretKind::Password).unwrap(),
    )
    .unwrap();
    let image = large.image();
    let child = sandbox
        .command([
            OsStr::new("export"),
            image.as_os_str(),
            "plain.img".as_ref(),
            "--password=file:@password".as_ref(),
        ])
        .stderr(File::create(sandbox.path("stderr")).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let has_begun =
        || fs::metadata(sandbox.path("out/plain.img.partial")).is_ok_and(|metadata| metadata.len() > 0);
    while !has_begun() && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new(kill)
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(wait(child), Some(130));
    assert_eq!(sandbox.names_in("out"), [""; 0]);
    let stderr = fs::read_to_string(sandbox.path("stderr")).unwrap();
    assert!(stderr.ends_with("\nstopped; nothing lost\n"), "{stderr}");
}

#[test]
fn what_may_not_be_looked_into_is_said() {
    use std::os::unix::fs::PermissionsExt;

    let Some(sandbox) = Sandbox::or_skip() else { return };
    let closed = sandbox.path("keys/closed");
    fs::create_dir_all(&closed).unwrap();
    fs::copy(sandbox.path("key"), sandbox.path("keys/closed/key.txt")).unwrap();
    fs::copy(sandbox.path("key"), sandbox.path("keys/closed.txt")).unwrap();
    for path in [&closed, &sandbox.path("keys/closed.txt")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    }
    if fs::read_dir(&closed).is_ok() {
        eprintln!("SKIPPED: root may look into every folder");
    } else {
        let image = sandbox.volume.image();
        let heard = sandbox.run(["verify", image.to_str().unwrap(), "@keys"]).exits(1);
        assert_eq!(heard.stdout.matches("unreadable").count(), 2, "{heard:#?}");
        sandbox
            .run(["verify", image.to_str().unwrap(), "@keys/closed.txt"])
            .exits(2);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn places_that_never_end_are_not_waited_for() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    let image = sandbox.volume.image();
    let image = image.to_str().unwrap();
    let keys = sandbox.path("keys");
    fs::create_dir_all(keys.join("deep")).unwrap();
    let Some(mkfifo) = tool::find("mkfifo") else {
        return;
    };
    let made = Command::new(mkfifo).arg(keys.join("fifo.txt")).status();
    assert!(made.unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", keys.join("zero.txt")).unwrap();
    std::os::unix::fs::symlink(&keys, keys.join("deep/loop")).unwrap();
    std::os::unix::fs::symlink(keys.join("self.txt"), keys.join("self.txt")).unwrap();
    fs::copy(sandbox.path("key"), keys.join("key.txt")).unwrap();
    let huge = File::create(keys.join("huge.txt")).unwrap();
    huge.set_len(1 << 40).unwrap();

    for verb in [["verify", image], ["find", image]] {
        let heard = sandbox
            .run(
                verb.into_iter()
                    .chain(["--try-all", "@keys"])
                    .filter(|argument| verb[0] == "verify" || *argument != "--try-all"),
            )
            .exits(0);
        assert!(heard.stdout.contains("key.txt"), "{heard:#?}");
    }
    for place in ["/dev/zero", "/dev/random", "@keys/fifo.txt", "@keys/self.txt"] {
        let heard = sandbox.run(["verify", image, place]);
        assert!(matches!(heard.code, Some(1..=2)), "{place}: {heard:#?}");
        let heard = sandbox.run(["info", place]).exits(2);
        assert!(heard.stderr.starts_with("error: "), "{place}: {heard:#?}");
        let source = format!("--recovery-key=file:{place}");
        let heard = sandbox.run(["verify", image, &source]);
        assert!(matches!(heard.code, Some(1..=2)), "{place}: {heard:#?}");
        let heard = sandbox.run(["verify", image, "--startup-key", place]);
        assert!(matches!(heard.code, Some(1..=2)), "{place}: {heard:#?}");
        let to = format!("file:{place}");
        sandbox
            .run([
                "backup",
                image,
                "--password=file:@password",
                "--force-place",
                "--to",
                &to,
            ])
            .exits(2);
    }
    sandbox
        .run(["verify", image, "--password=file:/dev/zero"])
        .exits(2)
        .says("longer than 64 KiB");
}

#[test]
fn a_thousand_keys_are_matched_by_id() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    let image = sandbox.volume.image();
    let image = image.to_str().unwrap();
    let keys = sandbox.path("keys");
    fs::create_dir(&keys).unwrap();
    let mut noise = Noise(0x2545_F491_4F6C_DD1D);
    for number in 0..1000 {
        let blocks: Vec<String> = (0..8)
            .map(|_| format!("{:06}", noise.below(65_536) * 11))
            .collect();
        let id = format!(
            "{:08X}-{:04X}-4{:03X}-8{:03X}-{:012X}",
            noise.below(1 << 32),
            noise.below(1 << 16),
            noise.below(1 << 12),
            noise.below(1 << 12),
            noise.below(1 << 48)
        );
        let text = format!(
            "BitLocker Drive Encryption recovery key\r\n\r\nIdentifier:\r\n\r\n\t{id}\r\n\r\nRecovery Key:\r\n\r\n\t{}\r\n",
            blocks.join("-")
        );
        let path = keys.join(format!("BitLocker Recovery Key {id} {number}.TXT"));
        let utf16: Vec<u8> = format!("\u{FEFF}{text}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        fs::write(path, utf16).unwrap();
    }
    sandbox
        .run([
            "backup",
            image,
            "--password=file:@password",
            "--force-place",
            "--to=file:@keys",
        ])
        .exits(0);
    let heard = sandbox.run(["verify", "--json", image, "@keys"]).exits(0);
    let answer: Value = serde_json::from_str(&heard.stdout).unwrap();
    let results = answer["results"].as_array().unwrap();
    let count = |verdict: &str| {
        results
            .iter()
            .filter(|result| result["verdict"] == verdict)
            .count()
    };
    assert_eq!((count("opens"), count("other_drive")), (1, 1000));
    eprintln!("1,001 files in {:?}", heard.took);
    // A stretch of each would take minutes.
    assert!(heard.took < Duration::from_secs(20), "{:?}", heard.took);
    let heard = sandbox.run(["find", "--json", image, "@keys"]).exits(0);
    assert!(heard.took < Duration::from_secs(20), "{:?}", heard.took);
}

/// Whatever a name on the drive or in the arguments holds, the terminal is not steered by it.
#[test]
fn names_cannot_steer_the_terminal() {
    let Some(sandbox) = Sandbox::or_skip() else { return };
    let name = Path::new("evil\u{1b}[2J\u{202e}.img");
    for arguments in [
        [OsStr::new("info"), name.as_os_str()],
        [OsStr::new("status"), name.as_os_str()],
    ] {
        let heard = sandbox.run(arguments).exits(2);
        assert!(!heard.stderr.contains(['\u{1b}', '\u{202e}']), "{heard:?}");
    }
}
