//! Root-mean-square norm of rows, forward and backward.

use super::vector::{dot, vectorized};

vectorized! {
    /// `y = x / √(mean x² + ε) · γ` of every row, and `1 / √…` of each.
    ///
    /// # Shapes
    /// - `x`, `y`: `[rows, width]`, with `width` that of `gamma`
    /// - `inverse`: `[rows]`
    pub(super) fn forward(
        x: &[f32],
        gamma: &[f32],
        epsilon: f64,
        y: &mut [f32],
        inverse: &mut [f32],
    ) {
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

vectorized! {
    /// `y` again from what [`forward`] left.
    pub(super) fn again(x: &[f32], gamma: &[f32], inverse: &[f32], y: &mut [f32]) {
        let width = gamma.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), inverse) in rows.zip(inverse) {
            for ((y, x), gamma) in y.iter_mut().zip(x).zip(gamma) {
                *y = x * *inverse * gamma;
            }
        }
    }
}

vectorized! {
    /// Adds the gradient of `x` to `dx` and that of `gamma` to `sum`.
    ///
    /// # Shapes
    /// - `x`, `dy`, `dx`: `[rows, width]`
    /// - `inverse`: `[rows]`
    /// - `sum`: `[width]`
    pub(super) fn backward(
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
