//! Transcripts of `keyhaven serve`: what is printed, who gets in, and that what others read and write is the drive.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use keyhaven_attach::files;
use keyhaven_disk::{BlockDevice, Device};
use keyhaven_fve::EncryptionMethod;
use keyhaven_testkit::corpus::{self, SecretKind};
use keyhaven_testkit::{kernel, sha256_of, tool};
use rcgen::{CertificateParams, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::desk::{Desk, image};
use crate::made_volume;

/// `keyhaven serve`, as long as a test wants it.
struct Served {
    process: Child,
    said: PathBuf,
    answer: Value,
}

impl Served {
    /// Serves `drive`, which has the password of the published volumes or a clear key.
    #[track_caller]
    fn new(desk: &Desk, drive: &str, options: &[&str]) -> Self {
        let said = desk.path("said");
        let mut process = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
            .args(["--json", "serve", drive])
            .args(options)
            .env("KEYHAVEN_TEST_PASSWORD", "anaconda")
            .env("XDG_RUNTIME_DIR", desk.path("home"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut answers = serde_json::Deserializer::from_reader(stdout).into_iter();
        let Some(Ok(answer)) = answers.next() else {
            process.wait().unwrap();
            panic!("nothing was served: {}", fs::read_to_string(&said).unwrap());
        };
        Self {
            process,
            said,
            answer,
        }
    }

    fn uri(&self) -> &str {
        self.answer["uri"].as_str().unwrap()
    }

    fn signal(&self, signal: Signal) {
        let number = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(number).unwrap(), signal).unwrap();
    }

    /// Ends it as a person would; returns the exit code and what it said.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        self.signal(signal);
        let code = self.process.wait().unwrap().code();
        (code, fs::read_to_string(&self.said).unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// The length of the volumes that these tests make, in bytes.
const LEN: u64 = 48 << 20;

const PASSWORD: &str = "--password=env:KEYHAVEN_TEST_PASSWORD";

/// Runs somebody else's program, which must be content.
#[track_caller]
fn content(program: &Path, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:#?}");
}

#[test]
fn what_others_copy_is_the_published_content() {
    let Some(nbdcopy) = tool::find("nbdcopy") else {
        return;
    };
    for name in ["cs-aes-xts-128", "cs-aes-cbc-elephant-128", "cs-aes-xts-128-4k"] {
        let Some(volume) = corpus::volume_or_skip(name) else {
            continue;
        };
        let desk = Desk::new();
        let served = Served::new(&desk, &image(&volume), &[PASSWORD]);
        assert_eq!(served.answer["read_only"], true);
        assert_eq!(served.answer["export_name"], "");
        assert_eq!(served.answer["pid"], served.process.id());
        content(&nbdcopy, &[served.uri(), &desk.arg("copy.img")]);
        let copy = File::open(desk.path("copy.img")).unwrap();
        assert_eq!(served.answer["size_bytes"], copy.metadata().unwrap().len());
        assert_eq!(Some(sha256_of(copy)), volume.plain_sha256, "{name}");

        let (code, said) = served.end(Signal::INT);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("read-only). Ctrl-C ends it.\n  qemu-img convert "),
            "{said}"
        );
        assert!(said.ends_with("No longer served.\n"), "{said}");
        assert_eq!(desk.names_in("home/keyhaven"), [""; 0]);
    }
}

#[test]
fn a_socket_is_in_a_folder_of_its_owner_and_named_for_the_drive() {
    let desk = Desk::new();
    made_volume::make(&desk.path("disk.img"), LEN, EncryptionMethod::AesXts128);
    let drive = desk.arg("disk.img");
    let first = Served::new(&desk, &drive, &[]);
    let folder = desk.path("home/keyhaven");
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let socket = folder.join("disk.img.sock");
    assert_eq!(socket.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(first.uri(), format!("nbd+unix:///?socket={}", socket.display()));

    let second = Served::new(&desk, &drive, &[]);
    assert!(second.uri().ends_with("/disk.img-2.sock"), "{}", second.uri());
    // Ended by force, it leaves its socket; the next takes its place.
    first.end(Signal::KILL);
    assert!(socket.exists());
    let third = Served::new(&desk, &drive, &[]);
    assert!(third.uri().ends_with("/disk.img.sock"), "{}", third.uri());
    for served in [second, third] {
        assert_eq!(served.end(Signal::TERM).0, Some(0));
    }
    assert_eq!(desk.names_in("home/keyhaven"), [""; 0]);
}

#[test]
fn places_are_said_in_full() {
    let desk = Desk::new();
    made_volume::make(&desk.path("disk.img"), LEN, EncryptionMethod::AesXts128);
    let socket = desk.arg("a socket");
    let options = [
        "--socket",
        &socket,
        "--tcp",
        "localhost:0",
        "--export-name",
        "Anns disk",
    ];
    let served = Served::new(&desk, &desk.arg("disk.img"), &options);
    let uris = served.answer["uris"].as_array().unwrap();
    assert_eq!(uris[0], served.answer["uri"]);
    let by_socket = format!("nbd+unix:///Anns%20disk?socket={}", socket.replace(' ', "%20"));
    assert_eq!(uris[0], by_socket);
    let by_tcp = uris[1].as_str().unwrap();
    assert!(
        by_tcp.starts_with("nbd://127.0.0.1:") && by_tcp.ends_with("/Anns%20disk"),
        "{by_tcp}"
    );
    if let Some(nbdinfo) = tool::find("nbdinfo") {
        content(&nbdinfo, &[&by_socket]);
        content(&nbdinfo, &[by_tcp]);
    }
    let mut greeting = [0; 8];
    UnixStream::connect(&socket)
        .unwrap()
        .read_exact(&mut greeting)
        .unwrap();
    let (code, said) = served.end(Signal::TERM);
    assert_eq!((code, &greeting), (Some(0), b"NBDMAGIC"));
    let open_to_all = "warning: all users of this computer can connect to a TCP port and read the drive";
    assert!(said.contains(open_to_all), "{said}");
    assert!(said.contains("/dev/nbd0 -name 'Anns disk'\n"), "{said}");
}

#[test]
fn what_others_write_is_on_the_drive() {
    let Some(qemu_io) = tool::find("qemu-io") else {
        return;
    };
    let desk = Desk::new();
    let drive = desk.path("disk.img");
    made_volume::make(&drive, LEN, EncryptionMethod::AesXts256);
    let served = Served::new(&desk, &desk.arg("disk.img"), &["--write"]);
    assert_eq!(served.answer["read_only"], false);
    // The first sectors lie elsewhere on a volume, and 100 bytes are less than any.
    let commands = [
        "write -P 0x5a 0 8192",
        "write -P 0xc3 1000 100",
        "write -P 7 1M 1M",
        "discard 3M 64k",
    ];
    let mut arguments = vec!["-f", "raw"];
    arguments.extend(commands.iter().flat_map(|command| ["-c", command]));
    content(
        &qemu_io,
        &[&arguments[..], &["-c", "read -P 7 1M 1M", served.uri()]].concat(),
    );
    // Others may look meanwhile, but not write.
    let run = desk
        .keyhaven(["serve", &desk.arg("disk.img"), "--write"])
        .go()
        .exits(2);
    assert!(run.stderr.contains("is in use"), "{run:#?}");
    let (code, said) = served.end(Signal::INT);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("What was written is on the drive.\n"), "{said}");

    let volume = made_volume::open(&drive);
    let mut expected = vec![0x5A; 8192];
    expected[1000..1100].fill(0xC3);
    let mut found = vec![0; 8192];
    volume.read_at(0, &mut found).unwrap();
    assert!(found == expected);
    let mut found = vec![0; 1 << 20];
    volume.read_at(1 << 20, &mut found).unwrap();
    assert!(found.iter().all(|byte| *byte == 7));
}

#[test]
fn ntfs_3g_writes_files_on_a_served_drive() {
    let tools = ["nbdfuse", "mkntfs", "ntfs-3g", "fusermount3"].map(tool::find);
    let [Some(nbdfuse), Some(mkntfs), Some(ntfs_3g), Some(fusermount)] = tools else {
        return;
    };
    if !kernel::has_fuse() {
        return;
    }
    let desk = Desk::new();
    let drive = desk.path("disk.img");
    made_volume::make(&drive, LEN, EncryptionMethod::AesXts128);
    let served = Served::new(&desk, &desk.arg("disk.img"), &["--write"]);
    for folder in ["served", "mounted"] {
        fs::create_dir(desk.path(folder)).unwrap();
    }
    let (as_file, mounted) = (desk.arg("served/disk"), desk.arg("mounted"));
    let mut through_fuse = Command::new(nbdfuse)
        .args([&as_file, served.uri()])
        .spawn()
        .unwrap();
    crate::shown::wait_until(|| desk.path("served/disk").exists());
    content(&mkntfs, &["--fast", "--force", "--quiet", &as_file]);
    content(&ntfs_3g, &[&as_file, &mounted]);
    fs::write(desk.path("mounted/Brief an Łukasz.txt"), "written by ntfs-3g").unwrap();
    content(&fusermount, &["-u", &mounted]);
    // The driver lets go of the file a little later.
    crate::shown::wait_until(|| {
        let unmounting = Command::new(&fusermount)
            .args(["-u", &desk.arg("served")])
            .output();
        unmounting.unwrap().status.success()
    });
    through_fuse.wait().unwrap();
    let (code, said) = served.end(Signal::INT);
    assert_eq!(code, Some(0), "{said}");

    let device: Device = std::sync::Arc::new(made_volume::open(&drive));
    let tree = files::open(device).unwrap();
    let file = tree
        .lookup(tree.root(), "Brief an Łukasz.txt")
        .unwrap()
        .expect("it is there");
    let mut text = [0; 100];
    let len = tree.read(file, 0, &mut text).unwrap();
    assert_eq!(&text[..len], b"written by ntfs-3g");
}

#[test]
fn a_drive_of_4_tib_is_served_in_little_memory() {
    let Some(nbdcopy) = tool::find("nbdcopy") else {
        return;
    };
    const LEN: u64 = 4 << 40;
    let desk = Desk::new();
    let drive = desk.path("big.img");
    if File::create(desk.path("probe")).unwrap().set_len(LEN).is_err() {
        eprintln!("SKIPPED: a file cannot have 4 TiB here");
        return;
    }
    made_volume::make(&drive, LEN, EncryptionMethod::AesXts128);
    // Around 2^32 sectors, and at the end.
    let places = [(1 << 41) - 512, (3 << 40) + 4096, LEN - 4 * 1024 * 1024];
    let mark: Vec<u8> = (0..2 << 20).map(|at: u32| (at / 5 % 251) as u8 | 1).collect();
    for place in places {
        made_volume::write(&drive, place, &mark);
    }
    let served = Served::new(&desk, &desk.arg("big.img"), &["--sparse"]);
    assert_eq!(served.answer["size_bytes"], LEN);
    content(&nbdcopy, &[served.uri(), &desk.arg("copy.img")]);
    let copy = File::open(desk.path("copy.img")).unwrap();
    let stored = copy.metadata().unwrap().blocks() * 512;
    assert!(stored < 16 << 20, "{stored} bytes of the copy are stored");
    for place in places {
        let mut found = vec![0; mark.len()];
        copy.read_exact_at(&mut found, place).unwrap();
        assert!(found == mark, "at byte {place}");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", served.process.id())).unwrap();
    let most = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib < 64 << 10, "it has used {kib} KiB");
    assert_eq!(served.end(Signal::INT).0, Some(0));
}

#[test]
fn tls_is_for_those_who_trust_the_certificate() {
    let Some(nbdinfo) = tool::find("nbdinfo") else {
        return;
    };
    let desk = Desk::new();
    made_volume::make(&desk.path("disk.img"), LEN, EncryptionMethod::AesXts128);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    // One that vouches for itself.
    let trusted = desk.write("ca-cert.pem", certificate.pem());
    let secret = desk.write("key.pem", key.serialize_pem());
    let options = [
        "--tcp",
        "127.0.0.1:0",
        "--tls-certificate",
        &trusted,
        "--tls-key",
        &secret,
    ];
    let served = Served::new(&desk, &desk.arg("disk.img"), &options);
    let uri = served.uri().replace("127.0.0.1", "localhost");
    assert!(uri.starts_with("nbds://localhost:"), "{uri}");
    content(
        &nbdinfo,
        &[&format!("{uri}?tls-certificates={}", desk.path(".").display())],
    );
    let plain = Command::new(&nbdinfo)
        .arg(uri.replace("nbds:", "nbd:"))
        .output()
        .unwrap();
    assert!(!plain.status.success(), "{plain:#?}");
    assert_eq!(served.end(Signal::INT).0, Some(0));
}

#[test]
fn what_cannot_be_served_is_said_with_the_next_step() {
    let desk = Desk::new();
    made_volume::make(&desk.path("disk.img"), LEN, EncryptionMethod::AesXts128);
    let drive = desk.arg("disk.img");
    let (nowhere, long) = (desk.arg("none/x.sock"), desk.arg(&"x".repeat(120)));
    let not_pem = desk.write("not.pem", "no lines with BEGIN");
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--tcp", "0.0.0.0:0"],
            &[
                "0.0.0.0:0 can be reached from other machines, which needs TLS",
                "hint: `--tls-certificate FILE",
            ],
        ),
        (&["--tcp", "[::]:0"], &["can be reached from other machines"]),
        (
            &["--tcp", "10809"],
            &["an address and a port, such as 127.0.0.1:10809"],
        ),
        (
            &["--socket", &drive],
            &["is there already and is not a socket", "nothing is overwritten"],
        ),
        (
            &["--socket", &nowhere],
            &["cannot listen at", "make the folder first"],
        ),
        (
            &["--socket", &long],
            &["is too long for a socket", "give a shorter path"],
        ),
        (&["--tls-key", &not_pem], &["--tls-certificate <FILE>"]),
        (
            &["--tls-key", &not_pem, "--tls-certificate", &not_pem],
            &[
                "cannot offer TLS",
                "has no certificate",
                "lines with BEGIN and END",
            ],
        ),
        (&["--allow-unclean"], &["--write"]),
    ];
    for (options, expected) in cases {
        let arguments = [&["serve", drive.as_str()], *options].concat();
        let run = desk.keyhaven(&arguments).go().exits(2);
        assert_eq!(run.stdout, "");
        for part in *expected {
            assert!(run.stderr.contains(part), "{part:?} is missing: {run:#?}");
        }
    }
    let bytes = fs::read(&drive).unwrap();
    assert_eq!(bytes.len() as u64, LEN, "nothing was overwritten");
}

#[test]
fn a_drive_that_windows_has_not_finished_with_is_not_written() {
    // What its makers cut away is zeros, so its file system does not hold together.
    let Some(volume) = corpus::volume_or_skip("cs-aes-xts-128") else {
        return;
    };
    let desk = Desk::new();
    fs::copy(volume.image(), desk.path("disk.img")).unwrap();
    let drive = desk.arg("disk.img");
    let run = desk
        .with(SecretKind::Password, &["serve", &drive, "--write"], &volume)
        .exits(2);
    assert!(
        run.stderr.contains("the drive must not be written now"),
        "{run:#?}"
    );
    assert!(
        run.stderr.contains("`--allow-unclean` writes all the same"),
        "{run:#?}"
    );
    let served = Served::new(&desk, &drive, &[PASSWORD, "--write", "--allow-unclean"]);
    let (code, said) = served.end(Signal::INT);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("warning: the drive is written all the same: "),
        "{said}"
    );
}
