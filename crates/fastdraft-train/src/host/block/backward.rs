//! A block backward.

use std::sync::Arc;

use rayon::prelude::*;

use super::{
    super::{
        attention::{self, Attended, Gradients},
        gate,
        linear::Sums,
        matrix::Put,
        memory::Buffer,
        norm,
        strips::{first, strips, strips_mut, total},
        weight_gradients::WeightGradients,
    },
    HostBlock, Kept, Mixed, Projected, Setting, Weights,
    heads::{self, Normed},
};

/// What [`HostBlock::below_mlp`] gives, at the wanted positions.
struct BelowMlp {
    mlp_norm: Vec<f32>,
    gate: Arc<Buffer>,
    up: Arc<Buffer>,
    gated: Arc<Buffer>,
    normed: Arc<Buffer>,
    /// Of the stream after attention, `[wanted, hidden]`.
    d_middle: Arc<Buffer>,
    /// Of the attended values, `[wanted, heads · dim]`.
    d_attended: Buffer,
}

/// What [`HostBlock::below_attention`] gives.
struct BelowAttention {
    /// Gradients of the norms of inputs, queries and keys.
    norms: [Vec<f32>; 3],
    normed: Arc<Buffer>,
    d: [Arc<Buffer>; 3],
    dy: Buffer,
}

impl<'a> HostBlock<'a> {
    /// Adds the gradients of all parameters but those of the weights that it returns; returns the
    /// input's gradient from the output's. It is of no use where it is not wanted. Threads with
    /// nothing else to do see to what was left `before`.
    pub(in super::super) fn backward(
        &self,
        at: Setting<'_>,
        kept: Kept,
        (dy, mut before): (Buffer, WeightGradients<'a>),
        weights: &mut Weights,
        sums: &mut Sums,
    ) -> (Buffer, WeightGradients<'a>) {
        weights.pack_turned(self);
        let weights = &*weights;
        let (below, ()) = rayon::join(
            || self.below_mlp(kept.mixed, &dy, weights),
            || before.multiply(),
        );
        before.finish(sums);
        sums.add(self.mlp_norm.param, &below.mlp_norm);
        let (dy, d_middle) = (Arc::new(dy), &below.d_middle);
        let given = at
            .wanted
            .gather_shared(&kept.attended, self.o.input, self.memory);
        let mut products = WeightGradients::new(
            sums,
            [
                (&self.down, &below.gated, &dy),
                (&self.gate, &below.normed, &below.gate),
                (&self.up, &below.normed, &below.up),
                (&self.o, &given, d_middle),
            ],
        );
        let d_attended = at
            .wanted
            .scatter(below.d_attended, self.o.input, self.memory);
        let (below, ()) = rayon::join(
            || {
                let dy = at.wanted.scatter_copy(d_middle, self.o.output, self.memory);
                let attended = Attended {
                    inputs: kept.projected.inputs(),
                    out: &kept.attended,
                    log_sums: &kept.log_sums,
                    d_out: &d_attended,
                };
                let d = attention::backward(&at.heads, attended, self.memory);
                self.below_attention(at, &kept.x, kept.projected, d, dy, weights)
            },
            || products.multiply(),
        );
        products.finish(sums);
        for (own, gradient) in self.attention_norms().into_iter().zip(&below.norms) {
            if let Some(own) = own {
                sums.add(own.param, gradient);
            }
        }
        let (normed, [q, k, v]) = (&below.normed, &below.d);
        let products = WeightGradients::new(
            sums,
            [
                (&self.q, normed, q),
                (&self.k, normed, k),
                (&self.v, normed, v),
            ],
        );
        (below.dy, products)
    }

    fn below_mlp(&self, mixed: Mixed, dy: &[f32], weights: &Weights) -> BelowMlp {
        let (hidden, wide, memory) = (self.hidden(), self.gate.output, self.memory);
        let Mixed {
            middle,
            mlp_inverse,
            mut gate,
            mut up,
        } = mixed;
        let mut gated = memory.take(gate.len());
        let [mut normed, mut d_middle] = [(); 2].map(|()| memory.take(dy.len()));
        let mut d_attended = memory.take(dy.len() / hidden * self.o.input);
        let own = &self.mlp_norm;
        let gammas: Vec<Vec<f32>> = (
            strips(dy, hidden),
            strips(&middle, hidden),
            strips(&mlp_inverse, 1),
            strips_mut(&mut gate, wide),
            strips_mut(&mut up, wide),
            strips_mut(&mut gated, wide),
            strips_mut(&mut normed, hidden),
            strips_mut(&mut d_middle, hidden),
            strips_mut(&mut d_attended, self.o.input),
        )
            .into_par_iter()
            .with_max_len(1)
            .map(
                |(dy, middle, inverse, gate, up, gated, normed, d_middle, d_attended)| {
                    self.down.below(&weights.down, dy, gated, Put::Over);
                    gate::backward(gate, up, gated);
                    norm::again(middle, &own.gamma, inverse, normed);
                    let mut below = memory.take(dy.len());
                    self.gate.below(&weights.gate, gate, &mut below, Put::Over);
                    self.up.below(&weights.up, up, &mut below, Put::Onto);
                    let mut gamma = vec![0.0; hidden];
                    d_middle.copy_from_slice(dy);
                    norm::backward(middle, &own.gamma, inverse, &below, d_middle, &mut gamma);
                    self.o.below(&weights.o, d_middle, d_attended, Put::Over);
                    gamma
                },
            )
            .collect();
        BelowMlp {
            mlp_norm: total(hidden, gammas),
            gate: gate.into(),
            up: up.into(),
            gated: gated.into(),
            normed: normed.into(),
            d_middle: d_middle.into(),
            d_attended,
        }
    }

    /// Adds the input's gradient to `dy`, from those of queries, keys and values.
    fn below_attention(
        &self,
        at: Setting<'_>,
        x: &[f32],
        mut projected: Projected,
        mut d: Gradients,
        mut dy: Buffer,
        weights: &Weights,
    ) -> BelowAttention {
        let (hidden, memory) = (self.hidden(), self.memory);
        let positions = x.len() / hidden;
        let (q_norm, k_norm) = (self.q_norm.as_ref(), self.k_norm.as_ref());
        let own = &self.input_norm;
        let input = at.input || own.param.is_require_grad();
        let mut normed = memory.take(x.len());
        let gammas: Vec<[Vec<f32>; 3]> = (
            strips(x, hidden),
            strips(&projected.input_inverse, 1),
            strips_mut(&mut d.q, self.q.output),
            strips_mut(&mut d.k, self.k.output),
            strips(&d.v, self.v.output),
            Normed::strips(&mut projected.q_normed, positions),
            Normed::strips(&mut projected.k_normed, positions),
            strips_mut(&mut normed, hidden),
            strips_mut(&mut dy, hidden),
        )
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .map(
                |(strip, (x, inverse, q, k, v, q_normed, k_normed, normed, dy))| {
                    at.rotary.turn_back(q, self.q.output, first(strip));
                    at.rotary.turn_back(k, self.k.output, first(strip));
                    let q_gamma = heads::backward(q, q_norm, q_normed, memory);
                    let k_gamma = heads::backward(k, k_norm, k_normed, memory);
                    norm::again(x, &own.gamma, inverse, normed);
                    let mut gamma = vec![0.0; hidden];
                    if input {
                        let mut below = memory.take(x.len());
                        self.q.below(&weights.q, q, &mut below, Put::Over);
                        self.k.below(&weights.k, k, &mut below, Put::Onto);
                        self.v.below(&weights.v, v, &mut below, Put::Onto);
                        norm::backward(x, &own.gamma, inverse, &below, dy, &mut gamma);
                    }
                    [gamma, q_gamma, k_gamma]
                },
            )
            .collect();
        let widths = (self.attention_norms()).map(|own| own.map_or(0, |own| own.gamma.len()));
        BelowAttention {
            norms: [0, 1, 2].map(|at| total(widths[at], gammas.iter().map(|all| &all[at]))),
            normed: normed.into(),
            d: [d.q, d.k, d.v].map(Arc::new),
            dy,
        }
    }
}
