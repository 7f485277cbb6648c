//! Matrix products on the host.

use std::{cell::RefCell, ops::Range};

use rayon::prelude::*;

use super::product::{Out, Packed, product, product_with};

/// Multiplications below which threads cost more than they bring.
const ALONE: usize = 1 << 21;

/// A matrix in memory that belongs to somebody else.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(super) values: &'a [f32],
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    pub(super) column_stride: usize,
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

    pub(super) fn some_rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        // Past the last value there may be none to begin at.
        let start = (rows.start * self.row_stride).min(self.values.len());
        Self {
            values: &self.values[start..],
            rows: rows.len(),
            ..self
        }
    }

    pub(super) fn some_columns(self, columns: Range<usize>) -> Self {
        self.t().some_rows(columns).t()
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
/// result depends neither on their number nor on when which one runs.
pub(crate) fn multiply(out: &mut [f32], put: Put, a: View<'_>, b: View<'_>) {
    let row_stride = b.columns;
    if a.rows.saturating_mul(b.columns).saturating_mul(a.columns) < ALONE {
        return multiply_here(out, row_stride, put, a, b);
    }
    check(out, row_stride, a.rows, b.columns);
    let out = Out {
        values: out.as_mut_ptr(),
        row_stride,
    };
    panels(a.rows, b.columns)
        .into_par_iter()
        .with_max_len(1)
        .for_each(|panel| {
            let out = out.at(panel.rows.start, panel.columns.start);
            let (a, b) = (a.some_rows(panel.rows), b.some_columns(panel.columns));
            // SAFETY: `check` keeps every index inside its slice, and panels do not overlap.
            with_memory(|memory| unsafe { product(out, put, a, b, memory) });
        });
}

/// As [`multiply`] on the calling thread, with rows of `out` that are `row_stride` apart.
pub(crate) fn multiply_here(
    out: &mut [f32],
    row_stride: usize,
    put: Put,
    a: View<'_>,
    b: View<'_>,
) {
    check(out, row_stride, a.rows, b.columns);
    let values = out.as_mut_ptr();
    let out = Out { values, row_stride };
    // SAFETY: `check` keeps every index inside its slice, and `out` is borrowed mutably.
    with_memory(|memory| unsafe { product(out, put, a, b, memory) });
}

/// As [`multiply_here`], with a matrix that is packed.
pub(crate) fn multiply_packed(
    out: &mut [f32],
    row_stride: usize,
    put: Put,
    a: View<'_>,
    b: &Packed,
) {
    check(out, row_stride, a.rows, b.columns());
    let values = out.as_mut_ptr();
    // SAFETY: `check` keeps every index inside its slice, and `out` is borrowed mutably.
    unsafe { product_with(Out { values, row_stride }, put, a, b) };
}

/// `[rows, columns]` as `[columns, rows]`.
pub(crate) fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    /// Rows that are read together: what a line of the cache has of them is written at once.
    const TOGETHER: usize = 16;
    let rows = values.len() / columns.max(1);
    let mut out = vec![0.0; values.len()];
    (out.par_chunks_mut(TOGETHER * rows.max(1)).enumerate()).for_each(|(part, out)| {
        let first = part * TOGETHER;
        for (row, values) in values.chunks_exact(columns).enumerate() {
            for (out, value) in out.chunks_exact_mut(rows).zip(&values[first..]) {
                out[row] = *value;
            }
        }
    });
    out
}

thread_local! {
    static MEMORY: RefCell<Packed> = RefCell::default();
}

/// Memory of the calling thread for what it packs.
pub(crate) fn with_memory<T>(work: impl FnOnce(&mut Packed) -> T) -> T {
    MEMORY.with_borrow_mut(work)
}

fn check(out: &[f32], row_stride: usize, rows: usize, columns: usize) {
    assert!(fits(out.len(), rows, columns, row_stride));
    assert!(row_stride >= columns || rows < 2);
}

/// A part of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Panel {
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Rows and columns of a panel at most: what a product packs of either matrix stays in a core's
/// cache, and is little beside what it multiplies.
const MOST: (usize, usize) = (4096, 768);
/// Panels are not cut into halves below these: the library adds up otherwise in products of at most
/// 64 by 64.
const LEAST: (usize, usize) = (96, 128);
/// Panels begin at multiples of these, which kernels work on at a time.
const EDGE: (usize, usize) = (6, 16);

/// Panels of a result, at least two for each thread where it is large enough.
fn panels(rows: usize, columns: usize) -> Vec<Panel> {
    let (mut down, mut across) = (rows.div_ceil(MOST.0), columns.div_ceil(MOST.1));
    while down * across < 2 * rayon::current_num_threads() {
        let (high, wide) = (rows / down, columns / across);
        // Long and narrow panels would pack much for little.
        if high >= 2 * LEAST.0 && (high > wide || wide < 2 * LEAST.1) {
            down *= 2;
        } else if wide >= 2 * LEAST.1 {
            across *= 2;
        } else {
            break;
        }
    }
    (parts(rows, down, EDGE.0))
        .flat_map(|rows| {
            parts(columns, across, EDGE.1).map(move |columns| Panel {
                rows: rows.clone(),
                columns,
            })
        })
        .collect()
}

/// `count` parts of about one size.
fn parts(length: usize, count: usize, edge: usize) -> impl Iterator<Item = Range<usize>> {
    let place = move |part: usize| {
        if part == count {
            length
        } else {
            part * length / count / edge * edge
        }
    };
    (0..count).map(move |part| place(part)..place(part + 1))
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
    fn every_value_is_in_one_panel() {
        for (rows, columns) in [(1, 1), (170, 49_152), (5000, 256), (769, 1025), (200, 9)] {
            let mut times = vec![0u8; rows * columns];
            for panel in panels(rows, columns) {
                let (high, wide) = (panel.rows.len(), panel.columns.len());
                assert!((high > 64 || high == rows) && (wide > 64 || wide == columns));
                for row in panel.rows {
                    for column in panel.columns.clone() {
                        times[row * columns + column] += 1;
                    }
                }
            }
            assert!(times.iter().all(|times| *times == 1), "{rows} {columns}");
        }
    }

    #[test]
    fn panels_change_no_bit() {
        let (m, k, n) = (300, 700, 500);
        let value = |i: usize| ((i * 7919) % 1000) as f32 / 997.0 - 0.5;
        let a: Vec<f32> = (0..m * k).map(value).collect();
        let b: Vec<f32> = (0..n * k).map(|i| value(i + 13)).collect();
        let (a, b) = (View::new(&a, m, k), View::new(&b, n, k).t());
        let mut parts = vec![2.0; m * n];
        let mut whole = parts.clone();
        assert!(panels(m, n).len() > 1);
        multiply(&mut parts, Put::Onto, a, b);
        multiply_here(&mut whole, n, Put::Onto, a, b);
        assert_eq!(parts, whole);
    }

    #[test]
    #[should_panic(expected = "fits")]
    fn a_view_beyond_its_values_is_refused() {
        let _ = View::new(&[0.0; 5], 2, 3);
    }
}
