//! What acceptance a draft of another size is taken to reach.

use super::acceptance::{Acceptance, alpha_from_acceptance_rate};
use super::speedup::iid_tau;
use crate::error::HwError;
use crate::shape::DecoderShape;

/// No draft is taken to be accepted more often than this.
const MOST: f64 = 0.98;

/// α(N) = α₀ + s·log₂(N / N₀): acceptance as a straight line in the logarithm of the parameters N of a
/// draft's blocks.
///
/// At equal N depth and width count the same, as for the loss of language models (Kaplan et al., arXiv
/// 2001.08361, section 3.1). The slope s is an assumption, see [`SizeLaw::PER_DOUBLING`].
///
/// ```
/// use fastdraft_hw::predict::SizeLaw;
/// use fastdraft_hw::shape::DecoderShape;
///
/// let draft = DecoderShape::new(32_064, 512, 6, 1408, 8);
/// let law = SizeLaw::new(0.402, 3, &draft, SizeLaw::PER_DOUBLING)?;
/// let deeper = DecoderShape { layers: 12, ..draft };
/// assert!(law.rate(&deeper, 3) > law.rate(&draft, 3));
/// assert!((law.rate(&draft, 3) - 0.402).abs() < 1e-9);
/// # Ok::<(), fastdraft_hw::HwError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SizeLaw {
    alpha: f64,
    parameters: f64,
    per_doubling: f64,
}

impl SizeLaw {
    /// The assumed gain of α when the blocks' parameters double.
    ///
    /// With it the best draft of Phi-3-mini on an Arc 140V is about as large as the one that the paper
    /// chose; nothing was measured.
    pub const PER_DOUBLING: f64 = 0.02;

    /// The law through `acceptance_rate` at `gamma` for a draft of `shape`.
    ///
    /// # Errors
    ///
    /// As [`alpha_from_acceptance_rate`]; [`HwError::OutOfRange`] unless `per_doubling` is between 0
    /// and 1.
    pub fn new(
        acceptance_rate: f64,
        gamma: u32,
        shape: &DecoderShape,
        per_doubling: f64,
    ) -> Result<Self, HwError> {
        super::speedup::fraction("per_doubling", per_doubling)?;
        Ok(Self {
            alpha: alpha_from_acceptance_rate(acceptance_rate, gamma)?,
            parameters: shape.block_parameters() as f64,
            per_doubling,
        })
    }

    /// Chance that one token of a draft of `shape` is accepted.
    #[must_use]
    pub fn alpha(&self, shape: &DecoderShape) -> f64 {
        let doublings = (shape.block_parameters() as f64 / self.parameters).log2();
        let most = self.alpha.max(MOST);
        (self.alpha + self.per_doubling * doublings).clamp(0.0, most)
    }

    /// Independent acceptance of a draft of `shape`.
    #[must_use]
    pub fn acceptance(&self, shape: &DecoderShape) -> Acceptance {
        Acceptance::Independent(self.alpha(shape))
    }

    /// AR of a draft of `shape` at `gamma`, 0 for γ = 0.
    #[must_use]
    pub fn rate(&self, shape: &DecoderShape, gamma: u32) -> f64 {
        if gamma == 0 {
            return 0.0;
        }
        (iid_tau(self.alpha(shape), gamma) - 1.0) / f64::from(gamma)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(layers: u64) -> DecoderShape {
        DecoderShape::new(32_064, 512, layers, 1408, 8)
    }

    #[test]
    fn each_doubling_adds_the_same() {
        let law = SizeLaw::new(0.4, 3, &shape(6), 0.05).unwrap();
        for layers in [3, 6, 12] {
            let gain = law.alpha(&shape(2 * layers)) - law.alpha(&shape(layers));
            assert!((gain - 0.05).abs() < 1e-12, "{layers}");
        }
        let flat = SizeLaw::new(0.4, 3, &shape(6), 0.0).unwrap();
        assert_eq!(flat.alpha(&shape(1)), flat.alpha(&shape(60)));
    }

    #[test]
    fn acceptance_stays_a_probability() {
        let law = SizeLaw::new(0.4, 3, &shape(6), 0.5).unwrap();
        assert_eq!(law.alpha(&shape(1)), 0.0);
        assert_eq!(law.alpha(&shape(4000)), MOST);
        assert_eq!(law.rate(&shape(6), 0), 0.0);
        let perfect = SizeLaw::new(1.0, 3, &shape(6), 0.02).unwrap();
        assert!(perfect.alpha(&shape(6)) > 0.999_999);
        assert!(SizeLaw::new(0.4, 3, &shape(6), -0.1).is_err());
        assert!(SizeLaw::new(1.4, 3, &shape(6), 0.1).is_err());
    }
}
