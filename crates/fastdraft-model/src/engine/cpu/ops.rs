//! Element-wise parts of a block.

use super::arch;

/// RMS norm of each row of `x`: `x / sqrt(mean(x²) + ε) · weight`.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f64, out: &mut [f32]) {
    let n = weight.len();
    for (row, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
        let scale = arch::rms_scale(row, epsilon);
        for ((slot, value), w) in out.iter_mut().zip(row).zip(weight) {
            *slot = value * scale * w;
        }
    }
}

/// The same in place, for one row.
pub(super) fn rms_norm_in_place(x: &mut [f32], weight: &[f32], epsilon: f64) {
    let scale = arch::rms_scale(x, epsilon);
    for (value, w) in x.iter_mut().zip(weight) {
        *value = *value * scale * w;
    }
}

/// Rotates each head of `x` (`[heads, 2 · half]`) by the angles of one position, pairing
/// element `i` with `i + half`.
pub(super) fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in x.chunks_exact_mut(2 * half) {
        let (low, high) = head.split_at_mut(half);
        for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let (x, y) = (*a, *b);
            *a = x * c - y * s;
            *b = y * c + x * s;
        }
    }
}

/// `silu(gate) · up` of rows `[gate | up]`: `[t, 2n]` to `[t, n]`.
pub(super) fn gated_silu(gate_up: &[f32], out: &mut [f32], n: usize) {
    for (row, out) in gate_up.chunks_exact(2 * n).zip(out.chunks_exact_mut(n)) {
        let (gate, up) = row.split_at(n);
        arch::gated_silu(gate, up, out);
    }
}

pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (a, b) in x.iter_mut().zip(y) {
        *a += b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_by_a_quarter_turn_swaps_halves() {
        let mut x = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut x, &[0.0, 0.0], &[1.0, 1.0]);
        assert_eq!(x, [-3.0, -4.0, 1.0, 2.0]);
    }
}
