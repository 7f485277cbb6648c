//! A block forward.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    super::{
        attention, gate,
        linear::{Linear, Norm},
        memory::Buffer,
        norm,
        product::Packed,
        strips::{first, strips, strips_if, strips_mut},
    },
    HostBlock, Kept, Mixed, Projected, Setting, Weights,
    heads::{Normed, NormedStrip},
};

impl HostBlock<'_> {
    /// The block's output at the wanted positions, `[wanted, hidden]`, and what goes back from
    /// there. What follows attention is done at these positions alone.
    ///
    /// # Shapes
    /// - `x`: `[rows · seq, hidden]`
    pub(in super::super) fn forward(
        &self,
        at: Setting<'_>,
        x: Buffer,
        weights: &mut Weights,
    ) -> (Kept, Buffer) {
        let wanted = at.wanted.count();
        let mut out = self.memory.take(wanted * self.hidden());
        (self.run(at, x, weights, Some(&mut out)), out)
    }

    /// As [`forward`](Self::forward), without the output.
    pub(in super::super) fn again(
        &self,
        at: Setting<'_>,
        x: Buffer,
        weights: &mut Weights,
    ) -> Kept {
        self.run(at, x, weights, None)
    }

    fn run(
        &self,
        at: Setting<'_>,
        x: Buffer,
        weights: &mut Weights,
        out: Option<&mut [f32]>,
    ) -> Kept {
        weights.pack(self);
        let projected = self.project(at, &x, weights);
        let (attended, log_sums) = attention::forward(&at.heads, projected.inputs(), self.memory);
        let given = at.wanted.gather(&attended, self.o.input);
        let stream = at.wanted.gather(&x, self.hidden());
        let mixed = self.mix(&given, &stream, weights, out);
        drop((given, stream));
        Kept {
            x,
            projected,
            attended: Arc::new(attended),
            log_sums,
            mixed,
        }
    }

    fn project(&self, at: Setting<'_>, x: &[f32], weights: &Weights) -> Projected {
        let (hidden, memory) = (self.hidden(), self.memory);
        let positions = x.len() / hidden;
        let room = |layer: &Linear<'_>| memory.take(positions * layer.output);
        let normed = |layer: &Linear<'_>, own: &Option<Norm<'_>>| {
            Normed::room(own.as_ref(), positions, layer.output, memory)
        };
        let mut to = Projected {
            input_inverse: vec![0.0; positions],
            q: room(&self.q),
            k: room(&self.k),
            v: room(&self.v),
            q_normed: normed(&self.q, &self.q_norm),
            k_normed: normed(&self.k, &self.k_norm),
        };
        let (q_norm, k_norm) = (self.q_norm.as_ref(), self.k_norm.as_ref());
        let own = &self.input_norm;
        (
            strips(x, hidden),
            strips_mut(&mut to.input_inverse, 1),
            strips_mut(&mut to.q, self.q.output),
            strips_mut(&mut to.k, self.k.output),
            strips_mut(&mut to.v, self.v.output),
            Normed::strips(&mut to.q_normed, positions),
            Normed::strips(&mut to.k_normed, positions),
        )
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .for_each(|(strip, (x, inverse, q, k, v, q_normed, k_normed))| {
                let mut normed = memory.take(x.len());
                norm::forward(x, &own.gamma, own.epsilon, &mut normed, inverse);
                self.v.forward(&weights.v, &normed, v);
                project_heads(&self.q, &weights.q, &normed, q, q_norm, q_normed);
                project_heads(&self.k, &weights.k, &normed, k, k_norm, k_normed);
                at.rotary.turn(q, self.q.output, first(strip));
                at.rotary.turn(k, self.k.output, first(strip));
            });
        to
    }

    /// # Shapes
    /// - `given`: attended values, `[wanted, heads · dim]`
    /// - `stream`, `out`: `[wanted, hidden]`
    fn mix(
        &self,
        given: &[f32],
        stream: &[f32],
        weights: &Weights,
        out: Option<&mut [f32]>,
    ) -> Mixed {
        let (hidden, memory) = (self.hidden(), self.memory);
        let positions = stream.len() / hidden;
        let wide = self.gate.output;
        let mut to = Mixed {
            middle: memory.take(stream.len()),
            mlp_inverse: vec![0.0; positions],
            gate: memory.take(positions * wide),
            up: memory.take(positions * wide),
        };
        let own = &self.mlp_norm;
        (
            strips(given, self.o.input),
            strips(stream, hidden),
            strips_mut(&mut to.middle, hidden),
            strips_mut(&mut to.mlp_inverse, 1),
            strips_mut(&mut to.gate, wide),
            strips_mut(&mut to.up, wide),
            strips_if(out, hidden, positions),
        )
            .into_par_iter()
            .with_max_len(1)
            .for_each(|(given, stream, middle, inverse, gate, up, out)| {
                middle.copy_from_slice(stream);
                self.o.forward_onto(&weights.o, given, middle);
                let mut normed = memory.take(middle.len());
                norm::forward(middle, &own.gamma, own.epsilon, &mut normed, inverse);
                self.gate.forward(&weights.gate, &normed, gate);
                self.up.forward(&weights.up, &normed, up);
                if let Some(out) = out {
                    let mut gated = memory.take(gate.len());
                    gate::forward(gate, up, &mut gated);
                    out.copy_from_slice(middle);
                    self.down.forward_onto(&weights.down, &gated, out);
                }
            });
        to
    }
}

/// Heads of a strip, normed where the family does.
fn project_heads(
    layer: &Linear<'_>,
    weights: &Packed,
    x: &[f32],
    heads: &mut [f32],
    own: Option<&Norm<'_>>,
    normed: Option<NormedStrip<'_>>,
) {
    let (Some(own), Some((raw, inverse))) = (own, normed) else {
        return layer.forward(weights, x, heads);
    };
    layer.forward(weights, x, raw);
    norm::forward(raw, &own.gamma, own.epsilon, heads, inverse);
}
