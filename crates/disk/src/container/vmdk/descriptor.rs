//! The text that says of what files a VMDK disk consists.
//!
//! Source: VMware's "Virtual Disk Format 5.0"; seen in images of qemu-img 10.

use super::super::ContainerError;

/// How long the text may be, in bytes.
pub(super) const MAX_LEN: u64 = 4 << 20;

/// How many parts a disk may have: 32 TiB in files of 2 GiB.
const MAX_EXTENTS: usize = 1 << 14;

/// What a text begins with that lies in a file of its own.
pub(super) const MAGIC: &[u8] = b"# Disk DescriptorFile";

/// What `parentCID` is where there is no parent.
const NO_PARENT: u32 = 0xFFFF_FFFF;

const WHAT: &str = "the descriptor";

/// How the bytes of an extent are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExtentKind {
    /// As they are.
    Flat,
    /// In grains, which tables lead to.
    Sparse,
    /// They are zeros.
    Zero,
}

/// A piece of the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Extent {
    /// How it is kept.
    pub(super) kind: ExtentKind,
    /// How many sectors it has.
    pub(super) sectors: u64,
    /// The file; empty for zeros.
    pub(super) name: String,
    /// In which sector of the file it begins.
    pub(super) first_sector: u64,
}

/// The image that this one is a change to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    /// What it is called.
    pub(super) name: String,
    /// The content identifier that it had when this one was made.
    pub(super) content_id: u32,
}

/// What the text says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Descriptor {
    /// A number that changes with the content.
    pub(super) content_id: Option<u32>,
    /// How the disk is kept: `monolithicSparse`, `streamOptimized`, …
    pub(super) create_type: String,
    pub(super) parent: Option<Parent>,
    pub(super) extents: Vec<Extent>,
}

impl Descriptor {
    /// Reads the text; what is behind its first zero byte is padding.
    ///
    /// # Errors
    /// A line makes no sense, or needs what is not known here.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| ContainerError::Unsupported {
            what: "its descriptor is a text whose encoding is not UTF-8".to_owned(),
        })?;
        let mut parsed = Self {
            content_id: None,
            create_type: String::new(),
            parent: None,
            extents: Vec::new(),
        };
        let (mut parent_id, mut parent_name) = (NO_PARENT, None);
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(extent) = extent(line)? {
                if parsed.extents.len() >= MAX_EXTENTS {
                    return Err(damaged(format!("it lists more than {MAX_EXTENTS} parts")));
                }
                parsed.extents.push(extent);
                continue;
            }
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "cid" => parsed.content_id = Some(content_id(line, value)?),
                "parentcid" => parent_id = content_id(line, value)?,
                "createtype" => parsed.create_type = value.to_owned(),
                "parentfilenamehint" => parent_name = Some(value.to_owned()),
                _ => {}
            }
        }
        if parent_id != NO_PARENT {
            parsed.parent = Some(Parent {
                name: parent_name.ok_or_else(|| damaged("it builds on an image that it does not name"))?,
                content_id: parent_id,
            });
        }
        Ok(parsed)
    }
}

fn content_id(line: &str, value: &str) -> Result<u32, ContainerError> {
    u32::from_str_radix(value, 16).map_err(|_| damaged(format!("the line {:?}", shortened(line))))
}

/// Reads a line like `RW 4192256 SPARSE "disk-s001.vmdk"`; `None` where it is something else.
fn extent(line: &str) -> Result<Option<Extent>, ContainerError> {
    let mut words = line.splitn(4, char::is_whitespace);
    let (Some(access @ ("RW" | "RDONLY" | "NOACCESS")), Some(sectors), Some(kind)) =
        (words.next(), words.next(), words.next())
    else {
        return Ok(None);
    };
    let odd = || damaged(format!("the line {:?}", shortened(line)));
    let sectors: u64 = sectors.parse().map_err(|_| odd())?;
    let kind = match kind {
        "FLAT" | "VMFS" => ExtentKind::Flat,
        "SPARSE" => ExtentKind::Sparse,
        "ZERO" => ExtentKind::Zero,
        other => {
            return Err(ContainerError::Unsupported {
                what: format!(
                    "a part of it is of the kind {:?}, which is not known here",
                    shortened(other)
                ),
            });
        }
    };
    if access == "NOACCESS" && kind != ExtentKind::Zero {
        return Err(ContainerError::Unsupported {
            what: "a part of it is marked as not to be read".to_owned(),
        });
    }
    let (name, first_sector) = match (kind, words.next()) {
        (ExtentKind::Zero, _) => (String::new(), 0),
        (_, Some(rest)) => {
            let quoted = rest.trim().strip_prefix('"').ok_or_else(odd)?;
            let (name, behind) = quoted.rsplit_once('"').ok_or_else(odd)?;
            let first_sector = match behind.trim() {
                "" => 0,
                number => number.parse().map_err(|_| odd())?,
            };
            (name.to_owned(), first_sector)
        }
        (_, None) => return Err(odd()),
    };
    Ok(Some(Extent {
        kind,
        sectors,
        name,
        first_sector,
    }))
}

/// Keeps a message to a line, whatever is in the file.
fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

fn damaged(problem: impl Into<String>) -> ContainerError {
    ContainerError::Damaged {
        what: WHAT,
        offset: 0,
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_descriptor_is_read() {
        let text = b"# Disk DescriptorFile\nversion=1\nCID=374d3e1b\nparentCID=e85ebc38\n\
            createType=\"twoGbMaxExtentSparse\"\nparentFileNameHint=\"base = one.vmdk\"\r\n\
            # Extent description\nRW 4192256 SPARSE \"a b-s001.vmdk\"\nRDONLY 63 FLAT \"x.img\" 7\nRW 5 ZERO\n\
            NOACCESS 5 ZERO \nddb.adapterType = \"ide\"\n\0\0\xFF\xFF";
        let descriptor = Descriptor::parse(text).expect("it is in order");
        let extent = |kind, sectors, name: &str, first_sector| Extent {
            kind,
            sectors,
            name: name.to_owned(),
            first_sector,
        };
        assert_eq!(
            descriptor,
            Descriptor {
                content_id: Some(0x374D_3E1B),
                create_type: "twoGbMaxExtentSparse".to_owned(),
                parent: Some(Parent {
                    name: "base = one.vmdk".to_owned(),
                    content_id: 0xE85E_BC38,
                }),
                extents: vec![
                    extent(ExtentKind::Sparse, 4_192_256, "a b-s001.vmdk", 0),
                    extent(ExtentKind::Flat, 63, "x.img", 7),
                    extent(ExtentKind::Zero, 5, "", 0),
                    extent(ExtentKind::Zero, 5, "", 0),
                ],
            }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "CID=xyz",
            "parentCID=00000001",
            "RW many SPARSE \"a\"",
            "RW 5 SPARSE a",
            "RW 5 FLAT \"a\" b",
            "RW 5 FLAT \"a",
            "RW 5 FLAT",
        ] {
            assert!(
                matches!(
                    Descriptor::parse(line.as_bytes()),
                    Err(ContainerError::Damaged { .. })
                ),
                "{line}"
            );
        }
        for line in [
            "RW 5 VMFSSPARSE \"a\"",
            "RW 5 SESPARSE \"a\"",
            "NOACCESS 5 FLAT \"a\"",
            "# \u{e4}",
        ] {
            let bytes: Vec<u8> = line.chars().map(|sign| sign as u8).collect();
            assert!(
                matches!(Descriptor::parse(&bytes), Err(ContainerError::Unsupported { .. })),
                "{line}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn any_text_is_safe(
            lines in proptest::collection::vec("(RW |CID=|parentCID=|RDONLY )?[ -~]{0,40}", 0..8),
        ) {
            let _ = Descriptor::parse(lines.join("\n").as_bytes());
        }
    }
}
