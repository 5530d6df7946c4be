//! The files of NTFS, exFAT and FAT.
//!
//! The first byte says what the rest is: an image from its start, or the records and directory blocks of an NTFS
//! volume that is in order otherwise.
#![no_main]

use std::ops::ControlFlow;
use std::sync::Arc;

use keyhaven_attach::files::{self, FileTree, NodeId, NodeKind};
use keyhaven_disk::Device;

/// What a record, a block of a directory and a cluster measure, in bytes.
const BLOCK_LEN: usize = 1024;

/// How many there are.
const BLOCKS: usize = 64;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let image = if kind % 2 == 0 { rest.to_vec() } else { ntfs(rest) };
    let device: Device = Arc::new(image);
    let _ = files::state(&device);
    if let Ok(tree) = files::open(device) {
        visit(&*tree);
    }
});

/// An NTFS volume whose clusters are the records of its master file table, from the second on.
fn ntfs(content: &[u8]) -> Vec<u8> {
    let mut image = vec![0; BLOCK_LEN * (BLOCKS + 1)];
    image[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    image[0x15] = 0xF8;
    image[0x0B..0x0D].copy_from_slice(&512u16.to_le_bytes());
    image[0x0D] = 2;
    image[0x28..0x30].copy_from_slice(&(2 * (BLOCKS as u64 + 1)).to_le_bytes());
    image[0x30] = 1;
    image[0x38] = 1;
    image[0x40] = (-10i8) as u8;
    image[0x44] = 1;
    image[510..512].copy_from_slice(&[0x55, 0xAA]);

    let mut table = vec![0; BLOCK_LEN];
    table[0x14] = 0x38;
    table[0x16] = 1;
    // The table itself: all clusters but the first, with a list of attributes if there is one in the content.
    let len = (BLOCKS * BLOCK_LEN) as u64;
    let mut data = [0; 0x48];
    data[0] = 0x80;
    data[4] = 0x48;
    data[8] = 1;
    data[0x20] = 0x40;
    for at in [0x28, 0x30, 0x38] {
        data[at..at + 8].copy_from_slice(&len.to_le_bytes());
    }
    data[0x40..0x44].copy_from_slice(&[0x11, BLOCKS as u8, 1, 0]);
    table[0x38..0x80].copy_from_slice(&data);
    table[0x80..0x84].fill(0xFF);

    for (index, block) in image[BLOCK_LEN..].chunks_exact_mut(BLOCK_LEN).enumerate() {
        let given = match index {
            0 => &table,
            _ => content.get((index - 1) * BLOCK_LEN..).unwrap_or_default(),
        };
        let given = &given[..given.len().min(BLOCK_LEN)];
        block[..given.len()].copy_from_slice(given);
        // Every other thing but the marks of a whole write is the fuzzer's.
        let (magic, at) = match block[0] {
            b'I' => (b"INDX", 0x28),
            _ => (b"FILE", 0x30),
        };
        block[..4].copy_from_slice(magic);
        block[4..8].copy_from_slice(&[at as u8, 0, 3, 0]);
        block[at..at + 2].copy_from_slice(&[1, 0]);
        for stride in 0..2 {
            let end = stride * 512 + 510;
            block.copy_within(end..end + 2, at + 2 + stride * 2);
            block[end..end + 2].copy_from_slice(&[1, 0]);
        }
    }
    image
}

fn visit(tree: &dyn FileTree) {
    tree.space();
    let mut left = vec![tree.root()];
    let mut visited = 0;
    while let Some(node) = left.pop() {
        visited += 1;
        let _ = tree.attributes(node);
        let mut entries = Vec::new();
        let _ = tree.list(node, &mut |entry| {
            entries.push(entry);
            match entries.len() {
                ..200 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        });
        for entry in entries {
            let _ = tree.lookup(node, &entry.name);
            let _ = tree.attributes(entry.node);
            let _ = tree.read_link(entry.node);
            let _ = tree.hole_at(entry.node, 100, u64::MAX);
            for stream in tree.streams(entry.node).unwrap_or_default().iter().take(9) {
                let _ = tree.read_stream(entry.node, &stream.name, 100, &mut [0; 5000]);
            }
            let mut buf = [0; 5000];
            for offset in [0, 4000, u64::MAX] {
                let _ = tree.read(entry.node, offset, &mut buf);
            }
            if entry.kind == NodeKind::Directory && visited + left.len() < 50 {
                left.push(entry.node);
            }
        }
    }
    for number in 0..BLOCKS as u64 {
        let _ = tree.attributes(NodeId(number | (1 << 48)));
    }
}
