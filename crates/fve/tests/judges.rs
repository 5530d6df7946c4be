//! Programs that others wrote open the volumes that we make, and find in them what we put there.
//!
//! What each was seen not to do, on Windows' own volumes as on ours: libbde of 2019 cannot read AES-XTS 256 ("invalid
//! tweak key value too small") and no metadata with a clear key since creation; dislocker 0.7.3 falls over key files
//! that name their volume, as Windows 11 writes them; cryptsetup before 2.7 opens no clear key. libbde also wants a
//! file system's boot sector inside, for the size that it gives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyhaven_crypto::{Secret, SecretText, SectorSize};
use keyhaven_disk::{BlockDevice, WritableDevice};
use keyhaven_fve::create::{NewProtector, NewVolume};
use keyhaven_fve::format::FileTime;
use keyhaven_fve::keys::{ExternalKey, Password, RecoveryPassword, VolumeMasterKey};
use keyhaven_fve::{Credential, EncryptionMethod, OpenOptions, RecordKey, UnlockedVolume, Volume, unwatched};
use keyhaven_testkit::{numbers, sha256_of, tool};
use tempfile::TempDir;

/// Little more than the least that a volume can have.
const LEN: usize = 44 << 20;
const PASSWORD: &str = "correct horse battery";
/// 24 November 2026.
const CREATED: FileTime = FileTime(134_400_096_123_456_789);
const IMAGE: &str = "volume.img";
const WINDOWS_10_KEY_FILE: &str = "windows-10.bek";
const WINDOWS_11_KEY_FILE: &str = "windows-11.bek";

/// A volume in a file, what belongs inside, and what opens it.
struct Made {
    folder: TempDir,
    content: Vec<u8>,
    recovery_key: String,
    vmk: VolumeMasterKey,
}

/// Makes a volume that a password, a recovery key and a key file open, or a clear key alone.
fn make(method: EncryptionMethod, sector_size: SectorSize, has_clear_key: bool) -> Made {
    let random = &mut numbers(u64::from(method.code()));
    let mut new = NewVolume::new(LEN as u64, method, CREATED);
    new.sector_size = sector_size;
    new.description = "KEYHAVEN Judged".to_owned();
    let recovery = RecoveryPassword::generate(random).expect("numbers");
    let recovery_key = recovery.to_digits().expose_secret().to_owned();
    new.protectors = if has_clear_key {
        vec![NewProtector::ClearKey]
    } else {
        vec![
            NewProtector::Password(Password::new(SecretText::copy_of(PASSWORD))),
            NewProtector::RecoveryPassword(recovery),
            NewProtector::ExternalKey,
        ]
    };
    let prepared = new.prepare(random).expect("prepared");

    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join(IMAGE);
    fs::File::create(&image)
        .and_then(|file| file.set_len(LEN as u64))
        .expect("an empty image");
    let medium = keyhaven_disk::open_writable(&image).expect("it opens");
    prepared.write(&*medium).expect("written");
    for record in prepared.records() {
        if let RecordKey::ExternalKey(key) = &record.key {
            fs::write(folder.path().join(WINDOWS_11_KEY_FILE), &*key.to_bek(CREATED)).expect("written");
            let key = Secret::from(*key.key().expose_secret());
            let name = Some("ExternalKey".to_owned());
            let older = ExternalKey::new(record.protector_id, None, name, record.modified, key);
            fs::write(folder.path().join(WINDOWS_10_KEY_FILE), &*older.to_bek(CREATED)).expect("written");
        }
    }

    let mut content = vec![0; LEN];
    random(&mut content).expect("numbers");
    content[..512].copy_from_slice(&ntfs_boot_sector(sector_size));
    for range in prepared.placement().reserved() {
        content[range.start as usize..range.end as usize].fill(0);
    }
    Made {
        folder,
        content,
        recovery_key,
        vmk: prepared.into_vmk(),
    }
}

impl Made {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn unlocked(&self) -> UnlockedVolume {
        let image = keyhaven_disk::open(&self.path(IMAGE)).expect("it opens");
        let volume = Volume::open(image, &OpenOptions::default(), &mut unwatched).expect("a volume");
        let vmk = VolumeMasterKey::new(Secret::from(*self.vmk.key().expose_secret()));
        let unlocked = volume
            .unlock(&Credential::VolumeMasterKey(vmk))
            .expect("it opens");
        volume.data(unlocked).expect("readable")
    }

    /// Writes the content into the volume: noise everywhere, behind an NTFS boot sector.
    fn filled(self) -> Self {
        let medium = keyhaven_disk::open_writable(&self.path(IMAGE)).expect("it opens");
        let inside = self.unlocked().writable(medium).expect("writable");
        inside.write_at(0, &self.content).expect("written");
        inside.flush().expect("kept");
        self
    }
}

/// The fields by which a file system is recognised and measured.
fn ntfs_boot_sector(sector_size: SectorSize) -> [u8; 512] {
    let mut sector = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, b"\xeb\x52\x90NTFS    ");
    put(0x0b, &(sector_size.bytes() as u16).to_le_bytes());
    put(
        0x0d,
        &[(4096 / sector_size.bytes()) as u8, 0, 0, 0, 0, 0, 0, 0, 0xf8],
    );
    put(0x28, &(LEN as u64 / sector_size.bytes_u64() - 1).to_le_bytes());
    put(0x30, &4u64.to_le_bytes());
    put(0x38, &2u64.to_le_bytes());
    put(0x40, &[0xf6, 0, 0, 0, 1]);
    put(0x1fe, &[0x55, 0xaa]);
    sector
}

fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Lets dislocker decrypt the volume into a file, with one way in.
fn dislocker_agrees(dislocker: &Path, made: &Made, way: &str) {
    let decrypted = made.path("decrypted.img");
    run(Command::new(dislocker)
        .arg("-V")
        .arg(made.path(IMAGE))
        .args([way, "--"])
        .arg(&decrypted));
    let found = fs::read(&decrypted).expect("it was written");
    assert!(found == made.content, "dislocker reads something else with {way}");
    fs::remove_file(&decrypted).expect("removed");
}

/// A volume that bdemount shows, until it is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        for program in ["fusermount", "fusermount3"] {
            let unmounted = Command::new(program).arg("-u").arg(&self.0).status();
            if unmounted.is_ok_and(|status| status.success()) {
                return;
            }
        }
    }
}

/// Lets libbde read all of the volume with the recovery key. It shows what it reads through FUSE, which a machine may
/// not offer to programs, whatever is installed on it.
fn libbde_agrees(bdemount: &Path, made: &Made) {
    if !Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: there is no /dev/fuse for bdemount");
        return;
    }
    let folder = made.path("mounted");
    fs::create_dir(&folder).expect("a folder");
    run(Command::new(bdemount)
        .arg(format!("-r{}", made.recovery_key))
        .arg(made.path(IMAGE))
        .arg(&folder));
    let mounted = Mounted(folder);
    let found = fs::read(mounted.0.join("bde1")).expect("it is shown");
    assert!(found == made.content, "libbde reads something else");
}

/// Reads all of a volume twice: dislocker with the password, libbde with the recovery key.
fn check_with_readers(method: EncryptionMethod) {
    let made = make(method, SectorSize::B512, false).filled();
    if let Some(dislocker) = tool::find("dislocker-file") {
        dislocker_agrees(&dislocker, &made, &format!("-u{PASSWORD}"));
    }
    if method != EncryptionMethod::AesXts256
        && let Some(bdemount) = tool::find("bdemount")
    {
        libbde_agrees(&bdemount, &made);
    }
}

#[test]
fn dislocker_and_libbde_read_aes_xts_128() {
    check_with_readers(EncryptionMethod::AesXts128);
}

#[test]
fn dislocker_reads_aes_xts_256() {
    check_with_readers(EncryptionMethod::AesXts256);
}

#[test]
fn dislocker_and_libbde_read_aes_cbc_128() {
    check_with_readers(EncryptionMethod::AesCbc128);
}

#[test]
fn dislocker_and_libbde_read_aes_cbc_256() {
    check_with_readers(EncryptionMethod::AesCbc256);
}

#[test]
fn dislocker_and_libbde_read_aes_cbc_128_diffuser() {
    check_with_readers(EncryptionMethod::AesCbc128Diffuser);
}

#[test]
fn dislocker_and_libbde_read_aes_cbc_256_diffuser() {
    check_with_readers(EncryptionMethod::AesCbc256Diffuser);
}

#[test]
fn dislocker_and_libbde_take_every_way_in() {
    let made = make(EncryptionMethod::AesXts128, SectorSize::B4096, false).filled();
    if let Some(dislocker) = tool::find("dislocker-file") {
        let key_file = made.path(WINDOWS_10_KEY_FILE);
        dislocker_agrees(&dislocker, &made, &format!("-p{}", made.recovery_key));
        dislocker_agrees(&dislocker, &made, &format!("-f{}", key_file.display()));
        let suspended = make(EncryptionMethod::AesXts128, SectorSize::B512, true).filled();
        dislocker_agrees(&dislocker, &suspended, "-c");
    }
    if let Some(bdeinfo) = tool::find("bdeinfo") {
        for way in [
            format!("-p{PASSWORD}"),
            format!("-s{}", made.path(WINDOWS_11_KEY_FILE).display()),
        ] {
            let output = run(Command::new(&bdeinfo).arg(way).arg(made.path(IMAGE)));
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                text.contains("KEYHAVEN Judged") && text.contains("Number of key protectors\t: 3"),
                "{text}"
            );
            assert!(!text.contains("locked"), "{text}");
        }
    }
}

/// Runs the Linux kernel and cryptsetup; `None` after a skip.
fn linux(made: &Made, arguments: &[&Path]) -> Option<String> {
    for needed in ["linux.uml", "cryptsetup", "busybox"] {
        tool::find(needed)?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/judges/linux-kernel");
    let output = run(Command::new(script).arg(made.path(IMAGE)).args(arguments));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn assert_linux_reads(made: &Made, way: &str, secret: &Path) {
    if let Some(verdict) = linux(made, &[Path::new(way), secret]) {
        assert!(verdict.contains(&format!("bytes={LEN}\n")), "{verdict}");
        let expected = format!("sha256={}\n", sha256_of(&*made.content));
        assert!(verdict.contains(&expected), "{verdict}");
    }
}

#[test]
fn linux_reads_a_volume_that_we_filled() {
    let made = make(EncryptionMethod::AesXts128, SectorSize::B512, false).filled();
    let password = made.path("secret");
    fs::write(&password, PASSWORD).expect("written");
    assert_linux_reads(&made, "password", &password);
}

#[test]
fn linux_reads_large_sectors_with_a_key_file() {
    let made = make(EncryptionMethod::AesXts256, SectorSize::B4096, false).filled();
    assert_linux_reads(&made, "key-file", &made.path(WINDOWS_11_KEY_FILE));
}

#[test]
fn we_read_a_volume_that_linux_filled() {
    let made = make(EncryptionMethod::AesCbc128Diffuser, SectorSize::B512, false);
    let (secret, content) = (made.path("secret"), made.path("content.img"));
    fs::write(&secret, &made.recovery_key).expect("written");
    fs::write(&content, &made.content).expect("written");
    let arguments = [Path::new("password"), &secret, Path::new("--fill"), &content];
    let Some(verdict) = linux(&made, &arguments) else {
        return;
    };
    assert!(verdict.contains("filled=yes\n"), "{verdict}");
    let mut found = vec![0; LEN];
    made.unlocked().read_at(0, &mut found).expect("readable");
    assert!(found == made.content, "we read something else than Linux wrote");
}
