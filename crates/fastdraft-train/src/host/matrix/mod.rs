//! Matrices on the host and their products.

mod multiply;
mod panels;
mod view;

pub(crate) use multiply::{Product, multiply, multiply_all, multiply_packed, with_memory};
pub(crate) use view::{View, ViewMut};

use rayon::prelude::*;

/// What happens to the values that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// They are replaced.
    Over,
    /// The product is added to them.
    Onto,
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
