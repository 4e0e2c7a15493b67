//! Where the lines of a chunk end.

use wide::u8x16;

use super::field::head_word;

/// The positions of all CR and LF bytes of a chunk, in order.
///
/// Each block of 64 bytes is looked at once, with vectors, and leaves a bit mask; finding
/// the next line end then takes a few instructions however short the lines are.
#[derive(Debug, Default)]
pub(super) struct LineEnds {
    /// The line ends not yet returned of the block looked at last.
    mask: u64,
    /// Where the next block begins.
    next: usize,
}

impl LineEnds {
    /// The next line end in `chunk`, which is the same each time.
    #[inline]
    pub(super) fn next(&mut self, chunk: &[u8]) -> Option<usize> {
        if self.mask == 0 && !self.look(chunk) {
            return None;
        }
        let at = self.next - BLOCK + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    /// Looks for the next block that a line ends in.
    #[inline]
    fn look(&mut self, chunk: &[u8]) -> bool {
        self.next < chunk.len()
            && (self.look_at_block(chunk) || (self.next < chunk.len() && self.look_further(chunk)))
    }

    #[inline]
    fn look_at_block(&mut self, chunk: &[u8]) -> bool {
        let rest = chunk.get(self.next..).unwrap_or_default();
        count_work(rest.len().min(BLOCK));
        self.mask = match rest.first_chunk() {
            Some(block) => line_ends(block),
            None if rest.is_empty() => 0,
            None => line_ends_of_rest(rest),
        };
        self.next += BLOCK;
        self.mask != 0
    }

    /// The line is long, and memchr may use wider vectors than the blocks do, since it asks
    /// the machine at run time which ones there are.
    #[inline(never)]
    fn look_further(&mut self, chunk: &[u8]) -> bool {
        let rest = chunk.get(self.next..).unwrap_or_default();
        let passed = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        count_work(passed);
        self.next += passed;
        self.look_at_block(chunk)
    }
}

/// The same for fewer bytes than a block has.
#[inline(never)]
fn line_ends_of_rest(rest: &[u8]) -> u64 {
    let (vectors, single) = rest.as_chunks();
    let of_last = u64::from(ends(&padded(single)).to_bitmask());
    vectors.iter().rev().fold(of_last, |mask, vector| mask << 16 | u64::from(ends(vector).to_bitmask()))
}

/// Fewer than 16 bytes, with zeros behind. Two words that overlap take fewer instructions than a copy of any length.
#[inline]
fn padded(bytes: &[u8]) -> [u8; 16] {
    let missing = 8 * (16 - bytes.len()) as u32;
    let last =
        bytes.last_chunk().map_or(0, |last| u64::from_le_bytes(*last).checked_shr(missing).unwrap_or(0));
    (u128::from(last) << 64 | u128::from(head_word(bytes))).to_le_bytes()
}

const BLOCK: usize = 64;

/// Which bytes of a block are line ends.
#[inline]
fn line_ends(block: &[u8; BLOCK]) -> u64 {
    let (vectors, _) = block.as_chunks();
    let [a, b, c, d] = std::array::from_fn(|i| ends(&vectors[i]));
    // Long lines have many blocks without an end, which one test tells.
    if (a | b | c | d).to_bitmask() == 0 {
        return 0;
    }
    let [a, b, c, d] = [a, b, c, d].map(|vector| u64::from(vector.to_bitmask()));
    a | b << 16 | c << 32 | d << 48
}

#[inline]
fn ends(bytes: &[u8; 16]) -> u8x16 {
    let vector = u8x16::new(*bytes);
    vector.simd_eq(u8x16::splat(b'\n')) | vector.simd_eq(u8x16::splat(b'\r'))
}

/// Counts bytes that are looked at or copied, so that a test can tell that the work grows
/// with the length of the stream and not faster.
#[inline]
pub(super) fn count_work(_bytes: usize) {
    #[cfg(test)]
    WORK.with(|work| work.set(work.get() + _bytes as u64));
}

#[cfg(test)]
thread_local! {
    pub(super) static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}
