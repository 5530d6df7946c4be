//! CRC-32C, with which every structure is protected.

use crc::{CRC_32_ISCSI, Crc, Table};

const CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// Where headers, region tables and log entries keep their checksum, in bytes from their start.
const AT: usize = 4;

/// Returns the checksum of a structure, in which the four bytes of the checksum itself count as zeros.
pub(super) fn of(bytes: &[u8]) -> u32 {
    let mut digest = CRC.digest();
    digest.update(bytes.get(..AT).unwrap_or(bytes));
    digest.update(&[0; 4]);
    digest.update(bytes.get(AT + 4..).unwrap_or_default());
    digest.finalize()
}

/// Returns whether the checksum of a structure is right.
pub(super) fn is_right(bytes: &[u8]) -> bool {
    bytes
        .get(AT..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .map(u32::from_le_bytes)
        == Some(of(bytes))
}

/// Puts the checksum into a structure.
pub(super) fn set(bytes: &mut [u8]) {
    let sum = of(bytes);
    if let Some(field) = bytes.get_mut(AT..AT + 4) {
        field.copy_from_slice(&sum.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_castagnoli_polynomial() {
        let mut digest = CRC.digest();
        digest.update(b"123456789");
        assert_eq!(digest.finalize(), 0xE306_9283);
        let mut bytes = vec![7; 100];
        assert!(!is_right(&bytes));
        set(&mut bytes);
        assert!(is_right(&bytes));
        assert!(!is_right(&bytes[..7]));
    }
}
