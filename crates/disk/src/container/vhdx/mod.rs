//! VHDX, the newer images of Microsoft's virtual machines: fixed, dynamic, and differences to another one.
//!
//! A header, of which there are two so that one is always whole, may lead to a log of changes to the tables that were
//! under way; they are laid over the file when it is read, and written when it is changed. A region table leads to the
//! metadata and to the table of blocks (BAT).
//!
//! Source: Microsoft's open specification [MS-VHDX]; seen in images of qemu-img 10.

mod blocks;
mod checksum;
mod header;
mod log;
mod metadata;
mod region;
mod writer;

use std::sync::Arc;

use blocks::DynamicDisk;
use header::Headers;
use log::Replayed;
use metadata::Metadata;
use region::Regions;
use writer::Writer;

use super::allocating::{Allocating, Order};
use super::mapped::Mapped;
use super::{ContainerError, Growing, Neighbours, Opened, OpenedToWrite, Probe, Randomness, Spec, Writing};
use crate::device::Device;

pub(super) const SPEC: Spec = Spec {
    name: "vhdx",
    title: "a VHDX image",
    extensions: &["vhdx"],
    detect,
    open,
    writing: Some(&Writing {
        open: open_writable,
        check: writer::check,
        create: writer::create,
    }),
};

/// Tables lie at whole numbers of this, in bytes.
const MIB: u64 = 1 << 20;

fn detect(probe: &Probe) -> bool {
    probe.head.starts_with(&header::SIGNATURE)
}

fn open(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError> {
    let headers = Headers::read(&file)?;
    let changes = log::read(&file, &headers.current)?;
    let mut notes = Vec::new();
    let file: Device = if changes.is_empty() {
        file
    } else {
        notes.push(
            "it was not closed: changes to its tables that were under way are taken from its log".to_owned(),
        );
        Arc::new(Replayed::new(file, changes))
    };
    let regions = Regions::read(&file)?;
    let metadata = Metadata::read(&file, &regions)?;
    let parent = match &metadata.parent {
        None => None,
        Some(parent) => {
            let unnamed = || ContainerError::unnamed_parent("the metadata", regions.metadata.offset);
            Some(neighbours.open_parent(&parent.names, &parent.ids, &SPEC, unnamed)?)
        }
    };
    let title = match (&parent, metadata.is_fixed) {
        (Some((name, _)), _) => format!("a VHDX image that builds on `{name}`"),
        (None, true) => "a fixed VHDX image".to_owned(),
        (None, false) => "a dynamic VHDX image".to_owned(),
    };
    let disk = DynamicDisk::new(file, &regions, &metadata)?;
    let below = parent.map(|(_, image)| image.device);
    let mut opened = Opened::new(Arc::new(Mapped::new(disk, below)), title);
    opened.id = Some(headers.current.data_write_id);
    opened.notes = notes;
    Ok(opened)
}

fn open_writable(
    file: Arc<dyn Growing>,
    _: &Neighbours,
    random: &mut Randomness<'_>,
) -> Result<OpenedToWrite, ContainerError> {
    let device: Device = file.clone();
    let mut headers = Headers::read(&device)?;
    let changes = log::read(&device, &headers.current)?;
    let view: Device = Arc::new(Replayed::new(device.clone(), changes.clone()));
    let regions = Regions::read(&view)?;
    let metadata = Metadata::read(&view, &regions)?;
    if metadata.parent.is_some() {
        return Err(ContainerError::ReadOnly {
            reason: "it holds only what differs from another image",
        });
    }
    let disk = DynamicDisk::new(view, &regions, &metadata)?;
    writer::check_places(&disk, &regions, &headers.current)?;
    // Only what would be written anyway by whoever opens it next.
    writer::replay(&*file, &mut headers, &changes)?;
    let disk = DynamicDisk::new(device, &regions, &metadata)?;
    let writer = Writer::new(disk, file.clone(), headers, random)?;
    let title = if metadata.is_fixed {
        "a fixed VHDX image"
    } else {
        "a dynamic VHDX image"
    };
    Ok(OpenedToWrite::new(
        Arc::new(Allocating::new(writer, file, Order::Kept)),
        title,
    ))
}

#[cfg(test)]
mod tests;
