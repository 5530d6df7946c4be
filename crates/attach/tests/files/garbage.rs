//! NTFS volumes of nothing but records that look right and mean nothing: lists that name each other, directories in
//! circles, runs to anywhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyhaven_attach::files;

use crate::damage::{rounds, visit};
use crate::model::Numbers;

/// What a record, a block of a directory and a cluster measure, in bytes.
const BLOCK_LEN: usize = 1024;

/// Clusters with records, then with blocks of directories.
const RECORDS: u64 = 48;
const BLOCKS: u64 = 16;

#[test]
fn garbage_in_the_shape_of_ntfs() {
    let mut opened = 0;
    for round in 0..rounds(150) {
        let image = volume(&mut Numbers::new(round + 1));
        let started = Instant::now();
        let device: keyhaven_disk::Device = Arc::new(image);
        let _ = files::state(&device);
        match files::open(device) {
            Ok(tree) => {
                opened += 1;
                visit(&*tree);
            }
            Err(error) => eprintln!("{error}"),
        }
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "round {round} took {took:?}");
    }
    assert!(opened > 20, "only {opened} volumes could be opened");
}

fn volume(numbers: &mut Numbers) -> Vec<u8> {
    let clusters = 1 + RECORDS + BLOCKS;
    let mut image = vec![0; BLOCK_LEN * clusters as usize];
    image[..11].copy_from_slice(b"\xEB\x52\x90NTFS    ");
    image[0x15] = 0xF8;
    image[0x0B..0x0D].copy_from_slice(&512u16.to_le_bytes());
    image[0x0D] = 2;
    image[0x28..0x30].copy_from_slice(&(2 * clusters).to_le_bytes());
    image[0x30] = 1;
    image[0x38] = 1;
    image[0x40] = (-10i8) as u8;
    image[0x44] = 1;
    image[510..512].copy_from_slice(&[0x55, 0xAA]);

    for number in 0..RECORDS {
        let record = record(number, numbers);
        put(&mut image, 1 + number, record, 0x30);
    }
    for vcn in 0..BLOCKS {
        let mut block = vec![0; 0x18];
        block[..4].copy_from_slice(b"INDX");
        let says = if numbers.below(20) == 0 {
            numbers.below(BLOCKS)
        } else {
            vcn
        };
        block[0x10..0x18].copy_from_slice(&says.to_le_bytes());
        block.extend_from_slice(&node(0x28, numbers));
        put(&mut image, 1 + RECORDS + vcn, block, 0x28);
    }
    image
}

fn record(number: u64, numbers: &mut Numbers) -> Vec<u8> {
    let is_directory = number == 5 || numbers.below(3) == 0;
    let mut record = vec![0; 0x38];
    record[..4].copy_from_slice(b"FILE");
    record[0x10] = 1;
    record[0x14] = 0x38;
    record[0x16] = if is_directory { 3 } else { 1 };
    if number >= 24 && numbers.below(4) == 0 {
        record[0x20..0x28].copy_from_slice(&reference(numbers).to_le_bytes());
    }
    let mut attributes = Vec::new();
    if number == 0 {
        let len = RECORDS * BLOCK_LEN as u64;
        attributes.push(clusters(0x80, 0, [len, len], &[0x11, RECORDS as u8, 1, 0], b""));
        if numbers.below(8) == 0 {
            attributes.insert(0, list(numbers));
        }
    } else {
        attributes.push(resident(0x10, &numbers.noise(0x30), b""));
        if numbers.below(3) == 0 {
            attributes.push(list(numbers));
        }
        attributes.push(resident(0x30, &file_name(numbers), b""));
        if is_directory {
            let mut root = [0x30u32, 1, BLOCK_LEN as u32, 1].map(u32::to_le_bytes).concat();
            root.extend_from_slice(&node(0x10, numbers));
            attributes.push(resident(0x90, &root, b"$\0I\x003\x000\0"));
            let runs = [0x11, BLOCKS as u8, 1 + RECORDS as u8, 0];
            let len = BLOCKS * BLOCK_LEN as u64;
            attributes.push(clusters(0xA0, 0, [len, len], &runs, b"$\0I\x003\x000\0"));
        } else {
            attributes.push(content(numbers));
        }
        if numbers.below(4) == 0 {
            let tags = [0xA000_000Cu32, 0xA000_0003, 0xA000_001D, 0x8000_0017, 0x9000_001A];
            let mut point = tags[numbers.below(5) as usize].to_le_bytes().to_vec();
            point.extend_from_slice(&[40, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0]);
            point.extend_from_slice(&numbers.noise(40));
            attributes.push(resident(0xC0, &point, b""));
        }
    }
    for attribute in attributes {
        if record.len() + attribute.len() + 8 <= BLOCK_LEN {
            record.extend_from_slice(&attribute);
        }
    }
    record.extend_from_slice(&[0xFF; 4]);
    // And sometimes it is not what it should be.
    if number != 0 && numbers.below(6) == 0 {
        let at = 0x38 + numbers.below(record.len() as u64 - 0x38) as usize;
        record[at] = numbers.next() as u8;
    }
    record
}

/// Puts a block into its cluster, protected as a whole.
fn put(image: &mut [u8], cluster: u64, mut block: Vec<u8>, sequence_at: usize) {
    block.resize(BLOCK_LEN, 0);
    block[4..8].copy_from_slice(&[sequence_at as u8, 0, 3, 0]);
    block[sequence_at] = 1;
    for stride in 0..2 {
        let end = stride * 512 + 510;
        block.copy_within(end..end + 2, sequence_at + 2 + stride * 2);
        block[end..end + 2].copy_from_slice(&[1, 0]);
    }
    image[cluster as usize * BLOCK_LEN..][..BLOCK_LEN].copy_from_slice(&block);
}

fn reference(numbers: &mut Numbers) -> u64 {
    (1 << 48) | numbers.below(RECORDS + 2)
}

fn header(kind: u32, is_resident: bool, fixed: usize, name: &[u8]) -> Vec<u8> {
    let mut attribute = vec![0; fixed];
    attribute[..4].copy_from_slice(&kind.to_le_bytes());
    attribute[8] = u8::from(!is_resident);
    attribute[9] = name.len() as u8 / 2;
    attribute[0x0A] = fixed as u8;
    attribute.extend_from_slice(name);
    attribute
}

fn finished(mut attribute: Vec<u8>) -> Vec<u8> {
    attribute.resize(attribute.len().next_multiple_of(8), 0);
    let len = attribute.len() as u32;
    attribute[4..8].copy_from_slice(&len.to_le_bytes());
    attribute
}

fn resident(kind: u32, value: &[u8], name: &[u8]) -> Vec<u8> {
    let mut attribute = header(kind, true, 0x18, name);
    attribute[0x10..0x14].copy_from_slice(&(value.len() as u32).to_le_bytes());
    attribute[0x14] = attribute.len() as u8;
    attribute.extend_from_slice(value);
    finished(attribute)
}

fn clusters(kind: u32, flags: u16, [len, initialized]: [u64; 2], runs: &[u8], name: &[u8]) -> Vec<u8> {
    let mut attribute = header(kind, false, 0x40, name);
    attribute[0x0C..0x0E].copy_from_slice(&flags.to_le_bytes());
    attribute[0x20] = attribute.len() as u8;
    attribute[0x22] = if flags == 0 { 0 } else { 4 };
    attribute[0x28..0x30].copy_from_slice(&len.to_le_bytes());
    attribute[0x30..0x38].copy_from_slice(&len.to_le_bytes());
    attribute[0x38..0x40].copy_from_slice(&initialized.to_le_bytes());
    attribute.extend_from_slice(runs);
    finished(attribute)
}

/// The content of a file: short, in runs to anywhere, or compressed.
fn content(numbers: &mut Numbers) -> Vec<u8> {
    if numbers.below(3) == 0 {
        let len = numbers.below(200) as usize;
        return resident(0x80, &numbers.noise(len), b"");
    }
    let mut runs = Vec::new();
    for _ in 0..numbers.below(6) {
        match numbers.below(3) {
            0 => runs.extend_from_slice(&[0x01, 1 + numbers.below(20) as u8]),
            _ => runs.extend_from_slice(&[0x11, 1 + numbers.below(9) as u8, numbers.below(12) as u8]),
        }
    }
    runs.push(0);
    let len = match numbers.below(4) {
        0 => numbers.next() >> 2,
        _ => numbers.below(60_000),
    };
    let flags = [0, 1, 0x8000][numbers.below(3) as usize];
    let initialized = numbers.below(len.max(1) + 1);
    clusters(0x80, flags, [len, initialized], &runs, b"")
}

/// A list of attributes that are anywhere.
fn list(numbers: &mut Numbers) -> Vec<u8> {
    let mut list = Vec::new();
    for _ in 0..numbers.below(6) {
        let kinds = [0x10u32, 0x20, 0x30, 0x80, 0x80, 0x90, 0xA0, 0xC0];
        list.extend_from_slice(&kinds[numbers.below(8) as usize].to_le_bytes());
        list.extend_from_slice(&[0x20, 0, 0, 0x1A]);
        let vcn = if numbers.below(2) == 0 {
            0
        } else {
            numbers.below(60)
        };
        list.extend_from_slice(&vcn.to_le_bytes());
        list.extend_from_slice(&reference(numbers).to_le_bytes());
        list.extend_from_slice(&[0; 8]);
    }
    resident(0x20, &list, b"")
}

fn file_name(numbers: &mut Numbers) -> Vec<u8> {
    let mut name = numbers.noise(0x42);
    name[..8].copy_from_slice(&reference(numbers).to_le_bytes());
    let len = 1 + numbers.below(5) as usize;
    name[0x40] = len as u8;
    name[0x41] = numbers.below(4) as u8;
    for _ in 0..len {
        name.extend_from_slice(&[b'a' + numbers.below(4) as u8, 0]);
    }
    name
}

/// A node of a directory, whose entries begin after `start` bytes and lead to any file and any block.
fn node(start: u32, numbers: &mut Numbers) -> Vec<u8> {
    let mut entries = Vec::new();
    let count = numbers.below(3);
    for index in 0..=count {
        let is_last = index == count;
        let has_subnode = numbers.below(2) == 0;
        let mut entry = reference(numbers).to_le_bytes().to_vec();
        entry.extend_from_slice(&[0; 8]);
        if !is_last {
            let key = file_name(numbers);
            entry[10..12].copy_from_slice(&(key.len() as u16).to_le_bytes());
            entry.extend_from_slice(&key);
        }
        entry.resize(entry.len().next_multiple_of(8), 0);
        if has_subnode {
            entry.extend_from_slice(&numbers.below(BLOCKS + 1).to_le_bytes());
        }
        entry[12] = u8::from(has_subnode) | (u8::from(is_last) << 1);
        let len = entry.len() as u16;
        entry[8..10].copy_from_slice(&len.to_le_bytes());
        entries.extend_from_slice(&entry);
    }
    let end = start + entries.len() as u32;
    let mut node = [start, end, end, 1].map(u32::to_le_bytes).concat();
    node.resize(start as usize, 0);
    node.extend_from_slice(&entries);
    node
}
