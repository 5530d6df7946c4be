//! Where tests mount, and whether they can.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use keyhaven_attach::fuse::{MountOptions, Mounted};
use keyhaven_testkit::{kernel, tool};
use tempfile::TempDir;

/// A folder to mount on, and what was reported of the mount.
pub(crate) struct Place {
    folder: TempDir,
    reports: Arc<Mutex<Vec<String>>>,
}

impl Place {
    /// Returns a place, or says aloud why nothing can be mounted here.
    pub(crate) fn or_skip() -> Option<Self> {
        if !kernel::has_fuse() {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            tool::find("fusermount3")?;
        }
        Some(Self {
            folder: tempfile::tempdir().unwrap(),
            reports: Arc::default(),
        })
    }

    pub(crate) fn mountpoint(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn options(&self) -> MountOptions {
        let reports = self.reports.clone();
        MountOptions {
            report: Arc::new(move |error: &(dyn Error + 'static)| {
                reports.lock().unwrap().push(error.to_string());
            }),
            ..MountOptions::new(
                "a test, of \\ names",
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000),
            )
        }
    }

    pub(crate) fn reports(&self) -> Vec<String> {
        self.reports.lock().unwrap().clone()
    }
}

/// Waits until a mount is over.
#[track_caller]
pub(crate) fn is_over(mounted: &mut Mounted) -> bool {
    mounted.wait(Duration::from_secs(10)).unwrap()
}
