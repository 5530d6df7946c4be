//! What a test needs of the kernel that it runs on, and no package can bring.
//!
//! A container often has neither. Tests are skipped loudly then, in CI too, unless `KEYHAVEN_REQUIRE_KERNEL=1` says that
//! this machine has them.

use std::env;
use std::fs::OpenOptions;

use crate::skip::announce;

/// Tells whether file systems can be mounted through FUSE, or skips: `false` after a line on standard error.
///
/// # Panics
///
/// If they cannot and a skip counts as a failure.
#[track_caller]
pub fn has_fuse() -> bool {
    require("/dev/fuse")
}

/// Tells whether files can be made block devices, or skips: `false` after a line on standard error.
///
/// # Panics
///
/// If they cannot and a skip counts as a failure.
#[track_caller]
pub fn has_loop_devices() -> bool {
    require("/dev/loop-control")
}

#[track_caller]
fn require(device: &str) -> bool {
    let usable = OpenOptions::new().read(true).write(true).open(device).is_ok();
    if !usable {
        let is_fatal = env::var("KEYHAVEN_REQUIRE_KERNEL").is_ok_and(|value| value == "1");
        assert!(
            !is_fatal,
            "a test may not be skipped here: {device} cannot be used"
        );
        announce(&format!("{device} cannot be used here"));
    }
    usable
}
