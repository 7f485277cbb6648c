//! A weight matrix in the format it is streamed in.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::{
    arch::{
        Weight,
        aligned::Aligned,
        arena::Arena,
        four_bit::{self, Minimum, PackedFourBit, Runs},
        int8::{self, Activations, PackedInt8, Run},
        packed::{GROUP, Packed},
    },
    ops,
};
use crate::{
    error::ModelError,
    import::tensors::{Blocks, Tensors},
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
    /// What a GGUF file has: Q4_0, Q4_1 and Q8_0 blocks keep their values, every other matrix is
    /// kept as [`Self::Int8`]. Before a product with four-bit weights, activations are rounded to
    /// 8 bits in runs of 32.
    Gguf,
    /// Blocks in half a byte a weight, a scale and a minimum for every 32: four-bit blocks of a GGUF
    /// file keep their values, and every other matrix is rounded to sixteen steps of a run where its
    /// columns allow. Embedding and head as [`Self::Int8`], activations as for [`Self::Gguf`].
    /// Meant for drafts, whose errors cost acceptance and nothing else.
    Int4,
}

#[derive(Debug)]
enum Data {
    F32(Packed<f32>),
    Bf16(Packed<bf16>),
    Int8(PackedInt8),
    FourBit(PackedFourBit),
}

/// How and where weights are kept.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) format: WeightFormat,
    pub(super) memory: &'a Arena,
}

/// A matrix of a model by its name, and its rows.
pub(super) type Part = (String, usize);

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
    parts: Vec<f32>,
    tokens: Activations,
    runs: Runs,
}

/// Below this many weights a product costs less than waking a second thread.
const PARALLEL_WEIGHTS: usize = 32 * 1024;
const BLOCKS_PER_THREAD: usize = 3;

impl Matrix {
    /// The rows of all `parts`, one after the other.
    pub(super) fn load(
        tensors: &dyn Tensors,
        parts: &[Part],
        columns: usize,
        bias: Option<Vec<f32>>,
        Layout { format, memory }: Layout<'_>,
    ) -> Result<Self, ModelError> {
        let rows = parts.iter().map(|(_, rows)| rows).sum();
        let mut padded = columns;
        let data = match (format, common_blocks(tensors, parts)) {
            (WeightFormat::F32, _) => {
                let mut packed = Packed::zeros(rows, columns, memory);
                floats(tensors, parts, columns, |first, data| {
                    packed.fill(first, data)
                })?;
                padded = packed.padded_columns();
                Data::F32(packed)
            }
            (WeightFormat::Bf16, _) => {
                let mut packed = Packed::zeros(rows, columns, memory);
                floats(tensors, parts, columns, |first, data| {
                    packed.fill(first, data)
                })?;
                padded = packed.padded_columns();
                Data::Bf16(packed)
            }
            (WeightFormat::Gguf | WeightFormat::Int4, Some(Blocks::Q8_0)) => {
                let mut packed = PackedInt8::zeros(rows, columns, Run::Block, memory);
                stored(tensors, parts, columns, |first, blocks| {
                    packed.fill_blocks(first, blocks);
                })?;
                Data::Int8(packed)
            }
            (WeightFormat::Gguf | WeightFormat::Int4, Some(kind)) => {
                let minimum = if kind == Blocks::Q4_0 {
                    Minimum::Symmetric
                } else {
                    Minimum::Stored
                };
                let mut packed = PackedFourBit::zeros(rows, columns, minimum, memory);
                stored(tensors, parts, columns, |first, blocks| {
                    packed.fill(first, blocks);
                })?;
                Data::FourBit(packed)
            }
            (WeightFormat::Int4, None) if columns.is_multiple_of(four_bit::RUN) => {
                let mut packed = PackedFourBit::zeros(rows, columns, Minimum::Stored, memory);
                floats(tensors, parts, columns, |first, data| {
                    packed.fill_rounded(first, data);
                })?;
                Data::FourBit(packed)
            }
            (WeightFormat::Int8 | WeightFormat::Gguf | WeightFormat::Int4, _) => {
                let mut packed = PackedInt8::zeros(rows, columns, Run::Step, memory);
                floats(tensors, parts, columns, |first, data| {
                    packed.fill(first, data)
                })?;
                Data::Int8(packed)
            }
        };
        Ok(Self {
            data,
            rows,
            columns,
            padded,
            bias,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.data {
            Data::F32(packed) => packed.bytes(),
            Data::Bf16(packed) => packed.bytes(),
            Data::Int8(packed) => packed.bytes(),
            Data::FourBit(packed) => packed.bytes(),
        }
    }

    /// Copies row `index` into `out`: `[columns]`.
    pub(super) fn read_row(&self, index: usize, out: &mut [f32]) {
        match &self.data {
            Data::F32(packed) => packed.read_row(index, out),
            Data::Bf16(packed) => packed.read_row(index, out),
            Data::Int8(packed) => packed.read_row(index, out),
            Data::FourBit(packed) => packed.read_row(index, out),
        }
    }

    /// `y = x · Wᵀ + b`: x `[t, columns]`, y `[t, rows]`.
    pub(super) fn apply(&self, x: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        let t = x.len() / self.columns;
        let Scratch {
            x: wide,
            parts,
            tokens,
            runs,
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
        let block = self.block();
        let whole = t == 1 || block == self.rows;
        let out = if whole {
            &mut *y
        } else {
            parts.resize(self.rows * t, 0.0);
            parts.as_mut_slice()
        };
        match &self.data {
            Data::F32(packed) => self.stream(block, out, t, |groups, y| {
                f32::multiply(packed, groups, x, y, t);
            }),
            Data::Bf16(packed) => self.stream(block, out, t, |groups, y| {
                bf16::multiply(packed, groups, x, y, t);
            }),
            Data::Int8(packed) => {
                tokens.quantize(x, self.columns);
                self.stream(block, out, t, |groups, y| {
                    packed.multiply(groups, tokens, y);
                });
            }
            Data::FourBit(packed) => {
                runs.quantize(x);
                self.stream(block, out, t, |groups, y| {
                    packed.multiply(groups, runs, y);
                });
            }
        }
        if !whole {
            join(parts, y, self.rows, block, t);
        }
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.rows) {
                for (value, b) in row.iter_mut().zip(bias) {
                    *value += b;
                }
            }
        }
    }

    /// Rows of a group of the packing.
    fn group(&self) -> usize {
        match &self.data {
            Data::F32(_) | Data::Bf16(_) => GROUP,
            Data::Int8(_) => int8::GROUP,
            Data::FourBit(_) => four_bit::GROUP,
        }
    }

    /// Rows that one thread takes at a time: whole groups, or all rows where threads do not pay.
    fn block(&self) -> usize {
        let threads = rayon::current_num_threads();
        if threads < 2 || self.rows * self.columns < PARALLEL_WEIGHTS {
            return self.rows;
        }
        let groups = self.rows.div_ceil(self.group());
        (groups.div_ceil(threads * BLOCKS_PER_THREAD) * self.group()).min(self.rows)
    }

    /// Runs `multiply` over all groups, `block` rows at a time; y is `[blocks][t, rows of a block]`.
    fn stream(
        &self,
        block: usize,
        y: &mut [f32],
        t: usize,
        multiply: impl Fn(Range<usize>, &mut [f32]) + Sync,
    ) {
        let groups = self.rows.div_ceil(self.group());
        if block == self.rows {
            multiply(0..groups, y);
            return;
        }
        let size = block / self.group();
        y.par_chunks_mut(block * t).enumerate().for_each(|(i, y)| {
            multiply(i * size..((i + 1) * size).min(groups), y);
        });
    }
}

/// Calls `each` with every part and the row of the whole where it begins.
fn in_turn(
    parts: &[Part],
    mut each: impl FnMut(&Part, usize) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let mut first = 0;
    for part in parts {
        each(part, first)?;
        first += part.1;
    }
    Ok(())
}

fn floats(
    tensors: &dyn Tensors,
    parts: &[Part],
    columns: usize,
    mut fill: impl FnMut(usize, &[f32]),
) -> Result<(), ModelError> {
    in_turn(parts, |(name, rows), mut first| {
        tensors.floats(name, &[*rows, columns], &mut |data| {
            fill(first, data);
            first += data.len() / columns;
        })
    })
}

fn stored(
    tensors: &dyn Tensors,
    parts: &[Part],
    columns: usize,
    mut fill: impl FnMut(usize, &[u8]),
) -> Result<(), ModelError> {
    in_turn(parts, |(name, rows), first| {
        tensors.stored(name, &[*rows, columns], &mut |blocks| fill(first, blocks))
    })
}

/// The blocks of all parts, where they are of one kind.
fn common_blocks(tensors: &dyn Tensors, parts: &[Part]) -> Option<Blocks> {
    let kind = tensors.blocks(&parts.first()?.0)?;
    (parts
        .iter()
        .all(|(name, _)| tensors.blocks(name) == Some(kind)))
    .then_some(kind)
}

/// `[blocks][t, rows of a block]` to `[t, rows]`.
fn join(parts: &[f32], y: &mut [f32], rows: usize, block: usize, t: usize) {
    ops::each_row(y, rows, |i, row| {
        let blocks = row.chunks_mut(block).zip(parts.chunks(block * t));
        for (row, part) in blocks {
            let height = row.len();
            row.copy_from_slice(&part[i * height..][..height]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, DecoderConfig, Weights};

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
        let mut checkpoint = Checkpoint {
            config: DecoderConfig::llama(100, 64, 1),
            weights: Weights::new(),
            draft_vocabulary: None,
        };
        checkpoint
            .weights
            .insert("w", vec![rows, columns], w.clone());
        let matrix = Matrix::load(
            &checkpoint,
            &[("w".to_owned(), rows)],
            columns,
            Some(bias.clone()),
            Layout {
                format: WeightFormat::F32,
                memory: &Arena::default(),
            },
        )
        .unwrap();
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
