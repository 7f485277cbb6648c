//! A weight matrix in the format it is streamed in.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::arch::{
    Weight,
    aligned::Aligned,
    int8::{self, Activations, PackedInt8},
    packed::{GROUP, Packed},
};

/// How an engine keeps its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 4 bytes a weight; the numerics of the reference.
    #[default]
    F32,
    /// 2 bytes a weight, rounded to nearest.
    Bf16,
    /// 1 byte a weight and a float32 scale for every 64 of a row; activations are rounded to 16
    /// bits before each product.
    Int8,
}

#[derive(Debug)]
enum Data {
    F32(Packed<f32>),
    Bf16(Packed<bf16>),
    Int8(PackedInt8),
}

/// `[rows, columns]` with an optional bias `[rows]`.
#[derive(Debug)]
pub(super) struct Matrix {
    data: Data,
    rows: usize,
    columns: usize,
    padded: usize,
    bias: Option<Vec<f32>>,
}

/// Buffers of a product.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    x: Aligned<f32>,
    y: Vec<f32>,
    tokens: Activations,
}

/// Below this many weights a product costs less than waking a second thread.
const PARALLEL_WEIGHTS: usize = 32 * 1024;
const BLOCKS_PER_THREAD: usize = 3;

impl Matrix {
    pub(super) fn new(
        data: &[f32],
        columns: usize,
        bias: Option<Vec<f32>>,
        format: WeightFormat,
    ) -> Self {
        let rows = data.len() / columns;
        let (data, padded) = match format {
            WeightFormat::F32 => {
                let packed = Packed::new(data, columns);
                let padded = packed.padded_columns();
                (Data::F32(packed), padded)
            }
            WeightFormat::Bf16 => {
                let packed = Packed::new(data, columns);
                let padded = packed.padded_columns();
                (Data::Bf16(packed), padded)
            }
            WeightFormat::Int8 => (Data::Int8(PackedInt8::new(data, columns)), columns),
        };
        Self {
            data,
            rows,
            columns,
            padded,
            bias,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.data {
            Data::F32(packed) => packed.bytes(),
            Data::Bf16(packed) => packed.bytes(),
            Data::Int8(packed) => packed.bytes(),
        }
    }

    /// Copies row `index` into `out`: `[columns]`.
    pub(super) fn read_row(&self, index: usize, out: &mut [f32]) {
        match &self.data {
            Data::F32(packed) => packed.read_row(index, out),
            Data::Bf16(packed) => packed.read_row(index, out),
            Data::Int8(packed) => packed.read_row(index, out),
        }
    }

    /// `y = x · Wᵀ + b`: x `[t, columns]`, y `[t, rows]`.
    pub(super) fn apply(&self, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let t = x.len() / self.columns;
        let Scratch {
            x: wide,
            y: turned,
            tokens,
        } = scratch;
        let x = if self.padded == self.columns {
            x
        } else {
            wide.resize(t * self.padded);
            for (to, from) in wide
                .chunks_exact_mut(self.padded)
                .zip(x.chunks_exact(self.columns))
            {
                let (values, padding) = to.split_at_mut(self.columns);
                values.copy_from_slice(from);
                padding.fill(0.0);
            }
            &**wide
        };
        let out = if t == 1 {
            &mut *y
        } else {
            turned.resize(self.rows * t, 0.0);
            turned.as_mut_slice()
        };
        match &self.data {
            Data::F32(packed) => self.stream(GROUP, out, t, |groups, y| {
                f32::multiply(packed, groups, x, y, t);
            }),
            Data::Bf16(packed) => self.stream(GROUP, out, t, |groups, y| {
                bf16::multiply(packed, groups, x, y, t);
            }),
            Data::Int8(packed) => {
                tokens.quantize(x, self.columns);
                self.stream(int8::GROUP, out, t, |groups, y| {
                    packed.multiply(groups, tokens, y)
                });
            }
        }
        if t > 1 {
            transpose(turned, y, self.rows, t);
        }
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.rows) {
                for (value, b) in row.iter_mut().zip(bias) {
                    *value += b;
                }
            }
        }
    }

    /// Runs `multiply` over all groups of `size` rows, on every thread when that pays.
    fn stream(
        &self,
        size: usize,
        y: &mut [f32],
        t: usize,
        multiply: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) {
        let threads = rayon::current_num_threads();
        let groups = self.rows.div_ceil(size);
        if threads < 2 || self.rows * self.columns < PARALLEL_WEIGHTS {
            multiply(0..groups, y);
            return;
        }
        let block = groups.div_ceil(threads * BLOCKS_PER_THREAD);
        y.par_chunks_mut(block * size * t)
            .enumerate()
            .for_each(|(i, y)| {
                let start = i * block;
                multiply(start..(start + block).min(groups), y);
            });
    }
}

/// `[rows, t]` to `[t, rows]`.
fn transpose(from: &[f32], to: &mut [f32], rows: usize, t: usize) {
    const BLOCK: usize = 64;
    for start in (0..rows).step_by(BLOCK) {
        let end = (start + BLOCK).min(rows);
        for i in 0..t {
            for r in start..end {
                to[i * rows + r] = from[r * t + i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_product_in_parallel_equals_a_plain_one() {
        let (rows, columns, t) = (301, 201, 5);
        let w: Vec<f32> = (0..rows * columns)
            .map(|i| ((i * 37) % 101) as f32 - 50.0)
            .collect();
        let x: Vec<f32> = (0..t * columns)
            .map(|i| ((i * 53) % 97) as f32 / 97.0)
            .collect();
        let bias: Vec<f32> = (0..rows).map(|i| i as f32).collect();
        let matrix = Matrix::new(&w, columns, Some(bias.clone()), WeightFormat::F32);
        let mut y = vec![0.0; t * rows];
        matrix.apply(&x, &mut y, &mut Scratch::default());
        for i in 0..t {
            for r in 0..rows {
                let exact: f64 = (0..columns)
                    .map(|j| f64::from(w[r * columns + j]) * f64::from(x[i * columns + j]))
                    .sum::<f64>()
                    + f64::from(bias[r]);
                assert!((f64::from(y[i * rows + r]) - exact).abs() < 0.05, "{i} {r}");
            }
        }
    }
}
