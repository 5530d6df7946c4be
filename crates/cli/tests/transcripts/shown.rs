//! A drive that `unlock` shows while a test looks at it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::desk::Desk;

/// Longer takes nothing here, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `keyhaven unlock` in the foreground.
pub(crate) struct Shown {
    process: Child,
    said: PathBuf,
    mountpoint: PathBuf,
}

impl Shown {
    /// Unlocks `drive` on the desk's folder `mounted`, which is made.
    #[track_caller]
    pub(crate) fn new(desk: &Desk, drive: &str, options: &[&str]) -> Self {
        let mountpoint = desk.path("mounted").canonicalize().unwrap_or_else(|_| {
            fs::create_dir(desk.path("mounted")).unwrap();
            desk.path("mounted").canonicalize().unwrap()
        });
        let said = desk.path("said");
        let process = Command::new(env!("CARGO_BIN_EXE_keyhaven"))
            .args(["unlock", drive])
            .arg(&mountpoint)
            .args(options)
            .env("KEYHAVEN_TEST_PASSWORD", "anaconda")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let mut shown = Self {
            process,
            said,
            mountpoint,
        };
        wait_until(|| {
            if let Some(status) = shown.process.try_wait().unwrap() {
                panic!("nothing was shown ({status}): {}", shown.said());
            }
            shown.said().contains("Unlocked ")
        });
        assert!(is_mounted(&shown.mountpoint));
        shown
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mountpoint.join(name)
    }

    pub(crate) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Returns what it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let number = i32::try_from(self.process.id()).unwrap();
        kill_process(Pid::from_raw(number).unwrap(), signal).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Waits for its end; returns the exit code and what it said.
    #[track_caller]
    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        wait_until(|| !self.is_running());
        (self.process.wait().unwrap().code(), self.said())
    }

    /// Ends it by force, and leaves its mount behind.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing behind.
        if self.process.try_wait().unwrap().is_none() {
            self.signal(Signal::TERM);
            let _ = self.process.wait();
        }
    }
}

/// Tells whether something is mounted at a place, without asking it.
pub(crate) fn is_mounted(mountpoint: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = mountpoint.to_str().unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(own))
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "it never came to that");
        thread::sleep(Duration::from_millis(10));
    }
}
