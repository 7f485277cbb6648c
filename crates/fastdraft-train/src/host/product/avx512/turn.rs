//! Columns become rows, sixteen by sixteen.

use std::arch::x86_64::{
    __m512, __mmask16, _mm512_castpd_ps, _mm512_castps_pd, _mm512_maskz_loadu_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use crate::host::{matrix::View, product::packed::LANES};

/// Writes rows of `wide` values, a multiple of sixteen, from a matrix whose columns are
/// contiguous; what it lacks of them is 0.
///
/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn turn(out: &mut [f32], wide: usize, b: View<'_>) {
    assert!(b.row_stride == 1 && out.len() >= b.rows * wide && b.columns <= wide);
    for row in (0..b.rows).step_by(LANES) {
        let rows = LANES.min(b.rows - row);
        let mask: __mmask16 = !0 >> (LANES - rows);
        for column in (0..wide).step_by(LANES) {
            let mut square = [_mm512_setzero_ps(); LANES];
            let columns = LANES.min(b.columns.saturating_sub(column));
            for (i, vector) in square[..columns].iter_mut().enumerate() {
                let values = &b.values[(column + i) * b.column_stride + row..][..rows];
                // SAFETY: the mask says how many values there are.
                *vector = unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) };
            }
            for (i, vector) in turned(square)[..rows].iter().enumerate() {
                let values = &mut out[(row + i) * wide + column..][..LANES];
                // SAFETY: there are sixteen values.
                unsafe { _mm512_storeu_ps(values.as_mut_ptr(), *vector) };
            }
        }
    }
}

/// `[i][j]` to `[j][i]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(rows: [__m512; LANES]) -> [__m512; LANES] {
    let pairs = |low: __m512, high: __m512| {
        let (low, high) = (_mm512_castps_pd(low), _mm512_castps_pd(high));
        [
            _mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
            _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)),
        ]
    };
    // Of four rows: column 4 · i + j of them is quarter i of vector j.
    let four = |at: usize| {
        let [low, high] = [(rows[at], rows[at + 1]), (rows[at + 2], rows[at + 3])]
            .map(|(a, b)| [_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)]);
        let ([a, b], [c, d]) = (pairs(low[0], high[0]), pairs(low[1], high[1]));
        [a, b, c, d]
    };
    let fours = [four(0), four(4), four(8), four(12)];
    let mut out = [_mm512_setzero_ps(); LANES];
    for j in 0..4 {
        let [a, b, c, d] = fours.map(|four| four[j]);
        let (ab, cd) = (quarters(a, b), quarters(c, d));
        for odd in 0..2 {
            [out[4 * odd + j], out[4 * odd + 8 + j]] = quarters(ab[odd], cd[odd]);
        }
    }
    out
}

/// Quarters 0 and 2 of both, then 1 and 3.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(a: __m512, b: __m512) -> [__m512; 2] {
    [
        _mm512_shuffle_f32x4::<0x88>(a, b),
        _mm512_shuffle_f32x4::<0xdd>(a, b),
    ]
}
