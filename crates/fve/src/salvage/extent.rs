//! How far a volume is encrypted, where no metadata say it: told by what sectors mean as they are and what they mean
//! decrypted.
//!
//! Conversions go from the front to the end (format spec 2.3): in front of a boundary everything is encrypted, behind it
//! nothing. So one sector near the end that has a meaning only when decrypted proves all of the volume encrypted.

use std::ops::Range;

use keyhaven_crypto::{SectorCipher, SectorSize};
use keyhaven_disk::Device;

/// What a sector tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It holds nothing: both readings give nothing of value.
    Zero,
    /// It has a meaning decrypted, and is noise as it is.
    Encrypted,
    /// It has a meaning as it is, and is noise decrypted.
    Plain,
    /// It is noise either way: compressed or encrypted by somebody else.
    Either,
    /// It cannot be read.
    Unreadable,
}

/// How far a volume is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extent {
    /// To the end: `at` is the last sector that holds anything.
    Whole { at: u64 },
    /// Up to a sector, and not from there on: `to`, or another one back to `from`, between which there is nothing.
    UpTo { from: u64, to: u64 },
    /// Nothing tells.
    Unknown(Unknown),
}

/// Why nothing tells how far.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unknown {
    /// The last sectors with anything in them are noise, decrypted or not.
    #[error("the sectors from byte {from:#x} to the end are noise whether they are decrypted or not")]
    Noise {
        /// Where they begin.
        from: u64,
    },
    /// The boundary lies in a part that is noise either way.
    #[error("the encryption ends somewhere between bytes {from:#x} and {to:#x}, which are noise either way")]
    Between {
        /// The last place that is encrypted for certain.
        from: u64,
        /// The first that is not.
        to: u64,
    },
    /// Encrypted and plain parts alternate.
    #[error("there are plain sectors (byte {plain:#x}) in front of encrypted ones (byte {encrypted:#x})")]
    Mixed {
        /// A plain sector.
        plain: u64,
        /// An encrypted one behind it.
        encrypted: u64,
    },
}

/// So many sectors are looked at backwards from the end until one tells.
const MAX_BACKWARDS: u64 = 1 << 16;
/// And so many all over the volume, for plain ones where there should be none.
const SAMPLES: u64 = 2048;

/// Looks at sectors with a key.
pub(super) struct Looking<'a> {
    pub(super) device: &'a Device,
    pub(super) cipher: &'a SectorCipher,
    pub(super) sector_size: SectorSize,
    /// What is no content of the file system: the first sectors, the metadata.
    pub(super) apart: Vec<Range<u64>>,
}

impl Looking<'_> {
    /// Finds out how far the first `len_bytes` of the device are encrypted.
    pub(super) fn judge(&self, len_bytes: u64) -> Extent {
        let sector = self.sector_size.bytes_u64();
        let end = len_bytes.min(self.device.len_bytes()) / sector * sector;
        let last = self.last_telling(end);
        match last {
            Some((at, Sight::Encrypted)) => match self.first_plain_structure(at) {
                Some(plain) => Extent::Unknown(Unknown::Mixed { plain, encrypted: at }),
                None => Extent::Whole { at },
            },
            Some((at, Sight::Plain)) => self.boundary(at),
            Some((at, _)) => Extent::Unknown(Unknown::Noise { from: at }),
            None => Extent::Unknown(Unknown::Noise { from: 0 }),
        }
    }

    /// Goes backwards from the end to the first sector that is not zeros; noise in between is looked past only where
    /// nothing but it has been seen for long.
    fn last_telling(&self, end: u64) -> Option<(u64, Sight)> {
        let sector = self.sector_size.bytes_u64();
        let mut noise = None;
        let mut looked = 0;
        let mut at = end;
        while at > 0 && looked < MAX_BACKWARDS {
            at -= sector;
            // Holes end where content begins; from behind that has to be looked for.
            if let Some(start) = self.hole_before(at) {
                at = start;
                continue;
            }
            if self.is_apart(at) {
                continue;
            }
            match self.sight(at) {
                Sight::Zero => {}
                sight @ (Sight::Encrypted | Sight::Plain) if noise.is_none() => return Some((at, sight)),
                // A plain sector in front of noise: the noise may be encrypted with the boundary in between, or not.
                Sight::Encrypted | Sight::Plain => return noise.map(|from| (from, Sight::Either)),
                Sight::Either | Sight::Unreadable => {
                    looked += 1;
                    noise = Some(at);
                }
            }
        }
        noise.map(|from| (from, Sight::Either))
    }

    /// Returns the start of a run of holes that ends behind `at`, looked for in ever larger steps.
    fn hole_before(&self, at: u64) -> Option<u64> {
        let sector = self.sector_size.bytes_u64();
        if self.device.hole_at(at, sector) < sector {
            return None;
        }
        let (mut start, mut step) = (at, sector);
        while let Some(earlier) = start.checked_sub(step) {
            if self.device.hole_at(earlier, start - earlier) < start - earlier {
                break;
            }
            start = earlier;
            step = step.saturating_mul(2).min(1 << 30);
        }
        Some(start)
    }

    /// Finds the boundary in front of a plain sector: by halving, then sector by sector.
    fn boundary(&self, plain: u64) -> Extent {
        let sector = self.sector_size.bytes_u64();
        let (mut low, mut high) = (0, plain);
        // Everything in front of `low` is encrypted, everything from `high` on is plain.
        while high > low {
            let middle = low + (high - low) / sector / 2 * sector;
            match self.telling_near(middle, low..high) {
                Some((at, Sight::Encrypted)) => low = at + sector,
                Some((at, Sight::Plain)) => high = at,
                _ => break,
            }
        }
        if low == 0 {
            return Extent::Unknown(Unknown::Between { from: 0, to: high });
        }
        // What is left in between holds nothing that tells: if it is all zeros, both readings of it are as good.
        let mut at = low;
        while at < high {
            let hole = self.device.hole_at(at, high - at) / sector * sector;
            if hole > 0 {
                at += hole;
                continue;
            }
            if !self.is_apart(at) && self.sight(at) != Sight::Zero {
                return Extent::Unknown(Unknown::Between { from: low, to: high });
            }
            at += sector;
        }
        Extent::UpTo { from: low, to: high }
    }

    /// Looks for a sector that tells at `at` and behind it, then in front.
    fn telling_near(&self, at: u64, within: Range<u64>) -> Option<(u64, Sight)> {
        let sector = self.sector_size.bytes_u64();
        let tells = |at: u64| {
            let sight = if self.is_apart(at) {
                Sight::Zero
            } else {
                self.sight(at)
            };
            matches!(sight, Sight::Encrypted | Sight::Plain).then_some((at, sight))
        };
        let steps = 0..MAX_BACKWARDS.min((within.end - within.start) / sector + 1);
        steps
            .clone()
            .map(|step| at + step * sector)
            .take_while(|at| *at < within.end)
            .find_map(tells)
            .or_else(|| {
                let before = steps.filter_map(|step| at.checked_sub((step + 1) * sector));
                before.take_while(|at| *at >= within.start).find_map(tells)
            })
    }

    /// Looks all over the part in front of `end` for a plain structure of NTFS, which a conversion would not leave there.
    fn first_plain_structure(&self, end: u64) -> Option<u64> {
        let sector = self.sector_size.bytes_u64();
        let step = (end / SAMPLES / 0x1000 * 0x1000).max(0x1000);
        (0..end / step).map(|number| number * step).find(|at| {
            let mut raw = vec![0; sector as usize];
            !self.is_apart(*at)
                && self.device.hole_at(*at, sector) < sector
                && self.device.read_at(*at, &mut raw).is_ok()
                && is_record(&raw)
        })
    }

    fn is_apart(&self, at: u64) -> bool {
        self.apart.iter().any(|range| range.contains(&at))
    }

    fn sight(&self, at: u64) -> Sight {
        let mut raw = vec![0; self.sector_size.bytes()];
        if self.device.read_at(at, &mut raw).is_err() {
            return Sight::Unreadable;
        }
        if raw.iter().all(|byte| *byte == 0) {
            return Sight::Zero;
        }
        let mut plain = raw.clone();
        self.cipher.decrypt(at, &mut plain);
        match (has_meaning(&raw), has_meaning(&plain)) {
            (false, true) => Sight::Encrypted,
            (true, false) => Sight::Plain,
            _ => Sight::Either,
        }
    }
}

/// Tells whether bytes are anything but noise.
///
/// 512 random bytes have 221 different values, give or take 6; fewer than 150 occur in none of all the sectors that there
/// are. The front of larger sectors is enough.
fn has_meaning(sector: &[u8]) -> bool {
    const FEW: usize = 150;

    let mut seen = [false; 256];
    for byte in sector.get(..512).unwrap_or(sector) {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count() < FEW
}

/// Tells whether a sector begins as the records of NTFS do: a name, and where its update sequence is.
fn is_record(sector: &[u8]) -> bool {
    let named = [b"FILE", b"INDX", b"RCRD", b"RSTR"]
        .iter()
        .any(|name| sector.starts_with(*name));
    let sequence_at = sector.get(4..6).map(|at| u16::from_le_bytes([at[0], at[1]]));
    named && sequence_at.is_some_and(|at| (0x28..0x100).contains(&at))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keyhaven_crypto::Secret;

    use super::*;

    const LEN: usize = 1 << 20;
    const SIZE: u32 = 512;

    fn cipher() -> SectorCipher {
        let size = SectorSize::new(SIZE).expect("a size");
        SectorCipher::aes_xts_128(&Secret::from([1; 16]), &Secret::from([2; 16]), size)
    }

    /// Text all over, encrypted up to a byte.
    fn device(boundary: usize, change: impl Fn(&mut [u8])) -> Device {
        let mut bytes: Vec<u8> = (0..LEN).map(|at| b"The quick brown fox. "[at % 21]).collect();
        change(&mut bytes);
        cipher().encrypt(0, &mut bytes[..boundary]);
        Arc::new(bytes)
    }

    fn judge(device: &Device) -> Extent {
        Looking {
            device,
            cipher: &cipher(),
            sector_size: SectorSize::new(SIZE).expect("a size"),
            apart: Vec::new(),
        }
        .judge(LEN as u64)
    }

    #[test]
    fn the_end_of_encryption_is_found_to_the_sector() {
        for boundary in [512, 0x1000, 0x8_0200, LEN - 512] {
            assert_eq!(
                judge(&device(boundary, |_| ())),
                Extent::UpTo {
                    from: boundary as u64,
                    to: boundary as u64
                }
            );
        }
        let last = (LEN - 512) as u64;
        assert_eq!(judge(&device(LEN, |_| ())), Extent::Whole { at: last });
    }

    #[test]
    fn noise_where_it_matters_is_no_answer() {
        let noise = |bytes: &mut [u8]| {
            let mut stream = bytes.to_vec();
            SectorCipher::aes_xts_128(
                &Secret::from([3; 16]),
                &Secret::from([4; 16]),
                SectorSize::new(SIZE).expect("a size"),
            )
            .encrypt(0, &mut stream);
            bytes.copy_from_slice(&stream);
        };
        let at_the_end = device(LEN, |bytes| noise(&mut bytes[LEN - 4096..]));
        assert!(matches!(
            judge(&at_the_end),
            Extent::Unknown(Unknown::Noise { .. })
        ));
        let around = device(0x8_0000, |bytes| noise(&mut bytes[0x7_0000..0x9_0000]));
        assert_eq!(
            judge(&around),
            Extent::Unknown(Unknown::Between {
                from: 0x7_0000,
                to: 0x9_0000
            })
        );
        let in_front = device(0x8_0000, |bytes| noise(&mut bytes[..0x1_0000]));
        assert_eq!(
            judge(&in_front),
            Extent::UpTo {
                from: 0x8_0000,
                to: 0x8_0000
            }
        );
    }

    #[test]
    fn zeros_around_the_boundary_do_not_matter() {
        let mut bytes = vec![0u8; LEN];
        for (at, byte) in bytes.iter_mut().enumerate() {
            if !(0x7_0000..0x9_0000).contains(&at) {
                *byte = b"The quick brown fox. "[at % 21];
            }
        }
        cipher().encrypt(0, &mut bytes[..0x7_0000]);
        let device: Device = Arc::new(bytes);
        assert_eq!(
            judge(&device),
            Extent::UpTo {
                from: 0x7_0000,
                to: 0x9_0000
            }
        );
    }

    #[test]
    fn a_plain_record_in_front_is_told() {
        let plain = device(LEN, |_| ());
        let mut bytes = vec![0; LEN];
        plain.read_at(0, &mut bytes).expect("readable");
        bytes[0x4000..0x4006].copy_from_slice(b"FILE\x30\0");
        bytes[0x4006..0x4200].fill(0);
        let device: Device = Arc::new(bytes);
        assert!(matches!(
            judge(&device),
            Extent::Unknown(Unknown::Mixed { plain: 0x4000, .. })
        ));
    }
}
