//! Decoder, head and loss together, forward and backward, on the host.

use std::{ops::Range, slice::from_ref};

use burn::{
    module::Param,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use fastdraft_model::decoder::Decoder;
use rayon::prelude::*;

use super::{Batch, row::gradient_in_place};
use crate::{
    error::TrainError,
    host::{
        Pass, Sums, Tokens,
        matrix::{Put, View, multiply, multiply_strided},
        values,
    },
};

/// What of the head is worked on at a time.
#[derive(Clone, Copy)]
struct Piece {
    /// Logits that are in memory.
    logits: usize,
    /// Tokens in one product: what the product packs grows with them, and memory that is taken
    /// and given back in large aligned pieces comes apart.
    tokens: usize,
}

const PIECE: Piece = Piece {
    logits: 1 << 23,
    tokens: 1 << 12,
};

/// Loss and gradients of a batch, all in closed form. The gradient of the logits takes their
/// place a piece at a time: `[trained, head_size]` is never in memory as a whole.
///
/// # Errors
/// [`TrainError::Tensor`] when the device does not hand tensors over as float32.
pub fn fused(decoder: &Decoder, batch: &Batch) -> Result<(f32, GradientsParams), TrainError> {
    fused_in(decoder, from_ref(batch), false, PIECE)
}

/// As [`fused`], with the gradients of several batches added up; `checkpointing` keeps only the
/// inputs of blocks until the backward pass.
///
/// # Errors
/// As [`fused`].
pub(crate) fn fused_all(
    decoder: &Decoder,
    batches: &[Batch],
    checkpointing: bool,
) -> Result<(f32, GradientsParams), TrainError> {
    fused_in(decoder, batches, checkpointing, PIECE)
}

fn fused_in(
    decoder: &Decoder,
    batches: &[Batch],
    checkpointing: bool,
    piece: Piece,
) -> Result<(f32, GradientsParams), TrainError> {
    let head = Head::read(decoder)?;
    let mut sums = Sums::default();
    let mut total = 0.0;
    for batch in batches {
        let tokens = Tokens {
            ids: &batch.inputs,
            rows: batch.rows,
            seq: batch.seq,
            wanted: &batch.positions,
        };
        let (pass, hidden) = Pass::forward(decoder, tokens, checkpointing)?;
        let (loss, below) = head.loss(&hidden, batch, piece, &mut sums);
        total += loss;
        drop(hidden);
        pass.backward(&below, &mut sums)?;
    }
    let device: Device = decoder.norm.gamma.val().without_autodiff().device();
    Ok((total as f32, sums.into_gradients(&device)))
}

/// The head with its weights in host memory.
struct Head<'a> {
    param: &'a Param<Tensor<2>>,
    weight: Vec<f32>,
    /// Rows are tokens, as in an embedding.
    tied: bool,
    width: usize,
    size: usize,
}

impl<'a> Head<'a> {
    fn read(decoder: &'a Decoder) -> Result<Self, TrainError> {
        let tied = decoder.lm_head.is_none();
        let own = decoder.lm_head.as_ref().map(|head| &head.weight);
        let param = own.unwrap_or(&decoder.embed_tokens.weight);
        let [rows, columns] = param.val().dims();
        let (width, size) = if tied {
            (columns, rows)
        } else {
            (rows, columns)
        };
        Ok(Self {
            param,
            weight: values(param)?,
            tied,
            width,
            size,
        })
    }

    /// Tokens a product at a time, as ranges of columns.
    fn blocks(&self, piece: Piece) -> impl Iterator<Item = Range<usize>> {
        let (size, tokens) = (self.size, piece.tokens);
        (0..size)
            .step_by(tokens)
            .map(move |start| start..size.min(start + tokens))
    }

    /// Columns of the head, `[width, columns]`.
    fn matrix(&self, columns: &Range<usize>) -> View<'_> {
        if self.tied {
            let rows = &self.weight[columns.start * self.width..];
            View::new(rows, columns.len(), self.width).t()
        } else {
            let weight = &self.weight[columns.start..];
            View::strided(weight, self.width, columns.len(), self.size)
        }
    }

    /// The loss, and the gradient of the stream below the head, `[trained, width]`; the head's
    /// own is added to the sums.
    fn loss(
        &self,
        hidden: &[f32],
        batch: &Batch,
        piece: Piece,
        sums: &mut Sums,
    ) -> (f64, Vec<f32>) {
        let (width, size) = (self.width, self.size);
        let rows = (piece.logits / size).clamp(1, batch.trained());
        let mut buffer = vec![0.0; rows * size];
        let mut below = vec![0.0; hidden.len()];
        let mut total = 0.0;
        let pieces = hidden
            .chunks(rows * width)
            .zip(below.chunks_mut(rows * width));
        for ((x, below), goals) in pieces.zip(batch.goals.chunks(rows)) {
            let rows = goals.len();
            let values = &mut buffer[..rows * size];
            let x = View::new(x, rows, width);
            self.logits(x, values, piece);
            let losses: Vec<f64> = (values.par_chunks_exact_mut(size))
                .zip(goals)
                .map(|(row, goal)| gradient_in_place(goal, row))
                .collect();
            total += losses.iter().sum::<f64>();
            self.below(values, below, piece);
            if self.param.is_require_grad() {
                self.own(x, values, piece, sums);
            }
        }
        (total, below)
    }

    /// `[rows, size]` from the stream `x`, `[rows, width]`.
    fn logits(&self, x: View<'_>, values: &mut [f32], piece: Piece) {
        for columns in self.blocks(piece) {
            let weight = self.matrix(&columns);
            let values = &mut values[columns.start..];
            multiply_strided(values, self.size, Put::Over, x, weight);
        }
    }

    /// The gradient of the stream from that of the logits.
    fn below(&self, gradient: &[f32], below: &mut [f32], piece: Piece) {
        let mut put = Put::Over;
        for columns in self.blocks(piece) {
            let gradient = self.columns(gradient, &columns);
            multiply(below, put, gradient, self.matrix(&columns).t());
            put = Put::Onto;
        }
    }

    /// Adds the gradient of the head to the sums.
    fn own(&self, x: View<'_>, gradient: &[f32], piece: Piece, sums: &mut Sums) {
        let (sum, put) = sums.of(self.param);
        for columns in self.blocks(piece) {
            let gradient = self.columns(gradient, &columns);
            if self.tied {
                let rows = columns.start * self.width..columns.end * self.width;
                multiply(&mut sum[rows], put, gradient.t(), x);
            } else {
                let sum = &mut sum[columns.start..];
                multiply_strided(sum, self.size, put, x.t(), gradient);
            }
        }
    }

    /// Columns of `[rows, size]`.
    fn columns<'v>(&self, values: &'v [f32], columns: &Range<usize>) -> View<'v> {
        let rows = values.len() / self.size;
        View::strided(&values[columns.start..], rows, columns.len(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use burn::module::{Module, ModuleVisitor};
    use fastdraft_model::{DecoderConfig, DraftVocabulary, draft::init};

    use super::{
        super::{Loss, Row, plain},
        *,
    };
    use crate::teacher::SparseDistributions;

    fn decoder(trimmed: bool, tied: bool) -> Decoder {
        let kept = trimmed.then(|| DraftVocabulary::new((0..30).collect(), 40).unwrap());
        let checkpoint = init::random(DecoderConfig::llama(40, 32, 2), kept, 3).unwrap();
        let mut decoder =
            Decoder::from_checkpoint(&checkpoint, &Device::flex().autodiff()).unwrap();
        if tied {
            decoder.lm_head = None;
        }
        decoder
    }

    fn teacher() -> SparseDistributions {
        let mut teacher = SparseDistributions::new(5);
        for position in 0..12 {
            let logits: Vec<f32> = (0..40)
                .map(|i| ((i * 7 + position * 3) % 11) as f32 * 0.4)
                .collect();
            teacher.push_logits(&logits);
        }
        teacher
    }

    struct Compare<'a>(&'a GradientsParams, &'a GradientsParams, usize);

    impl ModuleVisitor for Compare<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let get = |all: &GradientsParams| -> Vec<f32> {
                all.get::<D>(param.id)
                    .unwrap()
                    .into_data()
                    .try_into_vec()
                    .unwrap()
            };
            let (a, b) = (get(self.0), get(self.1));
            for (a, b) in a.iter().zip(&b) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
            self.2 += 1;
        }
    }

    #[test]
    fn equals_the_plain_form_whole_and_in_pieces() {
        let teacher = teacher();
        let ids = [[1u32, 5, 9, 13, 35, 2], [7, 3, 36, 8, 1, 0]];
        let mask = [true, false, true, true, true, true];
        let rows = [0, 1].map(|i| Row {
            ids: &ids[i],
            mask: &mask,
            teacher: Some((&teacher, 5 * i)),
        });
        let head: Vec<Option<u32>> = (0..40).map(|i| (i < 30).then_some(i)).collect();
        for (trimmed, tied) in [(true, false), (false, false), (false, true)] {
            let decoder = decoder(trimmed, tied);
            let map = trimmed.then_some(head.as_slice());
            for loss in Loss::ALL {
                let batch = Batch::new(&rows, map, loss).unwrap();
                let expected = plain(&decoder, &batch);
                let value = expected.clone().into_scalar::<f32>();
                let expected = GradientsParams::from_grads(expected.backward(), &decoder);
                for (logits, tokens) in [(1, 40), (100, 7), (400, 10), (1 << 10, 64)] {
                    let piece = Piece { logits, tokens };
                    let (fused, gradients) =
                        fused_in(&decoder, from_ref(&batch), false, piece).unwrap();
                    assert!((fused - value).abs() < 1e-5, "{loss:?}: {fused} {value}");
                    let mut compare = Compare(&gradients, &expected, 0);
                    decoder.visit(&mut compare);
                    assert_eq!(compare.2, if tied { 20 } else { 21 });
                }
            }
        }
    }
}
