//! Matrix products on the host.

use gemm::Parallelism;

/// Multiplications below which threads cost more than they bring.
const ALONE: usize = 1 << 21;

/// A matrix in memory that belongs to somebody else.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Row after row.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// The first `columns` of rows that are `row_stride` apart.
    pub(crate) fn strided(
        values: &'a [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert!(fits(values.len(), rows, columns, row_stride));
        Self {
            values,
            rows,
            columns,
            row_stride,
            column_stride: 1,
        }
    }

    /// The same values, transposed.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

fn fits(values: usize, rows: usize, columns: usize, row_stride: usize) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= values
}

/// What happens to the values that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// They are replaced.
    Over,
    /// The product is added to them.
    Onto,
}

/// `out = a · b` or `out += a · b`, `out` row after row; large products use all threads. The
/// result does not depend on when which thread runs.
pub(crate) fn multiply(out: &mut [f32], put: Put, a: View<'_>, b: View<'_>) {
    multiply_strided(out, b.columns, put, a, b);
}

/// As [`multiply`], with rows of `out` that are `row_stride` apart.
pub(crate) fn multiply_strided(
    out: &mut [f32],
    row_stride: usize,
    put: Put,
    a: View<'_>,
    b: View<'_>,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let large = m.saturating_mul(n).saturating_mul(k) >= ALONE;
    let threads = if large {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    };
    product(out, row_stride, put, a, b, threads);
}

/// As [`multiply`] on the calling thread, with rows of `out` that are `row_stride` apart.
pub(crate) fn multiply_here(
    out: &mut [f32],
    row_stride: usize,
    put: Put,
    a: View<'_>,
    b: View<'_>,
) {
    product(out, row_stride, put, a, b, Parallelism::None);
}

fn product(
    out: &mut [f32],
    row_stride: usize,
    put: Put,
    a: View<'_>,
    b: View<'_>,
    threads: Parallelism,
) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert_eq!(k, b.rows);
    assert!(fits(out.len(), m, n, row_stride) && (row_stride >= n || m < 2));
    let signed = usize::cast_signed;
    // SAFETY: `View` and the asserts keep every index inside its slice, and `out` is borrowed
    // mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            signed(row_stride),
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
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7 + 3) % 13) as f32 - 6.0)
            .collect()
    }

    #[test]
    fn strides_transposes_and_sums() {
        let (a, b) = (filled(5 * 7), filled(7 * 6));
        // Columns 1..5 of a, transposed: [4, 5] × [5, 6].
        let a = View::strided(&a[1..], 5, 4, 7).t();
        let b = View::new(&b, 5, 6);
        let mut out = vec![1.0; 4 * 8];
        multiply_here(&mut out, 8, Put::Onto, a, b);
        for i in 0..4 {
            for j in 0..8 {
                let sum: f32 = (0..5)
                    .map(|k| a.values[k * 7 + i] * b.values[k * 6 + j.min(5)])
                    .sum();
                let expected = if j < 6 { 1.0 + sum } else { 1.0 };
                assert_eq!(out[i * 8 + j], expected, "{i} {j}");
            }
        }
        let mut over = vec![9.0; 4 * 6];
        multiply(&mut over, Put::Over, a, b);
        assert_eq!(over[0], out[0] - 1.0);
    }

    #[test]
    #[should_panic(expected = "fits")]
    fn a_view_beyond_its_values_is_refused() {
        let _ = View::new(&[0.0; 5], 2, 3);
    }
}
