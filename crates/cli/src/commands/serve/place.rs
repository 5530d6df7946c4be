//! Where a served drive is found when nobody says where: a socket in a folder of the user's own.

use std::env;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use keyhaven_attach::nbd::{Listener, ServeError};
use rustix::process::{Uid, geteuid};

use super::refusal;
use crate::error::CliError;

/// How many drives of the same name can be served without being told where.
const MOST: u32 = 20;

/// The longest name of a socket made from a drive's, in bytes: the whole path has to fit into about 100.
const MAX_NAME_LEN: usize = 40;

/// Listens at the socket of a drive, in the folder for such sockets. Where another drive of this name is served, a
/// number is added.
pub(super) fn listen_for(drive_name: &str) -> Result<Listener, CliError> {
    let folder = folder();
    make_private(&folder)?;
    let name = socket_name(drive_name);
    let mut number = 1;
    loop {
        let path = match number {
            1 => folder.join(format!("{name}.sock")),
            _ => folder.join(format!("{name}-{number}.sock")),
        };
        match Listener::unix(&path) {
            Err(ServeError::SocketInUse { .. }) if number < MOST => number += 1,
            outcome => return outcome.map_err(|error| refusal(&error)),
        }
    }
}

/// Returns the folder for this user's sockets.
fn folder() -> PathBuf {
    let of_session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(folder) = of_session.filter(|folder| folder.is_absolute()) {
        return folder.join("keyhaven");
    }
    let user = geteuid();
    if user.is_root() && Path::new("/run").is_dir() {
        return PathBuf::from("/run/keyhaven");
    }
    env::temp_dir().join(format!("keyhaven-{}", user.as_raw()))
}

/// Makes a folder that nobody else can look into, or makes sure that it is one.
fn make_private(folder: &Path) -> Result<(), CliError> {
    let cannot = |error: &io::Error| {
        CliError::could_not(format!("cannot use the folder `{}`", folder.display()))
            .because(error)
            .hint("give a place for the socket: `--socket PATH`")
    };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(cannot(&error)),
    }
    let found = folder.symlink_metadata().map_err(|error| cannot(&error))?;
    let is_ours = found.is_dir() && Uid::from_raw(found.uid()) == geteuid() && found.mode() & 0o077 == 0;
    if is_ours {
        return Ok(());
    }
    Err(CliError::could_not(format!(
        "`{}` is not a folder that is yours alone",
        folder.display()
    ))
    .hint("somebody else could put something in the socket's place: remove it, or give `--socket PATH`"))
}

/// Makes the name of a socket of a drive's: `disk.img#2` becomes `disk.img-2`.
fn socket_name(drive_name: &str) -> String {
    let last = drive_name.rsplit('/').next().unwrap_or_default();
    let name: String = last
        .chars()
        .map(|sign| match sign {
            '.' | '_' => sign,
            sign if sign.is_ascii_alphanumeric() => sign,
            _ => '-',
        })
        .take(MAX_NAME_LEN)
        .collect();
    match name.trim_matches(['.', '-']) {
        "" => "drive".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_socket_is_named_for_its_drive() {
        assert_eq!(socket_name("/dev/sdb2"), "sdb2");
        assert_eq!(socket_name("images/disk.img#2"), "disk.img-2");
        assert_eq!(socket_name("Anns Daten/Łódź C:"), "d--C");
        assert_eq!(socket_name("/"), "drive");
        assert_eq!(socket_name(&"x".repeat(300)).len(), MAX_NAME_LEN);
    }

    #[test]
    fn a_folder_of_others_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("keyhaven");
        make_private(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        make_private(&folder).unwrap();

        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        let refused = make_private(&folder).unwrap_err();
        assert!(refused.message().contains("is not a folder that is yours alone"));
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
        let link = base.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(make_private(&link).is_err());
    }
}
