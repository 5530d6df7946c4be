//! Startup keys, written by Windows itself (`SaveExternalKeyToFile`): hidden, and named as it looks for them.

use std::path::{Path, PathBuf};

use keyhaven_fve::Guid;
use keyhaven_windows::EncryptableVolume;
use keyhaven_windows::state::ProtectorType;

use super::refusal;
use crate::error::CliError;

/// A key file that Windows wrote.
#[derive(Debug)]
pub(crate) struct SavedStartupKey {
    pub(crate) protector_id: Guid,
    pub(crate) path: PathBuf,
    /// Whether Windows reads the same key out of it that the drive has.
    pub(crate) proven: bool,
}

/// Has Windows write all startup keys of an unlocked drive into a folder, and read them back.
///
/// # Errors
/// Windows says no.
pub(crate) fn save_startup_keys(
    volume: &EncryptableVolume<'_>,
    folder: &Path,
) -> Result<Vec<SavedStartupKey>, CliError> {
    let ids = volume
        .get_key_protectors(Some(ProtectorType::ExternalKey))
        .map_err(|error| refusal(&error))?;
    ids.into_iter()
        .map(|id| save_startup_key(volume, id, folder))
        .collect()
}

/// Has Windows write one startup key into a folder, and read it back.
///
/// # Errors
/// Windows says no.
pub(crate) fn save_startup_key(
    volume: &EncryptableVolume<'_>,
    protector_id: Guid,
    folder: &Path,
) -> Result<SavedStartupKey, CliError> {
    let refused = |error| refusal(&error);
    // Windows wants a path that begins with a drive.
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let folder_name = folder.to_str().ok_or_else(|| {
        CliError::could_not(format!(
            "Windows cannot be told the name of `{}`",
            folder.display()
        ))
    })?;
    volume
        .save_external_key_to_file(protector_id, folder_name)
        .map_err(refused)?;
    let name = volume.get_external_key_file_name(protector_id).map_err(refused)?;
    let path = folder.join(name);
    let own = volume
        .get_key_protector_external_key(protector_id)
        .map_err(refused)?;
    let written = path
        .to_str()
        .and_then(|path| volume.get_external_key_from_file(path).ok());
    let proven = written.is_some_and(|written| written.expose_secret() == own.expose_secret());
    Ok(SavedStartupKey {
        protector_id,
        path,
        proven,
    })
}

#[cfg(test)]
mod tests {
    use keyhaven_windows::fake::{FakeComputer, Scene};

    use super::*;

    const SCENE: &str = r#"{"volumes": [{
        "device_id": "\\\\?\\Volume{c}\\", "drive_letter": "C:",
        "volume_id": "{00000000-0000-4000-8000-000000000001}",
        "protectors": [
            {"id": "{00000000-0000-4000-8000-000000000002}", "type": 2,
             "secret": "1111111111111111111111111111111111111111111111111111111111111111"},
            {"id": "{00000000-0000-4000-8000-000000000003}", "type": 1}
        ]}]}"#;

    #[test]
    fn windows_writes_the_key_files_and_reads_them_back() {
        let scene: Scene = serde_json::from_str(SCENE).expect("a scene");
        let fake = FakeComputer::new(scene);
        let volumes = keyhaven_windows::volumes(&fake).expect("listed");
        let folder = tempfile::tempdir().expect("a folder");
        let saved = save_startup_keys(&volumes[0], folder.path()).expect("saved");
        let [key] = saved.as_slice() else {
            panic!("{saved:?}")
        };
        assert!(key.proven);
        assert_eq!(
            key.path.file_name().expect("a file"),
            "00000000-0000-4000-8000-000000000002.BEK"
        );
        assert!(save_startup_keys(&volumes[0], &folder.path().join("nowhere")).is_err());
    }
}
