//! Raw images in several files.

use keyhaven_disk::container::{self, Format};

use crate::making::{Folder, content, qemu_img};

/// Cuts content into files of `part` bytes that are called as `name` says.
fn split(folder: &Folder, content: &[u8], part: usize, name: impl Fn(usize) -> String) {
    for (number, bytes) in content.chunks(part).enumerate() {
        folder.write(&name(number), bytes);
    }
}

#[test]
fn parts_are_one_image_however_they_are_numbered() {
    let raw = content(1, (1 << 20) + 700);
    let letters = |number: usize| ["aa", "ab", "ac", "ad"][number];
    for (first, name) in [
        (
            "disk.001",
            &(|number: usize| format!("disk.{:03}", number + 1)) as &dyn Fn(usize) -> String,
        ),
        ("disk.000", &|number| format!("disk.{number:03}")),
        ("disk.img.00", &|number| format!("disk.img.{number:02}")),
        ("disk.raw.aa", &|number| format!("disk.raw.{}", letters(number))),
    ] {
        let folder = Folder::new();
        split(&folder, &raw, 300_000, name);
        let image = folder.check(first, &raw);
        assert_eq!(image.container.expect("it is one").title, "an image in 4 files");
        let error = folder.refusal(&name(2)).to_string();
        assert_eq!(
            error,
            format!("this is a part of it; name the first one, {first:?}")
        );
        let alone = container::open(&folder.path(first), Format::Raw).expect("it was asked for");
        assert_eq!(alone.device.len_bytes(), 300_000);
    }
}

#[test]
fn a_part_that_is_missing_is_told_by_name() {
    let raw = content(2, 1 << 20);
    let name = |number: usize| format!("disk.{:03}", number + 1);
    let refused = |change: &dyn Fn(&Folder), opened: &str, message: &str| {
        let folder = Folder::new();
        split(&folder, &raw, 200_000, name);
        change(&folder);
        assert_eq!(folder.refusal(opened).to_string(), message);
    };
    refused(
        &|folder| folder.remove("disk.003"),
        "disk.001",
        "its part \"disk.003\" is missing, and \"disk.004\" is there",
    );
    refused(
        &|folder| folder.remove("disk.001"),
        "disk.002",
        "its first part, \"disk.001\", is missing",
    );
    refused(
        &|folder| folder.edit("disk.003", |bytes| bytes.truncate(199_999)),
        "disk.001",
        "its parts do not fit together: \"disk.003\" has 199999 bytes and is not the last; the first has 200000",
    );
    refused(
        &|folder| folder.edit("disk.004", |bytes| bytes.push(0)),
        "disk.001",
        "its parts do not fit together: \"disk.004\" has 200001 bytes, more than the first, which has 200000",
    );
}

#[test]
fn a_file_with_such_a_name_and_no_other_is_raw() {
    let folder = Folder::new();
    folder.write("disk.001", &[7; 1000]);
    folder.write("disk.img", &[7; 1000]);
    for name in ["disk.001", "disk.img"] {
        let image = folder.open(name).expect("it opens");
        assert!(image.container.is_none(), "{name}");
        assert_eq!(image.device.len_bytes(), 1000);
    }
}

#[test]
fn what_was_split_may_have_been_an_image_of_another_format() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(3, 1 << 20);
    let folder = Folder::with_raw(&raw);
    folder.run(&qemu_img, "convert -O qcow2 disk.raw disk.qcow2");
    split(&folder, &folder.read("disk.qcow2"), 300_000, |number| {
        format!("disk.qcow2.{number:03}")
    });
    let image = folder.check("disk.qcow2.000", &raw);
    let title = image.container.expect("it is one").title;
    assert!(title.starts_with("a QCOW2 image inside an image in "), "{title}");
}
