//! EWF images of ewfacquire.

use std::path::{Path, PathBuf};

use keyhaven_disk::container::ContainerError;
use keyhaven_testkit::tool;

use crate::making::{Folder, content};
use crate::mutants;

fn ewfacquire() -> Option<PathBuf> {
    tool::find("ewfacquire")
}

/// Makes `disk.*` of `disk.raw`.
fn acquire(folder: &Folder, program: &Path, options: &str) {
    folder.run(program, &format!("-u -q -t disk {options} disk.raw"));
}

#[test]
fn every_kind_of_image_reads_as_the_raw_one() {
    let Some(ewfacquire) = ewfacquire() else { return };
    // Not a whole number of chunks.
    let raw = content(1, (1 << 20) + 5 * 512);
    for (options, name) in [
        ("-f encase1 -c fast", "disk.E01"),
        ("-f encase2 -c none", "disk.E01"),
        ("-f encase5 -c fast", "disk.E01"),
        ("-f encase6 -c none", "disk.E01"),
        ("-f encase6 -c best -d sha1", "disk.E01"),
        ("-f encase6 -c empty-block", "disk.E01"),
        ("-f encase6 -c fast -b 16", "disk.E01"),
        ("-f encase6 -c none -b 4096", "disk.E01"),
        ("-f encase6 -c fast -P 4096 -b 32", "disk.E01"),
        ("-f encase7 -c fast", "disk.E01"),
        ("-f ftk -c fast", "disk.E01"),
        ("-f linen6 -c none", "disk.E01"),
        ("-f ewfx -c fast", "disk.e01"),
        ("-f ewf -c fast", "disk.e01"),
        ("-f smart -c fast", "disk.s01"),
        ("-f smart -c none", "disk.s01"),
    ] {
        // Sectors of 4 KiB make only whole ones.
        let raw = if options.contains("-P") {
            &raw[..1 << 20]
        } else {
            &raw[..]
        };
        let folder = Folder::with_raw(raw);
        acquire(&folder, &ewfacquire, options);
        let image = folder.check(name, raw);
        let sector_size = if options.contains("-P") { 4096 } else { 512 };
        assert_eq!(image.device.sector_size(), sector_size, "{options}");
        let notes = image.container.expect("it is one").notes;
        assert_eq!(
            notes.len(),
            if options.contains("sha1") { 2 } else { 1 },
            "{options}: {notes:?}"
        );
        assert!(notes[0].starts_with("the drive had the MD5 "), "{notes:?}");
    }
}

#[test]
fn an_image_in_many_files_is_one() {
    let Some(ewfacquire) = ewfacquire() else { return };
    let raw = content(2, 3 << 20);
    let folder = Folder::with_raw(&raw);
    acquire(&folder, &ewfacquire, "-f encase6 -c none -S 1048576");
    let image = folder.check("disk.E01", &raw);
    assert_eq!(
        image.container.expect("it is one").title,
        "an EWF image in 4 files"
    );

    let error = folder.refusal("disk.E02").to_string();
    assert_eq!(error, "this is file 2 of it; name the first one, \"disk.E01\"");
    // Two files changed places, or one is gone or of another image: never a part of the drive for the whole.
    let (second, third) = (folder.read("disk.E02"), folder.read("disk.E03"));
    folder.write("disk.E02", &third);
    folder.write("disk.E03", &second);
    let error = folder.refusal("disk.E01").to_string();
    assert_eq!(
        error,
        "\"disk.E02\" should be its file 2, and says that it is file 3"
    );
    folder.write("disk.E02", &second);
    folder.remove("disk.E03");
    assert!(matches!(
        folder.refusal("disk.E01"),
        ContainerError::Neighbour { name, .. } if name == "disk.E03"
    ));
    folder.write("disk.E03", &third);
    // Another identifier in what the second file repeats of the first.
    folder.edit("disk.E02", |bytes| {
        let data = section(bytes, b"data\0").expect("there is one") + 76;
        bytes[data + 64..data + 80].fill(7);
        let checksum = adler2::adler32_slice(&bytes[data..data + 1048]);
        bytes[data + 1048..data + 1052].copy_from_slice(&checksum.to_le_bytes());
    });
    let error = folder.refusal("disk.E01").to_string();
    assert!(error.ends_with("file 2 belongs to another image"), "{error}");
    // Under another name the others cannot be found.
    folder.write("disk.bin", &folder.read("disk.E01"));
    let error = folder.refusal("disk.bin").to_string();
    assert_eq!(
        error,
        "its file 2 cannot be found, since this one is not called `.E01`"
    );
}

#[test]
fn what_is_damaged_is_missing_and_never_wrong() {
    let Some(ewfacquire) = ewfacquire() else { return };
    let raw = content(4, 96 << 10);
    for options in [
        "-f encase6 -c none -b 16",
        "-f encase5 -c fast -b 16",
        "-f smart -c fast -b 16",
    ] {
        let folder = Folder::with_raw(&raw);
        acquire(&folder, &ewfacquire, options);
        let name = if options.contains("smart") {
            "disk.s01"
        } else {
            "disk.E01"
        };
        let image = folder.read(name);
        assert!(mutants::is_true_or_missing(
            &mutants::look(image.clone()).expect("in order"),
            &raw
        ));
        let judge = |place: usize, pieces: mutants::Pieces| {
            assert!(
                mutants::is_true_or_missing(&pieces, &raw),
                "{options}: byte {place}"
            );
        };
        // Everything that is not a chunk of the drive lies at the two ends.
        let middle = 2200..image.len().saturating_sub(1800);
        let ends = (0..image.len()).filter(|place| !middle.contains(place));
        let telling = ends
            .clone()
            .filter(|place| place % 23 == 0 || image[*place] != 0 && place % 3 == 0);
        mutants::flip_bytes(&image, telling, judge);
        mutants::flip_bytes(&image, (0..image.len()).step_by(997), judge);
        mutants::overwrite_words(&image, ends.step_by(43));
        mutants::cut_off(&image, (0..image.len()).step_by(1009), judge);
    }
}

#[test]
fn a_damaged_chunk_costs_no_other() {
    let Some(ewfacquire) = ewfacquire() else { return };
    let raw = content(5, 512 << 10);
    let folder = Folder::with_raw(&raw);
    acquire(&folder, &ewfacquire, "-f encase6 -c none");
    folder.edit("disk.E01", |bytes| bytes[200_000] ^= 1);
    let image = folder.open("disk.E01").expect("it opens");
    let chunk = 32 << 10;
    let bad: Vec<usize> = (0..16)
        .filter(|number| {
            let mut buf = vec![0; chunk];
            let is_bad = image.device.read_at((number * chunk) as u64, &mut buf).is_err();
            assert!(is_bad || buf == raw[number * chunk..(number + 1) * chunk]);
            is_bad
        })
        .collect();
    assert_eq!(bad, [6]);
    let error = image
        .device
        .read_at(200_000, &mut [0; 512])
        .expect_err("a wrong checksum");
    let source = std::error::Error::source(&error).expect("a reason").to_string();
    assert!(
        source.starts_with("the image file is damaged: chunk 6 at byte "),
        "{source}"
    );
}

#[test]
fn a_table_that_is_damaged_has_a_copy() {
    let Some(ewfacquire) = ewfacquire() else { return };
    let raw = content(6, 512 << 10);
    let folder = Folder::with_raw(&raw);
    acquire(&folder, &ewfacquire, "-f encase6 -c fast");
    let table = section(&folder.read("disk.E01"), b"table\0").expect("there is one");
    // Behind the descriptor and the start of the table.
    folder.edit("disk.E01", |bytes| bytes[table + 76 + 24 + 9] ^= 1);
    folder.check("disk.E01", &raw);
    let copy = section(&folder.read("disk.E01"), b"table2\0").expect("there is one");
    folder.edit("disk.E01", |bytes| bytes[copy + 76 + 24 + 9] ^= 1);
    let image = folder.open("disk.E01").expect("it opens");
    assert!(image.device.read_at(0, &mut [0; 512]).is_err());
}

#[test]
fn sectors_that_were_never_read_are_no_zeros() {
    let Some(ewfacquire) = ewfacquire() else { return };
    let raw = content(7, 256 << 10);
    let folder = Folder::with_raw(&raw);
    acquire(&folder, &ewfacquire, "-f encase6 -c none");
    folder.edit("disk.E01", |bytes| {
        let done = section(bytes, b"done\0").expect("the end");
        bytes.truncate(done);
        let mut list = [2u32.to_le_bytes().as_slice(), &[0; 512]].concat();
        list.extend(adler2::adler32_slice(&list).to_le_bytes());
        let ranges: Vec<u8> = [100u32, 3, 102, 6]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        list.extend(&ranges);
        list.extend(adler2::adler32_slice(&ranges).to_le_bytes());
        push_section(bytes, "error2", &list);
        push_section(bytes, "done", &[]);
    });
    let image = folder.open("disk.E01").expect("it opens");
    let notes = &image.container.as_ref().expect("it is one").notes;
    assert_eq!(
        notes[0],
        "4096 bytes of the drive could not be read when it was made"
    );
    for sector in 0..512usize {
        let mut buf = [0; 512];
        let outcome = image.device.read_at(sector as u64 * 512, &mut buf);
        assert_eq!(outcome.is_err(), (100..108).contains(&sector), "sector {sector}");
        assert!(outcome.is_err() || buf == raw[sector * 512..(sector + 1) * 512]);
    }
}

#[test]
fn kin_of_the_format_are_refused_by_name() {
    let folder = Folder::new();
    for (magic, message) in [
        (
            b"LVF\x09\x0D\x0A\xFF\x00",
            "it holds files that were copied from a drive (L01)",
        ),
        (
            b"EVF2\x0D\x0A\x81\x00",
            "it is of the second version of the format (Ex01)",
        ),
        (
            b"LEF2\x0D\x0A\x81\x00",
            "it is of the second version of the format (Ex01)",
        ),
        (b"EVF\x09\x0D\x0A\xFF\x00", "the start at byte 0x0 is damaged"),
    ] {
        folder.write("disk.E01", &[magic.as_slice(), &[0; 600]].concat());
        let error = folder.refusal("disk.E01").to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

/// Finds the section whose type begins like this.
fn section(bytes: &[u8], kind: &[u8]) -> Option<usize> {
    let mut at = 13;
    loop {
        if bytes[at..].starts_with(kind) {
            return Some(at);
        }
        let next = u64::from_le_bytes(*bytes[at + 16..].first_chunk().expect("a descriptor"));
        let next = usize::try_from(next).expect("a small file");
        if next <= at {
            return None;
        }
        at = next;
    }
}

fn push_section(bytes: &mut Vec<u8>, kind: &str, data: &[u8]) {
    let at = bytes.len();
    let len = 76 + data.len();
    let next = if data.is_empty() { at } else { at + len };
    let mut descriptor = kind.as_bytes().to_vec();
    descriptor.resize(16, 0);
    descriptor.extend((next as u64).to_le_bytes());
    descriptor.extend((len as u64).to_le_bytes());
    descriptor.resize(72, 0);
    descriptor.extend(adler2::adler32_slice(&descriptor).to_le_bytes());
    bytes.extend(descriptor);
    bytes.extend(data);
}
