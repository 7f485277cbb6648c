//! Losses from tensor operations, for devices whose memory the host does not share.

use burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use fastdraft_model::decoder::Decoder;

use super::Batch;

pub(super) fn ints(data: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let n = data.len();
    Tensor::from_data(TensorData::new(data, [n]), device)
}

/// Inputs of a batch, `[rows, seq]`.
pub(super) fn tokens(decoder: &Decoder, batch: &Batch) -> Tensor<2, Int> {
    let device = decoder.norm.gamma.val().device();
    ints(batch.inputs.clone(), &device).reshape([batch.rows, batch.seq])
}

/// Logits at the trained positions, carrying gradients on an autodiff device.
///
/// # Shapes
/// - output: `[trained, head_size]`
#[must_use]
pub fn logits(decoder: &Decoder, batch: &Batch) -> Tensor<2> {
    logits_of(decoder, decoder.hidden(tokens(decoder, batch)), batch)
}

/// Logits of the stream after the last norm, `[rows, seq, hidden]`, at the trained positions:
/// only these go through the head.
pub(super) fn logits_of(decoder: &Decoder, stream: Tensor<3>, batch: &Batch) -> Tensor<2> {
    let width = stream.dims()[2];
    let mut hidden: Tensor<2> = stream.reshape([batch.rows * batch.seq, width]);
    if batch.trained() < batch.rows * batch.seq {
        let positions = ints(batch.positions.clone(), &hidden.device());
        hidden = hidden.select(0, positions);
    }
    let logits = decoder.head(hidden.unsqueeze::<3>());
    let size = logits.dims()[2];
    logits.reshape([batch.trained(), size])
}

/// The loss of a batch as a tensor that carries gradients on an autodiff device.
#[must_use]
pub fn plain(decoder: &Decoder, batch: &Batch) -> Tensor<1> {
    plain_of(logits(decoder, batch), batch)
}

/// The loss from the logits at the trained positions.
pub(crate) fn plain_of(logits: Tensor<2>, batch: &Batch) -> Tensor<1> {
    let device = logits.device();
    let [count, _] = logits.dims();
    let log_q = log_softmax(logits, 1);
    let k = batch.goals.iter().map(|goal| goal.tokens.len()).max();
    let k = k.unwrap_or(0).max(1);
    let mut columns = Columns::default();
    for goal in &batch.goals {
        columns.labels.push(i64::from(goal.label));
        columns.label_weights.push(goal.label_weight);
        columns.tvd_weights.push(goal.tvd_weight);
        for place in 0..k {
            let (id, p) = goal.tokens.get(place).copied().unwrap_or((0, 0.0));
            columns.ids.push(i64::from(id));
            columns.p.push(p);
            columns.kl_weights.push(goal.kl_weight * p);
            if p > 0.0 {
                columns.constant += goal.kl_weight * p * p.ln();
            }
        }
    }
    let floats = |data: Vec<f32>, width: usize| -> Tensor<2> {
        Tensor::from_data(TensorData::new(data, [count, width]), &device)
    };
    let labels = ints(columns.labels, &device).reshape([count, 1]);
    let ids = ints(columns.ids, &device).reshape([count, k]);
    let picked = log_q.clone().gather(1, labels) * floats(columns.label_weights, 1);
    let log_q = log_q.gather(1, ids);
    let kl = log_q.clone() * floats(columns.kl_weights, k);
    let overlap = log_q.exp().min_pair(floats(columns.p, k)).sum_dim(1);
    let tvd = (overlap.neg().add_scalar(1.0)) * floats(columns.tvd_weights, 1);
    (tvd.sum() - picked.sum() - kl.sum()).add_scalar(columns.constant)
}

#[derive(Default)]
struct Columns {
    labels: Vec<i64>,
    label_weights: Vec<f32>,
    tvd_weights: Vec<f32>,
    ids: Vec<i64>,
    p: Vec<f32>,
    kl_weights: Vec<f32>,
    constant: f32,
}
