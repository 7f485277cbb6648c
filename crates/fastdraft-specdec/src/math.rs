//! Arithmetic that `core` lacks, written so that every platform gives the same bits.
//!
//! Free of branches and calls, so that loops over it become vector code.

/// Below this, `e^x` is no normal number and counts as 0.
pub(crate) const UNDERFLOW: f64 = -708.0;

const LN2_HI: f64 = 6.931_471_803_691_238e-1;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
/// Adding this to a small number leaves it rounded in the lowest mantissa bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
const ROUND_F32: f32 = 12_582_912.0;

/// `e^x` for `x <= 0` within 1e-15 of its value; 0 at [`UNDERFLOW`] and below.
///
/// e^x = 2^k e^r with |r| <= ln 2 / 2, e^r by its Taylor series up to r^13.
#[inline(always)]
pub(crate) fn exp_nonpositive(x: f64) -> f64 {
    let clamped = if x > UNDERFLOW { x } else { UNDERFLOW };
    let rounded = clamped * core::f64::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = (clamped - k * LN2_HI) - k * LN2_LO;
    let (r2, r4) = (r * r, (r * r) * (r * r));
    // Pairs shorten the chain of dependent steps.
    let p0 = 1.0 / 2.0 + r * (1.0 / 6.0);
    let p1 = 1.0 / 24.0 + r * (1.0 / 120.0);
    let p2 = 1.0 / 720.0 + r * (1.0 / 5_040.0);
    let p3 = 1.0 / 40_320.0 + r * (1.0 / 362_880.0);
    let p4 = 1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0);
    let p5 = 1.0 / 479_001_600.0 + r * (1.0 / 6_227_020_800.0);
    let tail = (p0 + r2 * p1) + r4 * ((p2 + r2 * p3) + r4 * (p4 + r2 * p5));
    let y = 1.0 + (r + r2 * tail);
    let result = f64::from_bits(y.to_bits().wrapping_add(rounded.to_bits() << 52));
    if x > UNDERFLOW { result } else { 0.0 }
}

/// `2^y` for `y <= 0` within 4e-7 of its value; about 0 below −125.
///
/// 2^r on |r| <= ½ as 1 + r P(r), P interpolating (2^r − 1) / r at five Chebyshev nodes: 2.1e-7 off.
#[inline(always)]
pub(crate) fn exp2_nonpositive_f32(y: f32) -> f32 {
    let clamped = if y > -125.0 { y } else { -125.0 };
    let rounded = clamped + ROUND_F32;
    let r = clamped - (rounded - ROUND_F32);
    let r2 = r * r;
    let low = core::f32::consts::LN_2 + r * 2.402_235e-1;
    let high = (5.550_381e-2 + r * 9.666_368e-3) + r2 * 1.338_130_2e-3;
    let y = 1.0 + r * (low + r2 * high);
    f32::from_bits(y.to_bits().wrapping_add(rounded.to_bits() << 23))
}

/// What [`linear_exp2`] gives for 2^y is at least `y`'s power less one in ten thousand, and at most
/// this times it: max (1 + f) 2^(−f) = 1.06148.
pub(crate) const LINEAR_EXCESS: f64 = 1.0616;
/// Has a last place of 2^−15 and, moved up by eight bits, an exponent that [`LINEAR_ONE`] makes 0.
pub(crate) const LINEAR_ZERO: f32 = 384.0;
const LINEAR_ONE: u32 = 255 << 23;

/// Roughly `2^y`, where `shifted` is `y +` [`LINEAR_ZERO`] and −60 ≤ y ≤ 0: straight lines between
/// the powers of two, which takes a third of the instructions.
#[inline(always)]
pub(crate) fn linear_exp2(shifted: f32) -> f32 {
    f32::from_bits((shifted.to_bits() << 8).wrapping_add(LINEAR_ONE))
}

/// A number at most 0.087 below `log2(x)` and never above it, for positive normal `x`.
pub(crate) fn log2_below(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as f64 - 1023.0;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    exponent + (mantissa - 1.0)
}

/// Natural logarithm of a positive normal `x` within 1e-14.
///
/// ln x = k ln 2 + 2 atanh((m − 1) / (m + 1)) with m in [√½, √2).
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut k = (bits >> 52) as f64 - 1023.0;
    let mut m = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if m > core::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1.0;
    }
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    let series = (0..11)
        .rev()
        .fold(0.0, |sum, i| sum * s2 + 1.0 / f64::from(2 * i + 1));
    k * LN2_HI + (k * LN2_LO + 2.0 * s * series)
}

/// `base^exponent` by repeated squaring.
pub(crate) fn powi(mut base: f64, mut exponent: usize) -> f64 {
    let mut result = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    result
}

// Miri gives some of the functions compared with a random error on purpose.
#[cfg(all(test, feature = "std", not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn exp_matches_std() {
        let mut x = -707.9;
        while x <= 0.0 {
            let (ours, theirs) = (exp_nonpositive(x), x.exp());
            assert!(
                (ours - theirs).abs() <= theirs * 1.0e-15,
                "{x}: {ours} {theirs}"
            );
            x += 0.013_7;
        }
        assert_eq!(exp_nonpositive(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp_nonpositive(UNDERFLOW), 0.0);
        assert_eq!(exp_nonpositive(-0.0), 1.0);
    }

    #[test]
    fn exp2_matches_std() {
        let mut y = -124.9f32;
        while y <= 0.0 {
            let (ours, theirs) = (f64::from(exp2_nonpositive_f32(y)), f64::from(y).exp2());
            assert!((ours - theirs).abs() <= theirs * 4.0e-7, "{y}: {ours}");
            y += 0.003_1;
        }
        assert_eq!(exp2_nonpositive_f32(0.0), 1.0);
        assert!(exp2_nonpositive_f32(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn linear_powers_stay_within_their_bounds() {
        let mut y = -60.0f32;
        while y <= 0.0 {
            let ratio = f64::from(linear_exp2(y + LINEAR_ZERO)) / f64::from(y).exp2();
            assert!((0.9999..=LINEAR_EXCESS).contains(&ratio), "{y}: {ratio}");
            y += 0.000_71;
        }
        assert_eq!(linear_exp2(LINEAR_ZERO), 1.0);
    }

    #[test]
    fn logarithms_match_std() {
        let mut x = 1.0e-300f64;
        while x < 1.0e300 {
            assert!(
                (ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0),
                "{x}"
            );
            let below = x.log2() - log2_below(x);
            assert!((-1e-12..0.087).contains(&below), "{x}");
            x *= 1.37;
        }
    }

    #[test]
    fn powi_matches_std() {
        for e in 0..20 {
            assert!((powi(0.7, e) - 0.7f64.powi(e as i32)).abs() < 1e-15);
        }
    }
}
