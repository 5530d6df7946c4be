//! VHD, the older images of Microsoft's virtual machines: fixed, dynamic, and differences to another one.
//!
//! A fixed image is the disk with a footer behind it. The others are cut into blocks; a table (BAT) leads to those that
//! are stored, each with a bitmap of its sectors in front. What a bitmap leaves out is zeros, or what the parent has.
//!
//! Source: Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0; seen in images of qemu-img 10.

mod blocks;
mod footer;
mod header;
mod writer;

use std::sync::Arc;

use blocks::DynamicDisk;
use footer::{DiskType, FOOTER_LEN, Footer};
use header::Header;
use writer::Writer;

use super::allocating::{Allocating, Order};
use super::mapped::Mapped;
use super::{ContainerError, Growing, Neighbours, Opened, OpenedToWrite, Probe, Randomness, Spec, Writing};
use crate::device::Device;
use crate::view::View;
use crate::writable::WritableDevice;

pub(super) const SPEC: Spec = Spec {
    name: "vhd",
    title: "a VHD image",
    extensions: &["vhd", "vpc"],
    detect,
    open,
    writing: Some(&Writing {
        open: open_writable,
        check: writer::check,
        create: writer::create,
    }),
};

/// A copy of the footer at the start says that it is one, damaged or not. A disk whose last sector only resembles a
/// footer is none: the checksum and the length must be right.
fn detect(probe: &Probe) -> bool {
    if probe.head.starts_with(&footer::COOKIE) {
        return true;
    }
    let tail = probe.tail.len().checked_sub(FOOTER_LEN as usize);
    let Some(Ok(footer)) = tail.and_then(|at| probe.tail.get(at..)).map(Footer::parse) else {
        return false;
    };
    match footer.disk_type {
        DiskType::Fixed => footer.len_bytes.checked_add(FOOTER_LEN) == Some(probe.len_bytes),
        DiskType::Dynamic | DiskType::Differencing => true,
    }
}

/// What an image says of itself before its tables are read.
struct Parts {
    footer: Footer,
    /// Whether the footer stands at the end of the file, where it belongs.
    has_footer_at_end: bool,
}

impl Parts {
    fn read(file: &Device) -> Result<Self, ContainerError> {
        let read = |offset: u64| -> Result<[u8; FOOTER_LEN as usize], ContainerError> {
            let mut bytes = [0; FOOTER_LEN as usize];
            file.read_at(offset, &mut bytes)
                .map_err(|source| ContainerError::Read {
                    what: "the footer",
                    source,
                })?;
            Ok(bytes)
        };
        let Some(at) = file.len_bytes().checked_sub(FOOTER_LEN) else {
            return Err(ContainerError::NotThis { title: SPEC.title });
        };
        let end = read(at)?;
        let start = read(0)?;
        if let Ok(footer) = Footer::parse(&end) {
            return Ok(Self {
                footer,
                has_footer_at_end: true,
            });
        }
        match Footer::parse(&start) {
            Ok(footer) => Ok(Self {
                footer,
                has_footer_at_end: false,
            }),
            Err(problem) => {
                let (offset, problem) = if start.starts_with(&footer::COOKIE) {
                    (0, problem)
                } else if end.starts_with(&footer::COOKIE) {
                    (at, Footer::parse(&end).err().unwrap_or(problem))
                } else {
                    return Err(ContainerError::NotThis { title: SPEC.title });
                };
                Err(ContainerError::Damaged {
                    what: "the footer",
                    offset,
                    problem,
                })
            }
        }
    }
}

fn open(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError> {
    let parts = Parts::read(&file)?;
    let footer = &parts.footer;
    let mut opened = if footer.disk_type == DiskType::Fixed {
        Opened::new(
            Arc::new(View::new(file, 0, footer.len_bytes)),
            "a fixed VHD image",
        )
    } else {
        let header = Header::read(&file, footer)?;
        let parent = match footer.disk_type {
            DiskType::Differencing => {
                let unnamed = || ContainerError::unnamed_parent("the dynamic disk header", header.offset);
                Some(neighbours.open_parent(&header.parent_names, &[header.parent_id], &SPEC, unnamed)?)
            }
            _ => None,
        };
        let title = match &parent {
            None => "a dynamic VHD image".to_owned(),
            Some((name, _)) => format!("a VHD image that builds on `{name}`"),
        };
        let disk = DynamicDisk::new(file, footer, &header);
        Opened::new(
            Arc::new(Mapped::new(disk, parent.map(|(_, image)| image.device))),
            title,
        )
    };
    opened.id = Some(footer.id);
    if !parts.has_footer_at_end {
        opened
            .notes
            .push("the footer at its end is missing: it may be cut off".to_owned());
    }
    Ok(opened)
}

fn open_writable(
    file: Arc<dyn Growing>,
    _: &Neighbours,
    _: &mut Randomness<'_>,
) -> Result<OpenedToWrite, ContainerError> {
    let device: Device = file.clone();
    let parts = Parts::read(&device)?;
    let footer = parts.footer;
    match footer.disk_type {
        DiskType::Fixed if parts.has_footer_at_end => {
            let len_bytes = footer.len_bytes;
            if len_bytes > device.len_bytes() - FOOTER_LEN {
                return Err(ContainerError::Damaged {
                    what: "the footer",
                    offset: device.len_bytes() - FOOTER_LEN,
                    problem: format!("the disk has {len_bytes} bytes, and the file fewer"),
                });
            }
            let file: Arc<dyn WritableDevice> = file;
            Ok(OpenedToWrite::new(
                Arc::new(View::new(file, 0, len_bytes)),
                "a fixed VHD image",
            ))
        }
        DiskType::Fixed => Err(ContainerError::ReadOnly {
            reason: "the footer at its end is missing",
        }),
        DiskType::Dynamic => {
            let header = Header::read(&device, &footer)?;
            let disk = DynamicDisk::new(device, &footer, &header);
            let writer = Writer::new(disk, file.clone(), &footer, &header, parts.has_footer_at_end)?;
            Ok(OpenedToWrite::new(
                Arc::new(Allocating::new(writer, file, Order::Kept)),
                "a dynamic VHD image",
            ))
        }
        DiskType::Differencing => Err(ContainerError::ReadOnly {
            reason: "it holds only what differs from another image",
        }),
    }
}

#[cfg(test)]
mod tests;
