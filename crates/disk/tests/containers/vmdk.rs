//! VMDK images of qemu-img.

use keyhaven_disk::container::ContainerError;
use keyhaven_testkit::tool;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::making::{Folder, WRITTEN_BYTES, content, qemu_img, writes};
use crate::mutants;

#[test]
fn every_kind_of_image_reads_as_the_raw_one() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(1, (3 << 20) + 5 * 512);
    let folder = Folder::with_raw(&raw);
    for kind in [
        "monolithicSparse",
        "monolithicFlat",
        "twoGbMaxExtentSparse",
        "twoGbMaxExtentFlat",
        "streamOptimized",
    ] {
        folder.run(
            &qemu_img,
            &format!("convert -O vmdk -o subformat={kind} disk.raw disk.vmdk"),
        );
        let image = folder.check("disk.vmdk", &raw);
        assert_eq!(
            image.container.expect("it is one").title,
            format!("a VMDK image ({kind})")
        );
    }
    folder.run(
        &qemu_img,
        "convert -O vmdk -o compat6,zeroed_grain disk.raw disk.vmdk",
    );
    folder.check("disk.vmdk", &raw);
}

#[test]
fn zeros_that_hide_what_is_below_are_zeros() {
    let (Some(qemu_img), Some(qemu_io)) = (qemu_img(), tool::find("qemu-io")) else {
        return;
    };
    let mut raw = content(2, 2 << 20);
    let folder = Folder::with_raw(&raw);
    folder.run(&qemu_img, "convert -O vmdk disk.raw below.vmdk");
    folder.run(
        &qemu_img,
        "create -f vmdk -F vmdk -b below.vmdk -o zeroed_grain=on top.vmdk",
    );
    folder.run_with(
        &qemu_io,
        &["-c", "write -P 9 100k 1M", "-c", "write -z 1536k 64k", "top.vmdk"],
    );
    raw[100 << 10..1124 << 10].fill(9);
    raw[1536 << 10..1600 << 10].fill(0);
    let image = folder.check("top.vmdk", &raw);
    assert_eq!(
        image.container.expect("it is one").notes,
        ["it is a change to \"below.vmdk\""]
    );

    // The image below was changed since: what is above it means nothing any more.
    folder.edit("below.vmdk", |bytes| {
        let at = bytes
            .windows(4)
            .position(|window| window == b"CID=")
            .expect("a descriptor");
        bytes[at + 4] = if bytes[at + 4] == b'1' { b'2' } else { b'1' };
    });
    assert!(matches!(
        folder.refusal("top.vmdk"),
        ContainerError::OtherParent { .. }
    ));
    folder.remove("below.vmdk");
    assert!(matches!(
        folder.refusal("top.vmdk"),
        ContainerError::Neighbour { .. }
    ));
}

#[test]
fn a_disk_of_many_pieces_is_one() {
    let Some(qemu_img) = qemu_img() else { return };
    // A piece of the raw image, a sparse piece and zeros, over an image below.
    let raw = content(3, 1 << 20);
    let folder = Folder::with_raw(&raw);
    folder.run(
        &qemu_img,
        "convert -O vmdk -o subformat=twoGbMaxExtentSparse disk.raw sparse.vmdk",
    );
    let extents = "RW 100 FLAT \"disk.raw\" 7\nRW 2048 SPARSE \"sparse-s001.vmdk\"\nRW 9 ZERO\nRW 1 FLAT \"disk.raw\"\n";
    folder.write(
        "disk.vmdk",
        format!("# Disk DescriptorFile\nCID=00000001\n{extents}").as_bytes(),
    );
    let expected = [&raw[7 * 512..107 * 512], &raw, &[0; 9 * 512], &raw[..512]].concat();
    folder.check("disk.vmdk", &expected);

    // What a part lacks cannot be read, and nothing else.
    folder.edit("sparse-s001.vmdk", |bytes| bytes.truncate(bytes.len() - 65_536));
    let image = folder.open("disk.vmdk").expect("most of it is there");
    let mut buf = vec![0; 512];
    image.device.read_at(0, &mut buf).expect("it is in another file");
    assert_eq!(buf, raw[7 * 512..8 * 512]);
    let mut whole = vec![0; expected.len()];
    assert!(image.device.read_at(0, &mut whole).is_err());
}

#[test]
fn a_part_alone_is_refused() {
    let Some(qemu_img) = qemu_img() else { return };
    let folder = Folder::with_raw(&content(4, 1 << 20));
    folder.run(
        &qemu_img,
        "convert -O vmdk -o subformat=twoGbMaxExtentSparse disk.raw disk.vmdk",
    );
    let error = folder.refusal("disk-s001.vmdk").to_string();
    assert!(error.starts_with("it is one part of several"), "{error}");
    folder.edit("disk.vmdk", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("a text");
        *bytes = text.replace("RW 2048", "RW 4096").into_bytes();
    });
    let error = folder.refusal("disk.vmdk").to_string();
    assert!(error.contains("and 2097152 are listed"), "{error}");
    folder.write("server.vmdk", &[b"COWD".as_slice(), &[0; 600]].concat());
    let error = folder.refusal("server.vmdk").to_string();
    assert!(error.starts_with("it is a snapshot of an ESX server"), "{error}");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let folder = Folder::with_raw(&content(5, 1 << 20));
    std::fs::create_dir(folder.path("sub")).expect("a folder");
    for name in [
        "../disk.raw",
        "/etc/passwd",
        "/dev/sda",
        "..\\disk.raw",
        "C:\\disk.raw",
        "sub/../disk.raw",
    ] {
        for text in [
            format!("# Disk DescriptorFile\nRW 100 FLAT \"{name}\" 0\n"),
            format!(
                "# Disk DescriptorFile\nparentCID=00000001\nparentFileNameHint=\"{name}\"\nRW 100 ZERO\n"
            ),
        ] {
            folder.write("sub/disk.vmdk", text.as_bytes());
            assert!(
                matches!(folder.refusal("sub/disk.vmdk"), ContainerError::Escape { .. }),
                "{text}"
            );
        }
    }
    let itself =
        "# Disk DescriptorFile\nCID=1\nparentCID=00000001\nparentFileNameHint=\"loop.vmdk\"\nRW 100 ZERO\n";
    folder.write("loop.vmdk", itself.as_bytes());
    assert!(matches!(
        folder.refusal("loop.vmdk"),
        ContainerError::Circle { .. }
    ));
}

#[test]
fn damaged_images_end_in_errors() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(6, 128 << 10);
    let folder = Folder::with_raw(&raw);
    for kind in ["monolithicSparse", "streamOptimized"] {
        folder.run(
            &qemu_img,
            &format!("convert -O vmdk -o subformat={kind} disk.raw disk.vmdk"),
        );
        let image = folder.read("disk.vmdk");
        assert!(mutants::is_true_or_missing(
            &mutants::look(image.clone()).expect("in order"),
            &raw
        ));
        let header_and_footer = (0..80).chain(image.len().saturating_sub(1024)..image.len() - 940);
        mutants::flip_bytes(&image, header_and_footer.clone(), |_, _| {});
        mutants::overwrite_words(&image, header_and_footer.step_by(3));
        // The descriptor, and the tables that lie before the grains or behind them.
        let places: Vec<usize> = (512..66 << 10)
            .chain(image.len().saturating_sub(8 << 10)..image.len())
            .filter(|place| *place < image.len() && image[*place] != 0)
            .step_by(5)
            .collect();
        mutants::flip_bytes(&image, places.iter().copied().step_by(3), |_, _| {});
        mutants::overwrite_words(&image, places.iter().copied().step_by(41));
        mutants::cut_off(&image, (0..image.len()).step_by(4111), |place, pieces| {
            assert!(
                mutants::is_true_or_missing(&pieces, &raw),
                "cut off at byte {place}"
            );
        });
    }
}

#[test]
fn whatever_is_written_is_read() {
    let (Some(qemu_img), Some(qemu_io)) = (qemu_img(), tool::find("qemu-io")) else {
        return;
    };
    let options = prop_oneof![
        Just("zeroed_grain=on"),
        Just("zeroed_grain=off"),
        Just("subformat=twoGbMaxExtentSparse"),
    ];
    let folder = Folder::with_raw(&content(7, 1 << 20));
    folder.run(&qemu_img, "convert -O vmdk disk.raw below.vmdk");
    TestRunner::new(ProptestConfig::with_cases(6))
        .run(
            &(options, any::<bool>(), writes()),
            |(options, has_below, writes)| {
                let below = if has_below && options.starts_with("zeroed") {
                    "-F vmdk -b below.vmdk "
                } else {
                    ""
                };
                folder.run(
                    &qemu_img,
                    &format!("create -q -f vmdk {below}-o {options} disk.vmdk {WRITTEN_BYTES}"),
                );
                folder.write_with(&qemu_io, "disk.vmdk", &writes);
                folder.run(&qemu_img, "convert -O raw disk.vmdk expected.raw");
                folder.check("disk.vmdk", &folder.read("expected.raw"));
                Ok(())
            },
        )
        .expect("it reads as QEMU reads it");
}
