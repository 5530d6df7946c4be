//! What a person sees who is asked: the program on a terminal of 80 columns and 24 lines.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keyhaven_testkit::corpus::{self, SecretKind, Volume};
use keyhaven_testkit::tool;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tempfile::TempDir;

use crate::windows_pc;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where a made-up Windows PC is described, if the desk has one.
const PC: &str = "pc.json";

const CTRL_C: &str = "\u{3}";

/// The program on a pseudo terminal, and what was seen on it.
struct Session {
    child: Child,
    keyboard: File,
    /// The terminal's other end, kept open so that what is seen is not lost when the program ends.
    terminal: File,
    seen: Arc<Mutex<Vec<u8>>>,
    /// How much of what was seen has been looked at.
    read: usize,
}

impl Session {
    fn start(desk: &Desk, arguments: &[&str]) -> Option<Self> {
        // Only in a child can a terminal be made the controlling one, and this does it.
        let setsid = tool::find("setsid")?;
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
        let mut command = Command::new(setsid);
        if desk.path(PC).exists() {
            command.env(windows_pc::VARIABLE, desk.path(PC));
        }
        let child = command
            .arg("--ctty")
            .arg(env!("CARGO_BIN_EXE_keyhaven"))
            .args(arguments)
            .current_dir(desk.path("out"))
            .env("XDG_STATE_HOME", desk.path("state"))
            .env("HOME", desk.path("home"))
            .env("TERM", "dumb")
            .env("NO_COLOR", "1")
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal.try_clone().unwrap())
            .spawn()
            .expect("the program starts");
        let keyboard = File::from(controller);
        let mut screen = keyboard.try_clone().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(count) = screen.read(&mut buf) {
                if count == 0 {
                    break;
                }
                shared.lock().unwrap().extend_from_slice(&buf[..count]);
            }
        });
        Some(Self {
            child,
            keyboard,
            terminal,
            seen,
            read: 0,
        })
    }

    fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).replace("\r\n", "\n")
    }

    /// Waits for a text after all that was waited for before.
    #[track_caller]
    fn expect(&mut self, text: &str) -> &mut Self {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if let Some(at) = screen[self.read..].find(text) {
                self.read += at + text.len();
                return self;
            }
            assert!(start.elapsed() < PATIENCE, "{text:?} is not seen:\n{screen}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn press(&mut self, keys: &str) -> &mut Self {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    fn enter(&mut self, line: &str) -> &mut Self {
        self.press(&format!("{line}\r"))
    }

    /// Types what must not be seen, once the terminal does not show it.
    #[track_caller]
    fn enter_hidden(&mut self, line: &str) -> &mut Self {
        let start = Instant::now();
        while tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
        {
            assert!(start.elapsed() < PATIENCE, "what is typed can be seen");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.enter(line)
    }

    /// Waits for the end and returns all that was seen.
    #[track_caller]
    fn exits(mut self, code: i32) -> String {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if start.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end:\n{}", self.screen());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        // What was written last may still be on its way.
        std::thread::sleep(Duration::from_millis(100));
        let screen = self.screen();
        assert_eq!(status.code(), Some(code), "{screen}");
        assert!(
            tcgetattr(&self.terminal)
                .unwrap()
                .local_modes
                .contains(LocalModes::ECHO),
            "the terminal shows again what is typed"
        );
        assert!(!screen.contains('\u{1b}'), "no colour, no control: {screen}");
        screen
    }
}

/// Folders of its own, and a drive.
struct Desk {
    folder: TempDir,
    volume: Volume,
}

impl Desk {
    fn or_skip(volume: &str) -> Option<Self> {
        let desk = Self {
            volume: corpus::volume_or_skip(volume)?,
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["state", "home", "out", "keys"] {
            fs::create_dir(desk.path(name)).unwrap();
        }
        Some(desk)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, kind: SecretKind) -> &str {
        self.volume.secret(kind).expect("the manifest lists one")
    }

    fn password(&self) -> &str {
        self.secret(SecretKind::Password)
    }

    fn backup(&self) -> Option<Session> {
        Session::start(
            self,
            &["backup", "--force-place", self.volume.image().to_str().unwrap()],
        )
    }

    fn saved(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

const WAYS_IN: &str = "How do you want to unlock the drive?";
const PLACES: &str = "How do you want to back up your recovery key?";

#[test]
fn several_copies_in_one_go() {
    let Some(desk) = Desk::or_skip("cs-aes-xts-128") else {
        return;
    };
    let Some(mut session) = desk.backup() else { return };
    let keys = desk.path("keys");
    let keys = keys.to_str().unwrap();
    session.expect("Nothing on it is changed").expect(WAYS_IN);
    session.expect("Number: ").enter("1");
    session.expect("assword").enter_hidden(desk.password());
    session
        .expect(PLACES)
        .expect("Numbers, such as 1,3: ")
        .enter("9")
        .expect("answer with numbers from 1 to 6")
        .enter("2, 3 5");
    session
        .expect("Folder for the text file")
        .enter("/does/not/exist")
        .expect("there is no folder `/does/not/exist`")
        .expect("Folder for the text file")
        .enter(keys);
    // Without an answer it is the home folder.
    session.expect("Folder for the page").enter("");
    session
        .expect("Name of the encrypted file")
        .enter(&format!("{keys}/mine.age"));
    session
        .expect("New passphrase")
        .enter_hidden("")
        .expect("protects nothing")
        .expect("New passphrase")
        .enter_hidden("one thing")
        .expect("again: ")
        .enter_hidden("another")
        .expect("not the same")
        .expect("New passphrase")
        .enter_hidden("vermilion-Zq7")
        .expect("again: ")
        .enter_hidden("vermilion-Zq7");
    session.expect("Every copy was read back");
    let screen = session.exits(0);
    eprintln!("{screen}");
    for secret in [desk.password(), "vermilion", desk.secret(SecretKind::Recovery)] {
        assert!(!screen.contains(secret), "{screen}");
    }
    assert_eq!(
        screen.matches("saved and proven: key ID 64311DEA").count(),
        3,
        "{screen}"
    );
    assert!(screen.contains("Keep "), "{screen}");
    assert_eq!(desk.saved("keys").len(), 2);
    assert_eq!(desk.saved("home").len(), 1);
}

#[test]
fn all_drives_of_a_windows_pc_in_one_go() {
    let Some(desk) = Desk::or_skip("cs-aes-xts-128") else {
        return;
    };
    let scene = serde_json::to_vec(&windows_pc::scene()).unwrap();
    fs::write(desk.path(PC), scene).unwrap();
    let Some(mut session) = Session::start(&desk, &["backup"]) else {
        return;
    };
    let keys = desk.path("keys");
    session
        .expect("H: has no recovery key. Add one, and save it? [y/N]")
        .enter("y");
    session
        .expect("The recovery keys of C:, D:, F:, G:, H: are found.")
        .expect(PLACES)
        .expect("8  Have Windows save it to your work or school account, too")
        .enter("2 7");
    session
        .expect("Folder for the text file")
        .enter(keys.to_str().unwrap());
    session
        .expect("C: (the drive of Windows)")
        .expect("handed to Windows, not proven")
        .expect("Every copy was read back")
        .expect("Keep the copies away")
        .expect("NOT SAVED: E: is locked");
    session.exits(1);
    assert_eq!(desk.saved("keys").len(), 5);
    assert!(desk.saved("home").is_empty());
}

#[test]
fn a_wrong_answer_costs_nothing() {
    let Some(desk) = Desk::or_skip("cs-aes-xts-128") else {
        return;
    };
    let Some(mut session) = desk.backup() else { return };
    session
        .expect(WAYS_IN)
        .expect("Number: ")
        .enter("one")
        .expect("answer with numbers from 1 to 2")
        .enter("1");
    session.expect("assword").enter_hidden("wrong");
    session
        .expect("does not open this drive")
        .expect(WAYS_IN)
        .enter("2");
    // Of another drive.
    session.expect("64311DEA").expect("Block 1 of 8: ");
    session.enter("284867-596541-514998-422114-660297-261613-215424-199408");
    session
        .expect("does not open this drive")
        .expect(WAYS_IN)
        .enter("2");
    let blocks: Vec<&str> = desk.secret(SecretKind::Recovery).split('-').collect();
    session.expect("Block 1 of 8: ").enter(blocks[0]);
    session.expect("Block 2 of 8: ").enter("357952");
    session
        .expect("block 2 is mistyped")
        .expect("did you mean")
        .expect("Block 2 of 8: ");
    session.enter(&blocks[1..].join(" "));
    session.expect(PLACES).enter("6");
    session.expect(desk.secret(SecretKind::Recovery));
    session.exits(0);
}

#[test]
fn three_wrong_answers_are_an_answer() {
    let Some(desk) = Desk::or_skip("df-aes_128") else {
        return;
    };
    let Some(mut session) = Session::start(
        &desk,
        &["verify", "--password", desk.volume.image().to_str().unwrap()],
    ) else {
        return;
    };
    for _ in 0..3 {
        session.expect("assword of the drive: ").enter_hidden("wrong");
    }
    session.exits(1);
}

#[test]
fn ctrl_c_at_every_question_leaves_nothing() {
    let Some(desk) = Desk::or_skip("cs-aes-xts-128") else {
        return;
    };
    for question in 0..7 {
        let Some(mut session) = desk.backup() else { return };
        session.expect(WAYS_IN).expect("Number: ");
        let steps: [&dyn Fn(&mut Session); 7] = [
            &|_| {},
            &|session| {
                session.enter("2").expect("Block 1 of 8: ");
            },
            &|session| {
                session.press("1\r").expect("assword");
                // Until it is hidden.
                std::thread::sleep(Duration::from_millis(200));
            },
            &|session| {
                session.enter("1").expect("assword").enter_hidden(desk.password());
                session.expect("Numbers, such as 1,3: ");
            },
            &|session| {
                session.enter("1").expect("assword").enter_hidden(desk.password());
                session
                    .expect("1,3: ")
                    .enter("2")
                    .expect("Folder for the text file");
            },
            &|session| {
                session.enter("1").expect("assword").enter_hidden(desk.password());
                session
                    .expect("1,3: ")
                    .enter("5")
                    .expect("Name of the encrypted file");
                session.enter("./mine.age").expect("New passphrase");
                std::thread::sleep(Duration::from_millis(200));
            },
            &|session| {
                session.enter("1").expect("assword").enter_hidden(desk.password());
                session
                    .expect("1,3: ")
                    .enter("5")
                    .expect("Name of the encrypted file");
                session
                    .enter("./mine.age")
                    .expect("New passphrase")
                    .enter_hidden("one");
                session.expect("again: ");
                std::thread::sleep(Duration::from_millis(200));
            },
        ];
        steps[question](&mut session);
        session.press(CTRL_C).expect("stopped; nothing lost");
        session.exits(130);
        for folder in ["state", "home", "out", "keys"] {
            assert_eq!(desk.saved(folder), [""; 0], "at question {question}");
        }
    }
}
