//! The matrices of a block as products read them.

use rayon::prelude::*;

use super::HostBlock;
use crate::host::{matrix::View, product::Packed};

/// Seven matrices, packed once for all strips. One block after the other has the memory.
#[derive(Default)]
pub(crate) struct Weights {
    pub(super) q: Packed,
    pub(super) k: Packed,
    pub(super) v: Packed,
    pub(super) o: Packed,
    pub(super) gate: Packed,
    pub(super) up: Packed,
    pub(super) down: Packed,
}

impl Weights {
    /// For products of inputs.
    pub(super) fn pack(&mut self, block: &HostBlock<'_>) {
        self.each(block, |matrix| matrix);
    }

    /// For products of gradients.
    pub(super) fn pack_turned(&mut self, block: &HostBlock<'_>) {
        self.each(block, |matrix| matrix.t());
    }

    fn each(&mut self, block: &HostBlock<'_>, turn: fn(View<'_>) -> View<'_>) {
        [
            (&mut self.q, &block.q),
            (&mut self.k, &block.k),
            (&mut self.v, &block.v),
            (&mut self.o, &block.o),
            (&mut self.gate, &block.gate),
            (&mut self.up, &block.up),
            (&mut self.down, &block.down),
        ]
        .into_par_iter()
        .for_each(|(packed, layer)| packed.pack_by_panels(turn(layer.matrix())));
    }
}
