//! File systems made and filled by other people's programs.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use keyhaven_attach::files::{self, FileTree};
use keyhaven_disk::Device;
use keyhaven_testkit::tool;
use tempfile::TempDir;

/// An image of a file system, in a folder of its own that goes with it.
pub(crate) struct Made {
    folder: TempDir,
}

impl Made {
    /// An image of `len_mib` MiB, made by a program that gets its path last.
    pub(crate) fn with(program: &Path, arguments: &[&str], len_mib: u64) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("keyhaven-files-")
            .tempdir()
            .unwrap();
        let made = Self { folder };
        let file = std::fs::File::create_new(made.image()).unwrap();
        file.set_len(len_mib << 20).unwrap();
        run(Command::new(program).args(arguments).arg(made.image()));
        made
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    /// A folder to mount it on.
    fn mountpoint(&self) -> PathBuf {
        let path = self.folder.path().join("mounted");
        if !path.exists() {
            std::fs::create_dir(&path).unwrap();
        }
        path
    }

    /// Mounts it as NTFS for writing while `fill` works; `None` where that is not allowed.
    pub(crate) fn fill_ntfs(&self, ntfs_3g: &Path, options: &str, fill: impl FnOnce(&Path)) -> Option<()> {
        let mountpoint = self.mountpoint();
        let mut mount = Command::new(ntfs_3g);
        mount.args(["-o", options]).arg(self.image()).arg(&mountpoint);
        let mounted = Mounted::with(mount, mountpoint)?;
        fill(&mounted.mountpoint);
        drop(mounted);
        Some(())
    }

    /// Mounts it as exFAT, through a loop device, while `fill` works; `None` where that is not allowed.
    pub(crate) fn fill_exfat(
        &self,
        exfat_fuse: &Path,
        losetup: &Path,
        fill: impl FnOnce(&Path),
    ) -> Option<()> {
        let attached = Command::new(losetup)
            .args(["-f", "--show"])
            .arg(self.image())
            .output()
            .unwrap();
        if !attached.status.success() {
            skip("a loop device", &attached);
            return None;
        }
        let device = Loop {
            losetup: losetup.to_owned(),
            path: String::from_utf8(attached.stdout).unwrap().trim().to_owned(),
        };
        let mountpoint = self.mountpoint();
        let mut mount = Command::new(exfat_fuse);
        mount.arg(&device.path).arg(&mountpoint);
        let mounted = Mounted::with(mount, mountpoint)?;
        fill(&mounted.mountpoint);
        drop(mounted);
        drop(device);
        Some(())
    }

    pub(crate) fn device(&self) -> Device {
        keyhaven_disk::open(&self.image()).unwrap()
    }

    pub(crate) fn tree(&self) -> Box<dyn FileTree> {
        files::open(self.device()).unwrap()
    }
}

struct Mounted {
    mountpoint: PathBuf,
}

impl Mounted {
    fn with(mut mount: Command, mountpoint: PathBuf) -> Option<Self> {
        let output = mount.output().unwrap();
        if !output.status.success() {
            skip("a mount through FUSE", &output);
            return None;
        }
        Some(Self { mountpoint })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for program in ["fusermount3", "fusermount", "umount"] {
            let unmounted = Command::new(program)
                .args(if program == "umount" { &[][..] } else { &["-u"] })
                .arg(&self.mountpoint)
                .output()
                .is_ok_and(|output| output.status.success());
            if unmounted {
                break;
            }
        }
        // The process behind the mount writes the last things after the mount is gone.
        thread::sleep(Duration::from_millis(300));
    }
}

struct Loop {
    losetup: PathBuf,
    path: String,
}

impl Drop for Loop {
    fn drop(&mut self) {
        for _ in 0..50 {
            let detached = Command::new(&self.losetup)
                .args(["-d", &self.path])
                .output()
                .is_ok_and(|output| output.status.success());
            if detached {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Finds a program also where only administrators look.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
        .or_else(|| tool::find(name))
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{:?}: {}{}",
        command.get_program(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Sets an extended attribute of a file, through which ntfs-3g gives access to what only Windows has.
pub(crate) fn set_attribute(path: &Path, name: impl AsRef<OsStr>, value: &[u8]) {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::lsetxattr(path, name.as_ref(), value, flags)
        .unwrap_or_else(|error| panic!("{:?} of {}: {error}", name.as_ref(), path.display()));
}

fn skip(what: &str, output: &Output) {
    eprintln!(
        "SKIPPED: {what} is not allowed here: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
}
