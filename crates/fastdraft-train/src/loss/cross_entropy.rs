//! Masked next-token cross-entropy.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use fastdraft_model::decoder::Decoder;

/// Rows of a batch on the host: token ids and the positions that are trained.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// `[seq + 1]`
    pub ids: &'a [u32],
    /// `[seq + 1]`; `mask[i]` says whether predicting `ids[i]` counts.
    pub mask: &'a [bool],
}

/// Mean cross-entropy over the trained positions, and how many there are.
///
/// `head_rows[id]` is the row of a trimmed head for a target token; positions whose label the
/// head does not cover are left out. Only trained positions go through the head, so
/// `[batch · seq, vocab]` is never built for a masked batch.
///
/// Returns `None` when no position is trained. All rows must have the same length, at least 2.
#[must_use]
pub fn cross_entropy(
    decoder: &Decoder,
    rows: &[Row<'_>],
    head_rows: Option<&[Option<u32>]>,
) -> Option<(Tensor<1>, usize)> {
    let seq = rows.first()?.ids.len().checked_sub(1)?;
    let mut inputs = Vec::with_capacity(rows.len() * seq);
    let (mut positions, mut labels) = (Vec::new(), Vec::new());
    for (b, row) in rows.iter().enumerate() {
        inputs.extend(row.ids.iter().take(seq).map(|id| i64::from(*id)));
        for (s, (id, trained)) in row.ids.iter().zip(row.mask).skip(1).enumerate() {
            let label = match head_rows {
                Some(map) => map.get(*id as usize).copied().flatten(),
                None => Some(*id),
            };
            if let (true, Some(label)) = (*trained, label) {
                positions.push((b * seq + s) as i64);
                labels.push(i64::from(label));
            }
        }
    }
    let count = labels.len();
    if count == 0 || seq == 0 {
        return None;
    }
    let device = decoder.norm.gamma.val().device();
    let int = |data: Vec<i64>| -> Tensor<1, Int> {
        let n = data.len();
        Tensor::from_data(TensorData::new(data, [n]), &device)
    };
    let tokens: Tensor<2, Int> = int(inputs).reshape([rows.len(), seq]);
    let hidden = decoder.hidden(tokens);
    let [batch, seq, width] = hidden.dims();
    let hidden = hidden
        .reshape([batch * seq, width])
        .select(0, int(positions));
    let logits = decoder.head(hidden.reshape([1, count, width]));
    let vocabulary = logits.dims()[2];
    let log_probabilities = log_softmax(logits.reshape([count, vocabulary]), 1);
    let picked = log_probabilities.gather(1, int(labels).reshape([count, 1]));
    Some((picked.mean().neg(), count))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use fastdraft_model::{DecoderConfig, DraftVocabulary, draft::init};

    use super::*;

    fn decoder(kept: Option<Vec<u32>>) -> Decoder {
        let kept = kept.map(|ids| DraftVocabulary::new(ids, 40).unwrap());
        let checkpoint = init::random(DecoderConfig::llama(40, 32, 2), kept, 3).unwrap();
        Decoder::from_checkpoint(&checkpoint, &Device::flex()).unwrap()
    }

    fn value(loss: Tensor<1>) -> f32 {
        loss.into_scalar::<f32>()
    }

    #[test]
    fn equals_the_closed_form_on_the_trained_positions() {
        let decoder = decoder(None);
        let ids = [1u32, 5, 9, 13];
        let mask = [true, false, true, true];
        let (loss, count) = cross_entropy(
            &decoder,
            &[Row {
                ids: &ids,
                mask: &mask,
            }],
            None,
        )
        .unwrap();
        assert_eq!(count, 2);
        let input: Tensor<2, Int> = Tensor::from_data([[1i64, 5, 9]], &Device::flex());
        let logits: Vec<f32> = decoder.forward(input).into_data().try_into_vec().unwrap();
        let nll = |row: usize, label: usize| {
            let row = &logits[row * 40..(row + 1) * 40];
            let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            sum.ln() - f64::from(row[label])
        };
        let expected = (nll(1, 9) + nll(2, 13)) / 2.0;
        assert!((f64::from(value(loss)) - expected).abs() < 1e-5);
    }

    #[test]
    fn labels_outside_a_trimmed_head_do_not_count() {
        let decoder = decoder(Some(vec![5, 9]));
        let rows = DraftVocabulary::new(vec![5, 9], 40).unwrap().rows(40);
        let (ids, mask) = ([1u32, 5, 13, 9], [true; 4]);
        let (_, count) = cross_entropy(
            &decoder,
            &[Row {
                ids: &ids,
                mask: &mask,
            }],
            Some(&rows),
        )
        .unwrap();
        assert_eq!(count, 2);
        let none = cross_entropy(
            &decoder,
            &[Row {
                ids: &[1, 13],
                mask: &[true; 2],
            }],
            Some(&rows),
        );
        assert!(none.is_none());
    }
}
