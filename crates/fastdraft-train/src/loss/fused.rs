//! Head and loss together, forward and backward, on the host.

use burn::{
    module::Param,
    optim::GradientsParams,
    tensor::{Tensor, s},
};
use fastdraft_model::decoder::Decoder;
use rayon::prelude::*;

use super::{Batch, plain::hidden, row::gradient_in_place};
use crate::{error::TrainError, optim::host};

/// Logits that are in memory at a time.
const LOGITS: usize = 1 << 23;

/// Loss and gradients of a batch, with the gradient of the logits in closed form, in place of the
/// logits and a piece at a time: `[trained, head_size]` is never in memory as a whole, and no
/// step of it is recorded for a backward pass.
///
/// # Errors
/// [`TrainError::Tensor`] when the device does not hand tensors over as float32.
pub fn fused(decoder: &Decoder, batch: &Batch) -> Result<(f32, GradientsParams), TrainError> {
    fused_in(decoder, batch, LOGITS)
}

fn fused_in(
    decoder: &Decoder,
    batch: &Batch,
    logits: usize,
) -> Result<(f32, GradientsParams), TrainError> {
    let hidden = hidden(decoder, batch);
    let (param, weight) = match &decoder.lm_head {
        Some(head) => (&head.weight, head.weight.val().without_autodiff()),
        None => {
            let weight = &decoder.embed_tokens.weight;
            (weight, weight.val().without_autodiff().transpose())
        }
    };
    let [width, size] = weight.dims();
    let inner = hidden.clone().without_autodiff();
    let piece = (logits / size).clamp(1, batch.trained());
    let mut total = 0.0;
    let mut below = Vec::new();
    let mut head: Option<Tensor<2>> = None;
    for (at, goals) in batch.goals.chunks(piece).enumerate() {
        let rows = at * piece..at * piece + goals.len();
        let x = inner.clone().slice(s![rows, 0..width]);
        let mut values = host::data(x.clone().matmul(weight.clone()))?;
        let losses: Vec<f64> = (host::slice(&mut values)?.par_chunks_exact_mut(size))
            .zip(goals)
            .map(|(row, goal)| gradient_in_place(goal, row))
            .collect();
        total += losses.iter().sum::<f64>();
        let gradient = Tensor::<2>::from_data(values, &x.device());
        below.push(gradient.clone().matmul(weight.clone().transpose()));
        if param.is_require_grad() {
            let part = x.transpose().matmul(gradient);
            head = Some(match head {
                Some(sum) => sum + part,
                None => part,
            });
        }
    }
    let below = match below.len() {
        1 => below.swap_remove(0),
        _ => Tensor::cat(below, 0),
    };
    // The sum's gradient with respect to `hidden` is `below`, so one backward pass goes on from it.
    let through = (hidden * below.autodiff()).sum();
    let mut gradients = GradientsParams::from_grads(through.backward(), decoder);
    if let Some(head) = head {
        add_head(decoder, param, head, &mut gradients);
    }
    Ok((total as f32, gradients))
}

/// Registers the head's gradient; a tied embedding has another from its lookup.
fn add_head(
    decoder: &Decoder,
    param: &Param<Tensor<2>>,
    head: Tensor<2>,
    gradients: &mut GradientsParams,
) {
    if decoder.lm_head.is_some() {
        gradients.register(param.id, head);
        return;
    }
    let head = head.transpose();
    let both = match gradients.remove::<2>(param.id) {
        Some(lookup) => lookup + head,
        None => head,
    };
    gradients.register(param.id, both);
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, ModuleVisitor},
        tensor::Device,
    };
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
                for logits in [1, 100, LOGITS] {
                    let (fused, gradients) = fused_in(&decoder, &batch, logits).unwrap();
                    assert!((fused - value).abs() < 1e-5, "{loss:?}: {fused} {value}");
                    let mut compare = Compare(&gradients, &expected, 0);
                    decoder.visit(&mut compare);
                    assert_eq!(compare.2, if tied { 20 } else { 21 });
                }
            }
        }
    }
}
