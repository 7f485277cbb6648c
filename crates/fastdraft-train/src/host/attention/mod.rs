//! Causal attention, forward and backward, a tile of queries at a time: `[seq, seq]` is never in
//! memory, and keys that no query of a tile sees are not looked at.

mod backward;
mod forward;
mod softmax;

use std::{cell::RefCell, ops::Range};

use fastdraft_model::DecoderConfig;

pub(super) use self::{
    backward::{Attended, Gradients, backward},
    forward::forward,
};

use super::{
    matrix::{View, ViewMut},
    product::Packed,
};

/// Queries that are scored together.
const TILE: usize = 64;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) seq: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) dim: usize,
    /// Latest tokens that a query sees, itself included.
    pub(super) window: usize,
}

/// Rotated queries, rotated keys and values: `[rows · seq, heads · dim]` and twice
/// `[rows · seq, kv_heads · dim]`.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
}

impl Heads {
    /// Those of block `index`.
    pub(super) fn of_block(self, config: &DecoderConfig, index: usize) -> Self {
        Self {
            window: config.window(index).unwrap_or(self.seq),
            ..self
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Tiles of queries, each with tiles of keys that one of them sees.
    fn tiles(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + use<> {
        let (seq, window) = (self.seq, self.window);
        (0..seq).step_by(TILE).map(move |start| {
            let end = (start + TILE).min(seq);
            // From a tile on, where what is packed can be cut.
            let first = (start + 1).saturating_sub(window) / TILE * TILE;
            (start..end, first..end)
        })
    }

    /// What each row and key-value head has of `[rows · seq, kv_heads · wide]`, `[seq, wide]`.
    fn parts<'a>(&self, all: &'a mut [f32], wide: usize) -> Vec<ViewMut<'a>> {
        let width = self.kv_heads * wide;
        (all.chunks_exact_mut(self.seq * width))
            .flat_map(|row| ViewMut::new(row, self.seq, width).bands(wide))
            .collect()
    }

    /// A head of queries, of a part's group.
    fn head<'a>(&self, all: &'a [f32], part: usize, member: usize) -> Head<'a> {
        let (row, kv_head) = (part / self.kv_heads, part % self.kv_heads);
        self.of(all, self.heads, row, kv_head * self.group() + member)
    }

    /// The head of keys or values of a part.
    fn kv_head<'a>(&self, all: &'a [f32], part: usize) -> Head<'a> {
        let (row, kv_head) = (part / self.kv_heads, part % self.kv_heads);
        self.of(all, self.kv_heads, row, kv_head)
    }

    /// Values of one head, `[seq, dim]`, of `heads` that lie side by side.
    fn of<'a>(&self, all: &'a [f32], heads: usize, row: usize, head: usize) -> Head<'a> {
        let width = heads * self.dim;
        Head {
            values: &all[row * self.seq * width + head * self.dim..],
            width,
            dim: self.dim,
            seq: self.seq,
        }
    }
}

/// One head among others.
#[derive(Clone, Copy)]
struct Head<'a> {
    values: &'a [f32],
    width: usize,
    dim: usize,
    seq: usize,
}

impl<'a> Head<'a> {
    fn all(&self) -> View<'a> {
        self.tokens(&(0..self.seq))
    }

    fn tokens(&self, range: &Range<usize>) -> View<'a> {
        View::strided(
            &self.values[range.start * self.width..],
            range.len(),
            self.dim,
            self.width,
        )
    }

    fn token(&self, at: usize) -> &'a [f32] {
        &self.values[at * self.width..][..self.dim]
    }
}

thread_local! {
    static PACKED: RefCell<[Packed; 3]> = RefCell::default();
}

/// Memory of the calling thread for keys and values of a head, packed once for all queries.
fn with_packed<T>(work: impl FnOnce(&mut [Packed; 3]) -> T) -> T {
    PACKED.with_borrow_mut(work)
}
