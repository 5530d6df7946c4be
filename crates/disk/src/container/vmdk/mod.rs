//! VMDK, the images of VMware: one file or many, flat, sparse or packed for transport, over other images.
//!
//! A text says of which files the disk consists; it is a file of its own, or lies inside the only one. The snapshots of
//! ESX servers (`VMFSSPARSE`, `SESPARSE`) are refused by name. Read only.
//!
//! Source: VMware's "Virtual Disk Format 5.0"; seen in images of qemu-img 10.

mod descriptor;
mod sparse;

use std::sync::Arc;

use descriptor::{Descriptor, Extent, ExtentKind, Parent};
use sparse::{Header, Sparse};

use super::joined::{Joined, Piece};
use super::mapped::Mapped;
use super::parts::Parts;
use super::units::{Cache, Tables};
use super::{ContainerError, Format, Neighbours, Opened, Probe, Spec};
use crate::device::Device;
use crate::view::View;

pub(super) const SPEC: Spec = Spec {
    name: "vmdk",
    title: "a VMDK image",
    extensions: &["vmdk"],
    detect: is_vmdk,
    open,
    writing: None,
};

const SECTOR: u64 = 512;

/// What a sparse extent of an ESX server begins with.
const MAGIC_OF_SERVERS: &[u8] = b"COWD";

fn is_vmdk(probe: &Probe) -> bool {
    let head = probe.head.as_slice();
    head.starts_with(&sparse::MAGIC)
        || head.starts_with(MAGIC_OF_SERVERS)
        || head.starts_with(descriptor::MAGIC)
}

fn open(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError> {
    let source = Source::read(&file)?;
    let descriptor = source.descriptor();
    let below = match &descriptor.parent {
        None => None,
        Some(parent) => Some(open_parent(parent, neighbours)?),
    };
    let notes = descriptor
        .parent
        .iter()
        .map(|parent| format!("it is a change to {:?}", parent.name))
        .collect();
    let title = match descriptor.create_type.as_str() {
        "" => SPEC.title.to_owned(),
        kind => format!("{} ({})", SPEC.title, kind.chars().take(40).collect::<String>()),
    };
    let device: Device = match source {
        Source::Whole { header, .. } => Arc::new(Mapped::new(Sparse::new(header, Tables::of(file)), below)),
        Source::Text(descriptor) => {
            let extents = Extents {
                below,
                parts: Parts::beside(neighbours),
                pages: Tables::pages(),
                units: Cache::of_entries(sparse::MAX_GRAIN_BYTES),
            };
            Arc::new(extents.joined(&descriptor.extents)?)
        }
    };
    let mut opened = Opened::new(device, title);
    opened.notes = notes;
    Ok(opened)
}

/// What a file turns out to be.
enum Source {
    /// The text; the content is in other files.
    Text(Descriptor),
    /// Text and content in one.
    Whole { header: Header, descriptor: Descriptor },
}

impl Source {
    fn read(file: &Device) -> Result<Self, ContainerError> {
        let mut magic = vec![0; descriptor::MAGIC.len()];
        read(file, 0, &mut magic, "the start")?;
        if magic.starts_with(MAGIC_OF_SERVERS) {
            return Err(ContainerError::Unsupported {
                what: "it is a snapshot of an ESX server, whose format is not known here".to_owned(),
            });
        }
        if magic == descriptor::MAGIC {
            let descriptor = Descriptor::parse(&text(file, 0, file.len_bytes())?)?;
            if descriptor.extents.is_empty() {
                return Err(ContainerError::Damaged {
                    what: "the descriptor",
                    offset: 0,
                    problem: "it names no part of the disk".to_owned(),
                });
            }
            return Ok(Self::Text(descriptor));
        }
        if !magic.starts_with(&sparse::MAGIC) {
            return Err(ContainerError::NotThis { title: SPEC.title });
        }
        let header = Header::read(&**file)?;
        let descriptor = match header.descriptor {
            None => None,
            Some((at, len)) => Some(Descriptor::parse(&text(file, at, len)?)?),
        };
        match descriptor {
            // One that is the whole disk names itself.
            Some(descriptor) if !descriptor.extents.is_empty() => Ok(Self::Whole { header, descriptor }),
            _ => Err(ContainerError::Unsupported {
                what: "it is one part of several; name the file that lists them, a text that is also called `.vmdk`"
                    .to_owned(),
            }),
        }
    }

    fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Text(descriptor) | Self::Whole { descriptor, .. } => descriptor,
        }
    }
}

/// Opens the image that another one is a change to, if it still is what it was then.
fn open_parent(parent: &Parent, neighbours: &Neighbours) -> Result<Device, ContainerError> {
    let source =
        Source::read(&neighbours.open_file(&parent.name)?).map_err(|source| ContainerError::Parent {
            name: parent.name.clone(),
            source: Box::new(source),
        })?;
    let found = source.descriptor().content_id;
    if found != Some(parent.content_id) {
        return Err(ContainerError::OtherParent {
            name: parent.name.clone(),
            expected: format!("{:08x}", parent.content_id),
            found: found.map_or("one without an identifier".to_owned(), |id| format!("{id:08x}")),
        });
    }
    let image = neighbours.open_image(&parent.name, Format::Of(&SPEC))?;
    Ok(image.device)
}

/// What the parts of a disk are opened with. All share the memory for their tables and for what they unpack.
struct Extents {
    below: Option<Device>,
    parts: Parts,
    pages: Cache,
    units: Cache,
}

impl Extents {
    fn joined(&self, extents: &[Extent]) -> Result<Mapped<Joined>, ContainerError> {
        let mut pieces = Vec::new();
        let mut start = 0u64;
        for (extent, number) in extents.iter().zip(0u32..) {
            let piece = self.piece(extent, number, start)?;
            start = start.saturating_add(piece.len_bytes);
            pieces.push(piece);
        }
        Joined::of(pieces).ok_or_else(|| ContainerError::Unsupported {
            what: "it is longer than any disk".to_owned(),
        })
    }

    /// Opens part `number` of the disk, which begins at byte `start` of it.
    fn piece(&self, extent: &Extent, number: u32, start: u64) -> Result<Piece, ContainerError> {
        let odd = |problem: String| ContainerError::Damaged {
            what: "the descriptor",
            offset: 0,
            problem,
        };
        let too_long = || odd(format!("a part of {} sectors", extent.sectors));
        let len_bytes = extent.sectors.checked_mul(SECTOR).ok_or_else(too_long)?;
        let first_byte = extent.first_sector.checked_mul(SECTOR).ok_or_else(too_long)?;
        let (content, offset): (Option<Device>, u64) = match extent.kind {
            ExtentKind::Zero => (None, 0),
            // A file that is cut off keeps the length that is listed, and reads of what is missing fail.
            ExtentKind::Flat => (Some(self.parts.open(&extent.name)?), first_byte),
            ExtentKind::Sparse => {
                let file = self.parts.open(&extent.name)?;
                let header = Header::read(&*file)?;
                if header.len_bytes < len_bytes {
                    return Err(odd(format!(
                        "{:?} has {} bytes of the disk, and {len_bytes} are listed",
                        extent.name, header.len_bytes
                    )));
                }
                let below = self.below.as_ref().map(|below| -> Device {
                    let len_bytes = below.len_bytes().saturating_sub(start);
                    Arc::new(View::new(below.clone(), start, len_bytes))
                });
                let tables = Tables::within(&self.pages, number, file);
                let units = self.units.shared_with(number);
                (
                    Some(Arc::new(Mapped::within(
                        units,
                        Sparse::new(header, tables),
                        below,
                    ))),
                    0,
                )
            }
        };
        Ok(Piece {
            content,
            offset,
            len_bytes,
        })
    }
}

/// Reads a descriptor of at most `len` bytes.
fn text(file: &Device, at: u64, len: u64) -> Result<Vec<u8>, ContainerError> {
    let len = len.min(file.len_bytes().saturating_sub(at));
    if len > descriptor::MAX_LEN {
        return Err(ContainerError::Unsupported {
            what: format!(
                "its descriptor has {len} bytes, and {} are read at most",
                descriptor::MAX_LEN
            ),
        });
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
    read(file, at, &mut bytes, "the descriptor")?;
    Ok(bytes)
}

fn read(file: &Device, at: u64, buf: &mut [u8], what: &'static str) -> Result<(), ContainerError> {
    file.read_at(at, buf)
        .map_err(|source| ContainerError::Read { what, source })
}
