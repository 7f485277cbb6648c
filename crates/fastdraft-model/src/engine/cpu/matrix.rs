//! A weight matrix in the format it is streamed in.

use half::bf16;
use rayon::prelude::*;

use super::arch::Weight;

/// How an engine keeps its weights. Activations are float32 in every format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WeightFormat {
    /// 4 bytes a weight; the numerics of the reference.
    #[default]
    F32,
    /// 2 bytes a weight, rounded to nearest.
    Bf16,
}

#[derive(Debug)]
enum Data {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
}

/// `[rows, columns]`, row-major, with an optional bias `[rows]`.
#[derive(Debug)]
pub(super) struct Matrix {
    data: Data,
    rows: usize,
    columns: usize,
    bias: Option<Vec<f32>>,
}

/// Below this many weights a product costs less than waking a second thread.
const PARALLEL_WEIGHTS: usize = 32 * 1024;
const BLOCKS_PER_THREAD: usize = 3;

impl Matrix {
    pub(super) fn new(
        data: Vec<f32>,
        columns: usize,
        bias: Option<Vec<f32>>,
        format: WeightFormat,
    ) -> Self {
        let rows = data.len() / columns;
        let data = match format {
            WeightFormat::F32 => Data::F32(data),
            WeightFormat::Bf16 => Data::Bf16(data.into_iter().map(bf16::from_f32).collect()),
        };
        Self {
            data,
            rows,
            columns,
            bias,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.data {
            Data::F32(data) => data.len() * 4,
            Data::Bf16(data) => data.len() * 2,
        }
    }

    /// Copies row `index` into `out`: `[columns]`.
    pub(super) fn read_row(&self, index: usize, out: &mut [f32]) {
        let range = index * self.columns..(index + 1) * self.columns;
        match &self.data {
            Data::F32(data) => out.copy_from_slice(&data[range]),
            Data::Bf16(data) => {
                for (slot, value) in out.iter_mut().zip(&data[range]) {
                    *slot = value.to_f32();
                }
            }
        }
    }

    /// `y = x · Wᵀ + b`: x `[t, columns]`, y `[t, rows]`; `scratch` is reused between calls.
    pub(super) fn apply(&self, x: &[f32], y: &mut [f32], scratch: &mut Vec<f32>) {
        let t = x.len() / self.columns;
        match &self.data {
            Data::F32(data) => self.product(data, x, t, y, scratch),
            Data::Bf16(data) => self.product(data, x, t, y, scratch),
        }
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.rows) {
                for (value, b) in row.iter_mut().zip(bias) {
                    *value += b;
                }
            }
        }
    }

    fn product<W: Weight>(
        &self,
        w: &[W],
        x: &[f32],
        t: usize,
        y: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        if t == 1 {
            stream(w, x, y, self.columns, 1);
            return;
        }
        scratch.resize(self.rows * t, 0.0);
        stream(w, x, scratch, self.columns, t);
        transpose(scratch, y, self.rows, t);
    }
}

fn stream<W: Weight>(w: &[W], x: &[f32], y: &mut [f32], k: usize, t: usize) {
    let threads = rayon::current_num_threads();
    if threads < 2 || w.len() < PARALLEL_WEIGHTS {
        W::multiply(w, x, y, k, t);
        return;
    }
    let rows = w.len() / k;
    let block = rows
        .div_ceil(threads * BLOCKS_PER_THREAD)
        .next_multiple_of(4);
    y.par_chunks_mut(block * t)
        .zip(w.par_chunks(block * k))
        .for_each(|(y, w)| W::multiply(w, x, y, k, t));
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
        let (rows, columns, t) = (301, 200, 5);
        let w: Vec<f32> = (0..rows * columns)
            .map(|i| ((i * 37) % 101) as f32 - 50.0)
            .collect();
        let x: Vec<f32> = (0..t * columns)
            .map(|i| ((i * 53) % 97) as f32 / 97.0)
            .collect();
        let bias: Vec<f32> = (0..rows).map(|i| i as f32).collect();
        let matrix = Matrix::new(w.clone(), columns, Some(bias.clone()), WeightFormat::F32);
        let mut y = vec![0.0; t * rows];
        matrix.apply(&x, &mut y, &mut Vec::new());
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
