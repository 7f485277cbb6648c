//! The innermost loop.

use std::arch::x86_64::{
    __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps,
};

use super::ROWS;
use crate::host::product::packed::{LANES, PANEL};

/// A few rows and one panel of columns.
pub(super) struct Call {
    pub(super) depth: usize,
    pub(super) a: *const f32,
    pub(super) a_row: usize,
    pub(super) a_column: usize,
    /// What is fetched meanwhile where rows are contiguous.
    pub(super) next_rows: *const f32,
    pub(super) b: *const f32,
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
    /// Columns of the last vector that there are.
    pub(super) last: __mmask16,
    pub(super) onto: bool,
}

type Kernel = unsafe fn(&Call);

/// By rows and vectors, both less one.
pub(super) const KERNELS: [[Kernel; PANEL / LANES]; ROWS] = {
    macro_rules! of_rows {
        ($($rows:literal)*) => {
            [$([kernel::<$rows, 1>, kernel::<$rows, 2>, kernel::<$rows, 3>, kernel::<$rows, 4>]),*]
        };
    }
    of_rows!(1 2 3 4 5 6)
};

/// # Safety
/// The processor has AVX-512. There are `R` rows of `depth` values at `a`, `depth` rows of `N`
/// vectors at `b`, and `R` rows of `N` vectors, the last as far as `last` says, at `out`.
#[target_feature(enable = "avx512f")]
unsafe fn kernel<const R: usize, const N: usize>(call: &Call) {
    let Call {
        depth,
        a_row,
        a_column,
        out_row,
        ..
    } = *call;
    let mut sums = [[_mm512_setzero_ps(); N]; R];
    let (mut a, mut b, mut next) = (call.a, call.b, call.next_rows);
    // SAFETY: the caller's promise; what is fetched ahead need not be there.
    unsafe {
        for row in 0..R {
            for vector in 0..N {
                fetch(call.out.wrapping_add(row * out_row + vector * LANES));
            }
        }
        for _ in 0..depth / LANES {
            if a_column == 1 {
                for row in 0..R {
                    fetch(next.wrapping_add(row * a_row));
                }
                next = next.wrapping_add(LANES);
            }
            for _ in 0..LANES / 4 {
                for _ in 0..4 {
                    step(&mut sums, a, a_row, b);
                    (a, b) = (a.wrapping_add(a_column), b.wrapping_add(N * LANES));
                }
            }
        }
        for _ in 0..depth % LANES {
            step(&mut sums, a, a_row, b);
            (a, b) = (a.wrapping_add(a_column), b.wrapping_add(N * LANES));
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let mask = if vector + 1 == N { call.last } else { !0 };
                let out = call.out.add(row * out_row + vector * LANES);
                let sum = if call.onto {
                    _mm512_add_ps(_mm512_maskz_loadu_ps(mask, out), *sum)
                } else {
                    *sum
                };
                _mm512_mask_storeu_ps(out, mask, sum);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn fetch(at: *const f32) {
    _mm_prefetch::<_MM_HINT_T0>(at.cast());
}

/// One column of `a` times one row of `b`.
///
/// # Safety
/// As of [`kernel`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn step<const R: usize, const N: usize>(
    sums: &mut [[__m512; N]; R],
    a: *const f32,
    a_row: usize,
    b: *const f32,
) {
    let mut right = [_mm512_setzero_ps(); N];
    // SAFETY: the caller's promise.
    unsafe {
        for (vector, right) in right.iter_mut().enumerate() {
            *right = _mm512_loadu_ps(b.add(vector * LANES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let left = _mm512_set1_ps(*a.add(row * a_row));
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = _mm512_fmadd_ps(left, right, *sum);
            }
        }
    }
}
