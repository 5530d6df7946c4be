//! The three places where a volume keeps its metadata: reading them, judging them, choosing one.

use std::sync::Arc;

use keyhaven_disk::Device;

use crate::error::{CopyProblem, OpenError};
use crate::format::block::{InformationBlock, MAX_REGION_LEN_BYTES};
use crate::format::boot_sector::{BootLayout, BootSector};
use crate::metadata::Metadata;
use crate::scan::read_up_to;
use crate::volume::OpenOptions;

/// One of the three places where a volume keeps its metadata, and what was found there.
#[derive(Debug)]
pub struct MetadataCopy {
    /// 1 to 3.
    pub number: u8,
    /// Where it is, in bytes from the start of the volume; `None` where nothing says it.
    pub offset: Option<u64>,
    /// What is wrong with it; `None` if nothing is.
    pub problem: Option<CopyProblem>,
    /// Whether it is the one in use.
    pub used: bool,
}

/// Returns where the boot sector says the metadata are.
pub(crate) fn boot_offsets(boot: &BootSector) -> [Option<u64>; 3] {
    match boot.layout {
        BootLayout::Standard { metadata_offsets }
        | BootLayout::EncryptOnWrite { metadata_offsets, .. }
        | BootLayout::ToGo { metadata_offsets } => metadata_offsets.map(Some),
        BootLayout::Vista { metadata_cluster } => {
            let cluster = u64::from(boot.sectors_per_cluster) * u64::from(boot.bytes_per_sector);
            [
                metadata_cluster.checked_mul(cluster).filter(|offset| *offset > 0),
                None,
                None,
            ]
        }
    }
}

pub(crate) type ReadCopy = Result<InformationBlock, CopyProblem>;

/// Reads the three copies. Places that are not known are taken from a copy that knows them.
pub(crate) fn read_copies(device: &Device, offsets: &mut [Option<u64>; 3]) -> Vec<ReadCopy> {
    let read = |offset: &Option<u64>| {
        let offset = offset.ok_or(CopyProblem::NoPlace)?;
        if offset == 0 || !offset.is_multiple_of(512) {
            return Err(CopyProblem::OutsideVolume { offset });
        }
        let region = read_up_to(device, offset, MAX_REGION_LEN_BYTES).map_err(CopyProblem::Unreadable)?;
        Ok(InformationBlock::read(&region)?)
    };
    let mut blocks: Vec<ReadCopy> = offsets.iter().map(read).collect();
    // A boot sector may be damaged in part, and that of Vista names only one place.
    let listed = blocks
        .iter()
        .flatten()
        .find(|block| block.crc32_is_right())
        .or_else(|| blocks.iter().flatten().next())
        .map(|block| block.metadata_offsets);
    if let Some(listed) = listed {
        for ((block, offset), listed) in blocks.iter_mut().zip(offsets).zip(listed) {
            if block.is_err() && *offset != Some(listed) {
                *offset = Some(listed);
                *block = read(offset);
            }
        }
    }
    blocks
}

/// Judges the copies, and orders those that can be used.
pub(crate) fn choose(
    blocks: Vec<ReadCopy>,
    offsets: [Option<u64>; 3],
    options: &OpenOptions,
) -> Result<(Vec<MetadataCopy>, Vec<Arc<Metadata>>), OpenError> {
    let mut copies = Vec::new();
    let mut usable = Vec::new();
    let mut checksums_only = false;
    for ((number, block), offset) in (1u8..).zip(blocks).zip(offsets) {
        let wanted = options.metadata_copy.is_none_or(|copy| copy == number);
        let problem = match block {
            Err(problem) => Some(problem),
            Ok(block) => {
                let problem = problem_of(&block, offset);
                let checksum = matches!(problem, Some(CopyProblem::Checksum { .. }));
                checksums_only |= checksum && wanted;
                if wanted && (!checksum || options.ignore_checksums) {
                    usable.push((problem.is_some(), number, block));
                }
                problem
            }
        };
        copies.push(MetadataCopy {
            number,
            offset,
            problem,
            used: false,
        });
    }
    // Sound ones first, then the newest; the first of equals.
    usable.sort_by_key(|(problem, number, block)| {
        (
            *problem,
            std::cmp::Reverse(block.dataset.next_nonce_counter),
            *number,
        )
    });
    let Some((_, used, first)) = usable.first() else {
        return Err(OpenError::NoMetadata {
            copies,
            checksums_only,
        });
    };
    let (used, content) = (*used, first.actual_sha256);
    for copy in &mut copies {
        copy.used = copy.number == used;
        let differs = usable
            .iter()
            .any(|(_, number, block)| *number == copy.number && block.actual_sha256 != content);
        if differs && copy.problem.is_none() {
            copy.problem = Some(CopyProblem::Differs { used });
        }
    }
    Ok((
        copies,
        usable
            .into_iter()
            .map(|(_, _, block)| Arc::new(Metadata::new(block)))
            .collect(),
    ))
}

fn problem_of(block: &InformationBlock, offset: Option<u64>) -> Option<CopyProblem> {
    if !block.crc32_is_right() {
        let stored = block
            .validation
            .as_ref()
            .map_or("nothing".to_owned(), |stored| format!("{:#010x}", stored.crc32));
        return Some(CopyProblem::Checksum {
            stored,
            computed: block.actual_crc32,
        });
    }
    let at_home = offset.is_some_and(|offset| block.metadata_offsets.contains(&offset));
    (!at_home).then_some(CopyProblem::Misplaced)
}
