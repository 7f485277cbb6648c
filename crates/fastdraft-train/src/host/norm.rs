//! Root-mean-square norm of rows, forward and backward.

use rayon::prelude::*;

use super::vector::{dot, vectorized};

/// Rows that a thread takes at a time; sums over rows are taken in pieces of this size too, so
/// that they do not depend on threads.
const ROWS: usize = 64;

/// `y = x / √(mean x² + ε) · γ` of every row; returns `1 / √…` of each.
///
/// # Shapes
/// - `x`, `y`: `[rows, width]`, with `width` that of `gamma`
/// - output: `[rows]`
pub(super) fn forward(x: &[f32], gamma: &[f32], epsilon: f64, y: &mut [f32]) -> Vec<f32> {
    let width = gamma.len();
    let mut inverse = vec![0.0; x.len() / width];
    (x.par_chunks(ROWS * width))
        .zip(y.par_chunks_mut(ROWS * width))
        .zip(inverse.par_chunks_mut(ROWS))
        .for_each(|((x, y), inverse)| rows_forward(x, gamma, epsilon, y, inverse));
    inverse
}

vectorized! {
    fn rows_forward(x: &[f32], gamma: &[f32], epsilon: f64, y: &mut [f32], inverse: &mut [f32]) {
        let width = gamma.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), inverse) in rows.zip(inverse) {
            let mean = f64::from(dot(x, x)) / width as f64;
            *inverse = (1.0 / (mean + epsilon).sqrt()) as f32;
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma) {
                *y = x * *inverse * gamma;
            }
        }
    }
}

/// `y` again from what [`forward`] returned.
pub(super) fn again(x: &[f32], gamma: &[f32], inverse: &[f32], y: &mut [f32]) {
    let width = gamma.len();
    (x.par_chunks(ROWS * width))
        .zip(y.par_chunks_mut(ROWS * width))
        .zip(inverse.par_chunks(ROWS))
        .for_each(|((x, y), inverse)| rows_again(x, gamma, inverse, y));
}

vectorized! {
    fn rows_again(x: &[f32], gamma: &[f32], inverse: &[f32], y: &mut [f32]) {
        let width = gamma.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), inverse) in rows.zip(inverse) {
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma) {
                *y = x * *inverse * gamma;
            }
        }
    }
}

/// Adds the gradient of `x` to `dx` and returns that of `gamma`.
///
/// # Shapes
/// - `x`, `dy`, `dx`: `[rows, width]`
/// - `inverse`: `[rows]`
/// - output: `[width]`
pub(super) fn backward(
    x: &[f32],
    gamma: &[f32],
    inverse: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) -> Vec<f32> {
    let width = gamma.len();
    let parts: Vec<Vec<f32>> = (x.par_chunks(ROWS * width))
        .zip(dy.par_chunks(ROWS * width))
        .zip(dx.par_chunks_mut(ROWS * width))
        .zip(inverse.par_chunks(ROWS))
        .map(|(((x, dy), dx), inverse)| {
            let mut sum = vec![0.0; width];
            rows_backward(x, gamma, inverse, dy, dx, &mut sum);
            sum
        })
        .collect();
    let mut sum = vec![0.0; width];
    for part in parts {
        for (sum, part) in sum.iter_mut().zip(part) {
            *sum += part;
        }
    }
    sum
}

vectorized! {
    fn rows_backward(
        x: &[f32],
        gamma: &[f32],
        inverse: &[f32],
        dy: &[f32],
        dx: &mut [f32],
        sum: &mut [f32],
    ) {
        let width = gamma.len();
        let mut scaled = vec![0.0; width];
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for (((x, dy), dx), inverse) in rows.zip(dx.chunks_exact_mut(width)).zip(inverse) {
            for ((scaled, dy), gamma) in scaled.iter_mut().zip(dy).zip(gamma) {
                *scaled = dy * gamma;
            }
            let along = dot(x, &scaled) / width as f32 * inverse * inverse;
            let each = x.iter().zip(dy).zip(&scaled).zip(dx.iter_mut()).zip(sum.iter_mut());
            for ((((x, dy), scaled), dx), sum) in each {
                *dx += (scaled - x * along) * inverse;
                *sum += dy * (x * inverse);
            }
        }
    }
}
