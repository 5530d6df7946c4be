//! How people name drives on Windows, and how Windows does.
//!
//! Source: Microsoft's "Naming Files, Paths, and Namespaces" and "Naming a Volume".

/// Returns by what name Windows opens the drive that a person named; `None` if it is no name of one.
///
/// `C:` and `C:\` are the drive, not the folder in which a program happens to be on it; so are `\\.\C:`,
/// `\\?\Volume{…}\`, `\\.\PhysicalDrive1`, and whatever else stands directly behind `\\.\`.
pub(super) fn device_name(path: &str) -> Option<String> {
    let path = path.replace('/', r"\");
    if is_letter_and_colon(path.strip_suffix('\\').unwrap_or(&path)) {
        return Some(format!(r"\\.\{}", path.trim_end_matches('\\')));
    }
    let name = path
        .strip_prefix(r"\\.\")
        .or_else(|| path.strip_prefix(r"\\?\"))?;
    let name = name.strip_suffix('\\').unwrap_or(name);
    if has_prefix(name, r"GLOBALROOT\Device\") {
        // What stands behind a device is a file on it.
        let is_device =
            name.split('\\').nth(2).is_some_and(|device| !device.is_empty()) && name.split('\\').count() == 3;
        return is_device.then(|| format!(r"\\?\{name}"));
    }
    let is_device = !name.is_empty() && !name.contains('\\');
    is_device.then(|| format!(r"\\.\{name}"))
}

/// Returns the name behind `\\.\` of what [`device_name`] returns: `C:`, `Volume{…}`.
pub(super) fn short_name(name: &str) -> &str {
    let name = name
        .strip_prefix(r"\\.\")
        .or_else(|| name.strip_prefix(r"\\?\"))
        .unwrap_or(name);
    name.trim_end_matches('\\')
}

/// Returns a mount point as people write it: `E:\` for `\\?\E:\`.
pub(super) fn plain_path(path: &str) -> &str {
    match path.strip_prefix(r"\\?\") {
        Some(rest) if rest.get(..2).is_some_and(is_letter_and_colon) => rest,
        _ => path,
    }
}

/// Returns the number in `PhysicalDrive1`; `None` for any other name.
pub(super) fn disk_number(name: &str) -> Option<u32> {
    has_prefix(name, "PhysicalDrive")
        .then(|| name.get("PhysicalDrive".len()..)?.parse().ok())
        .flatten()
}

fn is_letter_and_colon(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_are_told_from_files() {
        for (named, opened) in [
            (r"C:", Some(r"\\.\C:")),
            (r"e:\", Some(r"\\.\e:")),
            (r"E:/", Some(r"\\.\E:")),
            (r"\\.\C:", Some(r"\\.\C:")),
            (r"\\?\C:\", Some(r"\\.\C:")),
            (r"\\.\PhysicalDrive1", Some(r"\\.\PhysicalDrive1")),
            (r"//./physicaldrive1", Some(r"\\.\physicaldrive1")),
            (
                r"\\?\Volume{4c1b02c1-d990-11dc-99ae-806e6f6e6963}\",
                Some(r"\\.\Volume{4c1b02c1-d990-11dc-99ae-806e6f6e6963}"),
            ),
            (
                r"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy5",
                Some(r"\\?\GLOBALROOT\Device\HarddiskVolumeShadowCopy5"),
            ),
            (r"\\?\GLOBALROOT\Device\HarddiskVolume5\disk.img", None),
            (r"C:disk.img", None),
            (r"C:\disk.img", None),
            (r"\\?\C:\disk.img", None),
            (r"\\server\share\disk.img", None),
            (r"\\.\pipe\name", None),
            (r"\\.\", None),
            (r"disk.img", None),
            (r"1:", None),
            (r"ä:", None),
            (r"", None),
        ] {
            assert_eq!(device_name(named).as_deref(), opened, "{named}");
        }
    }

    #[test]
    fn names_are_made_plain() {
        assert_eq!(short_name(r"\\?\Volume{1}\"), "Volume{1}");
        assert_eq!(plain_path(r"\\?\E:\"), r"E:\");
        assert_eq!(plain_path(r"\\?\UNC\server\share\"), r"\\?\UNC\server\share\");
        assert_eq!(disk_number("PHYSICALDRIVE12"), Some(12));
        assert_eq!(disk_number("PhysicalDrive"), None);
        assert_eq!(disk_number("C:"), None);
    }
}
