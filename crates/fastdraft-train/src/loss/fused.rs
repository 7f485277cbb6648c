//! Decoder, head and loss together, forward and backward, on the host.

use std::slice::from_ref;

use burn::optim::GradientsParams;
use fastdraft_model::decoder::Decoder;

use super::{
    Batch,
    head::{Cut, Head},
};
use crate::{
    error::TrainError,
    host::{Memory, Pass, Sums, Tokens, Weights, product::Aligned},
};

/// What one step leaves to the next.
#[derive(Default)]
pub(crate) struct Workspace {
    /// Of some positions of the head.
    pub(super) exponentials: Aligned,
    pub(super) cut: Cut,
    pub(crate) memory: Memory,
    weights: Weights,
}

/// Loss and gradients of a batch, all in closed form. Logits are in memory a piece at a time:
/// never `[trained, head_size]` as a whole.
///
/// # Errors
/// [`TrainError::Tensor`] when the device does not hand tensors over as float32.
pub fn fused(decoder: &Decoder, batch: &Batch) -> Result<(f32, GradientsParams), TrainError> {
    let (loss, sums) = fused_all(decoder, from_ref(batch), false, &mut Workspace::default())?;
    let device = decoder.norm.gamma.val().without_autodiff().device();
    Ok((loss, sums.into_gradients(&device)))
}

/// As [`fused`], with the gradients of several batches added up; `checkpointing` keeps only the
/// inputs of blocks until the backward pass. A later step can use the same `workspace`.
///
/// # Errors
/// As [`fused`].
pub(crate) fn fused_all(
    decoder: &Decoder,
    batches: &[Batch],
    checkpointing: bool,
    workspace: &mut Workspace,
) -> Result<(f32, Sums), TrainError> {
    // On a worker, which does not sleep while the others work.
    rayon::scope(|_| {
        let mut head = Head::read(decoder)?;
        let memory = workspace.memory.clone();
        let mut sums = Sums::new(&memory);
        let mut total = 0.0;
        for batch in batches {
            let tokens = Tokens {
                ids: &batch.inputs,
                seq: batch.seq,
                wanted: &batch.positions,
            };
            let weights = &mut workspace.weights;
            let (pass, hidden) = Pass::forward(decoder, tokens, checkpointing, &memory, weights)?;
            let (loss, below) = head.loss(&hidden, batch, workspace, &mut sums);
            total += loss;
            drop(hidden);
            pass.backward(&below, &mut workspace.weights, &mut sums);
        }
        head.finish(&mut sums);
        Ok((total as f32, sums))
    })
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, ModuleVisitor, Param},
        tensor::{Device, Tensor},
    };
    use fastdraft_model::{DecoderConfig, DraftVocabulary, draft::init};

    use super::{
        super::{Loss, Row, plain},
        *,
    };
    use crate::teacher::SparseDistributions;

    /// Weights of the head, or of both where it is tied, times `sharpness`.
    fn decoder(trimmed: bool, tied: bool, sharpness: f32) -> Decoder {
        let kept = trimmed.then(|| DraftVocabulary::new((0..30).collect(), 40).unwrap());
        let mut checkpoint = init::random(DecoderConfig::llama(40, 32, 2), kept, 3).unwrap();
        for name in ["lm_head.weight", "model.embed_tokens.weight"] {
            let mut matrix = checkpoint.weights.remove(name).unwrap();
            matrix.data.iter_mut().for_each(|value| *value *= sharpness);
            checkpoint.weights.insert(name, matrix.shape, matrix.data);
        }
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
                assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} {b}");
            }
            self.2 += 1;
        }
    }

    /// As it is, then with several pieces, blocks, panels and chunks of 10 or 30 positions and
    /// tokens, and peaks that must be raised.
    fn cuts() -> [Cut; 4] {
        let whole = Cut::default();
        let cut = |piece, block, rows: usize, chunk, slack| Cut {
            piece,
            block,
            panel: 32 * rows,
            least: 1,
            chunk,
            slack,
        };
        [
            whole,
            cut(1, 1, 1, 1, 0.0),
            cut(1 << 10, 3, 7, 2, 0.1),
            cut(200, 4, 16, 1, 20.0),
        ]
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
        // Logits near 0, then some tens apart.
        for (trimmed, tied, sharpness) in [
            (true, false, 1.0),
            (false, false, 1.0),
            (false, true, 1.0),
            (true, false, 300.0),
            (false, true, 300.0),
        ] {
            let decoder = decoder(trimmed, tied, sharpness);
            let map = trimmed.then_some(head.as_slice());
            for loss in Loss::ALL {
                let batch = Batch::new(&rows, map, loss).unwrap();
                let expected = plain(&decoder, &batch);
                let value = expected.clone().into_scalar::<f32>();
                let expected = GradientsParams::from_grads(expected.backward(), &decoder);
                for cut in cuts() {
                    let mut workspace = Workspace {
                        cut,
                        ..Workspace::default()
                    };
                    let (fused, gradients) =
                        fused_all(&decoder, from_ref(&batch), false, &mut workspace).unwrap();
                    let gradients = gradients.into_gradients(&Device::flex());
                    let close = 1e-5 * (1.0 + value);
                    assert!((fused - value).abs() < close, "{loss:?}: {fused} {value}");
                    let mut compare = Compare(&gradients, &expected, 0);
                    decoder.visit(&mut compare);
                    assert_eq!(compare.2, if tied { 20 } else { 21 });
                }
            }
        }
    }
}
