//! Products by the `gemm` crate.

use gemm::Parallelism;

use super::Out;
use crate::host::matrix::{Put, View};

/// # Safety
/// `out` has the rows of `a` and the columns of `b`, and nobody else has them.
pub(super) unsafe fn product(out: Out, put: Put, a: View<'_>, b: View<'_>) {
    let signed = usize::cast_signed;
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.values,
            1,
            signed(out.row_stride),
            put == Put::Onto,
            a.values.as_ptr(),
            signed(a.column_stride),
            signed(a.row_stride),
            b.values.as_ptr(),
            signed(b.column_stride),
            signed(b.row_stride),
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
