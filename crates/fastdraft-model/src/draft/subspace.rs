//! The directions that hold most of some vectors.

use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut, SymmetricEigen};
use rayon::prelude::*;

use crate::error::ModelError;

/// Vectors that are multiplied at a time, in double precision.
const PIECE: usize = 4096;
/// Columns of a product that a thread takes.
const BLOCK: usize = 64;
/// Sweeps for each eigenvalue; a handful is usual.
const SWEEPS: usize = 100;

/// `XᵀX` divided by its trace: `[n, n]`, of `x` `[rows, n]`.
pub(super) fn scaled_gram(x: &[f32], n: usize) -> DMatrix<f64> {
    let mut gram = DMatrix::<f64>::zeros(n, n);
    // Threads share columns of the product, not terms, so that their number does not move a sum.
    for piece in x.chunks(PIECE * n) {
        let columns = columns(piece, n);
        (gram.as_mut_slice().par_chunks_mut(BLOCK * n).enumerate()).for_each(|(i, block)| {
            let width = block.len() / n;
            let some = columns.rows(i * BLOCK, width).transpose();
            DMatrixViewMut::from_slice(block, n, width).gemm(1.0, &columns, &some, 1.0);
        });
    }
    let trace = gram.trace();
    if trace > 0.0 {
        gram /= trace;
    }
    gram
}

/// Leading eigenvectors of a symmetric matrix.
pub(super) struct Subspace {
    /// Orthonormal columns, that of the largest eigenvalue first.
    basis: DMatrix<f64>,
    /// The sum of their eigenvalues, the trace of `Vᵀ · gram · V`.
    pub(super) energy: f64,
}

/// The `k` leading eigenvectors of `gram`, its right singular vectors where it is `XᵀX`.
///
/// # Errors
/// [`ModelError::InvalidConfig`] when the matrix is not finite or its eigenvalues are not found.
pub(super) fn leading_subspace(gram: DMatrix<f64>, k: usize) -> Result<Subspace, ModelError> {
    let n = gram.nrows();
    let failed = |what: &str| ModelError::InvalidConfig {
        reason: format!("the directions of {n}-wide weights: {what}"),
    };
    if gram.iter().any(|value| !value.is_finite()) {
        return Err(failed("the weights are not finite"));
    }
    let eigen = SymmetricEigen::try_new(gram, f64::EPSILON, n * SWEEPS)
        .ok_or_else(|| failed("eigenvalues do not converge"))?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| eigen.eigenvalues[*b].total_cmp(&eigen.eigenvalues[*a]));
    order.truncate(k);
    Ok(Subspace {
        energy: order.iter().map(|&i| eigen.eigenvalues[i]).sum(),
        basis: eigen.eigenvectors.select_columns(&order),
    })
}

impl Subspace {
    /// Coordinates of the rows of `x` `[rows, n]`: `[rows, k]`.
    pub(super) fn project(&self, x: &[f32]) -> Vec<f32> {
        let n = self.basis.nrows();
        (x.par_chunks(PIECE * n))
            .flat_map_iter(|piece| {
                let coordinates = self.basis.tr_mul(&columns(piece, n));
                let narrow: Vec<f32> = coordinates.iter().map(|value| *value as f32).collect();
                narrow
            })
            .collect()
    }
}

/// Rows of `n`, each a column.
fn columns(rows: &[f32], n: usize) -> DMatrix<f64> {
    DMatrixView::from_slice(rows, n, rows.len() / n).map(f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecoderConfig, draft::init};

    #[test]
    fn a_diagonal_gram_gives_its_largest_entries() {
        let entries = (0..12).map(|i| ((i * 5) % 12) as f64 + 1.0);
        let gram = DMatrix::from_diagonal(&nalgebra::DVector::from_iterator(12, entries));
        let found = leading_subspace(gram, 3).unwrap();
        assert!((found.energy - (12.0 + 11.0 + 10.0)).abs() < 1e-9);
        let identity = found.basis.tr_mul(&found.basis);
        assert!((identity - DMatrix::identity(3, 3)).amax() < 1e-12);
    }

    /// The gram matrix, and the squares of coordinates, by loops.
    #[test]
    fn coordinates_hold_the_energy_of_the_leading_directions() {
        let (rows, n, k) = (PIECE + 100, BLOCK + 8, 7);
        let model = init::random(DecoderConfig::llama(rows, n, 1), None, 3).unwrap();
        let name = "model.embed_tokens.weight";
        let x = &model.weights.get(name, &[rows, n]).unwrap().data;
        let total: f64 = x.iter().map(|v| f64::from(*v).powi(2)).sum();
        let gram = scaled_gram(x, n);
        let (i, j) = (3, BLOCK + 2);
        let product: f64 = (x.chunks_exact(n))
            .map(|row| f64::from(row[i]) * f64::from(row[j]))
            .sum();
        assert!((gram[(i, j)] - product / total).abs() < 1e-12);
        let found = leading_subspace(gram, k).unwrap();
        let narrow = found.project(x);
        assert_eq!(narrow.len(), rows * k);
        let kept: f64 = narrow.iter().map(|v| f64::from(*v).powi(2)).sum();
        assert!((kept / total - found.energy).abs() < 1e-6);
        assert!(found.energy > k as f64 / n as f64);
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        let gram = DMatrix::from_element(2, 2, f64::NAN);
        assert!(leading_subspace(gram, 1).is_err());
    }
}
