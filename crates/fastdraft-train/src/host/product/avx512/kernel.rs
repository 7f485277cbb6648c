//! The innermost loop.

use std::arch::{
    asm,
    x86_64::{
        __m512, __mmask16, _MM_HINT_T0, _mm_prefetch, _mm512_add_ps, _mm512_fmadd_ps,
        _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps,
    },
};

use super::ROWS;
use crate::host::product::packed::{LANES, PANEL};

/// A few rows and one panel of columns.
pub(super) struct Call {
    pub(super) depth: usize,
    /// Rows, or columns, that are `a_stride` apart and whose values are not.
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    pub(super) b: *const f32,
    pub(super) out: *mut f32,
    pub(super) out_row: usize,
    /// Columns of the last vector that there are.
    pub(super) last: __mmask16,
    pub(super) onto: bool,
}

type Kernel = unsafe fn(&Call);
type Kernels = [[Kernel; PANEL / LANES]; ROWS];

macro_rules! kernels {
    ($by_rows:literal, $($rows:literal)*) => {
        [$([
            kernel::<$by_rows, $rows, 1>,
            kernel::<$by_rows, $rows, 2>,
            kernel::<$by_rows, $rows, 3>,
            kernel::<$by_rows, $rows, 4>,
        ]),*]
    };
}

/// By rows and vectors, both less one, where rows of `a` are contiguous.
pub(super) const BY_ROWS: Kernels = kernels!(true, 1 2 3 4 5 6);
/// Where columns are.
pub(super) const BY_COLUMNS: Kernels = kernels!(false, 1 2 3 4 5 6);

/// Columns of `a` that are multiplied without a step of pointers.
const STEP: usize = 4;

/// # Safety
/// The processor has AVX-512. There are `R` rows of `depth` values at `a`, `depth` rows of `N`
/// vectors at `b`, and `R` rows of `N` vectors, the last as far as `last` says, at `out`.
#[target_feature(enable = "avx512f")]
unsafe fn kernel<const BY_ROWS: bool, const R: usize, const N: usize>(call: &Call) {
    let Call {
        depth,
        a_stride,
        out_row,
        ..
    } = *call;
    let mut sums = [[_mm512_setzero_ps(); N]; R];
    let mut left = Left::<BY_ROWS>::new(call.a, a_stride);
    let (mut b, mut next) = (call.b, call.a.wrapping_add(R * a_stride));
    // SAFETY: the caller's promise; what is fetched ahead need not be there.
    unsafe {
        for row in 0..R {
            for vector in 0..N {
                fetch(call.out.wrapping_add(row * out_row + vector * LANES));
            }
        }
        for _ in 0..depth / LANES {
            if BY_ROWS {
                for row in 0..R {
                    fetch(next.wrapping_add(row * a_stride));
                }
                next = next.wrapping_add(LANES);
            }
            for _ in 0..LANES / STEP {
                for column in 0..STEP {
                    multiply(&mut sums, left, column, b.add(column * N * LANES));
                }
                (left, b) = (left.after(STEP), b.wrapping_add(STEP * N * LANES));
            }
        }
        for _ in 0..depth % LANES {
            multiply(&mut sums, left, 0, b);
            (left, b) = (left.after(1), b.wrapping_add(N * LANES));
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

/// Where the rows of `a` are.
#[derive(Clone, Copy)]
struct Left<const BY_ROWS: bool> {
    /// Rows 0 and 3: others are one or two strides from them, which an address can say.
    thirds: [*const f32; 2],
    stride: usize,
}

impl<const BY_ROWS: bool> Left<BY_ROWS> {
    #[inline(always)]
    fn new(a: *const f32, stride: usize) -> Self {
        let mut three = 3 * stride;
        // The compiler would step one pointer from row to row, on the ports that multiply.
        // SAFETY: nothing is done.
        unsafe { asm!("/* {0} */", inout(reg) three, options(nomem, nostack, preserves_flags)) };
        Self {
            thirds: [a, a.wrapping_add(three)],
            stride,
        }
    }

    #[inline(always)]
    fn at(self, row: usize, column: usize) -> *const f32 {
        if BY_ROWS {
            self.thirds[row / 3].wrapping_add(row % 3 * self.stride + column)
        } else {
            self.thirds[0].wrapping_add(row + column * self.stride)
        }
    }

    #[inline(always)]
    fn after(self, columns: usize) -> Self {
        let step = if BY_ROWS {
            columns
        } else {
            columns * self.stride
        };
        Self {
            thirds: self.thirds.map(|third| third.wrapping_add(step)),
            ..self
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
unsafe fn multiply<const BY_ROWS: bool, const R: usize, const N: usize>(
    sums: &mut [[__m512; N]; R],
    left: Left<BY_ROWS>,
    column: usize,
    b: *const f32,
) {
    let mut right = [_mm512_setzero_ps(); N];
    // SAFETY: the caller's promise.
    unsafe {
        for (vector, right) in right.iter_mut().enumerate() {
            *right = _mm512_loadu_ps(b.add(vector * LANES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let left = _mm512_set1_ps(*left.at(row, column));
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = _mm512_fmadd_ps(left, right, *sum);
            }
        }
    }
}
