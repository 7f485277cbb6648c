//! Random numbers from the rand crates.

use rand_core::Rng;

use crate::Uniform;

/// Takes uniform numbers from any generator of the rand crates, 53 bits of `next_u64` each.
///
/// ```
/// use fastdraft_specdec::{RandUniform, Uniform};
/// struct Zeros;
/// impl rand_core::TryRng for Zeros {
///     type Error = core::convert::Infallible;
///     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { Ok(0) }
///     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { Ok(0) }
///     fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
///         out.fill(0);
///         Ok(())
///     }
/// }
/// assert_eq!(RandUniform(Zeros).uniform(), 0.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RandUniform<R>(pub R);

impl<R: Rng> Uniform for RandUniform<R> {
    fn uniform(&mut self) -> f64 {
        unit(self.0.next_u64())
    }
}

/// The upper 53 of 64 random bits as a number in `[0, 1)`.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}
