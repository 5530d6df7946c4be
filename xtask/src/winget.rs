//! The manifests by which Windows' package manager finds a release, filled in from `packaging/winget`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::dist::DistError;

/// What a manifest says of a release.
pub(crate) struct Release<'a> {
    pub(crate) version: &'a str,
    /// `2026-11-24`.
    pub(crate) date: &'a str,
    /// The name of the zip.
    pub(crate) archive: &'a str,
    /// Its SHA-256 in hexadecimal.
    pub(crate) sha256: &'a str,
    /// The folder in the zip with the program in it.
    pub(crate) folder: &'a str,
    /// Where the zip will be, without its name. Until that is known, the place for it stays in the manifest.
    pub(crate) download_url: Option<&'a str>,
}

/// Fills in all manifests of a folder; returns them by name.
pub(crate) fn manifests(folder: &Path, release: &Release<'_>) -> Result<BTreeMap<String, String>, DistError> {
    let failed = |source| DistError::read(folder, source);
    let mut manifests = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let template = std::fs::read_to_string(&path).map_err(|source| DistError::read(&path, source))?;
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            manifests.insert(name, fill(&template, release));
        }
    }
    Ok(manifests)
}

fn fill(template: &str, release: &Release<'_>) -> String {
    let mut text = template
        .replace("{version}", release.version)
        .replace("{date}", release.date)
        .replace("{archive}", release.archive)
        .replace("{folder}", release.folder)
        .replace("{sha256}", &release.sha256.to_uppercase());
    if let Some(url) = release.download_url {
        text = text.replace("{download_url}", url.trim_end_matches('/'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(download_url: Option<&'static str>) -> Release<'static> {
        Release {
            version: "1.2.3",
            date: "2026-11-24",
            archive: "keyhaven-1.2.3-x86_64-windows.zip",
            sha256: "ab",
            folder: "keyhaven-1.2.3",
            download_url,
        }
    }

    #[test]
    fn only_the_download_is_left_open() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/winget");
        let open = manifests(&folder, &release(None)).unwrap();
        assert_eq!(open.len(), 3);
        for (name, text) in &open {
            let left: Vec<&str> = text
                .split('{')
                .skip(1)
                .filter_map(|rest| rest.split('}').next())
                .collect();
            assert!(
                left.iter().all(|place| *place == "download_url"),
                "{name}: {left:?}"
            );
            assert!(text.contains("PackageVersion: 1.2.3"), "{name}");
        }
        let filled = manifests(&folder, &release(Some("https://example.org/v1.2.3/"))).unwrap();
        let installer = &filled["Keyhaven.Keyhaven.installer.yaml"];
        assert!(
            installer
                .contains("InstallerUrl: https://example.org/v1.2.3/keyhaven-1.2.3-x86_64-windows.zip\n")
        );
        assert!(installer.contains("InstallerSha256: AB\n"));
        assert!(!filled.values().any(|text| text.contains('{')));
    }
}
