//! Matrices in memory that belongs to somebody else.

use std::{marker::PhantomData, ops::Range};

use crate::host::product::Out;

/// A matrix to be read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(in super::super) values: &'a [f32],
    pub(in super::super) rows: usize,
    pub(in super::super) columns: usize,
    pub(in super::super) row_stride: usize,
    pub(in super::super) column_stride: usize,
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

    pub(in super::super) fn some_rows(self, rows: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        // Past the last value there may be none to begin at.
        let start = (rows.start * self.row_stride).min(self.values.len());
        Self {
            values: &self.values[start..],
            rows: rows.len(),
            ..self
        }
    }

    pub(in super::super) fn some_columns(self, columns: Range<usize>) -> Self {
        self.t().some_rows(columns).t()
    }
}

pub(super) fn fits(values: usize, rows: usize, columns: usize, row_stride: usize) -> bool {
    rows == 0 || columns == 0 || (rows - 1) * row_stride + columns <= values
}

/// A matrix to be written, of whose columns others may be elsewhere.
pub(crate) struct ViewMut<'a> {
    out: Out,
    rows: usize,
    columns: usize,
    of: PhantomData<&'a mut [f32]>,
}

impl<'a> ViewMut<'a> {
    /// Row after row.
    pub(crate) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// The first `columns` of rows that are `row_stride` apart.
    pub(crate) fn strided(
        values: &'a mut [f32],
        rows: usize,
        columns: usize,
        row_stride: usize,
    ) -> Self {
        assert!(fits(values.len(), rows, columns, row_stride));
        assert!(row_stride >= columns || rows < 2);
        let values = values.as_mut_ptr();
        Self {
            out: Out { values, row_stride },
            rows,
            columns,
            of: PhantomData,
        }
    }

    /// Matrices of `width` columns each, side by side.
    pub(crate) fn bands(self, width: usize) -> impl Iterator<Item = Self> {
        // SAFETY: bands do not overlap, and this view ends.
        (0..self.columns / width)
            .map(move |band| unsafe { self.part(0..self.rows, band * width..(band + 1) * width) })
    }

    /// Some rows, while the others wait.
    pub(crate) fn some_rows(&mut self, rows: Range<usize>) -> ViewMut<'_> {
        // SAFETY: this view is borrowed mutably.
        unsafe { self.part(rows, 0..self.columns) }
    }

    /// Some columns, while the others wait.
    pub(crate) fn some_columns(&mut self, columns: Range<usize>) -> ViewMut<'_> {
        // SAFETY: this view is borrowed mutably.
        unsafe { self.part(0..self.rows, columns) }
    }

    pub(crate) fn fill(&mut self, value: f32) {
        for row in 0..self.rows {
            let start = self.out.at(row, 0).values;
            // SAFETY: rows are inside the memory, which is borrowed mutably.
            unsafe { std::slice::from_raw_parts_mut(start, self.columns) }.fill(value);
        }
    }

    /// # Safety
    /// Parts that are there at a time do not overlap.
    pub(super) unsafe fn part<'b>(&self, rows: Range<usize>, columns: Range<usize>) -> ViewMut<'b>
    where
        'a: 'b,
    {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(columns.start <= columns.end && columns.end <= self.columns);
        ViewMut {
            out: self.out.at(rows.start, columns.start),
            rows: rows.len(),
            columns: columns.len(),
            of: PhantomData,
        }
    }

    /// Where a product of this shape goes.
    pub(super) fn out(self, rows: usize, columns: usize) -> Out {
        assert_eq!((self.rows, self.columns), (rows, columns));
        self.out
    }
}
