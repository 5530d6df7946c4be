//! QCOW2, the images of QEMU: versions 2 and 3, packed or not, over other images, with their data elsewhere.
//!
//! Two levels of tables lead from a cluster of the disk to where it lies. Of earlier states that an image has (internal
//! snapshots) nothing is shown: the disk is as it was last. Read only.
//!
//! Source: QEMU's interoperability document "The qcow2 format"; seen in images of qemu-img 10.

mod header;

use std::sync::Arc;

use header::{Header, MAGIC, Packing};

use super::fault::Fault;
use super::mapped::{Kept, Mapped, Plan, Run};
use super::packing;
use super::units::Tables;
use super::{ContainerError, Format, Neighbours, Opened, Probe, Spec};
use crate::device::Device;

pub(super) const SPEC: Spec = Spec {
    name: "qcow2",
    title: "a QCOW2 image",
    extensions: &["qcow2"],
    detect: is_qcow2,
    open,
    writing: None,
};

/// The bits of an entry that are an offset in the file.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
/// Nobody else refers to it; of no interest to readers.
const COPIED: u64 = 1 << 63;
const PACKED: u64 = 1 << 62;
const ZEROS: u64 = 1;
/// How many parts a cluster has where it has any.
const PARTS: u64 = 32;

fn is_qcow2(probe: &Probe) -> bool {
    probe.head.starts_with(&MAGIC)
}

fn open(file: Device, neighbours: &Neighbours) -> Result<Opened, ContainerError> {
    let header = Header::read(&*file)?;
    let mut notes = Vec::new();
    if header.is_corrupt {
        notes.push("it is marked as damaged, and may give wrong content".to_owned());
    }
    if header.snapshot_count > 0 {
        notes.push(format!(
            "it has {} earlier states of the disk, which are not shown",
            header.snapshot_count
        ));
    }
    let below = match &header.backing {
        None => None,
        Some((name, format)) => {
            let image = neighbours.open_image(name, backing_format(format.as_deref())?)?;
            notes.push(format!("it is a change to {name:?}"));
            Some(image.device)
        }
    };
    let data = match &header.data_file {
        None => file.clone(),
        Some(name) => {
            notes.push(format!("its content lies in {name:?}"));
            neighbours.open_file(name)?
        }
    };
    let plan = Qcow2 {
        tables: Tables::of(file),
        data,
        header,
    };
    let mut opened = Opened::new(Arc::new(Mapped::new(plan, below)), SPEC.title);
    opened.notes = notes;
    Ok(opened)
}

fn backing_format(name: Option<&str>) -> Result<Format, ContainerError> {
    match name {
        // Old images do not tell. Whatever it turns out to be, nothing outside of the folder is opened for it.
        None => Ok(Format::Detected),
        Some("raw") => Ok(Format::Raw),
        // QEMU's name for it, after the program that made the first ones.
        Some("vpc") => backing_format(Some("vhd")),
        Some(name) => Spec::named(name)
            .map(Format::Of)
            .ok_or_else(|| ContainerError::Unsupported {
                what: format!("it builds on an image of the format {name:?}, which is not known here"),
            }),
    }
}

/// Where a QCOW2 image keeps what.
#[derive(Debug)]
struct Qcow2 {
    header: Header,
    tables: Tables,
    data: Device,
}

impl Plan for Qcow2 {
    fn len_bytes(&self) -> u64 {
        self.header.len_bytes
    }

    fn run_at(&self, offset: u64) -> Result<Run, Fault> {
        let cluster_bytes = self.header.cluster_bytes();
        let cluster = offset / cluster_bytes;
        let within = offset % cluster_bytes;
        let l2_len = 1u64 << self.header.l2_bits();

        let l1_at = self
            .header
            .l1_offset
            .checked_add((cluster / l2_len).saturating_mul(8))
            .ok_or_else(|| Fault::damaged("its first table lies nowhere"))?;
        let l1 = u64::from_be_bytes(self.tables.bytes_at(l1_at)?);
        let l2_offset = l1 & OFFSET;
        if l1 & !(OFFSET | COPIED) != 0 || !l2_offset.is_multiple_of(cluster_bytes) {
            return Err(Fault::damaged(format!(
                "the table entry {l1:#018x} at byte {l1_at:#x}"
            )));
        }
        if l2_offset == 0 {
            let span = l2_len.saturating_mul(cluster_bytes);
            return Ok(Run {
                kept: Kept::Below,
                len_bytes: span - offset % span,
            });
        }

        let index = cluster % l2_len;
        if self.header.has_parts {
            let at = l2_offset.saturating_add(index.saturating_mul(16));
            let [first, second] = split(self.tables.bytes_at(at)?);
            return self.run_of_parts(at, first, second, within);
        }
        let at = l2_offset.saturating_add(index.saturating_mul(8));
        let entry = u64::from_be_bytes(self.tables.bytes_at(at)?);
        let kept = self.cluster(at, entry, within)?;
        Ok(Run {
            kept,
            len_bytes: cluster_bytes - within,
        })
    }

    fn file(&self, _: usize) -> Option<&Device> {
        Some(&self.data)
    }

    fn unpack(&self, unit: u64) -> Result<Vec<u8>, Fault> {
        let file = self.tables.file();
        let split = 70u32.saturating_sub(self.header.cluster_bits);
        let offset = unit & bits_below(split);
        let sectors = (unit >> split).saturating_add(1);
        // The first sector is shared with what lies before; the file may end inside the last one.
        let len = sectors
            .saturating_mul(512)
            .saturating_sub(offset % 512)
            .min(file.len_bytes().saturating_sub(offset).max(1));
        let mut packed = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_at(offset, &mut packed)?;
        match self.header.packing {
            Packing::Deflate => packing::inflate(&packed, self.unit_bytes()),
            Packing::Zstd => packing::unzstd(&packed, self.unit_bytes()),
        }
    }

    fn unit_bytes(&self) -> usize {
        usize::try_from(self.header.cluster_bytes()).unwrap_or(usize::MAX)
    }
}

impl Qcow2 {
    /// Tells how a cluster is kept, by its entry at byte `at` of the file.
    fn cluster(&self, at: u64, entry: u64, within: u64) -> Result<Kept, Fault> {
        if entry & PACKED != 0 {
            return self.packed(at, entry, within);
        }
        if entry & !(OFFSET | COPIED | ZEROS) != 0 {
            return Err(odd_entry(at, entry));
        }
        if entry & ZEROS != 0 {
            if self.header.version < 3 {
                return Err(odd_entry(at, entry));
            }
            return Ok(Kept::Zeros);
        }
        match self.stored(at, entry)? {
            None => Ok(Kept::Below),
            Some(start) => Ok(as_is(start, within)),
        }
    }

    /// Tells how a part of a cluster is kept, by both halves of its entry.
    fn run_of_parts(&self, at: u64, first: u64, second: u64, within: u64) -> Result<Run, Fault> {
        let cluster_bytes = self.header.cluster_bytes();
        if first & PACKED != 0 {
            if second != 0 {
                return Err(odd_entry(at, first));
            }
            return Ok(Run {
                kept: self.packed(at, first, within)?,
                len_bytes: cluster_bytes - within,
            });
        }
        if first & !(OFFSET | COPIED) != 0 {
            return Err(odd_entry(at, first));
        }
        let part_bytes = cluster_bytes / PARTS;
        let part = within / part_bytes;
        let (is_stored, is_zeros) = (second >> part & 1 == 1, second >> (PARTS + part) & 1 == 1);
        let kept = match (is_stored, is_zeros) {
            (true, true) => return Err(odd_entry(at, second)),
            (false, true) => Kept::Zeros,
            (false, false) => Kept::Below,
            (true, false) => match self.stored(at, first)? {
                Some(start) => as_is(start, within),
                None => return Err(odd_entry(at, first)),
            },
        };
        Ok(Run {
            kept,
            len_bytes: part_bytes - within % part_bytes,
        })
    }

    /// Returns where a cluster begins that is kept as it is, if it is kept at all.
    fn stored(&self, at: u64, entry: u64) -> Result<Option<u64>, Fault> {
        let start = entry & OFFSET;
        if !start.is_multiple_of(self.header.cluster_bytes()) {
            return Err(odd_entry(at, entry));
        }
        // In a file of its own the first cluster may lie at its beginning.
        let is_at_the_start = self.header.data_file.is_some() && entry & COPIED != 0;
        Ok((start != 0 || is_at_the_start).then_some(start))
    }

    fn packed(&self, at: u64, entry: u64, within: u64) -> Result<Kept, Fault> {
        if self.header.data_file.is_some() {
            return Err(odd_entry(at, entry));
        }
        Ok(Kept::Packed {
            // What is left says where it lies, and how long it is.
            unit: entry & bits_below(62),
            within,
        })
    }
}

fn as_is(start: u64, within: u64) -> Kept {
    Kept::AsIs {
        file: 0,
        offset: start.saturating_add(within),
    }
}

fn odd_entry(at: u64, entry: u64) -> Fault {
    Fault::damaged(format!("the table entry {entry:#018x} at byte {at:#x}"))
}

fn bits_below(bit: u32) -> u64 {
    1u64.checked_shl(bit).unwrap_or_default().wrapping_sub(1)
}

fn split(bytes: [u8; 16]) -> [u64; 2] {
    let both = u128::from_be_bytes(bytes);
    [(both >> 64) as u64, both as u64]
}
