//! AES-CBC: to decrypt, eight registers of a sector's blocks at a time; to encrypt, a block of each of many sectors.

use super::keys::{BATCH_SECTORS, BatchBlocks, Schedule};
use super::vector::{AesVector, LANES};
use crate::sector::Mode;

/// Blocks of each sector that are brought together at a time to be encrypted.
const COLUMNS: usize = 16;
/// The bytes of them; every sector size is a multiple.
const COLUMNS_BYTES: usize = 16 * COLUMNS;

pub(super) struct Cbc<V: AesVector, const R: usize> {
    v: V,
    key: Schedule<V, R>,
}

impl<V: AesVector, const R: usize> Cbc<V, R> {
    /// Makes a mode without its key, to be expanded where it will stay.
    pub(super) fn empty(v: V) -> Self {
        Self {
            v,
            key: Schedule::empty(v),
        }
    }

    pub(super) fn expand(&mut self, key: &[u8]) {
        self.key.expand(self.v, key);
    }

    pub(super) fn new(v: V, key: &[u8]) -> Box<Self> {
        let mut mode = Box::new(Self::empty(v));
        mode.expand(key);
        mode
    }

    #[inline(always)]
    fn decrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut offset = offset;
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            let starts =
                self.key
                    .encrypt_numbers(self.v, offset, sector_size as u64, batch.len() / sector_size);
            offset = offset.wrapping_add(batch.len() as u64);
            for (sector, start) in batch.chunks_exact_mut(sector_size).zip(&starts) {
                self.decrypt_sector(start, sector);
            }
        }
    }

    #[inline(always)]
    fn decrypt_sector(&self, start: &[u8; 16], sector: &mut [u8]) {
        let v = self.v;
        let mut chained = v.broadcast(start);
        let (groups, _) = V::registers_mut(sector).as_chunks_mut::<LANES>();
        for group in groups {
            let mut state = v.load_all(group);
            // Every block is XORed with the ciphertext before it.
            let mut before = [chained; LANES];
            let mut last = chained;
            for (before, cipher) in before.iter_mut().zip(state) {
                *before = v.shift_in(last, cipher);
                last = cipher;
            }
            chained = last;
            self.key.decrypt(v, &mut state);
            v.xor_all(&mut state, &before);
            v.store_all(group, state);
        }
    }

    #[inline(always)]
    fn encrypt_run(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        let mut offset = offset;
        let mut rows = [[[0; 16]; BATCH_SECTORS]; COLUMNS + 1];
        for batch in run.chunks_mut(BATCH_SECTORS * sector_size) {
            let sectors = batch.len() / sector_size;
            rows[COLUMNS] = self
                .key
                .encrypt_numbers(self.v, offset, sector_size as u64, sectors);
            offset = offset.wrapping_add(batch.len() as u64);
            for at in (0..sector_size).step_by(COLUMNS_BYTES) {
                rows[0] = rows[COLUMNS];
                gather(batch, sector_size, at, &mut rows);
                match sectors.div_ceil(V::BLOCKS) {
                    1 => self.encrypt_rows::<1>(1, &mut rows),
                    2 => self.encrypt_rows::<2>(1, &mut rows),
                    3..=4 => self.encrypt_rows::<4>(1, &mut rows),
                    registers => self.encrypt_rows::<LANES>(registers.div_ceil(LANES), &mut rows),
                }
                scatter(&rows, sector_size, at, batch);
            }
        }
    }

    /// Encrypts row by row, each chained to the one before, `groups` times `L` registers of it.
    #[inline(always)]
    fn encrypt_rows<const L: usize>(&self, groups: usize, rows: &mut [BatchBlocks; COLUMNS + 1]) {
        let v = self.v;
        for at in 0..COLUMNS {
            let [before, row] = &mut rows[at..at + 2] else {
                return;
            };
            let (before, _) = V::registers(before.as_flattened()).as_chunks::<L>();
            let (row, _) = V::registers_mut(row.as_flattened_mut()).as_chunks_mut::<L>();
            for (group, before) in row.iter_mut().zip(before).take(groups) {
                let mut state = v.load_all(group);
                v.xor_all(&mut state, &v.load_all(before));
                self.key.encrypt(v, &mut state);
                v.store_all(group, state);
            }
        }
    }
}

/// Brings together the same blocks of all sectors, from byte `at` of each: a row for each block. The row in front is
/// left alone.
#[inline(always)]
fn gather(sectors: &[u8], sector_size: usize, at: usize, rows: &mut [BatchBlocks; COLUMNS + 1]) {
    for (lane, sector) in sectors.chunks_exact(sector_size).enumerate() {
        for (row, block) in rows[1..].iter_mut().zip(sector[at..].as_chunks().0) {
            row[lane] = *block;
        }
    }
}

/// Puts the blocks back where they belong.
#[inline(always)]
fn scatter(rows: &[BatchBlocks; COLUMNS + 1], sector_size: usize, at: usize, sectors: &mut [u8]) {
    for (lane, sector) in sectors.chunks_exact_mut(sector_size).enumerate() {
        for (row, block) in rows[1..].iter().zip(sector[at..].as_chunks_mut().0) {
            *block = row[lane];
        }
    }
}

impl<V: AesVector, const R: usize> Mode for Cbc<V, R> {
    fn decrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.v.within(
            #[inline(always)]
            || self.decrypt_run(offset, sector_size, run),
        );
    }

    fn encrypt(&self, offset: u64, sector_size: usize, run: &mut [u8]) {
        self.v.within(
            #[inline(always)]
            || self.encrypt_run(offset, sector_size, run),
        );
    }
}

#[cfg(test)]
mod tests {
    use aes::{Aes128, Aes256};

    use crate::arch::cbc;
    use crate::arch::twin_test::assert_twins;
    use crate::cbc::Cbc;
    use crate::secret::Secret;

    #[test]
    fn equals_its_portable_twin() {
        assert_twins(
            |with, key: &Secret<16>, _| cbc(with, key),
            |key, _| Box::new(Cbc::<Aes128>::new(key)),
        );
        assert_twins(
            |with, key: &Secret<32>, _| cbc(with, key),
            |key, _| Box::new(Cbc::<Aes256>::new(key)),
        );
    }
}
