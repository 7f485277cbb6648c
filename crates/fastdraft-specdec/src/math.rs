//! Arithmetic that `core` lacks, written so that every platform gives the same bits.

const LN2_HI: f64 = 6.931_471_803_691_238e-1;
const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
const P1: f64 = 1.666_666_666_666_660_2e-1;
const P2: f64 = -2.777_777_777_701_559_3e-3;
const P3: f64 = 6.613_756_321_437_934e-5;
const P4: f64 = -1.653_390_220_546_525_2e-6;
const P5: f64 = 4.138_136_797_057_238_5e-8;

/// `e^x` for `x <= 0`; below the smallest normal result it is 0.
pub(crate) fn exp_nonpositive(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    if x <= -708.0 || x.is_nan() {
        return 0.0;
    }
    let k = (x * core::f64::consts::LOG2_E - 0.5) as i64;
    let kf = k as f64;
    let hi = x - kf * LN2_HI;
    let lo = kf * LN2_LO;
    let r = hi - lo;
    let t = r * r;
    let c = r - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))));
    let y = 1.0 - ((lo - (r * c) / (2.0 - c)) - hi);
    let scale = f64::from_bits(((1023 + k) as u64) << 52);
    (y * scale).min(1.0)
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

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn exp_matches_std() {
        let mut x = -707.9;
        while x <= 0.0 {
            let (ours, theirs) = (exp_nonpositive(x), x.exp());
            assert!(
                (ours - theirs).abs() <= theirs * 4.0e-16,
                "{x}: {ours} {theirs}"
            );
            x += 0.013_7;
        }
        assert_eq!(exp_nonpositive(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp_nonpositive(-0.0), 1.0);
    }

    #[test]
    fn powi_matches_std() {
        for e in 0..20 {
            assert!((powi(0.7, e) - 0.7f64.powi(e as i32)).abs() < 1e-15);
        }
    }
}
