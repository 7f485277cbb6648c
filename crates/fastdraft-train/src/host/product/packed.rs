//! A matrix as products read it.

use std::ops::Range;

use rayon::prelude::*;

use super::{aligned::Aligned, own};
use crate::host::{matrix::View, vector::vectorized};

/// Columns of a vector.
pub(super) const LANES: usize = 16;
/// Columns of a panel.
pub(super) const PANEL: usize = 4 * LANES;

/// The right side of a product: panels of 64 columns, in each row after row, filled up to whole
/// vectors with zeros. One panel of all columns where the `gemm` crate multiplies.
#[derive(Default)]
pub(crate) struct Packed {
    memory: Aligned,
    rows: usize,
    columns: usize,
    own: bool,
}

impl Packed {
    /// Takes the place of what was packed before.
    pub(crate) fn pack(&mut self, b: View<'_>) {
        self.empty(b.rows, b.columns);
        self.put(0, b);
    }

    /// As [`pack`](Self::pack), a panel on each thread.
    pub(crate) fn pack_by_panels(&mut self, b: View<'_>) {
        self.empty(b.rows, b.columns);
        let (each, place) = self.panels();
        let count = self.rows * self.wide();
        let room = self.memory.room(count);
        (room.par_chunks_mut(each).enumerate()).for_each(|(index, out)| {
            let (columns, wide) = place(index);
            lay(out, wide, b.some_columns(columns));
        });
    }

    /// Room for a matrix whose rows [`put`](Self::put) brings.
    pub(crate) fn empty(&mut self, rows: usize, columns: usize) {
        (self.rows, self.columns, self.own) = (rows, columns, own());
        let wide = self.wide();
        self.memory.room(rows * wide);
    }

    /// Some rows of the matrix.
    pub(crate) fn put(&mut self, first: usize, b: View<'_>) {
        assert_eq!(b.columns, self.columns);
        self.each_panel(first..first + b.rows, |columns, wide, out| {
            lay(out, wide, b.some_columns(columns));
        });
    }

    /// As [`pack`](Self::pack), rows of `columns` values, each times its scale.
    pub(crate) fn pack_scaled(&mut self, values: &[f32], columns: usize, scales: &[f32]) {
        self.empty(scales.len(), columns);
        self.each_panel(0..scales.len(), |some, wide, out| {
            let rows = values.chunks_exact(columns).zip(scales);
            for (out, (values, scale)) in out.chunks_exact_mut(wide).zip(rows) {
                let (out, rest) = out.split_at_mut(some.len());
                scaled(out, &values[some.clone()], *scale);
                rest.fill(0.0);
            }
        });
    }

    /// Some rows of every panel: its columns, its width and where the rows go.
    fn each_panel(
        &mut self,
        rows: Range<usize>,
        mut put: impl FnMut(Range<usize>, usize, &mut [f32]),
    ) {
        let (each, place) = self.panels();
        let count = self.rows * self.wide();
        let room = self.memory.room(count);
        for (index, out) in room.chunks_mut(each).enumerate() {
            let (columns, wide) = place(index);
            put(columns, wide, &mut out[rows.start * wide..rows.end * wide]);
        }
    }

    /// Values of a panel at most, and the columns and the width of each.
    fn panels(
        &self,
    ) -> (
        usize,
        impl Fn(usize) -> (Range<usize>, usize) + Sync + use<>,
    ) {
        let (all, columns) = (self.wide(), self.columns);
        let panel = if self.own { PANEL } else { all };
        let place = move |index: usize| {
            let first = index * panel;
            let wide = panel.min(all - first);
            (first..(first + wide).min(columns), wide)
        };
        ((self.rows * panel).max(1), place)
    }

    /// Columns with those that fill the last vector.
    fn wide(&self) -> usize {
        self.columns.next_multiple_of(LANES)
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// All of it.
    pub(crate) fn view(&self) -> PackedView<'_> {
        PackedView {
            packed: self,
            rows: 0..self.rows,
            columns: 0..self.columns,
        }
    }
}

/// A part of a packed matrix.
#[derive(Clone)]
pub(crate) struct PackedView<'a> {
    packed: &'a Packed,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a> PackedView<'a> {
    /// Some rows and columns, these in whole panels but for the last of the matrix.
    pub(crate) fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.packed.rows);
        assert!(columns.start <= columns.end && columns.end <= self.packed.columns);
        assert!(columns.start.is_multiple_of(PANEL));
        assert!(columns.end.is_multiple_of(PANEL) || columns.end == self.packed.columns);
        Self {
            rows,
            columns,
            ..*self
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Whether there are panels of 64 columns.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn own(&self) -> bool {
        self.packed.own
    }

    /// Where the panel of a column begins, at a row.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn panel(&self, row: usize, column: usize) -> *const f32 {
        let column = self.columns.start + column;
        let wide = PANEL.min(self.packed.wide() - column);
        let at = column * self.packed.rows + (self.rows.start + row) * wide;
        self.packed.memory.values().as_ptr().wrapping_add(at)
    }

    /// What is there without panels.
    pub(super) fn whole(&self) -> View<'a> {
        let Packed {
            memory,
            rows,
            columns,
            ..
        } = self.packed;
        View::strided(memory.values(), *rows, *columns, self.packed.wide())
            .some_rows(self.rows.clone())
            .some_columns(self.columns.clone())
    }
}

vectorized! {
    fn scaled(out: &mut [f32], values: &[f32], scale: f32) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = value * scale;
        }
    }
}

/// Writes rows of `wide` values; what the matrix lacks of them is 0.
fn lay(out: &mut [f32], wide: usize, b: View<'_>) {
    #[cfg(target_arch = "x86_64")]
    if b.column_stride != 1 && own() {
        // SAFETY: the feature was just found.
        return unsafe { super::avx512::turn(out, wide, b) };
    }
    for (row, out) in out.chunks_exact_mut(wide).enumerate() {
        let (out, rest) = out.split_at_mut(b.columns);
        let values = &b.values[row * b.row_stride..];
        if b.column_stride == 1 {
            out.copy_from_slice(&values[..b.columns]);
        } else {
            for (out, value) in out.iter_mut().zip(values.iter().step_by(b.column_stride)) {
                *out = *value;
            }
        }
        rest.fill(0.0);
    }
}
