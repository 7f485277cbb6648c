//! Element-wise parts of a block.

use rayon::prelude::*;

use super::arch;

/// Values below which a thread more costs more than it brings.
const PARALLEL_VALUES: usize = 16 * 1024;

/// Hands out the rows of `width` values with their numbers, to all threads where there are many.
pub(super) fn each_row(all: &mut [f32], width: usize, row: impl Fn(usize, &mut [f32]) + Sync) {
    if all.len() < PARALLEL_VALUES {
        let rows = all.chunks_exact_mut(width).enumerate();
        return rows.for_each(|(i, values)| row(i, values));
    }
    let least = (all.len() / width).div_ceil(2 * rayon::current_num_threads());
    (all.par_chunks_exact_mut(width).with_min_len(least))
        .enumerate()
        .for_each(|(i, values)| row(i, values));
}

/// RMS norm of each row of `x`: `x / sqrt(mean(x²) + ε) · weight`.
pub(super) fn rms_norm(x: &[f32], weight: &[f32], epsilon: f64, out: &mut [f32]) {
    let n = weight.len();
    each_row(out, n, |i, out| {
        let row = &x[i * n..][..n];
        let scale = arch::rms_scale(row, epsilon);
        for ((slot, value), w) in out.iter_mut().zip(row).zip(weight) {
            *slot = value * scale * w;
        }
    });
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
    each_row(out, n, |i, out| {
        let (gate, up) = gate_up[2 * i * n..][..2 * n].split_at(n);
        arch::gated_silu(gate, up, out);
    });
}

/// Adds `y` to rows of `width`.
pub(super) fn add(x: &mut [f32], y: &[f32], width: usize) {
    each_row(x, width, |i, x| {
        for (a, b) in x.iter_mut().zip(&y[i * width..]) {
            *a += b;
        }
    });
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
