//! Latency of a pass over a stack of decoder layers, measured and modelled.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::gemm::{Gemm, failed, fastest};
use crate::error::HwError;

/// A stack of decoder layers: four square projections and a gated MLP of 8/3 the width each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PassShape {
    /// Layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
}

impl PassShape {
    /// `[k, n]` of every matrix, in the order of a pass.
    #[must_use]
    pub fn matrices(self) -> Vec<(usize, usize)> {
        let (width, mlp) = (self.width, self.width.saturating_mul(8) / 3);
        let layer = [
            (width, width),
            (width, width),
            (width, width),
            (width, width),
            (width, mlp),
            (width, mlp),
            (mlp, width),
        ];
        layer.repeat(self.layers)
    }

    /// Parameters that a pass reads.
    #[must_use]
    pub fn parameters(self) -> f64 {
        self.matrices()
            .iter()
            .map(|&(inner, columns)| inner as f64 * columns as f64)
            .sum()
    }
}

/// A measured pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PassPoint {
    /// The stack.
    pub shape: PassShape,
    /// Tokens of the pass.
    pub tokens: usize,
    /// Seconds of the fastest run.
    pub seconds: f64,
}

/// Measures a pass for every shape and number of tokens: its matrix products in f32, one after the
/// other, over distinct weights, so that the weights come from memory once they outgrow the cache.
///
/// # Errors
///
/// [`HwError::Measurement`] with what the runtime says.
pub fn pass_latencies<G: Gemm>(
    runtime: &mut G,
    shapes: &[PassShape],
    tokens: &[usize],
    time: Duration,
) -> Result<Vec<PassPoint>, HwError> {
    let most = tokens.iter().copied().max().unwrap_or(0);
    let mut points = Vec::with_capacity(shapes.len() * tokens.len());
    for &shape in shapes {
        let matrices = shape.matrices();
        runtime.prepare(&matrices, most).map_err(failed)?;
        for &tokens in tokens {
            let seconds = fastest(time, || {
                (0..matrices.len())
                    .try_for_each(|index| runtime.multiply(index, tokens).map_err(failed))
            })?;
            points.push(PassPoint {
                shape,
                tokens,
                seconds,
            });
        }
    }
    Ok(points)
}

/// Seconds of a pass = `layer`·layers + `parameter`·parameters + `product`·parameters·tokens.
///
/// The first term is what a layer costs whatever its width, the second the stream over the weights,
/// the third the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PassModel {
    /// Seconds of a layer.
    pub layer: f64,
    /// Seconds of a parameter.
    pub parameter: f64,
    /// Seconds of a parameter times a token.
    pub product: f64,
    /// Median of |model − measured| / measured over the points of the fit.
    pub median_error: f64,
    /// Largest such error.
    pub largest_error: f64,
}

impl PassModel {
    /// Least squares on relative errors, with no term below 0.
    ///
    /// # Errors
    ///
    /// [`HwError::Measurement`] for fewer than three points, or points that differ in too little.
    pub fn fit(points: &[PassPoint]) -> Result<Self, HwError> {
        let usable: Vec<([f64; 3], f64)> = points
            .iter()
            .filter(|point| point.seconds.is_finite() && point.seconds > 0.0)
            .map(|point| (terms(point.shape, point.tokens), point.seconds))
            .collect();
        let unfit = || HwError::Measurement {
            what: "pass latency",
            reason: format!(
                "{} points do not tell layers, parameters and tokens apart",
                usable.len()
            ),
        };
        if usable.len() < 3 {
            return Err(unfit());
        }
        // Each subset of terms is tried: the best without a negative one is the constrained optimum.
        let best = (1_u8..8)
            .filter_map(|subset| solve(&usable, subset))
            .filter(|coefficients| coefficients.iter().all(|value| *value >= 0.0))
            .min_by(|a, b| squares(&usable, a).total_cmp(&squares(&usable, b)))
            .ok_or_else(unfit)?;
        let mut errors: Vec<f64> = usable
            .iter()
            .map(|(terms, seconds)| (dot(&best, terms) / seconds - 1.0).abs())
            .collect();
        errors.sort_by(f64::total_cmp);
        Ok(Self {
            layer: best[0],
            parameter: best[1],
            product: best[2],
            median_error: errors[errors.len() / 2],
            largest_error: errors[errors.len() - 1],
        })
    }

    /// Seconds of a pass over `tokens` tokens.
    #[must_use]
    pub fn seconds(&self, shape: PassShape, tokens: usize) -> f64 {
        dot(
            &[self.layer, self.parameter, self.product],
            &terms(shape, tokens),
        )
    }
}

fn terms(shape: PassShape, tokens: usize) -> [f64; 3] {
    let parameters = shape.parameters();
    [shape.layers as f64, parameters, parameters * tokens as f64]
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn squares(points: &[([f64; 3], f64)], coefficients: &[f64; 3]) -> f64 {
    points
        .iter()
        .map(|(terms, seconds)| (dot(coefficients, terms) / seconds - 1.0).powi(2))
        .sum()
}

/// The least-squares coefficients with only the terms whose bit is set in `subset`.
fn solve(points: &[([f64; 3], f64)], subset: u8) -> Option<[f64; 3]> {
    let kept: Vec<usize> = (0..3).filter(|bit| subset & (1 << bit) != 0).collect();
    let size = kept.len();
    // Columns are scaled, or the normal equations mix 1 with 10¹⁰.
    let scale: Vec<f64> = kept
        .iter()
        .map(|&term| {
            let column = points.iter().map(|(terms, seconds)| terms[term] / seconds);
            column.map(|value| value * value).sum::<f64>().sqrt()
        })
        .collect();
    let mut rows = vec![vec![0.0; size + 1]; size];
    for (terms, seconds) in points {
        let row: Vec<f64> = kept
            .iter()
            .zip(&scale)
            .map(|(&term, scale)| terms[term] / seconds / scale)
            .collect();
        for i in 0..size {
            for j in 0..size {
                rows[i][j] += row[i] * row[j];
            }
            rows[i][size] += row[i];
        }
    }
    for pivot in 0..size {
        let best =
            (pivot..size).max_by(|&a, &b| rows[a][pivot].abs().total_cmp(&rows[b][pivot].abs()))?;
        rows.swap(pivot, best);
        if rows[pivot][pivot].abs() < 1e-9 {
            return None;
        }
        let pivot_row = rows[pivot].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            if index != pivot {
                let factor = row[pivot] / pivot_row[pivot];
                for (value, above) in row.iter_mut().zip(&pivot_row) {
                    *value -= factor * above;
                }
            }
        }
    }
    let mut coefficients = [0.0; 3];
    for (index, &term) in kept.iter().enumerate() {
        coefficients[term] = rows[index][size] / rows[index][index] / scale[index];
    }
    Some(coefficients)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(layer: f64, parameter: f64, product: f64) -> Vec<PassPoint> {
        let mut points = Vec::new();
        for (layers, width) in [(2, 256), (6, 256), (4, 1024), (1, 2048)] {
            for tokens in [1, 2, 8] {
                let shape = PassShape { layers, width };
                let parameters = shape.parameters();
                points.push(PassPoint {
                    shape,
                    tokens,
                    seconds: layer * layers as f64
                        + parameters * (parameter + product * tokens as f64),
                });
            }
        }
        points
    }

    #[test]
    fn the_terms_of_synthetic_passes_are_found() {
        let fit = PassModel::fit(&points(2e-5, 3e-10, 4e-11)).unwrap();
        assert!((fit.layer / 2e-5 - 1.0).abs() < 1e-4, "{fit:?}");
        assert!((fit.parameter / 3e-10 - 1.0).abs() < 1e-4, "{fit:?}");
        assert!((fit.product / 4e-11 - 1.0).abs() < 1e-4, "{fit:?}");
        assert!(fit.largest_error < 1e-6, "{fit:?}");
        let shape = PassShape {
            layers: 3,
            width: 600,
        };
        let expected = 6e-5 + shape.parameters() * (3e-10 + 5.0 * 4e-11);
        assert!((fit.seconds(shape, 5) / expected - 1.0).abs() < 1e-4);
    }

    #[test]
    fn no_term_goes_below_zero() {
        let mut noisy = points(0.0, 3e-10, 0.0);
        for (index, point) in noisy.iter_mut().enumerate() {
            point.seconds *= if index % 2 == 0 { 1.1 } else { 0.9 };
        }
        let fit = PassModel::fit(&noisy).unwrap();
        assert!(fit.layer >= 0.0 && fit.parameter >= 0.0 && fit.product >= 0.0);
        assert!(fit.largest_error < 0.25, "{fit:?}");
    }

    #[test]
    fn too_few_points_are_refused() {
        assert!(PassModel::fit(&points(1e-5, 1e-10, 1e-11)[..2]).is_err());
        assert!(PassModel::fit(&[]).is_err());
    }
}
