//! Who uses a mount: the answer to "it is busy".

use std::fs;
use std::path::{Path, PathBuf};

/// A process that keeps a mount busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub process_id: u32,
    /// The name of its program, as far as the kernel keeps it (15 bytes).
    pub program: String,
    /// What it uses, the first thing found.
    pub used: Use,
}

/// What a process uses of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// It works in this folder.
    WorkingFolder(PathBuf),
    /// It has this file or folder open.
    OpenFile(PathBuf),
    /// It runs a program from there, or has its root there.
    Program(PathBuf),
}

/// Lists the processes that use what is mounted on `mountpoint`, by number.
///
/// Processes of other users are seen by root only, so an empty list does not mean that nobody does. The own process
/// is left out.
#[must_use]
pub fn users_of(mountpoint: &Path) -> Vec<User> {
    users_in(Path::new("/proc"), mountpoint)
}

fn users_in(proc: &Path, mountpoint: &Path) -> Vec<User> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let mut users: Vec<User> = entries
        .flatten()
        .filter_map(|entry| {
            let process_id = entry.file_name().to_str()?.parse().ok()?;
            if process_id == std::process::id() {
                return None;
            }
            let folder = entry.path();
            let used = used_by(&folder, mountpoint)?;
            let program = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            Some(User {
                process_id,
                program: program.trim_end().to_owned(),
                used,
            })
        })
        .collect();
    users.sort_by_key(|user| user.process_id);
    users
}

fn used_by(process: &Path, mountpoint: &Path) -> Option<Use> {
    // The text of the link, not what it leads to: a mount that does not answer would keep us waiting.
    let under = |link: PathBuf| {
        fs::read_link(link)
            .ok()
            .filter(|path| path.starts_with(mountpoint))
    };
    if let Some(path) = under(process.join("cwd")) {
        return Some(Use::WorkingFolder(path));
    }
    let open = fs::read_dir(process.join("fd")).ok();
    if let Some(path) = open.and_then(|open| open.flatten().find_map(|entry| under(entry.path()))) {
        return Some(Use::OpenFile(path));
    }
    ["exe", "root"]
        .into_iter()
        .find_map(|link| under(process.join(link)))
        .map(Use::Program)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn whoever_works_in_a_mount_or_has_a_file_open_there_is_named() {
        let proc = tempfile::tempdir().unwrap();
        for (process, link, target) in [
            ("7", "cwd", "/mnt/drive/music"),
            ("8", "fd/3", "/mnt/drive/a.txt"),
            ("9", "fd/3", "/mnt/driver"),
            ("10", "exe", "/mnt/drive/setup"),
            ("self", "cwd", "/mnt/drive"),
        ] {
            let link = proc.path().join(process).join(link);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, link).unwrap();
            fs::write(proc.path().join(process).join("comm"), "program\n").unwrap();
        }
        let users = users_in(proc.path(), Path::new("/mnt/drive"));
        let found: Vec<_> = users.iter().map(|user| (user.process_id, &user.used)).collect();
        assert_eq!(
            found,
            [
                (7, &Use::WorkingFolder("/mnt/drive/music".into())),
                (8, &Use::OpenFile("/mnt/drive/a.txt".into())),
                (10, &Use::Program("/mnt/drive/setup".into())),
            ]
        );
        assert!(users.iter().all(|user| user.program == "program"));
    }
}
