//! Matrix products: what a runtime provides, and how fast they are by size.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::error::HwError;

const LEAST_RUNS: usize = 3;

/// Matrix products in f32, the one thing that a runtime has to do to be measured.
pub trait Gemm {
    /// What can go wrong.
    type Error: std::error::Error;

    /// Forgets earlier weights and allocates one of `[k, n]` for each pair, and room for `rows`
    /// rows on the other side.
    ///
    /// # Errors
    ///
    /// Memory is refused.
    fn prepare(&mut self, weights: &[(usize, usize)], rows: usize) -> Result<(), Self::Error>;

    /// `C[rows, n] = A[rows, k] · W[k, n]` with the weight at `index`, finished on return.
    ///
    /// # Errors
    ///
    /// No such weight, more rows than prepared, or the device fails.
    fn multiply(&mut self, index: usize, rows: usize) -> Result<(), Self::Error>;
}

/// Size of one product: `[rows, inner] · [inner, columns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GemmSize {
    /// Rows of the left side, tokens of a pass.
    pub rows: usize,
    /// Columns of the left side.
    pub inner: usize,
    /// Columns of the right side.
    pub columns: usize,
}

impl GemmSize {
    /// All three sides are `side`.
    #[must_use]
    pub fn square(side: usize) -> Self {
        Self {
            rows: side,
            inner: side,
            columns: side,
        }
    }

    /// 2·rows·inner·columns operations.
    #[must_use]
    pub fn flops(self) -> f64 {
        2.0 * self.rows as f64 * self.inner as f64 * self.columns as f64
    }

    /// Bytes of the three matrices in f32, each moved once.
    #[must_use]
    pub fn bytes(self) -> f64 {
        let (rows, inner, columns) = (self.rows as f64, self.inner as f64, self.columns as f64);
        4.0 * (rows * inner + inner * columns + rows * columns)
    }
}

/// A measured rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GemmRate {
    /// Size of the product.
    pub size: GemmSize,
    /// Operations per second, fastest run.
    pub flops: f64,
}

/// The rate of products of the given sizes: the fastest of at least three runs within `time`.
///
/// # Errors
///
/// [`HwError::Measurement`] with what the runtime says.
pub fn gemm_rates<G: Gemm>(
    runtime: &mut G,
    sizes: &[GemmSize],
    time: Duration,
) -> Result<Vec<GemmRate>, HwError> {
    let mut rates = Vec::with_capacity(sizes.len());
    for &size in sizes {
        runtime
            .prepare(&[(size.inner, size.columns)], size.rows)
            .map_err(failed)?;
        let seconds = fastest(time, || runtime.multiply(0, size.rows).map_err(failed))?;
        rates.push(GemmRate {
            size,
            flops: size.flops() / seconds,
        });
    }
    Ok(rates)
}

/// Seconds of a product of 1×1 matrices: what any operation costs before it does anything.
///
/// # Errors
///
/// [`HwError::Measurement`] with what the runtime says.
pub fn launch_overhead<G: Gemm>(runtime: &mut G, time: Duration) -> Result<f64, HwError> {
    const BATCH: u32 = 64;
    runtime.prepare(&[(1, 1)], 1).map_err(failed)?;
    // One product is too short for the clock.
    let seconds = fastest(time, || {
        (0..BATCH).try_for_each(|_| runtime.multiply(0, 1).map_err(failed))
    })?;
    Ok(seconds / f64::from(BATCH))
}

/// Seconds of the fastest of at least three runs within `time`, after one that does not count.
pub(super) fn fastest(
    time: Duration,
    mut run: impl FnMut() -> Result<(), HwError>,
) -> Result<f64, HwError> {
    run()?;
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    let mut runs = 0;
    while runs < LEAST_RUNS || begin.elapsed() < time {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    Ok(best.max(1e-9))
}

pub(super) fn failed(error: impl std::error::Error) -> HwError {
    HwError::Measurement {
        what: "matrix products",
        reason: error.to_string(),
    }
}
