//! Loops over float32 values, compiled for what the processor has.

/// Compiles a function for the least processor, for one with AVX2 and for one with AVX-512, and
/// chooses when the program runs. Operations and their order are the same, and so are the bits,
/// unless the function takes a constant: it is whether products and sums are fused, where the
/// processor does that.
macro_rules! vectorized {
    ($(#[$attribute:meta])* $visible:vis fn $name:ident<$fused:ident>($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        $visible fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body<const $fused: bool>($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($argument: $type),*) $(-> $result)? {
                    body::<true>($($argument),*)
                }
                #[target_feature(enable = "avx512f")]
                fn widest($($argument: $type),*) $(-> $result)? {
                    body::<true>($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the feature was just found.
                    return unsafe { widest($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                    // SAFETY: as above.
                    return unsafe { wide($($argument),*) };
                }
            }
            body::<false>($($argument),*)
        }
    };
    ($(#[$attribute:meta])* $visible:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$attribute])*
        $visible fn $name($($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }
                #[target_feature(enable = "avx512f")]
                fn widest($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f") {
                    // SAFETY: the feature was just found.
                    return unsafe { widest($($argument),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: as above.
                    return unsafe { wide($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}

pub(crate) use vectorized;

/// Values of a sum that are added side by side: the compiler makes vectors of them, and they
/// round less than one sum.
pub(crate) const LANES: usize = 16;

/// `eˣ` for `x ≤ 80`, within 2 units of the last place; 0 below −87.
///
/// Range reduction to `2ⁿ · eʳ` with `|r| ≤ ½ ln 2` and the polynomial of Cephes' `expf`. Free
/// of branches, so that loops over it become vector code.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    exp_with::<false>(x)
}

/// As [`exp`], with products and sums fused or not.
#[inline(always)]
pub(crate) fn exp_with<const FUSED: bool>(x: f32) -> f32 {
    let multiply_add = |a: f32, b: f32, c: f32| {
        if FUSED { a.mul_add(b, c) } else { a * b + c }
    };
    // Not `max`, which would hide what is not a number.
    let clamped = if x < -87.0 { -87.0 } else { x };
    // The low bits of this sum are n.
    let shifted = multiply_add(clamped, std::f32::consts::LOG2_E, 12_582_912.0);
    let n = shifted - 12_582_912.0;
    // ln 2 in two parts, so that the product with n is exact.
    let r = multiply_add(n, -0.693_359_4, clamped);
    let r = multiply_add(n, 2.121_944_4e-4, r);
    let mut poly = 1.987_569_1e-4;
    for c in [
        1.398_2e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        poly = multiply_add(poly, r, c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = (multiply_add(poly * r, r, r) + 1.0) * power;
    if x < -87.0 { 0.0 } else { value }
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let low = 1.0 / (1.0 + e);
    if x >= 0.0 { low } else { e * low }
}

/// `Σ aᵢ · bᵢ`
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_parts, a_rest) = a.as_chunks::<LANES>();
    let (b_parts, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_parts.iter().zip(b_parts) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
    lanes.iter().sum()
}

/// The largest value; −∞ of none.
#[inline(always)]
pub(crate) fn highest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (parts, rest) = values.as_chunks::<LANES>();
    for part in parts {
        for (lane, value) in lanes.iter_mut().zip(part) {
            *lane = if *lane > *value { *lane } else { *value };
        }
    }
    let rest = rest.iter().copied();
    lanes
        .iter()
        .copied()
        .chain(rest)
        .fold(f32::NEG_INFINITY, f32::max)
}

/// Turns values into `e^(value − shift)`; returns the sums of the lanes.
#[inline(always)]
pub(crate) fn exp_in_place(values: &mut [f32], shift: f32) -> [f32; LANES] {
    let mut lanes = [0.0f32; LANES];
    let (parts, rest) = values.as_chunks_mut::<LANES>();
    for part in parts {
        for (value, lane) in part.iter_mut().zip(&mut lanes) {
            *value = exp(*value - shift);
            *lane += *value;
        }
    }
    for (value, lane) in rest.iter_mut().zip(&mut lanes) {
        *value = exp(*value - shift);
        *lane += *value;
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_matches_the_library() {
        for i in -8000..8700 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            for ours in [exp(x), exp_with::<true>(x)].map(f64::from) {
                assert!(
                    (ours - exact).abs() <= exact * 2.5e-7,
                    "{x}: {ours} {exact}"
                );
            }
        }
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_maxima_take_the_rest_too() {
        let values: Vec<f32> = (0..37).map(|i| (i % 11) as f32 - 4.0).collect();
        let exact: f32 = values.iter().map(|value| value * value).sum();
        assert_eq!(dot(&values, &values), exact);
        for at in [0, 20, 36] {
            let mut values = values.clone();
            values[at] = 9.0;
            assert_eq!(highest(&values), 9.0);
        }
        assert_eq!(highest(&[]), f32::NEG_INFINITY);
        assert!((sigmoid(2.0) - 0.880_797).abs() < 1e-6);
        assert!((sigmoid(-2.0) - 0.119_203).abs() < 1e-6);
    }
}
