//! Where the lines of a chunk end.

use wide::u8x16;

/// The positions of all CR and LF bytes of a chunk, in order.
///
/// Each block of 64 bytes is looked at once, with vectors, and leaves a bit mask; finding
/// the next line end then takes a few instructions however short the lines are. The same
/// look tells whether there is anything but ASCII.
#[derive(Debug)]
pub(super) struct LineEnds<'c> {
    chunk: &'c [u8],
    /// The line ends not yet returned of the block looked at last; bit 0 is at `base`.
    mask: u64,
    base: usize,
    /// Where the next block begins.
    next: usize,
    /// Just past the last byte seen that is not ASCII.
    high: usize,
}

impl<'c> LineEnds<'c> {
    pub(super) fn new(chunk: &'c [u8]) -> Self {
        Self { chunk, mask: 0, base: 0, next: 0, high: 0 }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            if self.next >= self.chunk.len() {
                return None;
            }
            self.look();
        }
        let at = self.base + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    /// Whether what begins at `start` and ends before the latest line end returned (or,
    /// after `None`, at the end of the chunk) is certainly ASCII. The rest of the block
    /// counts too, so `false` only means that somebody has to look.
    #[inline]
    pub(super) fn is_ascii_from(&self, start: usize) -> bool {
        start >= self.high
    }

    #[inline]
    fn look(&mut self) {
        let rest = &self.chunk[self.next..];
        let (ends, high) = match rest.first_chunk::<BLOCK>() {
            Some(block) => masks(block),
            None => {
                let mut block = [0; BLOCK];
                block[..rest.len()].copy_from_slice(rest);
                masks(&block)
            }
        };
        count_work(rest.len().min(BLOCK));
        self.mask = ends;
        self.base = self.next;
        if high != 0 {
            self.high = self.base + BLOCK - high.leading_zeros() as usize;
        }
        self.next += BLOCK;
    }
}

const BLOCK: usize = 64;

/// Which bytes of a block are line ends, and which are not ASCII.
#[inline]
fn masks(block: &[u8; BLOCK]) -> (u64, u64) {
    let (lf, cr) = (u8x16::splat(b'\n'), u8x16::splat(b'\r'));
    let vectors: [u8x16; 4] = std::array::from_fn(|i| {
        let bytes: &[u8; 16] = block[16 * i..].first_chunk().expect("a block has four vectors");
        u8x16::new(*bytes)
    });
    let ends = vectors.map(|vector| vector.simd_eq(lf) | vector.simd_eq(cr));
    (bits(ends), bits(vectors))
}

/// The highest bit of each byte. Most blocks have none set, which one test tells.
#[inline]
fn bits(vectors: [u8x16; 4]) -> u64 {
    let [a, b, c, d] = vectors;
    if (a | b | c | d).to_bitmask() == 0 {
        return 0;
    }
    let [a, b, c, d] = vectors.map(|vector| u64::from(vector.to_bitmask()));
    a | b << 16 | c << 32 | d << 48
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
