//! A master file table in so many pieces that its first record does not hold them, as on drives of many years.

use std::fs;

use crate::made::{Made, program};
use crate::model::Folder;

/// mkntfs puts the table at cluster 4.
const TABLE: usize = 4 * CLUSTER_LEN;
const CLUSTER_LEN: usize = 4096;
const RECORD_LEN: usize = 1024;

/// How many clusters stay in the first record: the records up to 15, in the last of which the rest is described.
const KEPT: u64 = 4;
const REST: u64 = 15;

#[test]
fn a_table_with_a_list_of_attributes_is_read() {
    let (Some(mkntfs), Some(ntfs_3g)) = (program("mkntfs"), program("ntfs-3g")) else {
        return;
    };
    let tree = Folder::varied(300);
    let made = Made::with(&mkntfs, &["-Q", "-F", "-q"], 24);
    if made
        .fill_ntfs(&ntfs_3g, "big_writes", |top| tree.write_to(top))
        .is_none()
    {
        return;
    }
    let mut image = fs::read(made.image()).unwrap();
    split(&mut image);
    fs::write(made.image(), &image).unwrap();

    // That it is right, ntfs-3g says.
    made.fill_ntfs(&ntfs_3g, "ro", |top| {
        assert_eq!(fs::read_dir(top.join("many files")).unwrap().count(), 300);
    });
    tree.check(&*made.tree());
}

/// Moves the description of all but the first clusters of the table into another record.
fn split(image: &mut [u8]) {
    let first = taken(image, 0);
    let attributes = attributes(&first);
    let of = |kind: u32| {
        attributes
            .iter()
            .find(|attribute| attribute[..4] == kind.to_le_bytes())
            .unwrap()
            .clone()
    };
    let data = of(0x80);
    let all = decoded(&data[u16_at(&data, 0x20)..]);
    let total: u64 = all.iter().map(|(len, _)| len).sum();
    assert!(total > KEPT, "the table has {total} clusters");
    let (head, tail) = cut(&all);

    let mut list = Vec::new();
    for (kind, vcn, record, instance) in [
        (0x10u32, 0, 0, u16_at(&of(0x10), 14)),
        (0x30, 0, 0, u16_at(&of(0x30), 14)),
        (0x80, 0, 0, u16_at(&data, 14)),
        // Numbers are only unique within a record: this one's is another.
        (0x80, KEPT, REST, 7),
        (0xB0, 0, 0, u16_at(&of(0xB0), 14)),
    ] {
        let sequence = if record == 0 { 1 } else { REST };
        list.extend_from_slice(&kind.to_le_bytes());
        list.extend_from_slice(&[0x20, 0, 0, 0x1A]);
        list.extend_from_slice(&vcn.to_le_bytes());
        list.extend_from_slice(&(record | (sequence << 48)).to_le_bytes());
        list.extend_from_slice(&(instance as u16).to_le_bytes());
        list.extend_from_slice(&[0; 6]);
    }
    let mut list_attribute = vec![0; 0x18];
    list_attribute[0] = 0x20;
    list_attribute[4..8].copy_from_slice(&(0x18 + list.len() as u32).to_le_bytes());
    list_attribute[0x0E] = 99;
    list_attribute[0x10..0x14].copy_from_slice(&(list.len() as u32).to_le_bytes());
    list_attribute[0x14] = 0x18;
    list_attribute.extend_from_slice(&list);

    let mut base = first.clone();
    let parts = [
        of(0x10),
        list_attribute,
        of(0x30),
        with_runs(&data, 0, &head, 0),
        of(0xB0),
    ];
    put_attributes(&mut base, &parts);
    put(image, 0, base);

    let mut other = taken(image, REST as usize);
    other[..4].copy_from_slice(b"FILE");
    other[0x10..0x12].copy_from_slice(&(REST as u16).to_le_bytes());
    other[0x16..0x18].copy_from_slice(&1u16.to_le_bytes());
    other[0x20..0x28].copy_from_slice(&(1u64 << 48).to_le_bytes());
    put_attributes(&mut other, &[with_runs(&data, KEPT, &tail, 7)]);
    put(image, REST as usize, other);
}

type Runs = Vec<(u64, u64)>;

/// Takes a record out of the image, with its original bytes.
fn taken(image: &[u8], number: usize) -> Vec<u8> {
    let mut record = image[TABLE + number * RECORD_LEN..][..RECORD_LEN].to_vec();
    let at = u16_at(&record, 4);
    for stride in 0..2 {
        let original = [record[at + 2 + stride * 2], record[at + 3 + stride * 2]];
        record[stride * 512 + 510..][..2].copy_from_slice(&original);
    }
    record
}

/// Puts a record into the image, protected again.
fn put(image: &mut [u8], number: usize, mut record: Vec<u8>) {
    let at = u16_at(&record, 4);
    for stride in 0..2 {
        let end = stride * 512 + 510;
        record.copy_within(end..end + 2, at + 2 + stride * 2);
        record.copy_within(at..at + 2, end);
    }
    image[TABLE + number * RECORD_LEN..][..RECORD_LEN].copy_from_slice(&record);
}

fn attributes(record: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut at = u16_at(record, 0x14);
    while record[at..at + 4] != [0xFF; 4] {
        let len = u16_at(record, at + 4);
        found.push(record[at..at + len].to_vec());
        at += len;
    }
    found
}

fn put_attributes(record: &mut [u8], attributes: &[Vec<u8>]) {
    let start = u16_at(record, 0x14);
    record[start..].fill(0);
    let mut at = start;
    for attribute in attributes {
        record[at..at + attribute.len()].copy_from_slice(attribute);
        at += attribute.len();
    }
    record[at..at + 4].fill(0xFF);
    record[0x18..0x1C].copy_from_slice(&(at as u32 + 8).to_le_bytes());
    record[0x28..0x2A].copy_from_slice(&100u16.to_le_bytes());
}

/// The attribute with other runs, that begin at a cluster.
fn with_runs(data: &[u8], lowest: u64, runs: &Runs, instance: u16) -> Vec<u8> {
    let runs_at = u16_at(data, 0x20);
    let mut attribute = data[..runs_at].to_vec();
    let mut before = 0i64;
    for (len, lcn) in runs {
        attribute.push(0x42);
        attribute.extend_from_slice(&(*len as u16).to_le_bytes());
        attribute.extend_from_slice(&((*lcn as i64 - before) as i32).to_le_bytes());
        before = *lcn as i64;
    }
    attribute.push(0);
    attribute.resize(attribute.len().next_multiple_of(8), 0);
    let len = attribute.len() as u32;
    let highest = lowest + runs.iter().map(|(len, _)| len).sum::<u64>() - 1;
    attribute[4..8].copy_from_slice(&len.to_le_bytes());
    attribute[0x10..0x18].copy_from_slice(&lowest.to_le_bytes());
    attribute[0x18..0x20].copy_from_slice(&highest.to_le_bytes());
    if lowest != 0 {
        attribute[0x0E..0x10].copy_from_slice(&instance.to_le_bytes());
        attribute[0x28..0x40].fill(0);
    }
    attribute
}

fn decoded(mut encoded: &[u8]) -> Runs {
    let mut runs = Runs::new();
    let mut lcn = 0;
    while encoded[0] != 0 {
        let (len_width, lcn_width) = (usize::from(encoded[0] & 15), usize::from(encoded[0] >> 4));
        let number = |bytes: &[u8]| {
            let sign = if bytes[bytes.len() - 1] >= 0x80 { 0xFF } else { 0 };
            let mut whole = [sign; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            i64::from_le_bytes(whole)
        };
        lcn += number(&encoded[1 + len_width..][..lcn_width]);
        runs.push((number(&encoded[1..1 + len_width]) as u64, lcn as u64));
        encoded = &encoded[1 + len_width + lcn_width..];
    }
    runs
}

/// The first clusters, and the others.
fn cut(all: &Runs) -> (Runs, Runs) {
    let (mut head, mut tail) = (Runs::new(), Runs::new());
    let mut vcn = 0;
    for (len, lcn) in all {
        let kept = KEPT.saturating_sub(vcn).min(*len);
        if kept > 0 {
            head.push((kept, *lcn));
        }
        if *len > kept {
            tail.push((len - kept, lcn + kept));
        }
        vcn += len;
    }
    (head, tail)
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}
