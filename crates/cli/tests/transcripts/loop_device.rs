//! A file that the kernel shows as a block device.

use std::path::Path;
use std::process::Command;

use keyhaven_testkit::{kernel, tool};

/// A loop device, which goes with the value.
pub(crate) struct LoopDevice(pub(crate) String);

impl LoopDevice {
    /// Shows the file at `path` as a device with sectors of `sector_size` bytes; `None` after a skip.
    pub(crate) fn over(path: &Path, sector_size: &str) -> Option<Self> {
        if !kernel::has_loop_devices() {
            return None;
        }
        let losetup = tool::find("losetup")?;
        let output = Command::new(losetup)
            .args(["--find", "--show", "--sector-size", sector_size])
            .arg(path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(Self(String::from_utf8(output.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}
