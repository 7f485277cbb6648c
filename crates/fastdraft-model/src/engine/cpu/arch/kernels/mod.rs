//! The kernels, written once over what an instruction set offers.

pub(super) mod attention;
pub(super) mod floats;
pub(super) mod four_bit;
pub(super) mod int8;

/// Bytes between a load and the line that memory is asked for. It goes to the L2 cache, which can wait
/// for three times as many lines as the L1 cache.
const FAR: usize = 4096;
/// Bytes between a load and the line that the L1 cache asks the L2 cache for.
const NEAR: usize = 1024;
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

/// The lines a tile asks for before they are read.
#[derive(Clone, Copy)]
struct Fetch {
    far: *const u8,
    /// Bytes of a step that this tile asks memory for.
    share: usize,
    near: *const u8,
    step: usize,
}

impl Fetch {
    /// For tile `index` of `tiles`, which share the fetching of what comes after the `bytes` at `at`, of
    /// which a step reads `step`.
    fn new(at: *const u8, bytes: usize, step: usize, index: usize, tiles: usize) -> Self {
        Self {
            far: at.wrapping_add(FAR + index % tiles * bytes / tiles),
            share: step / tiles,
            near: at.wrapping_add(NEAR),
            step,
        }
    }

    #[inline(always)]
    fn ask(self, step: usize) {
        let far = self.far.wrapping_add(step * self.share);
        lines::<true>(far, self.share);
        lines::<false>(self.near.wrapping_add(step * self.step), self.step);
    }
}

/// Fetches the cache lines of up to 192 bytes, at least one, into the L2 or the L1 cache.
#[inline(always)]
fn lines<const TO_L2: bool>(at: *const u8, bytes: usize) {
    prefetch::<TO_L2>(at);
    if bytes > 64 {
        prefetch::<TO_L2>(at.wrapping_add(64));
    }
    if bytes > 128 {
        prefetch::<TO_L2>(at.wrapping_add(128));
    }
}

#[inline(always)]
fn prefetch<const TO_L2: bool>(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of the architecture, and prefetching never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        if TO_L2 {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        } else {
            _mm_prefetch::<_MM_HINT_T0>(at.cast());
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: prefetching never faults.
    unsafe {
        use std::arch::asm;
        if TO_L2 {
            asm!("prfm pldl2keep, [{0}]", in(reg) at, options(nostack, readonly, preserves_flags));
        } else {
            asm!("prfm pldl1keep, [{0}]", in(reg) at, options(nostack, readonly, preserves_flags));
        }
    }
}
