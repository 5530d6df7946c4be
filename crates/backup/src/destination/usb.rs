//! `usb`: the removable drive that is plugged in.

use std::path::PathBuf;

use keyhaven_disk::os::Host;
use keyhaven_fve::RecoveryRecord;

use super::{Destination, FileDestination, SaveContext, SaveError, Saved};
use crate::found::FoundKey;

/// A mounted removable drive: the text file of each recovery key, and on request the key files.
///
/// Windows marks key files as hidden and system files. FAT keeps such marks where Linux programs cannot set them without
/// special calls, so they are not set: Windows finds the file all the same.
#[derive(Debug)]
pub struct UsbDestination {
    mount_point: PathBuf,
    inner: FileDestination,
}

impl UsbDestination {
    /// Finds the drive: the only one that is mounted, or the one at `mount_point`.
    ///
    /// # Errors
    /// [`SaveError`] when there is none, or several to choose from.
    pub fn find(host: &Host, mount_point: Option<PathBuf>, startup_keys: bool) -> Result<Self, SaveError> {
        let mut mounted: Vec<PathBuf> = host
            .removable_mounts()
            .map_err(|source| SaveError::ReadBack {
                path: host.mountinfo.clone(),
                source,
            })?
            .into_iter()
            .filter(|mount| !mount.read_only)
            .map(|mount| mount.mount_point)
            .collect();
        mounted.sort();
        mounted.dedup();
        let (chosen, place) = match mount_point {
            Some(wanted) => {
                let canonical = wanted.canonicalize().unwrap_or_else(|_| wanted.clone());
                if !mounted.contains(&canonical) {
                    return Err(SaveError::NotAStick(wanted));
                }
                let place = format!("usb:{}", wanted.display());
                (canonical, place)
            }
            None => match mounted.as_slice() {
                [] => return Err(SaveError::NoStick),
                [only] => (only.clone(), format!("usb:{}", only.display())),
                several => {
                    return Err(SaveError::SeveralSticks(
                        several
                            .iter()
                            .map(|mount| format!("usb:{}", mount.display()))
                            .collect(),
                    ));
                }
            },
        };
        Ok(Self {
            inner: FileDestination::folder(chosen.clone(), place, startup_keys),
            mount_point: chosen,
        })
    }

    /// Returns where the drive is mounted.
    #[must_use]
    pub fn mount_point(&self) -> &std::path::Path {
        &self.mount_point
    }
}

impl Destination for UsbDestination {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn save(&self, records: &[RecoveryRecord], context: &SaveContext) -> Result<Vec<Saved>, SaveError> {
        self.inner.save(records, context)
    }

    fn read_back(&self, saved: &Saved) -> Result<Vec<FoundKey>, SaveError> {
        self.inner.read_back(saved)
    }
}
