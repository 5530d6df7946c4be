//! What can be read of metadata that are damaged: the fields of a header whose signature, sizes or neighbours are gone,
//! and the entries of a list whose chain of sizes is broken.
//!
//! Nothing here is proven by having been read. Entries that hold keys prove themselves when they are opened; the rest is
//! for the reader to hold against other evidence.

use super::block::{DatasetHeader, MAX_REGION_LEN_BYTES, SIGNATURE};
use super::cursor::{Cursor, ShapeError};
use super::datum::{Datum, Value, kind, role};

/// What stands in front of the entries of a metadata block (format spec 2.2), with no more than its own shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockFields {
    /// Whether the signature is there.
    pub is_signed: bool,
    /// 1 on Windows Vista, 2 since.
    pub version: u16,
    /// Where the encryption of the volume stands.
    pub current_state: u16,
    /// Where it is going.
    pub next_state: u16,
    /// How far the encryption has come, in bytes.
    pub state_offset: u64,
    /// Length of the conversion log in bytes.
    pub state_len_bytes: u32,
    /// How many sectors were moved.
    pub virtualized_sectors: u32,
    /// Where the three copies are, in bytes from the start of the volume.
    pub metadata_offsets: [u64; 3],
    /// Where the moved sectors are, in bytes; on Vista the true cluster of the mirror of NTFS' MFT.
    pub virtualized_offset: u64,
}

impl BlockFields {
    /// Reads the first 64 bytes of a block; `None` where there are fewer, or they cannot be of one.
    #[must_use]
    pub fn read(region: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(region, "metadata block");
        let is_signed = cursor.array::<8>("signature").ok()? == SIGNATURE;
        cursor.u16("size").ok()?;
        let version = cursor.u16("version").ok()?;
        let fields = Self::read_after_version(&mut cursor, is_signed, version).ok()?;
        fields.is_plausible().then_some(fields)
    }

    /// Reads what stands behind the version.
    pub(super) fn read_after_version(
        cursor: &mut Cursor<'_>,
        is_signed: bool,
        version: u16,
    ) -> Result<Self, ShapeError> {
        Ok(Self {
            is_signed,
            version,
            current_state: cursor.u16("current state")?,
            next_state: cursor.u16("next state")?,
            state_offset: cursor.u64("state offset")?,
            state_len_bytes: cursor.u32("state size")?,
            virtualized_sectors: cursor.u32("moved sectors")?,
            metadata_offsets: [
                cursor.u64("offset 1")?,
                cursor.u64("offset 2")?,
                cursor.u64("offset 3")?,
            ],
            virtualized_offset: cursor.u64("offset of moved sectors")?,
        })
    }

    /// Numbers that occur (format spec 2.2 and 2.3): random bytes do not pass.
    fn is_plausible(&self) -> bool {
        let [first, second, third] = self.metadata_offsets;
        let places = self
            .metadata_offsets
            .iter()
            .all(|at| *at >= 512 && at % 512 == 0 && *at < 1 << 56);
        matches!(self.version, 1 | 2)
            && (1..=5).contains(&self.current_state)
            && matches!(self.next_state, 1 | 4)
            && places
            && first != second
            && second != third
            && first != third
    }
}

/// Where the header of the entries stands in a block.
const DATASET_AT: usize = 64;

/// Reads the header of the entries; `None` where it cannot be one.
#[must_use]
pub fn dataset_header(region: &[u8]) -> Option<DatasetHeader> {
    let header = DatasetHeader::read(region.get(DATASET_AT..)?, "metadata block").ok()?;
    let method = header.method == 0 || crate::EncryptionMethod::from_code(header.method).is_some();
    let fits =
        (header.size as usize) < MAX_REGION_LEN_BYTES && header.start as usize == DatasetHeader::LEN_BYTES;
    (header.version == 1 && method && fits).then_some(header)
}

/// The top-level entries that metadata of Windows have, as far as they are worth finding again: role, type, least and
/// most length (format spec 2.5 to 2.8).
const KNOWN: &[(u16, u16, usize, usize)] = &[
    (role::VMK, kind::VMK, 0x24, 0x1000),
    (role::FVEK, kind::SEALED, 0x40, 0x80),
    (role::DESCRIPTION, kind::TEXT, 0x0a, 0x400),
    (role::AUTO_UNLOCK, kind::SEALED, 0x40, 0x80),
    (role::VIRTUALIZATION, kind::VIRTUALIZATION, 0x18, 0x100),
    (0x0004, 0x07, 0x08, 0x8000),
    (0x0011, 0x07, 0x08, 0x8000),
];

/// So many entries are looked for in one place.
const MAX_FOUND: usize = 1024;
/// So many places that look like the start of an entry are tried: made-up metadata may look like it everywhere.
const MAX_TRIED: usize = 8192;

/// An entry and where it begins, in bytes from the start of what was searched.
#[derive(Debug)]
pub struct Fragment {
    /// Where.
    pub at: usize,
    /// The entry.
    pub datum: Datum,
}

/// Finds the entries in damaged metadata: every place at which one begins that metadata have at their top level, whether
/// the chain of sizes leads there or not.
#[must_use]
pub fn entries_in(bytes: &[u8]) -> Vec<Fragment> {
    let bytes = bytes.get(..MAX_REGION_LEN_BYTES).unwrap_or(bytes);
    let mut found = Vec::new();
    let (mut at, mut tried) = (0, 0);
    while at < bytes.len() && found.len() < MAX_FOUND && tried < MAX_TRIED {
        let rest = bytes.get(at..).unwrap_or_default();
        if !looks_like_one(rest) {
            at += 1;
            continue;
        }
        tried += 1;
        if let Some((datum, _)) = entry_at(rest) {
            found.push(Fragment { at, datum });
        }
        // A torn entry may swallow the whole one behind it: that is found as well.
        at += 1;
    }
    found
}

/// Reads the entry that `bytes` begin with; `None` where it is none that metadata have. Also returns its length.
#[must_use]
pub fn entry_at(bytes: &[u8]) -> Option<(Datum, usize)> {
    if !looks_like_one(bytes) {
        return None;
    }
    let len = usize::from(u16::from_le_bytes(*bytes.first_chunk()?));
    let mut list = Datum::read_list(bytes.get(..len)?).ok()?;
    let datum = (list.len() == 1).then(|| list.remove(0))?;
    let is_whole = match &datum.value {
        Value::Vmk {
            unknown_18,
            protector,
            nested,
            ..
        } => *unknown_18 == 0 && protector & 0xff == 0 && !nested.is_empty(),
        Value::Sealed(_) | Value::Virtualization { .. } => true,
        Value::Text(text) => !text.to_string().contains(char::REPLACEMENT_CHARACTER),
        // Validation lists: entries of 40 bytes.
        Value::Other(body) => body.0.len().is_multiple_of(40),
        _ => false,
    };
    is_whole.then_some((datum, len))
}

/// Tells whether an entry's header stands here that metadata have at their top level.
fn looks_like_one(bytes: &[u8]) -> bool {
    let Some([a, b, c, d, e, f, g, h]) = bytes.first_chunk::<8>() else {
        return false;
    };
    let (size, flags) = (
        usize::from(u16::from_le_bytes([*a, *b])),
        u16::from_le_bytes([*g, *h]),
    );
    let (role, kind) = (u16::from_le_bytes([*c, *d]), u16::from_le_bytes([*e, *f]));
    let is_known = KNOWN
        .iter()
        .any(|known| known.0 == role && known.1 == kind && (known.2..=known.3).contains(&size));
    // 1, 3 and 0x0105 were seen (format spec 2.5).
    is_known && size <= bytes.len() && flags < 0x0200
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::datum::SealedDatum;

    fn sealed(role: u16, fill: u8) -> Vec<u8> {
        let sealed = SealedDatum {
            nonce: [fill; 12],
            tag: [fill; 16],
            ciphertext: vec![fill; 44],
        };
        Datum::new(role, kind::SEALED, Value::Sealed(sealed))
            .to_bytes()
            .to_vec()
    }

    #[test]
    fn the_chain_is_taken_up_again_behind_damage() {
        let (first, second) = (sealed(role::FVEK, 0xd1), sealed(role::AUTO_UNLOCK, 0xd2));
        let mut list = [&first[..], &sealed(role::FVEK, 0xd3), &second].concat();
        // The second entry loses its header, and with it the length that leads to the third.
        list[first.len()..first.len() + 8].fill(0xee);
        let found = entries_in(&list);
        let places: Vec<usize> = found.iter().map(|entry| entry.at).collect();
        assert_eq!(places, [0, 2 * first.len()]);
        assert_eq!(*found[1].datum.to_bytes(), *second);
    }

    #[test]
    fn random_bytes_are_no_header() {
        assert_eq!(BlockFields::read(&[0x5a; 512]), None);
        assert_eq!(BlockFields::read(&[0; 512]), None);
        assert!(dataset_header(&[0; 512]).is_none());
        assert!(entries_in(&[0x5a; 512]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_not_damaged_is_found(junk in prop::collection::vec(0x80u8.., 0..300), cut in 0usize..80) {
            let whole = sealed(role::FVEK, 0xd1);
            let torn = &whole[..cut.min(whole.len() - 1)];
            let list = [&junk[..], torn, &whole, &junk].concat();
            let found = entries_in(&list);
            prop_assert!(found.iter().any(|entry| *entry.datum.to_bytes() == *whole), "{found:?}");
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = (entries_in(&bytes), BlockFields::read(&bytes), dataset_header(&bytes));
        }
    }
}
