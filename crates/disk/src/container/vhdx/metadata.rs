//! The metadata: how large the disk, its blocks and its sectors are, and on which image it builds.

use uuid::{Uuid, uuid};
use zerocopy::byteorder::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::super::ContainerError;
use super::MIB;
use super::region::Regions;
use crate::device::Device;

/// How long the table of items is, in bytes; the items lie behind it.
const TABLE_LEN: u32 = 64 << 10;
const WHAT: &str = "the metadata";
const SIGNATURE: [u8; 8] = *b"metadata";
const MAX_ENTRIES: u16 = 2047;
/// The longest item, in bytes.
const MAX_ITEM_LEN: u32 = 1 << 20;

/// The largest disk, in bytes: 64 TiB.
pub(super) const MAX_LEN: u64 = 64 << 40;

const IS_USER: u32 = 1;
const IS_VIRTUAL_DISK: u32 = 2;
const IS_REQUIRED: u32 = 4;

const FILE_PARAMETERS: Uuid = uuid!("CAA16737-FA36-4D43-B3B6-33F0AA44E76B");
const DISK_SIZE: Uuid = uuid!("2FA54224-CD1B-4876-B211-5DBED83BF4B8");
const DISK_ID: Uuid = uuid!("BECA12AB-B2E6-4523-93EF-C309E000C746");
const LOGICAL_SECTOR_SIZE: Uuid = uuid!("8141BF1D-A96F-4709-BA47-F233A8FAAB5F");
const PHYSICAL_SECTOR_SIZE: Uuid = uuid!("CDA348C7-445D-4471-9CC9-E9885251C556");
const PARENT_LOCATOR: Uuid = uuid!("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C");

/// Bit 0 of the parameters: blocks keep their place although nothing is in them.
const IS_FIXED: u32 = 1;
/// Bit 1: the image builds on another one.
const HAS_PARENT: u32 = 2;

/// A locator of files that are images of this format.
const VHDX_LOCATOR: Uuid = uuid!("B04AEFB7-D19E-4A81-B789-25B8E9445913");

/// As it lies in the file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    signature: [u8; 8],
    reserved_1: U16,
    entry_count: U16,
    reserved_2: [u8; 20],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    id: [u8; 16],
    offset: U32,
    len: U32,
    flags: U32,
    reserved: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawLocator {
    kind: [u8; 16],
    reserved: U16,
    count: U16,
}

/// A key and its value, both UTF-16 inside the locator.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawPair {
    key_offset: U32,
    value_offset: U32,
    key_len: U16,
    value_len: U16,
}

/// What the metadata say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// How large the disk is, in bytes: whole sectors.
    pub(super) len_bytes: u64,
    /// How long a block is, in bytes: a power of two from 1 to 256 MiB.
    pub(super) block_bytes: u32,
    /// 512 or 4096.
    pub(super) sector_size: u32,
    /// Whether all blocks have a place from the start.
    pub(super) is_fixed: bool,
    pub(super) disk_id: Uuid,
    /// The image on which this one builds.
    pub(super) parent: Option<Parent>,
}

/// How an image names another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    /// Its identifier; two while images are being merged.
    pub(super) ids: Vec<Uuid>,
    /// What it may be called, without folders; the likeliest first.
    pub(super) names: Vec<String>,
}

impl Metadata {
    pub(super) fn read(file: &Device, regions: &Regions) -> Result<Self, ContainerError> {
        let start = regions.metadata.offset;
        let damaged = |problem: String| ContainerError::Damaged {
            what: WHAT,
            offset: start,
            problem,
        };
        let read = |offset: u64, len: u32| {
            let mut bytes = vec![0; len as usize];
            file.read_at(offset, &mut bytes)
                .map_err(|source| ContainerError::Read { what: WHAT, source })
                .map(|()| bytes)
        };
        let table = read(start, TABLE_LEN)?;
        let (raw, mut rest) =
            RawHeader::ref_from_prefix(&table).map_err(|_| damaged("they are too short".to_owned()))?;
        if raw.signature != SIGNATURE {
            return Err(damaged("they do not begin with `metadata`".to_owned()));
        }
        if raw.entry_count.get() > MAX_ENTRIES {
            return Err(damaged(format!(
                "they have {} items, expected at most {MAX_ENTRIES}",
                raw.entry_count.get()
            )));
        }
        let mut items: [(Uuid, Option<Vec<u8>>); 6] = [
            FILE_PARAMETERS,
            DISK_SIZE,
            DISK_ID,
            LOGICAL_SECTOR_SIZE,
            PHYSICAL_SECTOR_SIZE,
            PARENT_LOCATOR,
        ]
        .map(|id| (id, None));
        for number in 0..raw.entry_count.get() {
            let (entry, behind) = RawEntry::ref_from_prefix(rest)
                .map_err(|_| damaged(format!("item {number} leaves the table")))?;
            rest = behind;
            let id = Uuid::from_bytes_le(entry.id);
            let is_user = entry.flags.get() & IS_USER != 0;
            let Some((_, item)) = items.iter_mut().find(|(known, _)| *known == id && !is_user) else {
                if entry.flags.get() & IS_REQUIRED != 0 {
                    return Err(ContainerError::Unsupported {
                        what: format!("it needs an item of metadata that is not known, {id}"),
                    });
                }
                continue;
            };
            let (offset, len) = (entry.offset.get(), entry.len.get());
            let is_inside = offset >= TABLE_LEN
                && len <= MAX_ITEM_LEN
                && offset
                    .checked_add(len)
                    .is_some_and(|end| end <= regions.metadata.len);
            if !is_inside || item.is_some() {
                return Err(damaged(format!(
                    "item {id} is there twice, or lies at byte {offset:#x} with {len:#x}"
                )));
            }
            *item = Some(read(start.saturating_add(u64::from(offset)), len)?);
        }
        let items = items.map(|(id, item)| (id, item.unwrap_or_default()));
        let item = |wanted: Uuid| {
            items
                .iter()
                .find(|(id, _)| *id == wanted)
                .map_or(&[][..], |(_, item)| item.as_slice())
        };
        let number = |wanted: Uuid| -> Result<u32, ContainerError> {
            let found = item(wanted).first_chunk().copied().map(u32::from_le_bytes);
            found.ok_or_else(|| damaged(format!("item {wanted} is missing or too short")))
        };
        let long_number = |wanted: Uuid| -> Result<u64, ContainerError> {
            let found = item(wanted).first_chunk().copied().map(u64::from_le_bytes);
            found.ok_or_else(|| damaged(format!("item {wanted} is missing or too short")))
        };
        let parameters = long_number(FILE_PARAMETERS)?;
        // The lower half is the size, the upper half are flags.
        let (block_bytes, flags) = (parameters as u32, (parameters >> 32) as u32);
        if !block_bytes.is_power_of_two() || !(MIB..=256 * MIB).contains(&u64::from(block_bytes)) {
            return Err(damaged(format!(
                "blocks have {block_bytes} bytes, expected a power of two from 1 to 256 MiB"
            )));
        }
        let sector_size = number(LOGICAL_SECTOR_SIZE)?;
        if !matches!(sector_size, 512 | 4096) {
            return Err(damaged(format!(
                "sectors have {sector_size} bytes, expected 512 or 4096"
            )));
        }
        let len_bytes = long_number(DISK_SIZE)?;
        if len_bytes == 0 || len_bytes > MAX_LEN || !len_bytes.is_multiple_of(u64::from(sector_size)) {
            return Err(damaged(format!(
                "the disk has {len_bytes} bytes, expected whole sectors and at most 64 TiB"
            )));
        }
        let parent = if flags & HAS_PARENT != 0 {
            Some(Parent::parse(item(PARENT_LOCATOR)).map_err(damaged)?)
        } else {
            None
        };
        Ok(Self {
            len_bytes,
            block_bytes,
            sector_size,
            is_fixed: flags & IS_FIXED != 0,
            disk_id: item(DISK_ID)
                .first_chunk()
                .map_or_else(Uuid::nil, |bytes| Uuid::from_bytes_le(*bytes)),
            parent,
        })
    }

    /// Returns the metadata as they lie in the file: the table, and the items behind it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let flags = u32::from(self.is_fixed) * IS_FIXED + u32::from(self.parent.is_some()) * HAS_PARENT;
        let parameters = [self.block_bytes.to_le_bytes(), flags.to_le_bytes()].concat();
        let mut items: Vec<(Uuid, u32, Vec<u8>)> = vec![
            (FILE_PARAMETERS, IS_REQUIRED, parameters),
            (
                DISK_SIZE,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.len_bytes.to_le_bytes().to_vec(),
            ),
            (
                DISK_ID,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.disk_id.to_bytes_le().to_vec(),
            ),
            (
                LOGICAL_SECTOR_SIZE,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                self.sector_size.to_le_bytes().to_vec(),
            ),
            (
                PHYSICAL_SECTOR_SIZE,
                IS_REQUIRED | IS_VIRTUAL_DISK,
                4096u32.to_le_bytes().to_vec(),
            ),
        ];
        if let Some(parent) = &self.parent {
            items.push((PARENT_LOCATOR, IS_REQUIRED, parent.to_bytes()));
        }
        let mut table = RawHeader {
            signature: SIGNATURE,
            reserved_1: 0.into(),
            entry_count: (items.len() as u16).into(),
            reserved_2: [0; 20],
        }
        .as_bytes()
        .to_vec();
        let mut behind = Vec::new();
        for (id, flags, item) in items {
            let entry = RawEntry {
                id: id.to_bytes_le(),
                offset: TABLE_LEN.saturating_add(behind.len() as u32).into(),
                len: (item.len() as u32).into(),
                flags: flags.into(),
                reserved: 0.into(),
            };
            table.extend_from_slice(entry.as_bytes());
            behind.extend_from_slice(&item);
        }
        table.resize(TABLE_LEN as usize, 0);
        table.extend_from_slice(&behind);
        table
    }
}

impl Parent {
    /// Reads a parent locator; else says what is wrong with it.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let short = || "the parent locator is missing or too short".to_owned();
        let (raw, mut rest) = RawLocator::ref_from_prefix(bytes).map_err(|_| short())?;
        if Uuid::from_bytes_le(raw.kind) != VHDX_LOCATOR {
            return Err(format!(
                "the parent locator is of an unknown kind, {}",
                Uuid::from_bytes_le(raw.kind)
            ));
        }
        let text = |offset: U32, len: U16| {
            let start = offset.get() as usize;
            let part = bytes.get(start..start.checked_add(usize::from(len.get()))?)?;
            let units: Vec<u16> = part
                .chunks_exact(2)
                .filter_map(|pair| pair.first_chunk().map(|pair| u16::from_le_bytes(*pair)))
                .collect();
            Some(String::from_utf16_lossy(&units))
        };
        let mut pairs = Vec::new();
        for _ in 0..raw.count.get() {
            let (pair, behind) = RawPair::ref_from_prefix(rest).map_err(|_| short())?;
            rest = behind;
            if pair.key_len.get() > MAX_KEY_LEN {
                continue;
            }
            let key = text(pair.key_offset, pair.key_len).ok_or_else(short)?;
            if KEYS_OF_IDS.contains(&key.as_str()) || KEYS_OF_PATHS.contains(&key.as_str()) {
                pairs.push((key, text(pair.value_offset, pair.value_len).ok_or_else(short)?));
            }
            if pairs.len() > KEYS_OF_IDS.len() + KEYS_OF_PATHS.len() {
                return Err("the parent locator has a key twice".to_owned());
            }
        }
        let values = |keys: &'static [&'static str]| {
            keys.iter()
                .filter_map(|key| pairs.iter().find(|(known, _)| known == key))
                .map(|(_, value)| value.as_str())
        };
        let ids: Vec<Uuid> = values(KEYS_OF_IDS)
            .filter_map(|value| Uuid::parse_str(value.trim_matches(['{', '}', '\0'])).ok())
            .collect();
        if ids.is_empty() {
            return Err("the parent locator does not tell the identifier of the parent".to_owned());
        }
        let mut names: Vec<String> = Vec::new();
        for path in values(KEYS_OF_PATHS) {
            let name = path
                .trim_end_matches('\0')
                .rsplit(['\\', '/'])
                .next()
                .unwrap_or_default();
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        Ok(Self { ids, names })
    }

    /// Returns the locator as it lies in the file.
    fn to_bytes(&self) -> Vec<u8> {
        let ids = KEYS_OF_IDS
            .iter()
            .zip(&self.ids)
            .map(|(key, id)| (*key, format!("{{{id}}}")));
        let names = KEYS_OF_PATHS
            .iter()
            .zip(&self.names)
            .map(|(key, name)| (*key, format!(".\\{name}")));
        let pairs: Vec<(&str, String)> = ids.chain(names).collect();
        let mut head = RawLocator {
            kind: VHDX_LOCATOR.to_bytes_le(),
            reserved: 0.into(),
            count: (pairs.len() as u16).into(),
        }
        .as_bytes()
        .to_vec();
        let texts_at = head.len() + pairs.len() * size_of::<RawPair>();
        let mut texts: Vec<u8> = Vec::new();
        for (key, value) in pairs {
            let mut put = |text: &str| {
                let at = texts_at + texts.len();
                texts.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
                (at as u32, (texts_at + texts.len() - at) as u16)
            };
            let (key_offset, key_len) = put(key);
            let (value_offset, value_len) = put(&value);
            let pair = RawPair {
                key_offset: key_offset.into(),
                value_offset: value_offset.into(),
                key_len: key_len.into(),
                value_len: value_len.into(),
            };
            head.extend_from_slice(pair.as_bytes());
        }
        head.extend_from_slice(&texts);
        head
    }
}

/// Longer than any key that is known, in bytes.
const MAX_KEY_LEN: u16 = 64;
const KEYS_OF_IDS: &[&str] = &["parent_linkage", "parent_linkage2"];
const KEYS_OF_PATHS: &[&str] = &["relative_path", "absolute_win32_path", "volume_path"];
