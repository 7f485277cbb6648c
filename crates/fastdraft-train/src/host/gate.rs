//! `silu(gate) · up`, forward and backward.

use rayon::prelude::*;

use super::vector::{sigmoid, vectorized};

const PIECE: usize = 1 << 13;

/// `out = silu(gate) · up`, all of one length.
pub(super) fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
    (gate.par_chunks(PIECE))
        .zip(up.par_chunks(PIECE))
        .zip(out.par_chunks_mut(PIECE))
        .for_each(|((gate, up), out)| piece_forward(gate, up, out));
}

vectorized! {
    fn piece_forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            *out = gate * sigmoid(*gate) * up;
        }
    }
}

/// Turns `gate` and `up` into their gradients and the gradient `d_out` of the product into the
/// product itself.
pub(super) fn backward(gate: &mut [f32], up: &mut [f32], d_out: &mut [f32]) {
    (gate.par_chunks_mut(PIECE))
        .zip(up.par_chunks_mut(PIECE))
        .zip(d_out.par_chunks_mut(PIECE))
        .for_each(|((gate, up), d_out)| piece_backward(gate, up, d_out));
}

vectorized! {
    fn piece_backward(gate: &mut [f32], up: &mut [f32], d_out: &mut [f32]) {
        for ((gate, up), d_out) in gate.iter_mut().zip(up).zip(d_out) {
            let (x, u, d) = (*gate, *up, *d_out);
            let s = sigmoid(x);
            let silu = x * s;
            *gate = d * u * (s + silu * (1.0 - s));
            *up = d * silu;
            *d_out = silu * u;
        }
    }
}
