//! Matrix products on the processor through the `gemm` crate, the same that Burn flex calls.

use gemm::{Parallelism, gemm};

use super::Gemm;
use crate::error::HwError;

/// [`Gemm`] on all cores of the processor.
///
/// ```
/// use fastdraft_hw::measure::{CpuGemm, Gemm};
///
/// let mut cpu = CpuGemm::new();
/// cpu.prepare(&[(3, 5)], 2)?;
/// cpu.multiply(0, 2)?;
/// assert_eq!(cpu.result().len(), 2 * 5);
/// # Ok::<(), fastdraft_hw::HwError>(())
/// ```
#[derive(Debug, Default)]
pub struct CpuGemm {
    weights: Vec<Weight>,
    rows: usize,
    left: Vec<f32>,
    result: Vec<f32>,
}

#[derive(Debug)]
struct Weight {
    inner: usize,
    columns: usize,
    values: Vec<f32>,
}

impl CpuGemm {
    /// Without weights.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The last product, row by row; empty before the first.
    #[must_use]
    pub fn result(&self) -> &[f32] {
        &self.result
    }
}

/// Small, different and exactly reproducible.
fn value(seed: usize) -> f32 {
    ((seed * 37 + 11) % 101) as f32 / 101.0 - 0.5
}

fn filled(length: usize) -> Result<Vec<f32>, HwError> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(length)
        .map_err(|error| refused(&error))?;
    values.extend((0..length).map(value));
    Ok(values)
}

fn refused(reason: &impl ToString) -> HwError {
    HwError::Measurement {
        what: "matrix products",
        reason: reason.to_string(),
    }
}

fn area(rows: usize, columns: usize) -> Result<usize, HwError> {
    rows.checked_mul(columns)
        .ok_or_else(|| refused(&format!("a matrix of {rows}×{columns}")))
}

impl Gemm for CpuGemm {
    type Error = HwError;

    fn prepare(&mut self, weights: &[(usize, usize)], rows: usize) -> Result<(), HwError> {
        *self = Self::default();
        let mut widest = 0;
        for &(inner, columns) in weights {
            self.weights.push(Weight {
                inner,
                columns,
                values: filled(area(inner, columns)?)?,
            });
            widest = widest.max(inner);
        }
        self.left = filled(area(rows, widest)?)?;
        self.rows = rows;
        Ok(())
    }

    fn multiply(&mut self, index: usize, rows: usize) -> Result<(), HwError> {
        let weight = self
            .weights
            .get(index)
            .ok_or_else(|| refused(&format!("no weight {index}")))?;
        if rows > self.rows {
            let reason = format!("{rows} rows, prepared for {}", self.rows);
            return Err(refused(&reason));
        }
        let (inner, columns) = (weight.inner, weight.columns);
        self.result.resize(area(rows, columns)?, 0.0);
        let stride = |length: usize| isize::try_from(length).map_err(|error| refused(&error));
        let (inner_stride, column_stride) = (stride(inner)?, stride(columns)?);
        // SAFETY: the three buffers hold rows×inner, inner×columns and rows×columns numbers in row
        // order, as the strides say, and the result is no other's.
        unsafe {
            gemm(
                rows,
                columns,
                inner,
                self.result.as_mut_ptr(),
                1,
                column_stride,
                false,
                self.left.as_ptr(),
                1,
                inner_stride,
                weight.values.as_ptr(),
                1,
                column_stride,
                0.0,
                1.0,
                false,
                false,
                false,
                Parallelism::Rayon(0),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_the_naive_ones() {
        let mut cpu = CpuGemm::new();
        cpu.prepare(&[(7, 5), (13, 3)], 4).unwrap();
        for (index, rows) in [(0, 4), (1, 2), (0, 1)] {
            cpu.multiply(index, rows).unwrap();
            let weight = &cpu.weights[index];
            for row in 0..rows {
                for column in 0..weight.columns {
                    let naive: f32 = (0..weight.inner)
                        .map(|k| {
                            cpu.left[row * weight.inner + k]
                                * weight.values[k * weight.columns + column]
                        })
                        .sum();
                    let got = cpu.result[row * weight.columns + column];
                    assert!((got - naive).abs() < 1e-5, "{got} {naive}");
                }
            }
        }
    }

    #[test]
    fn what_was_not_prepared_is_an_error() {
        let mut cpu = CpuGemm::new();
        assert!(cpu.multiply(0, 1).is_err());
        cpu.prepare(&[(2, 2)], 1).unwrap();
        assert!(cpu.multiply(1, 1).is_err());
        assert!(cpu.multiply(0, 2).is_err());
        assert!(cpu.prepare(&[(usize::MAX, 2)], 1).is_err());
        assert!(cpu.prepare(&[(usize::MAX / 8, 2)], 1).is_err());
    }
}
