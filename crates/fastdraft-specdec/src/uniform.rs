//! Sources of uniform random numbers.

use alloc::boxed::Box;

/// A source of uniform random numbers in `[0, 1)`.
///
/// ```
/// use fastdraft_specdec::{SeededUniform, Uniform};
/// let mut rng = SeededUniform::new(7);
/// assert!((0.0..1.0).contains(&rng.uniform()));
/// ```
pub trait Uniform {
    /// Draws the next number, `0 <= u < 1`.
    fn uniform(&mut self) -> f64;
}

impl<U: Uniform + ?Sized> Uniform for &mut U {
    fn uniform(&mut self) -> f64 {
        (**self).uniform()
    }
}

impl<U: Uniform + ?Sized> Uniform for Box<U> {
    fn uniform(&mut self) -> f64 {
        (**self).uniform()
    }
}

/// Xoshiro256++ seeded through SplitMix64; the same seed gives the same numbers in every release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeededUniform {
    state: [u64; 4],
}

impl SeededUniform {
    /// Starts the sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        let mut next = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix64(mix)
        };
        Self {
            state: [next(), next(), next(), next()],
        }
    }

    /// Draws the next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let t = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= t;
        *s3 = s3.rotate_left(45);
        result
    }
}

impl Uniform for SeededUniform {
    fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// SplitMix64's finaliser.
pub(crate) fn mix64(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
