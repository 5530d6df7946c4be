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
        let mut mounts = host.removable_mounts().map_err(|source| SaveError::ReadBack {
            path: host.mountinfo.clone(),
            source,
        })?;
        mounts.retain(|mount| !mount.read_only);
        mounts.sort_by(|a, b| a.mount_point.cmp(&b.mount_point));
        mounts.dedup_by(|a, b| a.mount_point == b.mount_point);
        let (chosen, place) = match mount_point {
            Some(wanted) => {
                let canonical = dunce::canonicalize(&wanted).unwrap_or_else(|_| wanted.clone());
                if !mounts.iter().any(|mount| mount.mount_point == canonical) {
                    return Err(SaveError::NotAStick(wanted));
                }
                let place = format!("usb:{}", wanted.display());
                (canonical, place)
            }
            None => {
                // A stick that is mounted in several places is one stick.
                let mut seen = Vec::new();
                mounts.retain(|mount| {
                    let is_new = !seen.contains(&mount.number);
                    seen.push(mount.number);
                    is_new
                });
                let mut mounted: Vec<PathBuf> = mounts.into_iter().map(|mount| mount.mount_point).collect();
                let name = |mount: &PathBuf| format!("usb:{}", mount.display());
                match (mounted.pop(), mounted.as_slice()) {
                    (None, _) => return Err(SaveError::NoStick),
                    (Some(only), []) => {
                        let place = name(&only);
                        (only, place)
                    }
                    (Some(last), others) => {
                        return Err(SaveError::SeveralSticks(
                            others.iter().chain([&last]).map(name).collect(),
                        ));
                    }
                }
            }
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use keyhaven_crypto::Secret;
    use keyhaven_fve::format::FileTime;
    use keyhaven_fve::keys::ExternalKey;
    use keyhaven_fve::{Credential, RecordKey};

    use super::super::conformance;
    use super::*;
    use crate::found::FoundContent;
    use crate::verdict::tests::id;

    /// A computer with two sticks, `sdb` and `sdc`, and a built-in disk, `nda`.
    fn computer(mounts: &[(&str, &str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("there");
        for (name, number, removable) in [("sdb", "8:16", "1"), ("sdc", "8:32", "1"), ("nda", "259:0", "0")] {
            let device = root.join("sys/devices").join(name);
            fs::create_dir_all(&device).expect("a folder");
            for (file, content) in [("dev", number), ("size", "4096"), ("removable", removable)] {
                fs::write(device.join(file), content).expect("written");
            }
            fs::create_dir_all(root.join("sys/class/block")).expect("a folder");
            symlink(&device, root.join("sys/class/block").join(name)).expect("linked");
        }
        let mut lines = String::new();
        for (number, place, options) in mounts {
            let place = root.join(place);
            fs::create_dir_all(&place).expect("a folder");
            lines += &format!("22 1 {number} / {} {options} - vfat x rw\n", place.display());
        }
        fs::create_dir_all(root.join("proc/self")).expect("a folder");
        fs::write(root.join("proc/self/mountinfo"), lines).expect("written");
        (folder, root)
    }

    #[test]
    fn the_only_stick_is_found_and_several_are_listed() {
        let find = |mounts: &[(&str, &str, &str)], wanted: Option<&str>| {
            let (_folder, root) = computer(mounts);
            let wanted = wanted.map(|wanted| root.join(wanted));
            UsbDestination::find(&Host::at(&root), wanted, false)
                .map(|found| found.mount_point().strip_prefix(&root).expect("in it").to_owned())
        };
        let fixed = ("259:0", "home", "rw");
        let (one, two) = (("8:16", "one", "rw"), ("8:32", "two", "rw"));
        let found = |place: &str| PathBuf::from(place);
        assert!(matches!(find(&[fixed], None), Err(SaveError::NoStick)));
        assert_eq!(find(&[fixed, one], None).expect("one"), found("one"));
        assert_eq!(
            find(&[one, ("8:16", "same", "rw")], None).expect("one, twice"),
            found("one")
        );
        assert_eq!(
            find(&[one, ("8:32", "two", "ro")], None).expect("one that can be written"),
            found("one")
        );
        let Err(SaveError::SeveralSticks(names)) = find(&[one, two], None) else {
            panic!("there are two")
        };
        assert!(names[0].ends_with("/one") && names[1].ends_with("/two") && names.len() == 2);
        assert_eq!(find(&[one, two], Some("two")).expect("picked"), found("two"));
        assert!(matches!(
            find(&[fixed, one], Some("home")),
            Err(SaveError::NotAStick(_))
        ));
    }

    #[test]
    fn it_is_a_destination() {
        let (_folder, root) = computer(&[("8:16", "stick", "rw")]);
        let stick = UsbDestination::find(&Host::at(&root), None, false).expect("one");
        conformance::check(&stick, &root.join("stick"));
    }

    #[test]
    fn key_files_are_saved_where_they_are_wanted() {
        let records = || {
            let mut records = conformance::records();
            let key = Secret::from([7; 32]);
            records.push(RecoveryRecord {
                volume_id: id(9),
                protector_id: id(5),
                description: None,
                modified: FileTime(0),
                key: RecordKey::ExternalKey(ExternalKey::new(id(5), None, None, FileTime(0), key)),
            });
            records
        };
        let (_folder, root) = computer(&[("8:16", "stick", "rw")]);
        let host = Host::at(&root);
        let without = UsbDestination::find(&host, None, false).expect("one");
        assert_eq!(
            without
                .save(&records(), &conformance::context())
                .expect("saved")
                .len(),
            2
        );

        let with = UsbDestination::find(&host, None, true).expect("one");
        let saved = with.save(&records(), &conformance::context()).expect("saved");
        let there: Vec<bool> = saved.iter().map(|saved| saved.already_there).collect();
        assert_eq!(there, [true, true, false]);
        let path = saved[2].path.as_ref().expect("a file");
        assert_eq!(
            path.file_name().expect("a name"),
            "05050505-0505-0505-0505-050505050505.BEK"
        );
        let found = with.read_back(&saved[2]).expect("a key file");
        assert_eq!(found[0].ids, [id(5)]);
        let FoundContent::Key(Credential::ExternalKey(key)) = &found[0].content else {
            panic!("not a key file")
        };
        assert_eq!(key.key().expose_secret(), &[7; 32]);
    }
}
