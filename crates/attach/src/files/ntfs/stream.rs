//! The value of an attribute as bytes to be read anywhere.

use std::sync::Arc;

use keyhaven_disk::ReadError;

use crate::files::ntfs::compression;
use crate::files::ntfs::record::{Attribute, Piece, Value};
use crate::files::ntfs::runs::Runs;
use crate::files::{FilesError, Storage};

/// Attribute flags: the kind of compression, and the two ways besides.
const COMPRESSION: u16 = 0x00FF;
const LZNT1: u16 = 0x0001;
const ENCRYPTED: u16 = 0x4000;

/// The longest unit of compression, in bytes. Windows uses 16 clusters of at most 4 KiB.
const UNIT_LEN_MAX: u64 = 1 << 20;

/// The value of an attribute.
#[derive(Debug)]
pub(super) struct Stream {
    len: u64,
    /// Zeros follow what was written.
    initialized: u64,
    allocated: u64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Resident(Box<[u8]>),
    Plain(Runs),
    /// Units of so many clusters, each compressed by itself.
    Compressed(Runs, u64),
    /// Known to be there, and unreadable.
    Encrypted,
    /// Known to be there, and unreadable, with the exponent of its unit.
    UnknownCompression(u8),
}

/// What a stream is read from.
pub(super) trait Clusters {
    /// Returns the length of a cluster in bytes.
    fn cluster_len(&self) -> u64;
    /// Returns how many clusters there are.
    fn clusters(&self) -> u64;
    /// Fills `buf` from a byte of the volume.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError>;
}

/// Keeps units of a compressed stream that were unpacked, by their number.
pub(super) trait Units {
    /// Returns a unit that was kept.
    fn get(&self, unit: u64) -> Option<Arc<[u8]>>;
    /// Keeps a unit.
    fn keep(&self, unit: u64, bytes: &Arc<[u8]>);
}

/// No unit is kept.
pub(super) struct NoUnits;

impl Units for NoUnits {
    fn get(&self, _unit: u64) -> Option<Arc<[u8]>> {
        None
    }

    fn keep(&self, _unit: u64, _bytes: &Arc<[u8]>) {}
}

impl Stream {
    /// Begins the stream of an attribute: with all of it, or with its first piece.
    ///
    /// The error says what is wrong with it.
    pub(super) fn begin(attribute: &Attribute<'_>, on: &impl Clusters) -> Result<Self, &'static str> {
        let piece = match attribute.value {
            Value::Resident(bytes) => {
                let len = bytes.len() as u64;
                return Ok(Self {
                    len,
                    initialized: len,
                    // Values in records are kept at multiples of 8.
                    allocated: len.next_multiple_of(8),
                    form: if attribute.flags & ENCRYPTED != 0 {
                        Form::Encrypted
                    } else {
                        Form::Resident(bytes.into())
                    },
                });
            }
            Value::Clusters(piece) => piece,
        };
        let mut runs = Runs::default();
        runs.append(piece.lowest_vcn, piece.runs, on.clusters())?;
        let form = if attribute.flags & ENCRYPTED != 0 {
            Form::Encrypted
        } else {
            match attribute.flags & COMPRESSION {
                0 => Form::Plain(runs),
                LZNT1 => match unit_clusters(piece.unit_exponent, on.cluster_len()) {
                    Some(clusters) => Form::Compressed(runs, clusters),
                    None => Form::UnknownCompression(piece.unit_exponent),
                },
                _ => Form::UnknownCompression(piece.unit_exponent),
            }
        };
        if i64::try_from(piece.len).is_err() || piece.initialized > piece.len {
            return Err("its lengths contradict each other");
        }
        Ok(Self {
            len: piece.len,
            initialized: piece.initialized,
            allocated: piece.allocated,
            form,
        })
    }

    /// Appends the piece that follows; the error says what is wrong with it.
    pub(super) fn append(&mut self, piece: &Piece<'_>, on: &impl Clusters) -> Result<(), &'static str> {
        match &mut self.form {
            Form::Plain(runs) | Form::Compressed(runs, _) => {
                runs.append(piece.lowest_vcn, piece.runs, on.clusters())
            }
            Form::Resident(_) => Err("its value is in the record and in clusters"),
            // It is not read.
            Form::Encrypted | Form::UnknownCompression(_) => Ok(()),
        }
    }

    /// Returns its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns what it takes up, in bytes.
    pub(super) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Returns how many runs are held in memory for it.
    pub(super) fn runs(&self) -> u64 {
        match &self.form {
            Form::Plain(runs) | Form::Compressed(runs, _) => runs.count(),
            _ => 0,
        }
    }

    /// Returns where its clusters are, if they hold it as it is.
    #[cfg(target_os = "linux")]
    pub(super) fn plain_runs(&self) -> Option<&Runs> {
        match &self.form {
            Form::Plain(runs) => Some(runs),
            _ => None,
        }
    }

    /// Returns for how many bytes from `offset` on, at most `len_max`, it reads as zeros that are not stored.
    pub(super) fn hole_at(&self, on: &impl Clusters, offset: u64, len_max: u64) -> u64 {
        let left = self
            .len
            .min(offset.saturating_add(len_max))
            .saturating_sub(offset);
        if offset >= self.initialized {
            return left;
        }
        // What is not stored is so in whole clusters, or in whole units.
        let (runs, clusters) = match &self.form {
            Form::Plain(runs) => (runs, 1),
            Form::Compressed(runs, clusters) => (runs, *clusters),
            _ => return 0,
        };
        let unit_len = clusters.saturating_mul(on.cluster_len()).max(1);
        let start = (offset / unit_len).saturating_mul(clusters);
        match runs.at(start) {
            Some(place) if place.lcn.is_none() => (place.clusters / clusters.max(1))
                .saturating_mul(unit_len)
                .saturating_sub(offset % unit_len)
                .min(left),
            _ => 0,
        }
    }

    /// Reads from byte `offset` on, and returns how many bytes were read: fewer than asked for only at the end.
    ///
    /// # Errors
    /// Why that place cannot be read, with `name` for what it belongs to.
    pub(super) fn read(
        &self,
        on: &impl Clusters,
        units: &impl Units,
        name: &dyn Fn() -> String,
        offset: u64,
        buf: &mut [u8],
    ) -> Result<usize, FilesError> {
        let len = usize::try_from(self.len.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let buf = buf.get_mut(..len).unwrap_or_default();
        let written = usize::try_from(self.initialized.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(len);
        let (written, zeros) = buf.split_at_mut(written);
        zeros.fill(0);

        let damaged = |what: &str| FilesError::Damaged {
            what: format!("{}: {what}", name()),
        };
        match &self.form {
            Form::Resident(bytes) => {
                let found = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..)?.get(..written.len()));
                // Nothing is asked for past the end.
                written.copy_from_slice(found.unwrap_or_default());
            }
            Form::Plain(runs) => read_plain(runs, on, &damaged, offset, written)?,
            Form::Compressed(runs, clusters) => {
                let unit_len = clusters.saturating_mul(on.cluster_len());
                let mut at = offset;
                let mut rest = written;
                while !rest.is_empty() {
                    let unit = at / unit_len;
                    let bytes = match units.get(unit) {
                        Some(bytes) => bytes,
                        None => {
                            let bytes = read_unit(runs, *clusters, on, &damaged, unit)?;
                            units.keep(unit, &bytes);
                            bytes
                        }
                    };
                    let skip = usize::try_from(at % unit_len).unwrap_or(usize::MAX);
                    let found = bytes.get(skip..).unwrap_or_default();
                    let now = found.len().min(rest.len());
                    let (head, tail) = rest.split_at_mut(now);
                    head.copy_from_slice(found.get(..now).unwrap_or_default());
                    rest = tail;
                    at = at.saturating_add(now as u64);
                }
            }
            Form::Encrypted => return Err(FilesError::Encrypted),
            Form::UnknownCompression(unit_exponent) => {
                return Err(FilesError::Unsupported {
                    how: Storage::Compression {
                        unit_exponent: *unit_exponent,
                    },
                });
            }
        }
        Ok(len)
    }

    /// Reads all of it, where it is no longer than `len_max`.
    ///
    /// # Errors
    /// As [`Stream::read`]; longer is damaged.
    pub(super) fn read_whole(
        &self,
        on: &impl Clusters,
        name: &dyn Fn() -> String,
        len_max: usize,
    ) -> Result<Vec<u8>, FilesError> {
        let len = usize::try_from(self.len)
            .ok()
            .filter(|len| *len <= len_max)
            .ok_or_else(|| FilesError::Damaged {
                what: format!("{}: it is {} bytes long", name(), self.len),
            })?;
        let mut bytes = vec![0; len];
        self.read(on, &NoUnits, name, 0, &mut bytes)?;
        Ok(bytes)
    }
}

fn unit_clusters(exponent: u8, cluster_len: u64) -> Option<u64> {
    let clusters = 1u64
        .checked_shl(u32::from(exponent))
        .filter(|clusters| *clusters > 1)?;
    clusters
        .checked_mul(cluster_len)
        .filter(|len| *len <= UNIT_LEN_MAX)?;
    Some(clusters)
}

fn read_plain(
    runs: &Runs,
    on: &impl Clusters,
    damaged: &dyn Fn(&str) -> FilesError,
    offset: u64,
    buf: &mut [u8],
) -> Result<(), FilesError> {
    let mut at = offset;
    let mut rest = buf;
    while !rest.is_empty() {
        let (vcn, skip) = (at / on.cluster_len(), at % on.cluster_len());
        let place = runs
            .at(vcn)
            .ok_or_else(|| damaged("its list of clusters ends before its content"))?;
        let there = place
            .clusters
            .saturating_mul(on.cluster_len())
            .saturating_sub(skip);
        let now = usize::try_from(there).unwrap_or(usize::MAX).min(rest.len());
        let (head, tail) = rest.split_at_mut(now);
        match place.lcn {
            Some(lcn) => on.read_at(lcn.saturating_mul(on.cluster_len()).saturating_add(skip), head)?,
            None => head.fill(0),
        }
        rest = tail;
        at = at.saturating_add(now as u64);
    }
    Ok(())
}

/// Reads and unpacks a unit: stored as it is where all its clusters are there, zeros where none is.
fn read_unit(
    runs: &Runs,
    clusters: u64,
    on: &impl Clusters,
    damaged: &dyn Fn(&str) -> FilesError,
    unit: u64,
) -> Result<Arc<[u8]>, FilesError> {
    let len = usize::try_from(clusters.saturating_mul(on.cluster_len())).unwrap_or_default();
    let mut unpacked = vec![0; len];
    let start = unit.saturating_mul(clusters);
    let end = start.saturating_add(clusters);

    let mut stored = 0u64;
    let mut vcn = start;
    while vcn < end {
        // The list may end before its last unit does.
        let Some(place) = runs.at(vcn) else { break };
        let here = place.clusters.min(end - vcn);
        if place.lcn.is_some() {
            if stored != vcn - start {
                return Err(damaged("a compressed unit has a hole in its middle"));
            }
            stored += here;
        }
        vcn += here;
    }
    if vcn == start {
        return Err(damaged("its list of clusters ends before its content"));
    }
    if stored == 0 {
        return Ok(unpacked.into());
    }
    let stored_len = usize::try_from(stored.saturating_mul(on.cluster_len())).unwrap_or_default();
    let offset = start.saturating_mul(on.cluster_len());
    if stored == clusters {
        read_plain(runs, on, damaged, offset, &mut unpacked)?;
    } else {
        let mut packed = vec![0; stored_len];
        read_plain(runs, on, damaged, offset, &mut packed)?;
        compression::unpack(&packed, &mut unpacked)
            .map_err(|what| damaged(&format!("compressed unit {unit}: {what}")))?;
    }
    Ok(unpacked.into())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::*;

    const CLUSTER_LEN: usize = 512;

    /// A volume in memory, of which every cluster is filled with its number.
    struct Disk(Vec<u8>);

    impl Disk {
        fn new(clusters: u8) -> Self {
            Self((0..clusters).flat_map(|number| [number; CLUSTER_LEN]).collect())
        }
    }

    impl Clusters for Disk {
        fn cluster_len(&self) -> u64 {
            CLUSTER_LEN as u64
        }

        fn clusters(&self) -> u64 {
            (self.0.len() / CLUSTER_LEN) as u64
        }

        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), ReadError> {
            keyhaven_disk::BlockDevice::read_at(&self.0, offset, buf)
        }
    }

    #[derive(Default)]
    struct KeptUnits(RefCell<HashMap<u64, Arc<[u8]>>>);

    impl Units for KeptUnits {
        fn get(&self, unit: u64) -> Option<Arc<[u8]>> {
            self.0.borrow().get(&unit).cloned()
        }

        fn keep(&self, unit: u64, bytes: &Arc<[u8]>) {
            self.0.borrow_mut().insert(unit, bytes.clone());
        }
    }

    fn stream(flags: u16, unit_exponent: u8, runs: &[u8], len: u64, initialized: u64, disk: &Disk) -> Stream {
        let attribute = Attribute {
            kind: 0x80,
            instance: 0,
            flags,
            name: &[],
            value: Value::Clusters(Piece {
                lowest_vcn: 0,
                runs,
                unit_exponent,
                allocated: 0,
                len,
                initialized,
            }),
        };
        Stream::begin(&attribute, disk).unwrap()
    }

    fn read(stream: &Stream, disk: &Disk, offset: u64, len: usize) -> Result<Vec<u8>, FilesError> {
        let mut buf = vec![0xEE; len];
        let units = KeptUnits::default();
        let count = stream.read(disk, &units, &|| "it".to_owned(), offset, &mut buf)?;
        buf.truncate(count);
        Ok(buf)
    }

    #[test]
    fn what_was_not_written_is_zeros() {
        let disk = Disk::new(9);
        // 4 clusters from the third on; 600 bytes of 1,500 were written.
        let stream = stream(0, 0, &[0x11, 4, 3], 1500, 600, &disk);
        let mut expected = vec![3; 512];
        expected.extend_from_slice(&[4; 88]);
        expected.resize(1500, 0);
        for (offset, len) in [
            (0, 2000),
            (500, 300),
            (599, 2),
            (600, 10),
            (1400, 200),
            (1500, 1),
            (9999, 1),
        ] {
            let found = read(&stream, &disk, offset, len).unwrap();
            let rest = expected.get(offset as usize..).unwrap_or_default();
            assert_eq!(found, rest[..rest.len().min(len)], "{len} from {offset}");
        }
        assert_eq!(stream.hole_at(&disk, 599, 9999), 0);
        assert_eq!(stream.hole_at(&disk, 600, 9999), 900);
        assert_eq!(stream.hole_at(&disk, 1500, 9999), 0);
    }

    #[test]
    fn holes_are_zeros_and_a_list_that_ends_early_is_damage() {
        let disk = Disk::new(9);
        let stream = stream(0x8000, 0, &[0x11, 1, 3, 0x01, 1, 0x11, 1, 2], 2048, 2048, &disk);
        let found = read(&stream, &disk, 0, 1536).unwrap();
        assert_eq!(found, [[3; 512], [0; 512], [5; 512]].concat());
        assert_eq!(stream.hole_at(&disk, 0, u64::MAX), 0);
        assert_eq!(stream.hole_at(&disk, 600, u64::MAX), 424);
        assert_eq!(stream.hole_at(&disk, 600, 100), 100);
        assert_eq!(stream.hole_at(&disk, 1024, u64::MAX), 0);
        assert_eq!(stream.hole_at(&disk, 1700, u64::MAX), 0, "damage is no hole");
        assert!(matches!(
            read(&stream, &disk, 0, 1537),
            Err(FilesError::Damaged { .. })
        ));
    }

    #[test]
    fn compressed_units() {
        let unit_len = 16 * CLUSTER_LEN;
        let content: Vec<u8> = (0..unit_len).map(|index| (index / 100) as u8).collect();
        let mut packed = Vec::new();
        for chunk in content.chunks(4096) {
            lznt1::compress(chunk, &mut packed);
        }
        packed.resize(packed.len().next_multiple_of(CLUSTER_LEN), 0);
        let stored = packed.len() / CLUSTER_LEN;
        assert!(stored < 16);
        let mut disk = Disk::new(100);
        disk.0[20 * CLUSTER_LEN..][..packed.len()].copy_from_slice(&packed);

        // A packed unit, one of zeros, one stored as it is, and a packed one that the list ends with.
        let short = stored as u8;
        let runs = [0x11, short, 20, 0x01, 32 - short, 0x11, 16, 30, 0x11, short, 0xE2];
        let len = 4 * unit_len as u64 - 5;
        let stream = stream(LZNT1, 4, &runs, len, len, &disk);
        let mut expected = content.clone();
        expected.resize(2 * unit_len, 0);
        expected.extend((50..66).flat_map(|number| [number; CLUSTER_LEN]));
        expected.extend_from_slice(&content);
        expected.truncate(len as usize);
        assert!(read(&stream, &disk, 0, 1 << 20).unwrap() == expected);
        let at = unit_len - 3;
        assert!(read(&stream, &disk, at as u64, 10).unwrap() == expected[at..at + 10]);
        assert_eq!(stream.runs(), 4);
    }

    #[test]
    fn units_that_cannot_be_are_damage() {
        let disk = Disk::new(100);
        let hole_inside = stream(
            LZNT1,
            4,
            &[0x11, 1, 1, 0x01, 1, 0x11, 1, 2, 0x01, 13],
            8192,
            8192,
            &disk,
        );
        assert!(matches!(
            read(&hole_inside, &disk, 0, 10),
            Err(FilesError::Damaged { what }) if what.contains("hole in its middle")
        ));
        let garbage = stream(LZNT1, 4, &[0x11, 1, 99, 0x01, 15], 8192, 8192, &disk);
        assert!(matches!(
            read(&garbage, &disk, 0, 10),
            Err(FilesError::Damaged { what }) if what.contains("compressed unit 0")
        ));
        let ends = stream(LZNT1, 4, &[0x01, 16], 3 * 8192, 3 * 8192, &disk);
        assert!(read(&ends, &disk, 8191, 1).is_ok());
        assert!(matches!(
            read(&ends, &disk, 8191, 2),
            Err(FilesError::Damaged { .. })
        ));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let disk = Disk::new(9);
        let encrypted = stream(ENCRYPTED, 0, &[0x11, 1, 1], 10, 10, &disk);
        assert!(matches!(
            read(&encrypted, &disk, 0, 1),
            Err(FilesError::Encrypted)
        ));
        for (flags, exponent) in [(2, 4), (LZNT1, 0), (LZNT1, 12), (LZNT1, 200)] {
            let unknown = stream(flags, exponent, &[0x11, 1, 1], 10, 10, &disk);
            assert!(matches!(
                read(&unknown, &disk, 0, 1),
                Err(FilesError::Unsupported {
                    how: Storage::Compression { unit_exponent }
                }) if unit_exponent == exponent
            ));
        }
    }
}
