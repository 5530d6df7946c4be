//! Reparse points: what Windows and programs put in the place of a file's own content.
//!
//! Tags and layouts: MS-FSCC 2.1.2.

use crate::files::bytes::{u16_at, u32_at, units};
use crate::files::{FilesError, NodeKind, Storage, name};

const SYMLINK: u32 = 0xA000_000C;
const MOUNT_POINT: u32 = 0xA000_0003;
const LX_SYMLINK: u32 = 0xA000_001D;
const WOF: u32 = 0x8000_0017;
const DEDUP: u32 = 0x8000_0013;
/// Sixteen tags, told apart by the digit that this mask leaves out.
const CLOUD: u32 = 0x9000_001A;
const CLOUD_MASK: u32 = 0xFFFF_0FFF;
const ONE_DRIVE: u32 = 0x8000_0021;
const STORAGE_SYNC: u32 = 0x8000_001E;
const HSM: u32 = 0xC000_0004;
const HSM2: u32 = 0x8000_0006;
const WIM: u32 = 0x8000_0008;
const CONTAINER: u32 = 0x8000_0018;
const CONTAINER_1: u32 = 0x9000_1018;
const AF_UNIX: u32 = 0x8000_0023;
const LX_FIFO: u32 = 0x8000_0024;
const LX_CHARACTER_DEVICE: u32 = 0x8000_0025;
const LX_BLOCK_DEVICE: u32 = 0x8000_0026;
const APP_EXEC_LINK: u32 = 0x8000_001B;

/// File attributes that say that the content is (partly) elsewhere.
const OFFLINE: u32 = 0x1000;
const RECALL_ON_OPEN: u32 = 0x4_0000;
const RECALL_ON_DATA_ACCESS: u32 = 0x40_0000;

/// Returns what a file is whose reparse point has this tag.
pub(super) fn node_kind(tag: u32, is_directory: bool) -> NodeKind {
    match tag {
        SYMLINK | MOUNT_POINT | LX_SYMLINK => NodeKind::SymbolicLink,
        AF_UNIX | LX_FIFO | LX_CHARACTER_DEVICE | LX_BLOCK_DEVICE | APP_EXEC_LINK => NodeKind::Other,
        _ if is_directory => NodeKind::Directory,
        _ => NodeKind::File,
    }
}

/// Tells whether the file's own content is what a reader of the file would get; the error says where that is
/// otherwise. `tag` is that of its reparse point, if it has one.
pub(super) fn content_is_here(tag: Option<u32>, file_attributes: u32) -> Result<(), FilesError> {
    let is_elsewhere = file_attributes & (OFFLINE | RECALL_ON_OPEN | RECALL_ON_DATA_ACCESS) != 0;
    let how = match tag {
        // Without a reparse point nothing could bring the content here: programs set these attributes for their own
        // reasons.
        None => return Ok(()),
        Some(WOF) => Storage::SystemCompression,
        Some(DEDUP) => Storage::Deduplication,
        // Files of a cloud that are on the drive in full keep the tag and lose the attributes.
        Some(tag) if tag & CLOUD_MASK == CLOUD || matches!(tag, ONE_DRIVE | STORAGE_SYNC) => {
            if !is_elsewhere {
                return Ok(());
            }
            Storage::Elsewhere { reparse_tag: tag }
        }
        Some(tag @ (HSM | HSM2 | WIM | CONTAINER | CONTAINER_1)) => Storage::Elsewhere { reparse_tag: tag },
        Some(tag) => Storage::ReparsePoint { reparse_tag: tag },
    };
    Err(FilesError::Unsupported { how })
}

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// From the directory that the link is in.
    Relative(String),
    /// From the top of some volume: the drive letter or name of the volume, if given, and the path below it.
    Absolute { volume: Option<String>, path: String },
    /// As it is written: of another system.
    AsWritten(String),
}

/// Reads the target from the value of a reparse point; `None` where it has none.
pub(super) fn target(reparse: &[u8]) -> Option<Target> {
    let tag = u32_at(reparse, 0)?;
    let data = reparse.get(8..)?;
    let data = data.get(..usize::from(u16_at(reparse, 4)?)).unwrap_or(data);
    let (names_at, is_relative) = match tag {
        SYMLINK => (12, u32_at(data, 8)? & 1 != 0),
        MOUNT_POINT => (8, false),
        LX_SYMLINK => {
            // A version, 2, then UTF-8.
            let text = String::from_utf8_lossy(data.get(4..)?).into_owned();
            return Some(Target::AsWritten(text));
        }
        _ => return None,
    };
    let start = usize::from(u16_at(data, 0)?);
    let len = usize::from(u16_at(data, 2)?);
    let path = units(data.get(names_at..)?.get(start..)?.get(..len)?);
    Some(parse_path(&path, is_relative))
}

/// Reads the target of a link as Services for UNIX and ntfs-3g write them: a file of the system's.
pub(super) fn interix_target(content: &[u8]) -> Option<Target> {
    let path = content.strip_prefix(b"IntxLNK\x01")?;
    Some(Target::AsWritten(String::from_utf16_lossy(&units(path))))
}

fn parse_path(path: &[u16], is_relative: bool) -> Target {
    // Text, with the separators between the names.
    let names: Vec<String> = path
        .split(|unit| *unit == u16::from(b'\\'))
        .map(|part| match part {
            // Steps up and in place are meant.
            [0x2E] => ".".to_owned(),
            [0x2E, 0x2E] => "..".to_owned(),
            part => name::to_text(part),
        })
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        // \??\UNC\server\share
        ["", "??", unc, rest @ ..] if unc.eq_ignore_ascii_case("UNC") => {
            Target::AsWritten(format!("//{}", rest.join("/")))
        }
        ["", "??", volume, rest @ ..] => Target::Absolute {
            volume: Some((*volume).to_owned()),
            path: rest.join("/"),
        },
        ["", "", ..] => Target::AsWritten(names.join("/")),
        ["", rest @ ..] => Target::Absolute {
            volume: None,
            path: rest.join("/"),
        },
        _ if is_relative => Target::Relative(names.join("/")),
        [volume, rest @ ..] => Target::Absolute {
            volume: Some((*volume).to_owned()),
            path: rest.join("/"),
        },
        [] => Target::Relative(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a reparse point with a target.
    fn point(tag: u32, flags: Option<u32>, path: &str) -> Vec<u8> {
        let path: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut data = Vec::new();
        data.extend_from_slice(&0u16.to_le_bytes());
        data.extend_from_slice(&(path.len() as u16).to_le_bytes());
        data.extend_from_slice(&[0; 4]);
        data.extend_from_slice(
            &flags
                .map(u32::to_le_bytes)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
        );
        data.extend_from_slice(&path);
        let mut value = tag.to_le_bytes().to_vec();
        value.extend_from_slice(&(data.len() as u16).to_le_bytes());
        value.extend_from_slice(&[0; 2]);
        value.extend_from_slice(&data);
        value
    }

    fn absolute(volume: Option<&str>, path: &str) -> Option<Target> {
        Some(Target::Absolute {
            volume: volume.map(str::to_owned),
            path: path.to_owned(),
        })
    }

    #[test]
    fn targets_of_every_kind() {
        assert_eq!(
            target(&point(SYMLINK, Some(1), "..\\a\\.\\b.txt")),
            Some(Target::Relative("../a/./b.txt".to_owned()))
        );
        assert_eq!(
            target(&point(SYMLINK, Some(0), "\\??\\D:\\dir\\ä")),
            absolute(Some("D:"), "dir/ä")
        );
        assert_eq!(target(&point(SYMLINK, Some(1), "\\dir")), absolute(None, "dir"));
        assert_eq!(
            target(&point(MOUNT_POINT, None, "\\??\\C:\\Users\\")),
            absolute(Some("C:"), "Users/")
        );
        assert_eq!(
            target(&point(MOUNT_POINT, None, "\\??\\Volume{12}\\")),
            absolute(Some("Volume{12}"), "")
        );
        assert_eq!(
            target(&point(SYMLINK, Some(0), "\\??\\UNC\\server\\share\\x")),
            Some(Target::AsWritten("//server/share/x".to_owned()))
        );
        assert_eq!(
            target(&[0x1D, 0, 0, 0xA0, 7, 0, 0, 0, 2, 0, 0, 0, b'a', b'/', b'b']),
            Some(Target::AsWritten("a/b".to_owned()))
        );
        assert_eq!(
            interix_target(b"IntxLNK\x01a\0/\0"),
            Some(Target::AsWritten("a/".to_owned()))
        );
    }

    #[test]
    fn cut_off_points_have_no_target() {
        let whole = point(SYMLINK, Some(1), "..\\a");
        for len in 0..whole.len() {
            assert_eq!(target(&whole[..len]), None);
        }
        assert_eq!(target(&point(WOF, None, "x")), None);
    }

    #[test]
    fn content_that_is_not_here_is_refused() {
        let refused = |tag, attributes| match content_is_here(tag, attributes) {
            Err(FilesError::Unsupported { how }) => Some(how),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        };
        assert_eq!(refused(None, 0x20), None);
        assert_eq!(refused(None, OFFLINE), None);
        assert_eq!(refused(Some(WOF), 0x20), Some(Storage::SystemCompression));
        assert_eq!(refused(Some(DEDUP), 0x20), Some(Storage::Deduplication));
        assert_eq!(refused(Some(0x9000_601A), 0x20), None);
        assert_eq!(
            refused(Some(0x9000_601A), RECALL_ON_DATA_ACCESS),
            Some(Storage::Elsewhere {
                reparse_tag: 0x9000_601A
            })
        );
        assert_eq!(
            refused(Some(0x1234), 0),
            Some(Storage::ReparsePoint { reparse_tag: 0x1234 })
        );
    }
}
