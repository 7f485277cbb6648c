//! What a weight format makes of each matrix.

use rayon::prelude::*;

use super::{
    arch::arena::Arena,
    matrix::{Layout, Matrix, WeightFormat},
};
use crate::{checkpoint::Checkpoint, error::ModelError};

/// How far the weights of a matrix are from those of the checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Rounding {
    /// Name of the tensor.
    pub name: String,
    /// `[out, in]`.
    pub shape: [usize; 2],
    /// `‖Ŵ − W‖ / ‖W‖` (Frobenius); 0 for a matrix of zeros.
    pub relative_error: f64,
    /// The largest `|ŵ − w|`, over the largest `|w|`.
    pub largest_error: f64,
}

/// The rounding of every matrix of `checkpoint` in `format`, by name; norms and biases stay in
/// float32 whatever the format.
///
/// A checkpoint holds float32 values, so [`WeightFormat::Gguf`] rounds as
/// [`WeightFormat::Int8`] here; read from its file it keeps four-bit blocks exactly.
///
/// ```
/// use fastdraft_model::{DecoderConfig, draft::init, engine::cpu::{WeightFormat, rounding}};
/// let model = init::random(DecoderConfig::llama(100, 64, 1), None, 1)?;
/// let int8 = rounding(&model, WeightFormat::Int8)?;
/// assert!(int8.iter().all(|matrix| matrix.relative_error < 0.01));
/// # Ok::<(), fastdraft_model::ModelError>(())
/// ```
///
/// # Errors
/// [`ModelError::ShapeMismatch`] for a tensor whose data does not fit its shape.
pub fn rounding(
    checkpoint: &Checkpoint,
    format: WeightFormat,
) -> Result<Vec<Rounding>, ModelError> {
    let matrices: Vec<_> = (checkpoint.weights.iter())
        .filter_map(|(name, tensor)| match tensor.shape.as_slice() {
            &[rows, columns] if rows > 0 && columns > 0 => {
                Some((name, [rows, columns], &tensor.data))
            }
            _ => None,
        })
        .collect();
    (matrices.into_par_iter())
        .map(|(name, shape, data)| {
            let [rows, columns] = shape;
            let parts = [(name.to_owned(), rows)];
            let memory = &Arena::default();
            let layout = Layout { format, memory };
            let matrix = Matrix::load(checkpoint, &parts, columns, None, layout)?;
            let mut row = vec![0.0; columns];
            let (mut error, mut square) = (0.0, 0.0);
            let (mut worst, mut largest) = (0.0_f64, 0.0_f64);
            for (index, exact) in data.chunks_exact(columns).enumerate() {
                matrix.read_row(index, &mut row);
                for (found, exact) in row.iter().zip(exact) {
                    let (found, exact) = (f64::from(*found), f64::from(*exact));
                    error += (found - exact).powi(2);
                    square += exact.powi(2);
                    worst = worst.max((found - exact).abs());
                    largest = largest.max(exact.abs());
                }
            }
            let over = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
            Ok(Rounding {
                name: name.to_owned(),
                shape,
                relative_error: over(error, square).sqrt(),
                largest_error: over(worst, largest),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecoderConfig, Weights};

    fn one(name: &str, columns: usize, data: Vec<f32>) -> Checkpoint {
        let mut weights = Weights::new();
        weights.insert(name, vec![data.len() / columns, columns], data);
        weights.insert("norm", vec![columns], vec![1.0; columns]);
        Checkpoint {
            config: DecoderConfig::llama(100, 64, 1),
            weights,
            draft_vocabulary: None,
        }
    }

    #[test]
    fn errors_are_those_of_rounding_by_hand() {
        // Two runs of 64 columns, whose scales are 127 / 127 and 25.4 / 127.
        let mut data = vec![0.0_f32; 128];
        (data[0], data[1], data[64], data[65]) = (127.0, 30.4, 25.4, 0.09);
        let checkpoint = one("w", 128, data);
        let exact = rounding(&checkpoint, WeightFormat::F32).unwrap();
        assert_eq!(exact.len(), 1);
        assert_eq!(
            (exact[0].relative_error, exact[0].largest_error),
            (0.0, 0.0)
        );
        let int8 = &rounding(&checkpoint, WeightFormat::Int8).unwrap()[0];
        assert_eq!((int8.name.as_str(), int8.shape), ("w", [1, 128]));
        assert!((int8.largest_error - 0.4 / 127.0).abs() < 1e-6, "{int8:?}");
        let square: f64 = 127.0_f64.powi(2) + 30.4_f64.powi(2) + 25.4_f64.powi(2) + 0.0081;
        let expected = ((0.4_f64.powi(2) + 0.09_f64.powi(2)) / square).sqrt();
        assert!((int8.relative_error - expected).abs() < 1e-6, "{int8:?}");
    }

    #[test]
    fn bf16_keeps_eight_bits() {
        let data: Vec<f32> = (0..300).map(|i| (i as f32 * 0.7).sin()).collect();
        let found = &rounding(&one("w", 100, data), WeightFormat::Bf16).unwrap()[0];
        assert!((5e-4..4e-3).contains(&found.relative_error), "{found:?}");
    }

    #[test]
    fn zeros_have_no_error() {
        let zeros = one("w", 32, vec![0.0; 64]);
        let found = &rounding(&zeros, WeightFormat::Int8).unwrap()[0];
        assert_eq!((found.relative_error, found.largest_error), (0.0, 0.0));
    }
}
