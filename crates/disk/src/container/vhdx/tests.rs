//! Images made and changed here, logs, damaged images, and differences.

use std::path::Path;
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use super::super::Format;
use super::super::recorded::{RecordedFile, check_losses_of_power};
use super::super::{ImageError, NewImage, open_inside};
use super::header::Header;
use super::metadata::Parent;
use super::*;
use crate::conformance;
use crate::device::BlockDevice;
use crate::writable::WritableDevice;

/// Identifiers that differ, for tests only.
fn numbers() -> impl FnMut(&mut [u8]) -> std::io::Result<()> {
    let mut next = 0u8;
    move |bytes: &mut [u8]| {
        next += 1;
        bytes.fill(next);
        Ok(())
    }
}

fn new_image(len_bytes: u64, sector_size: u32, is_fixed: bool) -> NewImage {
    NewImage {
        len_bytes,
        sector_size,
        is_fixed,
        created: UNIX_EPOCH,
    }
}

fn reopened(file: &RecordedFile) -> Device {
    let image = open_inside(Arc::new(file.content()), Format::Detected).expect("it opens");
    let container = image.container.expect("it is one");
    assert_eq!(container.format.name, "vhdx");
    assert!(container.notes.is_empty());
    image.device
}

/// Makes an image of two blocks of 1 MiB with a little in it.
fn small_image() -> (Vec<u8>, Vec<u8>) {
    let file = empty_image(None, 1);
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers()).expect("it opens");
    let mut content = vec![0; opened.device.len_bytes() as usize];
    for (at, len) in [(100usize, 500usize), (1 << 20, 9000)] {
        let bytes: Vec<u8> = (0..len).map(|index| (index % 250) as u8 + 1).collect();
        opened.device.write_at(at as u64, &bytes).expect("room for it");
        content[at..at + len].copy_from_slice(&bytes);
    }
    opened.device.flush().expect("it can be flushed");
    (file.content(), content)
}

fn empty_image(parent: Option<Parent>, id: u128) -> Arc<RecordedFile> {
    let file = RecordedFile::over(&[], 9 << 20);
    let metadata = Metadata {
        len_bytes: (2 << 20) + 4096,
        block_bytes: 1 << 20,
        sector_size: 512,
        is_fixed: false,
        disk_id: Uuid::from_u128(5),
        parent,
    };
    let ids = [Uuid::from_u128(1000), Uuid::from_u128(id)];
    writer::write_empty(&*file, &metadata, ids).expect("room for it");
    file
}

#[test]
fn what_is_made_can_be_written_and_opened_again() {
    for (sector_size, is_fixed) in [(512, false), (4096, false), (512, true)] {
        let file = RecordedFile::over(&[], 14 << 20);
        let new = new_image((2 << 20) + 8192, sector_size, is_fixed);
        let disk = writer::create(file.clone(), &new, &mut numbers()).expect("it is made");
        assert_eq!(disk.sector_size(), sector_size);
        let mut content = vec![0; new.len_bytes as usize];
        conformance::check(&*reopened(&file), &content);
        conformance::check_writes(&*disk, &mut content);
        drop(disk);
        conformance::check(&*reopened(&file), &content);
        // And again, where they lie.
        let before = Headers::read(&(file.clone() as Device)).expect("whole").current;
        let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers()).expect("it opens");
        conformance::check_writes(&*opened.device, &mut content);
        conformance::check(&*reopened(&file), &content);
        let after = Headers::read(&(file.clone() as Device)).expect("whole").current;
        assert!(after.sequence > before.sequence);
        assert_ne!(after.file_write_id, before.file_write_id);
        assert_ne!(after.data_write_id, before.data_write_id);
    }
}

#[test]
fn nothing_changes_before_something_is_written() {
    let (bytes, content) = small_image();
    let file = RecordedFile::over(&bytes, bytes.len());
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers()).expect("it opens");
    conformance::check(&*opened.device, &content);
    opened.device.write_at(0, &[]).expect("nothing to do");
    assert!(file.content() == bytes);
}

#[test]
fn the_metadata_read_back_as_they_were_written() {
    let regions = Regions {
        bat: region::Region {
            offset: 1 << 20,
            len: 1 << 20,
        },
        metadata: region::Region {
            offset: 0,
            len: 1 << 20,
        },
        others: Vec::new(),
    };
    let parent = Parent {
        ids: vec![Uuid::from_u128(1), Uuid::from_u128(2)],
        names: vec!["parent.vhdx".to_owned(), "p.vhdx".to_owned()],
    };
    for parent in [None, Some(parent)] {
        for is_fixed in [false, true] {
            let metadata = Metadata {
                len_bytes: 3 << 40,
                block_bytes: 32 << 20,
                sector_size: 4096,
                is_fixed,
                disk_id: Uuid::from_u128(9),
                parent: parent.clone(),
            };
            let file: Device = Arc::new(metadata.to_bytes());
            assert_eq!(Metadata::read(&file, &regions).expect("it reads"), metadata);
        }
    }
}

#[test]
fn a_loss_of_power_leaves_an_image_with_all_that_was_flushed() {
    let file = RecordedFile::over(&empty_image(None, 1).content(), 9 << 20);
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers()).expect("it opens");
    let open_again = |device: Device| {
        let opened = open(device, &Neighbours::none()).expect("it opens");
        assert!(opened.notes.is_empty());
        opened.device
    };
    check_losses_of_power(&file, &*opened.device, open_again, 300);
}

#[test]
fn blocks_over_one_another_are_never_written() {
    let (bytes, _) = small_image();
    let bat = 3 << 20;
    let first: [u8; 8] = bytes[bat..bat + 8].try_into().expect("eight bytes");
    let over_log = (1u64 << 20 | 6).to_le_bytes();
    let past_end = (1u64 << 40 | 6).to_le_bytes();
    for entry in [first, over_log, past_end] {
        let mut bytes = bytes.clone();
        bytes[bat + 8..bat + 16].copy_from_slice(&entry);
        let file = RecordedFile::over(&bytes, bytes.len());
        let error = open_writable(file, &Neighbours::none(), &mut numbers())
            .err()
            .expect("refused");
        assert!(matches!(error, ContainerError::Damaged { .. }), "{error}");
    }
}

/// Writes a header with a log, and entries into it, each of which sets one sector of the file and clears another.
fn with_log(bytes: &[u8], first: usize, entries: &[(u64, &[u8; 4096], u64)]) -> Vec<u8> {
    let log_id = Uuid::from_u128(77);
    let mut image = bytes.to_vec();
    let file: Device = Arc::new(bytes.to_vec());
    let mut headers = Headers::read(&file).expect("whole");
    let (offset, header) = headers.advance(Header {
        log_id,
        ..headers.current.clone()
    });
    image[offset as usize..offset as usize + 4096].copy_from_slice(&header);
    let log = 1 << 20;
    let tail = (first * 4096) % (1 << 20);
    for (number, (place, sector, zeros)) in entries.iter().enumerate() {
        let sequence = 50 + number as u64;
        let mut entry = Vec::new();
        entry.extend_from_slice(b"loge\0\0\0\0");
        entry.extend_from_slice(&8192u32.to_le_bytes());
        entry.extend_from_slice(&(tail as u32).to_le_bytes());
        entry.extend_from_slice(&sequence.to_le_bytes());
        entry.extend_from_slice(&2u32.to_le_bytes());
        entry.extend_from_slice(&[0; 4]);
        entry.extend_from_slice(&log_id.to_bytes_le());
        entry.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        entry.extend_from_slice(&((bytes.len() + (1 << 20)) as u64).to_le_bytes());
        entry.extend_from_slice(b"desc");
        entry.extend_from_slice(&sector[4092..]);
        entry.extend_from_slice(&sector[..8]);
        entry.extend_from_slice(&place.to_le_bytes());
        entry.extend_from_slice(&sequence.to_le_bytes());
        entry.extend_from_slice(b"zero\0\0\0\0");
        entry.extend_from_slice(&4096u64.to_le_bytes());
        entry.extend_from_slice(&zeros.to_le_bytes());
        entry.extend_from_slice(&sequence.to_le_bytes());
        entry.resize(4096, 0);
        entry.extend_from_slice(b"data");
        entry.extend_from_slice(&((sequence >> 32) as u32).to_le_bytes());
        entry.extend_from_slice(&sector[8..4092]);
        entry.extend_from_slice(&(sequence as u32).to_le_bytes());
        checksum::set(&mut entry);
        // It is a ring.
        for (index, byte) in entry.into_iter().enumerate() {
            image[log + (tail + number * 8192 + index) % (1 << 20)] = byte;
        }
    }
    image
}

#[test]
fn changes_that_were_under_way_are_taken_from_the_log() {
    let (good, content) = small_image();
    let bat = 3usize << 20;
    let table: [u8; 4096] = good[bat..bat + 4096].try_into().expect("inside");
    let mut early = table;
    early[0] = 0;
    // The table is gone from the file, and in the log in two versions, the second of which counts.
    let mut damaged = good.clone();
    damaged[bat..bat + 4096].fill(0);
    for first in [0, 100, 255] {
        let entries = [
            (bat as u64, &early, 5 << 20),
            (bat as u64, &table, 2 << 20 | 512 << 10),
        ];
        let mut entries = entries.map(|(place, sector, zeros)| (place, sector, zeros));
        // Zeros where zeros are: behind the metadata.
        entries[0].2 = (2 << 20) + (600 << 10);
        let image = with_log(&damaged, first, &entries);
        let opened = open(Arc::new(image.clone()), &Neighbours::none()).expect("it opens");
        assert_eq!(opened.notes.len(), 1);
        conformance::check(&*opened.device, &content);

        // Whoever changes it brings them into the file first, and any loss of power leaves that to be done again.
        let file = RecordedFile::over(&image, image.len() + (2 << 20));
        let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers()).expect("it opens");
        conformance::check(&*opened.device, &content);
        for state in file.recorder().states(100, 3) {
            let opened = open(state.device, &Neighbours::none()).expect("it opens");
            let mut found = vec![0; content.len()];
            opened.device.read_at(0, &mut found).expect("inside");
            assert!(found == content, "{}", state.kept);
        }
        conformance::check(&*reopened(&file), &content);
    }
}

#[test]
fn only_a_whole_run_of_the_log_counts() {
    let (good, content) = small_image();
    let bat = 3u64 << 20;
    let table: [u8; 4096] = good[bat as usize..bat as usize + 4096]
        .try_into()
        .expect("inside");
    let nothing = [0; 4096];
    let spare = (2 << 20) + (600 << 10);
    // The second entry would take everything away, and is torn: then the first is the last.
    let image = with_log(&good, 7, &[(bat, &table, spare), (bat, &nothing, spare)]);
    let second = (1 << 20) + 9 * 4096;
    let mut torn = image.clone();
    torn[second + 5000] ^= 1;
    let opened = open(Arc::new(torn.clone()), &Neighbours::none()).expect("it opens");
    conformance::check(&*opened.device, &content);
    // Without any there must have been one.
    torn[second - 8192 + 5000] ^= 1;
    assert!(open(Arc::new(torn), &Neighbours::none()).is_err());
    // The file was longer when the entry was written.
    assert!(open(Arc::new(image[..image.len() - 1].to_vec()), &Neighbours::none()).is_err());
}

#[test]
fn damage_is_an_error_and_never_anything_else() {
    let (good, content) = small_image();
    let with_log = with_log(&good, 0, &[(9 << 20, &[3; 4096], (2 << 20) + (600 << 10))]);
    let try_it = |bytes: &Arc<Vec<u8>>, patches: &[(usize, u8)]| {
        let device: Device = Arc::new(Flipped {
            bytes: bytes.clone(),
            flips: patches.to_vec(),
        });
        if let Ok(image) = open_inside(device, Format::Of(&SPEC)) {
            let mut buf = vec![0; 5000];
            let end = image.device.len_bytes();
            for at in [0, (1 << 20) - 2500, end.saturating_sub(5000), end] {
                let _ = image.device.read_at(at, &mut buf);
            }
            image.device.hole_at(0, u64::MAX);
        }
    };
    let places = |image: &[u8]| -> Vec<usize> {
        let areas = [
            (0, 16),
            (64 << 10, 100),
            (128 << 10, 100),
            (192 << 10, 100),
            (256 << 10, 100),
        ];
        let behind = [
            (1 << 20, 140),
            ((1 << 20) + 4096, 16),
            (2 << 20, 260),
            ((2 << 20) + (64 << 10), 64),
            (3 << 20, 32),
        ];
        areas
            .iter()
            .chain(&behind)
            .flat_map(|(start, len)| *start..start + len)
            .filter(|at| *at < image.len())
            .collect()
    };
    for image in [good.clone(), with_log] {
        let image = Arc::new(image);
        for at in places(&image) {
            for flip in [0x01, 0x80, 0xFF] {
                try_it(&image, &[(at, flip)]);
            }
        }
    }
    for len in [
        0,
        7,
        8,
        65_536,
        70_000,
        132_000,
        200_000,
        1 << 20,
        2 << 20,
        3 << 20,
        (3 << 20) + 8,
        5 << 20,
    ] {
        try_it(&Arc::new(good[..len].to_vec()), &[]);
    }
    // One of two headers, one of two region tables: the other serves.
    for at in [64 << 10, 128 << 10, 192 << 10, 256 << 10] {
        let mut bytes = good.clone();
        bytes[at + 20] ^= 1;
        let is_second_header = at == 64 << 10 || at == 128 << 10;
        let opened = open(Arc::new(bytes), &Neighbours::none()).expect("it opens");
        if !is_second_header {
            conformance::check(&*opened.device, &content);
        }
    }
}

/// Bytes that many share, of which some are changed for one.
#[derive(Debug)]
struct Flipped {
    bytes: Arc<Vec<u8>>,
    flips: Vec<(usize, u8)>,
}

impl BlockDevice for Flipped {
    fn len_bytes(&self) -> u64 {
        self.bytes.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), crate::ReadError> {
        self.bytes.read_at(offset, buf)?;
        for (at, flip) in &self.flips {
            if let Some(byte) = at
                .checked_sub(offset as usize)
                .and_then(|index| buf.get_mut(index))
            {
                *byte ^= flip;
            }
        }
        Ok(())
    }
}

/// A folder with a parent, and a child that has every other sector of the second block.
fn family(folder: &Path, parent_id: u128, name: &str) -> Vec<u8> {
    let (parent, mut content) = small_image();
    let id = Headers::read(&(Arc::new(parent.clone()) as Device)).expect("whole");
    std::fs::write(folder.join("parent.vhdx"), &parent).expect("room for it");
    let child = empty_image(
        Some(Parent {
            ids: vec![if parent_id == 0 {
                id.current.data_write_id
            } else {
                Uuid::from_u128(parent_id)
            }],
            names: vec![name.to_owned()],
        }),
        2,
    );
    let end = child.len_bytes();
    let bat = 3 << 20;
    let bitmaps = end.next_multiple_of(1 << 20);
    child.grow(bitmaps + (2 << 20)).expect("room for it");
    // The second block in part, the third without anything, whatever the parent has.
    let entry = |index: u64, bits: u64| {
        child
            .write_at(bat + index * 8, &bits.to_le_bytes())
            .expect("inside")
    };
    entry(1, (bitmaps + (1 << 20)) | 7);
    entry(2, 2);
    entry(4096, bitmaps | 6);
    // 2048 sectors of the block before it, 256 bytes of bits.
    child.write_at(bitmaps + 256, &[0b0101_0101]).expect("inside");
    child
        .write_at(bitmaps + (1 << 20), &[0xC5; 4096])
        .expect("inside");
    for sector in [0, 2, 4, 6] {
        let at = (1 << 20) + sector * 512;
        content[at..at + 512].fill(0xC5);
    }
    content[2 << 20..].fill(0);
    std::fs::write(folder.join("child.vhdx"), child.content()).expect("room for it");
    content
}

#[test]
fn a_difference_is_read_over_its_parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = folder.path().join("child.vhdx");
    for name in ["parent.vhdx", r"..\elsewhere\parent.vhdx"] {
        let content = family(folder.path(), 0, name);
        let image = super::super::open(&child, Format::Detected).expect("it opens");
        conformance::check(&*image.device, &content);
    }
    let refused = super::super::open_writable(&child, Format::Detected, &mut numbers()).expect_err("refused");
    assert!(matches!(
        refused,
        ImageError::Container {
            source: ContainerError::ReadOnly { .. },
            ..
        }
    ));
    family(folder.path(), 12345, "parent.vhdx");
    match super::super::open(&child, Format::Detected) {
        Err(ImageError::Container {
            source: ContainerError::OtherParent { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}
