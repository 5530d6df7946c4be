//! Drives with files in them, put there by other people's programs, for tests of `ls`, `cat` and `cp`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyhaven_disk::WritableDevice;
use keyhaven_fve::EncryptionMethod;
use keyhaven_testkit::{kernel, sha256_of, tool};

use crate::desk::Desk;
use crate::made_volume;

/// How long file systems are. The first of what BitLocker keeps for itself, of which their makers know nothing, lies just
/// behind.
const LEN: u64 = 32 << 20;

/// FAT32 must be longer; but it is filled from its start.
const FAT32_LEN: u64 = 300 << 20;

/// How much longer the drive is.
const LEN_BEHIND: u64 = 16 << 20;

/// A desk with `plain.img`, a file system, and `drive.img`, the same as a BitLocker drive that needs no key.
pub(crate) struct Files {
    pub(crate) desk: Desk,
}

/// Something mounted on the desk's folder `seen`, until it is dropped.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    /// The loop device beneath it.
    device: Option<String>,
}

impl Files {
    /// Makes NTFS that ntfs-3g fills.
    pub(crate) fn ntfs(options: &str, fill: impl FnOnce(&Path)) -> Option<Self> {
        let files = Self::made(
            &["mkntfs", "--fast", "--force", "--quiet", "--label", "TEST"],
            LEN,
        )?;
        let mounted = files.mounted("plain.img", options)?;
        fill(&mounted.path);
        drop(mounted);
        files.encrypted()
    }

    /// Makes FAT32 that mtools fills with what is in a folder.
    pub(crate) fn fat32(fill: impl FnOnce(&Path)) -> Option<Self> {
        let mcopy = tool::find("mcopy")?;
        let files = Self::made(&["mkfs.fat", "-F", "32", "-s", "8", "-n", "TEST"], FAT32_LEN)?;
        let given = files.desk.path("given");
        fs::create_dir(&given).unwrap();
        fill(&given);
        run(Command::new(mcopy)
            .args(["-s", "-m", "-Q", "-i"])
            .arg(files.desk.path("plain.img"))
            .args(fs::read_dir(&given).unwrap().map(|entry| entry.unwrap().path()))
            .arg("::/")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC"));
        files.encrypted()
    }

    /// Makes exFAT that exfat-fuse fills.
    pub(crate) fn exfat(fill: impl FnOnce(&Path)) -> Option<Self> {
        if !kernel::has_loop_devices() {
            return None;
        }
        let driver = tool::find("mount.exfat-fuse")?;
        let files = Self::made(&["mkfs.exfat", "-L", "TEST"], LEN)?;
        let image = files.desk.path("plain.img");
        let attached = run(Command::new("losetup").args(["-f", "--show"]).arg(&image));
        let device = String::from_utf8(attached.stdout).unwrap().trim().to_owned();
        let path = files.desk.path("seen");
        fs::create_dir(&path).unwrap();
        let mounted = Mounted {
            path,
            device: Some(device.clone()),
        };
        run(Command::new(driver).arg(device).arg(&mounted.path));
        fill(&mounted.path);
        drop(mounted);
        files.encrypted()
    }

    fn made(maker: &[&str], len: u64) -> Option<Self> {
        let (program, arguments) = maker.split_first()?;
        let program = tool::find(program)?;
        if !kernel::has_fuse() {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root may mount what is to be filled");
            return None;
        }
        let desk = Desk::new();
        let image = desk.path("plain.img");
        File::create_new(&image).unwrap().set_len(len).unwrap();
        run(Command::new(program).args(arguments).arg(&image));
        Some(Self { desk })
    }

    /// Makes `drive.img` of what is in `plain.img` now.
    pub(crate) fn encrypted(self) -> Option<Self> {
        let _ = fs::remove_file(self.desk.path("drive.img"));
        let drive = self.desk.path("drive.img");
        let plain = File::open(self.desk.path("plain.img")).unwrap();
        let len = plain.metadata().unwrap().len();
        made_volume::make(&drive, len + LEN_BEHIND, EncryptionMethod::AesXts128);
        let volume = made_volume::open(&drive);
        let mut piece = vec![0; 4096];
        for at in (0..len).step_by(piece.len()) {
            plain.read_exact_at(&mut piece, at).unwrap();
            if piece.iter().any(|byte| *byte != 0) {
                volume.write_at(at, &piece).unwrap();
            }
        }
        volume.flush().unwrap();
        Some(self)
    }

    pub(crate) fn drive(&self) -> String {
        self.desk.arg("drive.img")
    }

    /// Mounts an image on the desk as NTFS.
    pub(crate) fn mounted(&self, image: &str, options: &str) -> Option<Mounted> {
        let ntfs_3g = tool::find("ntfs-3g")?;
        let path = self.desk.path("seen");
        let _ = fs::create_dir(&path);
        let mounted = Mounted { path, device: None };
        run(Command::new(ntfs_3g)
            .args(["-o", options])
            .arg(self.desk.path(image))
            .arg(&mounted.path));
        Some(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).output();
        if let Some(device) = &self.device {
            let _ = Command::new("losetup").args(["-d", device]).output();
        }
        // The process behind the mount writes the last things after the mount is gone.
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(unmounted.is_ok_and(|output| output.status.success()) || std::thread::panicking());
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

/// Sets an extended attribute, through which ntfs-3g gives access to what only Windows has.
pub(crate) fn set_attribute(path: &Path, name: impl AsRef<OsStr>, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name.as_ref(), value, flags).unwrap();
}

/// What is in a folder of this computer, by path: the length and digest of files, where links lead, and when all were
/// last written.
pub(crate) fn tree_of(folder: &Path) -> BTreeMap<String, (String, i128)> {
    let mut tree = BTreeMap::new();
    add(folder, "", &mut tree);
    tree
}

fn add(folder: &Path, path: &str, tree: &mut BTreeMap<String, (String, i128)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        let path = format!("{path}/{}", entry.file_name().to_str().unwrap());
        let what = if found.is_dir() {
            add(&entry.path(), &path, tree);
            "folder".to_owned()
        } else if found.is_symlink() {
            format!("link to {}", fs::read_link(entry.path()).unwrap().display())
        } else {
            format!("{} {}", found.len(), sha256_of(File::open(entry.path()).unwrap()))
        };
        let modified = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        tree.insert(path, (what, modified));
    }
}
