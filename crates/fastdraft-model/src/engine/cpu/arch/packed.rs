//! Weights in the order the kernels stream them.

use half::bf16;

use super::arena::{Arena, Pages, Plain};

/// Rows of a group: a lane of a product for each.
pub(crate) const GROUP: usize = 16;
/// Columns that lie together: a word of 32 bits has both of a bfloat16 row.
pub(crate) const PAIR: usize = 2;
/// Elements of a pair of columns of every row of a group.
pub(super) const PAIR_LEN: usize = GROUP * PAIR;

/// A cache line, so that no vector load crosses one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line<E>([E; PAIR_LEN]);

// SAFETY: numbers.
unsafe impl<E: Element> Plain for Line<E> {}

/// `[rows, columns]` as groups of sixteen rows, each group as pairs of columns: one sequential
/// stream. Missing rows and columns are zero.
#[derive(Debug)]
pub(crate) struct Packed<E> {
    lines: Pages<Line<E>>,
    rows: usize,
    columns: usize,
}

/// An element that can be packed.
pub(crate) trait Element: Copy + Send + Sync + Default + 'static {
    /// Where column `column` of a pair lies for row `row` of a group.
    fn place(row: usize, column: usize) -> usize;
    fn from_f32(value: f32) -> Self;
    fn to_f32(self) -> f32;
}

impl Element for f32 {
    fn place(row: usize, column: usize) -> usize {
        column * GROUP + row
    }
    fn from_f32(value: f32) -> Self {
        value
    }
    fn to_f32(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    /// The columns of a row share 32 bits: a shift gives the first, a mask the second.
    fn place(row: usize, column: usize) -> usize {
        row * PAIR + column
    }
    fn from_f32(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn to_f32(self) -> f32 {
        self.to_f32()
    }
}

impl<E: Element> Packed<E> {
    /// Zeros, to be filled.
    pub(crate) fn zeros(rows: usize, columns: usize, memory: &Arena) -> Self {
        Self {
            lines: memory.zeros(rows.div_ceil(GROUP) * columns.div_ceil(PAIR)),
            rows,
            columns,
        }
    }

    /// Puts whole rows at `first`.
    pub(crate) fn fill(&mut self, first: usize, data: &[f32]) {
        for (r, row) in data.chunks_exact(self.columns).enumerate() {
            for (c, value) in row.iter().enumerate() {
                let at = self.index(first + r, c);
                self.lines[at / PAIR_LEN].0[at % PAIR_LEN] = E::from_f32(*value);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn new(data: &[f32], columns: usize) -> Self {
        let mut packed = Self::zeros(data.len() / columns, columns, &Arena::default());
        packed.fill(0, data);
        packed
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Columns rounded up to whole pairs.
    pub(crate) fn padded_columns(&self) -> usize {
        self.columns.next_multiple_of(PAIR)
    }

    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.groups() * self.group_len() * size_of::<E>()
    }

    /// Elements of a group.
    pub(crate) fn group_len(&self) -> usize {
        GROUP * self.padded_columns()
    }

    /// The first element of a group.
    pub(super) fn group(&self, index: usize) -> *const E {
        assert!(index < self.groups(), "group {index} of {}", self.groups());
        self.lines
            .as_ptr()
            .cast::<E>()
            .wrapping_add(index * self.group_len())
    }

    fn index(&self, row: usize, column: usize) -> usize {
        (row / GROUP) * self.group_len()
            + (column / PAIR) * PAIR_LEN
            + E::place(row % GROUP, column % PAIR)
    }

    pub(crate) fn get(&self, row: usize, column: usize) -> f32 {
        let at = self.index(row, column);
        self.lines[at / PAIR_LEN].0[at % PAIR_LEN].to_f32()
    }

    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        for (column, slot) in out.iter_mut().enumerate() {
            *slot = self.get(row, column);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_is_found_again() {
        let (rows, columns) = (19, 37);
        let data: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let packed = Packed::<f32>::new(&data, columns);
        let half = Packed::<bf16>::new(&data, columns);
        let mut row = vec![0.0; columns];
        for r in 0..rows {
            packed.read_row(r, &mut row);
            assert_eq!(row, data[r * columns..(r + 1) * columns]);
            half.read_row(r, &mut row);
            for (value, exact) in row.iter().zip(&data[r * columns..]) {
                assert_eq!(*value, bf16::from_f32(*exact).to_f32());
            }
        }
    }
}
