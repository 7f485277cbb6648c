//! `silu(gate) · up`, forward and backward.

use super::vector::{sigmoid, vectorized};

vectorized! {
    /// `out = silu(gate) · up`, all of one length.
    pub(super) fn forward(gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            *out = gate * sigmoid(*gate) * up;
        }
    }
}

vectorized! {
    /// Turns `gate` and `up` into their gradients and the gradient `d_out` of the product into
    /// the product itself.
    pub(super) fn backward(gate: &mut [f32], up: &mut [f32], d_out: &mut [f32]) {
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
