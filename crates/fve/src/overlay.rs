//! Bytes that are shown in the place of others.

/// Puts the part of `bytes`, which begin at `start`, that falls into `buf`, which begins at `offset`, over it.
pub(crate) fn overlay(buf: &mut [u8], offset: u64, bytes: &[u8], start: u64) {
    let from = offset.max(start);
    let to = (offset.saturating_add(buf.len() as u64)).min(start.saturating_add(bytes.len() as u64));
    if from < to {
        let (into, out) = ((from - offset) as usize, (from - start) as usize);
        let len = (to - from) as usize;
        buf[into..into + len].copy_from_slice(&bytes[out..out + len]);
    }
}
