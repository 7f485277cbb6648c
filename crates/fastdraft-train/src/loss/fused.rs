//! Decoder, head and loss together, forward and backward, on the host.

use std::slice::from_ref;

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
        Pass, Sums, Tokens, Values,
        matrix::{Put, View, multiply},
    },
};

/// Memory for the logits of some positions, taken once.
pub(crate) struct Logits {
    values: Vec<f32>,
    /// How many are in memory at a time.
    piece: usize,
}

impl Default for Logits {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            piece: 1 << 25,
        }
    }
}

impl Logits {
    /// Memory for as many of `positions` as are worked on at a time.
    fn of(&mut self, positions: usize, size: usize) -> &mut [f32] {
        let rows = (self.piece / size).clamp(1, positions.max(1));
        if self.values.len() < rows * size {
            self.values = vec![0.0; rows * size];
        }
        &mut self.values[..rows * size]
    }
}

/// Loss and gradients of a batch, all in closed form. The gradient of the logits takes their
/// place a piece at a time: `[trained, head_size]` is never in memory as a whole.
///
/// # Errors
/// [`TrainError::Tensor`] when the device does not hand tensors over as float32.
pub fn fused(decoder: &Decoder, batch: &Batch) -> Result<(f32, GradientsParams), TrainError> {
    fused_all(decoder, from_ref(batch), false, &mut Logits::default())
}

/// As [`fused`], with the gradients of several batches added up; `checkpointing` keeps only the
/// inputs of blocks until the backward pass. A later step can use the same `logits`.
///
/// # Errors
/// As [`fused`].
pub(crate) fn fused_all(
    decoder: &Decoder,
    batches: &[Batch],
    checkpointing: bool,
    logits: &mut Logits,
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
        let (loss, below) = head.loss(&hidden, batch, logits, &mut sums);
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
    weight: Values,
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
            weight: Values::of(param)?,
            tied,
            width,
            size,
        })
    }

    /// `[width, size]`.
    fn matrix(&self) -> View<'_> {
        if self.tied {
            View::new(&self.weight, self.size, self.width).t()
        } else {
            View::new(&self.weight, self.width, self.size)
        }
    }

    /// The loss, and the gradient of the stream below the head, `[trained, width]`; the head's
    /// own is added to the sums.
    fn loss(
        &self,
        hidden: &[f32],
        batch: &Batch,
        logits: &mut Logits,
        sums: &mut Sums,
    ) -> (f64, Vec<f32>) {
        let (width, size) = (self.width, self.size);
        let buffer = logits.of(batch.trained(), size);
        let rows = buffer.len() / size;
        let mut below = vec![0.0; hidden.len()];
        let mut total = 0.0;
        let pieces = hidden
            .chunks(rows * width)
            .zip(below.chunks_mut(rows * width));
        for ((x, below), goals) in pieces.zip(batch.goals.chunks(rows)) {
            let rows = goals.len();
            let values = &mut buffer[..rows * size];
            let x = View::new(x, rows, width);
            multiply(values, Put::Over, x, self.matrix());
            let losses: Vec<f64> = (values.par_chunks_exact_mut(size))
                .zip(goals)
                .map(|(row, goal)| gradient_in_place(goal, row))
                .collect();
            total += losses.iter().sum::<f64>();
            let gradient = View::new(values, rows, size);
            multiply(below, Put::Over, gradient, self.matrix().t());
            if self.param.is_require_grad() {
                let (sum, put) = sums.of(self.param);
                if self.tied {
                    multiply(sum, put, gradient.t(), x);
                } else {
                    multiply(sum, put, x.t(), gradient);
                }
            }
        }
        (total, below)
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
                for piece in [1, 100, 400, 1 << 10] {
                    let mut logits = Logits {
                        values: Vec::new(),
                        piece,
                    };
                    let (fused, gradients) =
                        fused_all(&decoder, from_ref(&batch), false, &mut logits).unwrap();
                    assert!((fused - value).abs() < 1e-5, "{loss:?}: {fused} {value}");
                    let mut compare = Compare(&gradients, &expected, 0);
                    decoder.visit(&mut compare);
                    assert_eq!(compare.2, if tied { 20 } else { 21 });
                }
            }
        }
    }
}
