//! The kernels, written once over what an instruction set offers.

pub(super) mod attention;
pub(super) mod floats;
pub(super) mod four_bit;
pub(super) mod int8;

/// Bytes between a load and the line fetched for later.
const AHEAD: usize = 4096;
/// Packed bytes whose second reading, by the next tokens, still comes from the L2 cache.
const BLOCK_BYTES: usize = 128 * 1024;
/// Most tokens for which the next tile finds the weights of a group in the L1 cache.
const NARROW: usize = 8;

/// How many groups of `bytes` each the tokens of a pass meet before the next groups, and how many
/// tiles share the fetching of a later group, so that memory never waits for one of them.
fn schedule(bytes: usize, tokens: usize, tile: usize) -> (usize, usize) {
    if tokens <= NARROW {
        (1, tokens.div_ceil(tile))
    } else {
        ((BLOCK_BYTES / bytes).max(1), 1)
    }
}

/// The lines a tile asks memory for, long before they are read.
#[derive(Clone, Copy)]
struct Fetch {
    at: *const u8,
    /// Bytes a step.
    stride: usize,
}

impl Fetch {
    /// The share of tile `index` of `tiles` in fetching what comes after the `bytes` at `at`, of which
    /// a step reads `step`.
    fn new(at: *const u8, bytes: usize, step: usize, index: usize, tiles: usize) -> Self {
        Self {
            at: at.wrapping_add(AHEAD + index % tiles * bytes / tiles),
            stride: step / tiles,
        }
    }

    #[inline(always)]
    fn ask(self, step: usize) {
        let at = self.at.wrapping_add(step * self.stride);
        prefetch(at);
        if self.stride > 64 {
            prefetch(at.wrapping_add(64));
        }
        if self.stride > 128 {
            prefetch(at.wrapping_add(128));
        }
    }
}

#[inline(always)]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of the architecture, and prefetching never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: prefetching never faults.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, readonly, preserves_flags));
    }
}
