//! VHD and VHDX images: those of qemu-img are read and changed, and those made here are taken by others.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use keyhaven_disk::container::{self, Format, ImageError, NewImage, Spec};
use keyhaven_disk::{Writable, conformance};
use keyhaven_testkit::{numbers, tool};

use crate::making::{Folder, content, qemu_img};
use crate::mutants;

/// What qemu-img calls the formats, its options, and what is said of the images.
const MADE_BY_OTHERS: &[(&str, &str, &str)] = &[
    ("vpc", "subformat=dynamic,force_size=on", "a dynamic VHD image"),
    ("vpc", "subformat=fixed,force_size=on", "a fixed VHD image"),
    ("vhdx", "subformat=dynamic", "a dynamic VHDX image"),
    (
        "vhdx",
        "subformat=dynamic,block_size=1M,block_state_zero=off",
        "a dynamic VHDX image",
    ),
    ("vhdx", "subformat=fixed,block_size=2M", "a fixed VHDX image"),
];

#[test]
fn every_kind_of_image_reads_as_the_raw_one() {
    let Some(qemu_img) = qemu_img() else { return };
    let mut raw = content(1, (5 << 20) + 7 * 512);
    raw[2 << 20..4 << 20].fill(0);
    let folder = Folder::with_raw(&raw);
    for (format, options, title) in MADE_BY_OTHERS {
        folder.run(
            &qemu_img,
            &format!("convert -O {format} -o {options} disk.raw disk.img"),
        );
        let image = folder.check("disk.img", &raw);
        let container = image.container.expect("it is checked");
        assert_eq!(container.title, *title);
        assert!(container.notes.is_empty(), "{options}: {:?}", container.notes);
    }
}

#[test]
fn images_of_others_are_changed_so_that_others_read_them() {
    let Some(qemu_img) = qemu_img() else { return };
    let mut raw = content(2, (3 << 20) + 512);
    raw[1 << 20..2 << 20].fill(0);
    let folder = Folder::with_raw(&raw);
    for (format, options, _) in MADE_BY_OTHERS {
        folder.run(
            &qemu_img,
            &format!("convert -O {format} -o {options} disk.raw disk.img"),
        );
        let image = container::open_writable(&folder.path("disk.img"), Format::Detected, &mut numbers(3))
            .expect("it can be changed");
        let mut changed = raw.clone();
        conformance::check_writes(&*image.device, &mut changed);
        drop(image);
        folder.check("disk.img", &changed);
        folder.write("changed.raw", &changed);
        judge(&folder, &qemu_img, format, "changed.raw", "disk.img");
    }
}

/// Has others compare an image with a raw one.
fn judge(folder: &Folder, qemu_img: &Path, format: &str, raw: &str, image: &str) {
    folder.run(qemu_img, &format!("compare -f raw -F {format} {raw} {image}"));
    if format == "vhdx" {
        folder.run(qemu_img, &format!("check -f vhdx {image}"));
    } else if let Some(vhdiinfo) = tool::find("vhdiinfo") {
        folder.run(&vhdiinfo, image);
    }
}

fn make(folder: &Folder, name: &str, new: &NewImage) -> Result<Writable, ImageError> {
    let path = folder.path(name);
    File::create(&path).expect("room for it");
    let format = Spec::of_name(Path::new(name)).expect("it is known");
    container::create(&path, format, new, &mut numbers(9))
}

#[test]
fn images_made_here_are_taken_by_others() {
    let Some(qemu_img) = qemu_img() else { return };
    let mut raw = content(4, (5 << 20) + 4096);
    raw[1 << 20..4 << 20].fill(0);
    let folder = Folder::with_raw(&raw);
    for (name, format, sector_size) in [
        ("a.vhd", "vpc", 512),
        ("a.vhdx", "vhdx", 512),
        ("b.vhdx", "vhdx", 4096),
    ] {
        for is_fixed in [false, true] {
            let new = NewImage {
                len_bytes: raw.len() as u64,
                sector_size,
                is_fixed,
                created: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            };
            let disk = make(&folder, name, &new).expect("it is made");
            for (number, piece) in raw.chunks(100_000).enumerate() {
                disk.write_at(number as u64 * 100_000, piece)
                    .expect("room for it");
            }
            disk.flush().expect("it can be flushed");
            drop(disk);
            let image = folder.check(name, &raw);
            assert_eq!(image.device.sector_size(), sector_size);
            // QEMU shows no disk with sectors of 4096 bytes in a VHDX image.
            if sector_size == 512 {
                judge(&folder, &qemu_img, format, "disk.raw", name);
            }
        }
    }
}

#[test]
fn large_images_are_made_at_once_and_stay_small() {
    let Some(qemu_img) = qemu_img() else { return };
    let folder = Folder::new();
    let new = |len_bytes: u64| NewImage {
        len_bytes,
        sector_size: 512,
        is_fixed: false,
        created: UNIX_EPOCH,
    };
    for (name, format, len) in [("a.vhd", "vpc", 2040u64 << 30), ("a.vhdx", "vhdx", 64 << 40)] {
        let disk = make(&folder, name, &new(len)).expect("it is made");
        disk.write_at(len - 512, &[7; 512]).expect("room for it");
        disk.flush().expect("it can be flushed");
        drop(disk);
        let image = folder.open(name).expect("it opens");
        let mut sector = [0; 512];
        image.device.read_at(len - 512, &mut sector).expect("inside");
        assert_eq!(sector, [7; 512]);
        assert!(folder.path(name).metadata().expect("it is there").len() < 64 << 20);
        folder.run(&qemu_img, &format!("info -f {format} {name}"));
        let more = make(&folder, name, &new(len + 512)).expect_err("too large");
        assert!(matches!(more, ImageError::Container { .. }), "{more:?}");
    }
}

/// Makes the last entry that QEMU wrote into the log count again, and takes from the file what it changed: as if the power
/// had failed between the two.
fn as_if_never_closed(image: &mut [u8]) {
    const LOG: usize = 1 << 20;

    assert!(image[LOG..].starts_with(b"loge"));
    let log_id: [u8; 16] = image[LOG + 32..LOG + 48].try_into().expect("16 bytes");
    let descriptor = &image[LOG + 64..LOG + 96];
    assert!(descriptor.starts_with(b"desc"));
    let changed = u64::from_le_bytes(descriptor[16..24].try_into().expect("8 bytes")) as usize;
    image[changed..changed + 4096].fill(0);
    for start in [64 << 10, 128 << 10] {
        let header = &mut image[start..start + 4096];
        header[48..64].copy_from_slice(&log_id);
        header[4..8].fill(0);
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(header);
        header[4..8].copy_from_slice(&sum.to_le_bytes());
    }
}

#[test]
fn an_image_that_was_not_closed_is_read_with_its_log() {
    let (Some(qemu_img), Some(qemu_io)) = (qemu_img(), tool::find("qemu-io")) else {
        return;
    };
    let mut raw = content(5, 3 << 20);
    raw[1 << 20..].fill(0);
    let folder = Folder::with_raw(&raw);
    folder.run(&qemu_img, "convert -O vhdx -o block_size=1M disk.raw disk.vhdx");
    folder.run_with(
        &qemu_io,
        &["-f", "vhdx", "-c", "write -P 9 1100k 600k", "disk.vhdx"],
    );
    raw[1100 << 10..1700 << 10].fill(9);
    folder.edit("disk.vhdx", |image| as_if_never_closed(image));
    let image = folder.check("disk.vhdx", &raw);
    assert_eq!(image.container.expect("it is checked").notes.len(), 1);
    folder.write("by-qemu.vhdx", &folder.read("disk.vhdx"));
    folder.run(&qemu_img, "check -q -f vhdx -r all by-qemu.vhdx");

    let path = folder.path("disk.vhdx");
    let image =
        container::open_writable(&path, Format::Detected, &mut numbers(3)).expect("it can be changed");
    drop(image);
    folder.run(&qemu_img, "compare -f vhdx -F vhdx disk.vhdx by-qemu.vhdx");
    let image =
        container::open_writable(&path, Format::Detected, &mut numbers(3)).expect("it can be changed");
    image.device.write_at(2 << 20, &[8; 1000]).expect("room for it");
    raw[2 << 20..(2 << 20) + 1000].fill(8);
    drop(image);
    folder.write("changed.raw", &raw);
    let image = folder.check("disk.vhdx", &raw);
    assert!(image.container.expect("it is checked").notes.is_empty());
    judge(&folder, &qemu_img, "vhdx", "changed.raw", "disk.vhdx");
}

#[test]
fn damaged_images_end_in_errors() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(6, 100_000 / 512 * 512);
    let folder = Folder::with_raw(&raw);
    folder.run(
        &qemu_img,
        "convert -O vpc -o subformat=dynamic,force_size=on disk.raw disk.vhd",
    );
    let image = folder.read("disk.vhd");
    let end = image.len();
    // The copy of the footer, the header, the table, a bitmap, the footer: a change in what has a checksum is an error
    // or of no consequence, and one in the table or the bitmap says which sectors there are.
    mutants::flip_bytes(
        &image,
        (0..1536).step_by(37).chain((1536..2100).step_by(5)),
        |_, _| (),
    );
    mutants::flip_bytes(&image, (end - 512..end).step_by(7), |place, pieces| {
        assert!(mutants::is_true_or_missing(&pieces, &raw), "byte {place}");
    });
    mutants::overwrite_words(&image, (512..640).step_by(16).chain([1536, 1540]));
    mutants::cut_off(&image, (0..4096).step_by(500), |_, _| ());
    mutants::cut_off(
        &image,
        [end - 1, end - 512, end - 513, end - 100_000],
        |place, pieces| {
            assert!(
                mutants::is_true_or_missing(&pieces, &raw),
                "cut off at byte {place}"
            );
        },
    );
}
