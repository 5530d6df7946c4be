//! Systems whose drives are not listed yet: the lists are empty and nothing is known about a path.

use std::io;
use std::path::Path;

use super::{Backing, DriveInfo, Host, Mount};

impl Host {
    /// Returns no drives: this system is not asked yet.
    ///
    /// # Errors
    /// None here.
    pub fn block_devices(&self) -> io::Result<Vec<DriveInfo>> {
        Ok(Vec::new())
    }

    /// Returns no drive: this system is not asked yet.
    #[must_use]
    pub fn drive_at(&self, _: &Path) -> Option<DriveInfo> {
        None
    }

    /// Returns no mount: this system is not asked yet.
    #[must_use]
    pub fn mount_of(&self, _: &Path) -> Option<Mount> {
        None
    }

    /// Returns no mounts: this system is not asked yet.
    ///
    /// # Errors
    /// None here.
    pub fn mounts(&self) -> io::Result<Vec<Mount>> {
        Ok(Vec::new())
    }

    /// Returns no mounts: this system is not asked yet.
    ///
    /// # Errors
    /// None here.
    pub fn removable_mounts(&self) -> io::Result<Vec<Mount>> {
        Ok(Vec::new())
    }

    /// Returns nothing: this system is not asked yet.
    ///
    /// # Errors
    /// None here.
    pub fn backing_of(&self, _: &str) -> io::Result<Vec<Backing>> {
        Ok(Vec::new())
    }

    /// Returns nothing: this system is not asked yet.
    ///
    /// # Errors
    /// None here.
    pub fn all_backing_of(&self, _: &str) -> io::Result<Vec<Backing>> {
        Ok(Vec::new())
    }
}
