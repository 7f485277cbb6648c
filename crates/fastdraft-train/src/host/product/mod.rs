//! Products of matrices on one thread: with AVX-512 by a kernel of its own, else by the `gemm`
//! crate.

mod aligned;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod library;
mod packed;

pub(crate) use aligned::Aligned;
pub(crate) use packed::{Packed, PackedView};

#[cfg(test)]
mod tests;

use super::matrix::{Put, View};

/// Rows of `b` that are packed at a time.
const DEPTH: usize = 384;

/// The first value of a result, and how far its rows are apart.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub(super) values: *mut f32,
    pub(super) row_stride: usize,
}

impl Out {
    /// What begins at a row and a column.
    pub(super) fn at(self, row: usize, column: usize) -> Self {
        Self {
            values: self.values.wrapping_add(row * self.row_stride + column),
            ..self
        }
    }
}

// SAFETY: threads write to panels that do not overlap.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

/// Whether there is a kernel for this processor.
fn own() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `out = a · b` or `out += a · b`; parts of `b` are packed in `memory`.
///
/// # Safety
/// `out` has the rows of `a` and the columns of `b`, and nobody else has them.
pub(super) unsafe fn product(
    out: Out,
    mut put: Put,
    a: View<'_>,
    b: View<'_>,
    memory: &mut Packed,
) {
    assert_eq!(a.columns, b.rows);
    if !own() {
        // SAFETY: the caller's promise.
        return unsafe { library::product(out, put, a, b) };
    }
    for start in (0..b.rows.max(1)).step_by(DEPTH) {
        let depth = start..(start + DEPTH).min(b.rows);
        memory.pack(b.some_rows(depth.clone()));
        // SAFETY: the caller's promise.
        unsafe { product_with(out, put, a.some_columns(depth), &memory.view()) };
        put = Put::Onto;
    }
}

/// As [`product`], with a matrix that is packed.
///
/// # Safety
/// As of [`product`].
pub(super) unsafe fn product_with(out: Out, put: Put, a: View<'_>, b: &PackedView<'_>) {
    assert_eq!(a.columns, b.rows());
    // SAFETY: the caller's promise; panels are there where AVX-512 is.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if b.own() {
            return avx512::product(out, put, a, b);
        }
        library::product(out, put, a, b.whole());
    }
}
