//! QCOW2 images of qemu-img.

use keyhaven_disk::container::ContainerError;
use keyhaven_testkit::tool;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::making::{Folder, WRITTEN_BYTES, content, qemu_img, writes};
use crate::mutants;

#[test]
fn every_kind_of_image_reads_as_the_raw_one() {
    let Some(qemu_img) = qemu_img() else { return };
    // Not a whole number of clusters of any size.
    let raw = content(1, (3 << 20) + 5 * 512);
    let folder = Folder::with_raw(&raw);
    for options in [
        "compat=0.10",
        "compat=0.10,cluster_size=512",
        "cluster_size=512",
        "cluster_size=4k",
        "cluster_size=2M",
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on",
        "extended_l2=on,cluster_size=2M",
        "lazy_refcounts=on,refcount_bits=1",
        "preallocation=metadata",
        "preallocation=full",
    ] {
        folder.run(
            &qemu_img,
            &format!("convert -O qcow2 -o {options} disk.raw disk.qcow2"),
        );
        let image = folder.check("disk.qcow2", &raw);
        let container = image.container.expect("it is checked");
        assert_eq!(
            (container.title.as_str(), container.notes.len()),
            ("a QCOW2 image", 0)
        );
    }
}

#[test]
fn packed_clusters_are_unpacked() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(2, (3 << 20) + 512);
    let folder = Folder::with_raw(&raw);
    for options in [
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=2M",
        "compression_type=zstd",
        "compression_type=zstd,cluster_size=2M",
        "compression_type=zstd,extended_l2=on",
    ] {
        folder.run(
            &qemu_img,
            &format!("convert -c -O qcow2 -o {options} disk.raw disk.qcow2"),
        );
        // A file of few large clusters is as long in any case.
        let is_shorter = folder.read("disk.qcow2").len() < raw.len();
        assert!(
            is_shorter || options.contains("2M"),
            "{options}: nothing is packed"
        );
        folder.check("disk.qcow2", &raw);
    }
}

#[test]
fn changes_are_shown_over_the_image_below() {
    let (Some(qemu_img), Some(qemu_io)) = (qemu_img(), tool::find("qemu-io")) else {
        return;
    };
    let mut raw = content(3, 2 << 20);
    let folder = Folder::with_raw(&raw);
    // The image below may be shorter than the one above, and of any format that is known.
    folder.run(&qemu_img, "convert -O vmdk disk.raw below.vmdk");
    folder.run(&qemu_img, "create -f qcow2 -F vmdk -b below.vmdk middle.qcow2");
    folder.run_with(
        &qemu_io,
        &[
            "-c",
            "write -P 9 100k 1M",
            "-c",
            "write -z 1500k 64k",
            "middle.qcow2",
        ],
    );
    folder.run(
        &qemu_img,
        "create -f qcow2 -F qcow2 -b middle.qcow2 -o extended_l2=on top.qcow2 3M",
    );
    folder.run_with(
        &qemu_io,
        &["-c", "write -P 5 0 512", "-c", "write -P 6 2500k 4k", "top.qcow2"],
    );
    raw[100 << 10..1124 << 10].fill(9);
    raw[1500 << 10..1564 << 10].fill(0);
    folder.check("middle.qcow2", &raw);
    raw.resize(3 << 20, 0);
    raw[..512].fill(5);
    raw[2500 << 10..2504 << 10].fill(6);
    let image = folder.check("top.qcow2", &raw);
    assert_eq!(
        image.container.expect("it is one").notes,
        ["it is a change to \"middle.qcow2\""]
    );

    // A raw image below is never taken for what its content resembles.
    folder.run(&qemu_img, "convert -O qcow2 disk.raw lookalike.raw");
    let lookalike = folder.read("lookalike.raw");
    folder.run(&qemu_img, "create -f qcow2 -F raw -b lookalike.raw over.qcow2");
    folder.check("over.qcow2", &lookalike);
}

#[test]
fn earlier_states_are_not_shown() {
    let (Some(qemu_img), Some(qemu_io)) = (qemu_img(), tool::find("qemu-io")) else {
        return;
    };
    let mut raw = content(4, 1 << 20);
    let folder = Folder::with_raw(&raw);
    folder.run(&qemu_img, "convert -O qcow2 disk.raw disk.qcow2");
    folder.run(&qemu_img, "snapshot -c one disk.qcow2");
    folder.run_with(&qemu_io, &["-c", "write -P 7 64k 100k", "disk.qcow2"]);
    raw[64 << 10..164 << 10].fill(7);
    let image = folder.check("disk.qcow2", &raw);
    assert_eq!(
        image.container.expect("it is one").notes,
        ["it has 1 earlier states of the disk, which are not shown"]
    );
}

#[test]
fn data_in_another_file_are_read_there() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(5, 1 << 20);
    let folder = Folder::with_raw(&raw);
    for raw_data in ["on", "off"] {
        let options = format!("data_file=disk.data,data_file_raw={raw_data}");
        folder.run(
            &qemu_img,
            &format!("convert -O qcow2 -o {options} disk.raw disk.qcow2"),
        );
        folder.check("disk.qcow2", &raw);
    }
    folder.remove("disk.data");
    assert!(matches!(
        folder.refusal("disk.qcow2"),
        ContainerError::Neighbour { name, .. } if name == "disk.data"
    ));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let Some(qemu_img) = qemu_img() else { return };
    let folder = Folder::with_raw(&content(6, 1 << 20));
    folder.run(&qemu_img, "convert -O qcow2 disk.raw disk.qcow2");
    let image = folder.read("disk.qcow2");
    let mutant = |at: usize, bytes: &[u8]| {
        let mut mutant = image.clone();
        mutant[at..at + bytes.len()].copy_from_slice(bytes);
        match mutants::look(mutant) {
            Ok(_) => panic!("byte {at} of the header does not matter"),
            Err(error) => error.to_string(),
        }
    };
    for (at, bytes, message) in [
        (4, &[0, 0, 0, 1][..], "it has version 1 of its format"),
        (23, &[22], "clusters of 2^22 bytes"),
        (23, &[8], "clusters of 2^8 bytes"),
        (24, &[0x80], "a disk of"),
        (27, &[1], "too short for a disk"),
        (35, &[2], "it is encrypted by its own format"),
        (36, &[0xFF], "a table of"),
        (47, &[1], "a table of"),
        (79, &[0x80], "its feature 7, which is not known here"),
        (
            79,
            &[4],
            "its content lies in another file, whose name it does not tell",
        ),
        (79, &[8], "packed in way 0"),
        (104, &[1], "packed in way 1"),
        (103, &[1], "its own length is 1"),
    ] {
        let error = mutant(at, bytes);
        assert!(error.contains(message), "byte {at}: {error}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let Some(qemu_img) = qemu_img() else { return };
    let folder = Folder::with_raw(&content(7, 1 << 20));
    std::fs::create_dir(folder.path("sub")).expect("a folder");
    for name in [
        "../disk.raw",
        "/etc/passwd",
        "sub/../disk.raw",
        "nbd:localhost:1",
        "json:{\"driver\":\"null-co\"}",
    ] {
        folder.run_with(
            &qemu_img,
            &[
                "create",
                "-q",
                "-u",
                "-f",
                "qcow2",
                "-F",
                "raw",
                "-b",
                name,
                "sub/image.qcow2",
                "1M",
            ],
        );
        assert!(
            matches!(folder.refusal("sub/image.qcow2"), ContainerError::Escape { .. }),
            "{name}"
        );
    }
    folder.run(&qemu_img, "create -q -u -f qcow2 -F qcow2 -b b.qcow2 a.qcow2 1M");
    folder.run(&qemu_img, "create -q -u -f qcow2 -F qcow2 -b a.qcow2 b.qcow2 1M");
    assert!(matches!(folder.refusal("a.qcow2"), ContainerError::Circle { .. }));
    for number in 0..40 {
        let below = format!("deep{}.qcow2", number + 1);
        folder.run(
            &qemu_img,
            &format!("create -q -u -f qcow2 -F qcow2 -b {below} deep{number}.qcow2 1M"),
        );
    }
    assert!(matches!(
        folder.refusal("deep0.qcow2"),
        ContainerError::TooDeep { .. }
    ));
}

#[test]
fn damaged_images_end_in_errors() {
    let Some(qemu_img) = qemu_img() else { return };
    let raw = content(8, 192 << 10);
    let folder = Folder::with_raw(&raw);
    for (options, tables) in [
        ("-o cluster_size=4k", 4096..5 * 4096),
        (
            "-c -o cluster_size=16k,extended_l2=on,compression_type=zstd",
            16_384..5 * 16_384,
        ),
    ] {
        folder.run(
            &qemu_img,
            &format!("convert -O qcow2 {options} disk.raw disk.qcow2"),
        );
        let image = folder.read("disk.qcow2");
        assert!(mutants::is_true_or_missing(
            &mutants::look(image.clone()).expect("in order"),
            &raw
        ));
        mutants::flip_bytes(&image, 0..128, |_, _| {});
        // Tables are mostly zeros; what stands in them is what matters.
        let places: Vec<usize> = tables.filter(|place| image[*place] != 0).collect();
        mutants::flip_bytes(&image, places.iter().copied(), |_, _| {});
        mutants::overwrite_words(&image, (0..112).chain(places.iter().copied().step_by(7)));
        mutants::cut_off(&image, (0..image.len()).step_by(1777), |place, pieces| {
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
        Just("cluster_size=4k"),
        Just("cluster_size=64k"),
        Just("cluster_size=64k,extended_l2=on"),
        Just("cluster_size=512,compat=0.10"),
    ];
    let folder = Folder::with_raw(&content(9, 1 << 20));
    TestRunner::new(ProptestConfig::with_cases(8))
        .run(
            &(options, any::<bool>(), writes()),
            |(options, has_below, writes)| {
                let below = if has_below { "-F raw -b disk.raw " } else { "" };
                folder.run(
                    &qemu_img,
                    &format!("create -q -f qcow2 {below}-o {options} disk.qcow2 {WRITTEN_BYTES}"),
                );
                folder.write_with(&qemu_io, "disk.qcow2", &writes);
                folder.run(&qemu_img, "convert -O raw disk.qcow2 expected.raw");
                folder.check("disk.qcow2", &folder.read("expected.raw"));
                Ok(())
            },
        )
        .expect("it reads as QEMU reads it");
}
