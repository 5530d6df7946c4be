//! Images made and changed here, damaged ones, and differences.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use super::super::Format;
use super::super::recorded::{RecordedFile, check_losses_of_power};
use super::super::{NewImage, open_inside};
use super::*;
use crate::conformance;
use crate::device::BlockDevice;

/// No randomness is needed to test with.
fn numbers(bytes: &mut [u8]) -> std::io::Result<()> {
    bytes.fill(7);
    Ok(())
}

fn new_image(len_bytes: u64, is_fixed: bool) -> NewImage {
    NewImage {
        len_bytes,
        sector_size: 512,
        is_fixed,
        created: UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    }
}

fn reopened(file: &RecordedFile) -> Device {
    let image = open_inside(Arc::new(file.content()), Format::Detected).expect("it opens");
    assert_eq!(image.container.expect("it is one").format.name, "vhd");
    image.device
}

/// Makes a dynamic image with blocks of 4 KiB, short enough to be damaged byte by byte.
fn small_image(disk_type: DiskType, id: u128, parent: Option<(Uuid, &str)>) -> Arc<RecordedFile> {
    let file = RecordedFile::over(&[], 128 << 10);
    let footer = Footer {
        header_offset: FOOTER_LEN,
        created: 0,
        len_bytes: 40_960,
        disk_type,
        id: Uuid::from_u128(id),
    };
    let header = Header {
        offset: FOOTER_LEN,
        bat_offset: FOOTER_LEN + header::HEADER_LEN,
        block_bytes: 4096,
        parent_id: parent.map(|(id, _)| id).unwrap_or_default(),
        parent_names: parent.map(|(_, name)| name.to_owned()).into_iter().collect(),
    };
    writer::write_empty(&*file, &footer, &header).expect("room for it");
    file
}

/// Writes into some blocks of a small image and returns what its disk then holds.
fn written(file: &Arc<RecordedFile>) -> Vec<u8> {
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers).expect("it opens");
    let mut content = vec![0; opened.device.len_bytes() as usize];
    for (at, len) in [(100usize, 500usize), (8192, 4096), (12_000, 9000)] {
        let bytes: Vec<u8> = (0..len).map(|index| (index % 250) as u8 + 1).collect();
        opened.device.write_at(at as u64, &bytes).expect("room for it");
        content[at..at + len].copy_from_slice(&bytes);
    }
    opened.device.flush().expect("it can be flushed");
    content
}

#[test]
fn what_is_made_can_be_written_and_opened_again() {
    for is_fixed in [false, true] {
        let file = RecordedFile::over(&[], 12 << 20);
        let new = new_image((2 << 20) + 1536, is_fixed);
        let disk = writer::create(file.clone(), &new, &mut numbers).expect("it is made");
        let mut content = vec![0; new.len_bytes as usize];
        conformance::check(&*reopened(&file), &content);
        conformance::check_writes(&*disk, &mut content);
        drop(disk);
        conformance::check(&*reopened(&file), &content);
        // And again, where they lie.
        let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers).expect("it opens");
        conformance::check_writes(&*opened.device, &mut content);
        conformance::check(&*reopened(&file), &content);
    }
}

#[test]
fn zeros_take_no_room() {
    let file = RecordedFile::over(&[], 12 << 20);
    let disk = writer::create(file.clone(), &new_image(8 << 20, false), &mut numbers).expect("it is made");
    let empty = file.len_bytes();
    disk.write_at(100, &vec![0; 7 << 20]).expect("nothing to do");
    assert_eq!(file.len_bytes(), empty);
    assert_eq!(disk.hole_at(0, u64::MAX), 8 << 20);
    disk.write_at(3 << 20, &[1]).expect("room for it");
    assert_eq!(disk.hole_at(0, u64::MAX), 2 << 20);
}

#[test]
fn a_loss_of_power_leaves_an_image_with_all_that_was_flushed() {
    let image = small_image(DiskType::Dynamic, 1, None).content();
    let file = RecordedFile::over(&image, 128 << 10);
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers).expect("it opens");
    let open_again = |device: Device| {
        let opened = open(device, &Neighbours::none()).expect("it opens");
        opened.device
    };
    check_losses_of_power(&file, &*opened.device, open_again, 1500);
}

#[test]
fn a_full_disk_changes_nothing() {
    let file = small_image(DiskType::Dynamic, 1, None);
    let content = written(&file);
    let full = RecordedFile::over(&file.content(), file.content().len() + 1000);
    let opened = open_writable(full.clone(), &Neighbours::none(), &mut numbers).expect("it opens");
    assert!(opened.device.write_at(36_000, &[1; 100]).is_err());
    opened
        .device
        .write_at(100, &content[100..600])
        .expect("it has a place");
    conformance::check(&*reopened(&full), &content);
}

#[test]
fn a_footer_that_is_missing_comes_back_with_the_first_change() {
    let file = small_image(DiskType::Dynamic, 1, None);
    let mut content = written(&file);
    let mut cut = file.content();
    cut.truncate(cut.len() - 512);
    let opened = open(Arc::new(cut.clone()), &Neighbours::none()).expect("it opens");
    assert_eq!(opened.notes.len(), 1, "{:?}", opened.notes);
    conformance::check(&*opened.device, &content);

    let file = RecordedFile::over(&cut, 128 << 10);
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers).expect("it opens");
    conformance::check_writes(&*opened.device, &mut content);
    assert!(Footer::parse(&file.content()[file.content().len() - 512..]).is_ok());
    conformance::check(&*reopened(&file), &content);
}

#[test]
fn sectors_that_a_bitmap_leaves_out_are_zeros_until_they_are_written() {
    let file = small_image(DiskType::Dynamic, 1, None);
    let mut content = written(&file);
    let mut bytes = file.content();
    // The first block: its bitmap lies where the table says.
    let entry = u32::from_be_bytes(bytes[1536..1540].try_into().expect("four bytes"));
    let bitmap = entry as usize * 512;
    assert_eq!(bytes[bitmap], 0xFF);
    bytes[bitmap] = 0b0101_1111;
    content[..512].fill(0);
    content[1024..1536].fill(0);
    let opened = open(Arc::new(bytes.clone()), &Neighbours::none()).expect("it opens");
    conformance::check(&*opened.device, &content);
    let file = RecordedFile::over(&bytes, 128 << 10);
    let opened = open_writable(file.clone(), &Neighbours::none(), &mut numbers).expect("it opens");
    opened.device.write_at(10, &[9; 10]).expect("room for it");
    content[10..20].fill(9);
    conformance::check(&*reopened(&file), &content);
}

#[test]
fn blocks_over_one_another_are_never_written() {
    let file = small_image(DiskType::Dynamic, 1, None);
    written(&file);
    let mut bytes = file.content();
    let first: [u8; 4] = bytes[1536..1540].try_into().expect("four bytes");
    for entry in [first, 1u32.to_be_bytes(), 0x00FF_FFFFu32.to_be_bytes()] {
        bytes[1540..1544].copy_from_slice(&entry);
        let file = RecordedFile::over(&bytes, 128 << 10);
        let error = open_writable(file, &Neighbours::none(), &mut numbers)
            .err()
            .expect("refused");
        assert!(matches!(error, ContainerError::Damaged { .. }), "{error}");
    }
}

#[test]
fn damage_is_an_error_and_never_anything_else() {
    let file = small_image(DiskType::Dynamic, 1, None);
    let content = written(&file);
    let good = file.content();
    let try_it = |bytes: Vec<u8>| {
        let len = bytes.len();
        for format in [Format::Detected, Format::Of(&SPEC)] {
            if let Ok(image) = open_inside(Arc::new(bytes.clone()), format) {
                let mut buf = vec![0; 5000];
                let end = image.device.len_bytes();
                for at in [0, 8000, 15_000, end.saturating_sub(5000), end] {
                    let _ = image.device.read_at(at, &mut buf);
                }
                image.device.hole_at(0, u64::MAX);
            }
        }
        let file = RecordedFile::over(&bytes, len + (16 << 10));
        if let Ok(opened) = open_writable(file, &Neighbours::none(), &mut numbers) {
            let _ = opened.device.write_at(0, &[1; 5000]);
        }
    };
    // All of the footer, the header, the table, and of the first bitmap.
    for at in (0..1560).chain((1560..2600).step_by(13)) {
        let mut bytes = good.clone();
        bytes[at] ^= [0x01, 0x80, 0xFF][at % 3];
        try_it(bytes);
    }
    for len in (0..good.len()).step_by(256).chain([1, 511, 513, good.len() - 1]) {
        try_it(good[..len].to_vec());
    }
    let footer = good.len() - 512;
    for at in footer..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x41;
        let image = open_inside(Arc::new(bytes), Format::Detected).expect("the copy serves");
        conformance::check(&*image.device, &content);
    }
}

#[test]
fn a_raw_disk_that_only_resembles_one_is_raw() {
    let file = RecordedFile::over(&[], 1 << 20);
    let disk = writer::create(file.clone(), &new_image(64 << 10, true), &mut numbers).expect("it is made");
    drop(disk);
    let good = file.content();
    let is_raw = |bytes: Vec<u8>| {
        let image = open_inside(Arc::new(bytes), Format::Detected).expect("it opens");
        image.container.is_none()
    };
    assert!(!is_raw(good.clone()));
    let mut damaged = good.clone();
    damaged[(64 << 10) + 100] ^= 1;
    assert!(is_raw(damaged), "the checksum is wrong");
    let mut longer = vec![0; 512];
    longer.extend_from_slice(&good);
    assert!(is_raw(longer), "it says another length");
    let forced = open_inside(Arc::new(good), Format::Raw).expect("it opens");
    assert_eq!(forced.device.len_bytes(), (64 << 10) + 512);
}

/// A folder with a parent of three blocks, and a child that has every other sector of one of them.
fn family(folder: &Path, name_in_child: &str) -> (Vec<u8>, Vec<u8>) {
    let parent = small_image(DiskType::Dynamic, 0xAA, None);
    let mut content = written(&parent);
    std::fs::write(folder.join("parent.vhd"), parent.content()).expect("room for it");
    let child = small_image(
        DiskType::Differencing,
        0xBB,
        Some((Uuid::from_u128(0xAA), name_in_child)),
    );
    let mut bytes = child.content();
    let footer = bytes.split_off(bytes.len() - 512);
    let block = bytes.len() / 512;
    let mut bitmap = [0; 512];
    bitmap[0] = 0b1010_1010;
    bytes.extend_from_slice(&bitmap);
    bytes.extend_from_slice(&[0xC5; 4096]);
    bytes.extend_from_slice(&footer);
    // The third block of the disk.
    bytes[1536 + 8..1536 + 12].copy_from_slice(&(block as u32).to_be_bytes());
    for sector in [0, 2, 4, 6] {
        content[8192 + sector * 512..8192 + (sector + 1) * 512].fill(0xC5);
    }
    std::fs::write(folder.join("child.vhd"), &bytes).expect("room for it");
    (bytes, content)
}

#[test]
fn a_difference_is_read_over_its_parent() {
    let folder = tempfile::tempdir().expect("a folder");
    let child = folder.path().join("child.vhd");
    for name in [
        "parent.vhd",
        r".\parent.vhd",
        r"C:\Users\them\parent.vhd",
        "/srv/parent.vhd",
    ] {
        let (_, content) = family(folder.path(), name);
        let image = super::super::open(&child, Format::Detected).expect("it opens");
        conformance::check(&*image.device, &content);
        let container = image.container.expect("it is one");
        assert_eq!(container.title, "a VHD image that builds on `parent.vhd`");
    }
    let refused = super::super::open_writable(&child, Format::Detected, &mut numbers).expect_err("refused");
    assert!(matches!(
        refused,
        super::super::ImageError::Container {
            source: ContainerError::ReadOnly { .. },
            ..
        }
    ));
}

#[test]
fn only_the_right_parent_is_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let (child, _) = family(folder.path(), "parent.vhd");
    let path = folder.path().join("child.vhd");
    let refusal = || match super::super::open(&path, Format::Detected) {
        Err(super::super::ImageError::Container { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    let other = small_image(DiskType::Dynamic, 0xCC, None);
    std::fs::write(folder.path().join("parent.vhd"), other.content()).expect("room for it");
    assert!(matches!(refusal(), ContainerError::OtherParent { .. }));
    std::fs::remove_file(folder.path().join("parent.vhd")).expect("it is there");
    assert!(matches!(refusal(), ContainerError::Neighbour { .. }));
    std::fs::write(folder.path().join("parent.vhd"), "no image").expect("room for it");
    assert!(matches!(refusal(), ContainerError::Parent { .. }));
    family(folder.path(), "child.vhd");
    assert!(matches!(refusal(), ContainerError::Circle { .. }));
    // In memory there is nothing beside it.
    let error = open_inside(Arc::new(child), Format::Detected).expect_err("refused");
    assert!(matches!(error, ContainerError::Escape { .. }));
}

#[test]
fn a_long_chain_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    for number in 0..40u128 {
        let parent = format!("{}.vhd", number + 1);
        let image = small_image(
            DiskType::Differencing,
            number,
            Some((Uuid::from_u128(number + 1), &parent)),
        );
        std::fs::write(folder.path().join(format!("{number}.vhd")), image.content()).expect("room for it");
    }
    match super::super::open(&folder.path().join("0.vhd"), Format::Detected) {
        Err(super::super::ImageError::Container {
            source: ContainerError::TooDeep { .. },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}
