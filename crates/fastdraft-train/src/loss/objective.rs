//! Losses from outside this crate.

use burn::tensor::Tensor;

use super::Batch;

/// A loss of your own, from tensor operations.
///
/// ```
/// use burn::tensor::{Tensor, TensorData, activation::log_softmax};
/// use fastdraft_train::loss::{Batch, Objective};
///
/// /// Cross-entropy with the recorded probabilities, without weights.
/// struct Soft;
///
/// impl Objective for Soft {
///     fn loss(&self, logits: Tensor<2>, batch: &Batch) -> Tensor<1> {
///         let [count, size] = logits.dims();
///         let mut wanted = vec![0.0f32; count * size];
///         for (row, tokens) in wanted.chunks_mut(size).zip(batch.taught()) {
///             for (id, share) in tokens {
///                 row[*id as usize] = *share;
///             }
///         }
///         let wanted = Tensor::from_data(TensorData::new(wanted, [count, size]), &logits.device());
///         (log_softmax(logits, 1) * wanted).sum().neg() / count as f64
///     }
/// }
/// ```
pub trait Objective {
    /// What is minimised, from the logits at the trained positions.
    ///
    /// It should be a mean over these: with accumulation, micro-batches weigh as much as they have
    /// trained positions.
    ///
    /// # Shapes
    /// - `logits`: `[trained, head_size]`
    /// - output: `[1]`
    fn loss(&self, logits: Tensor<2>, batch: &Batch) -> Tensor<1>;
}
