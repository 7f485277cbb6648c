//! The head and the loss together, forward and backward, without the logits of all positions.
//!
//! Positions go in blocks, the vocabulary in panels. While the logits of a block and a panel are
//! in a core's cache they become exponentials `e^(logit − peak)`, and are multiplied with the panel
//! again for the gradient below the head. The peak is the label's logit, until another one is so
//! far above it that exponentials would overflow; what was added up under a lower peak is scaled
//! then (Milakov and Gimelshein, arXiv 1805.02867, who raise it to every higher logit). The gradient
//! of the weights needs the sum over the whole vocabulary: for it the exponentials are kept, and
//! positions are scaled instead of them. Labels and the target's tokens are few, and subtracted one
//! by one.

mod part;
mod position;
mod weights;

use burn::{module::Param, tensor::Tensor};
use fastdraft_model::decoder::Decoder;

use self::position::{Position, positions};
use super::{Batch, fused::Workspace};
use crate::{
    error::TrainError,
    host::{
        Buffer, Sums, Values,
        matrix::{Put, transposed},
    },
};

/// How positions and vocabulary are cut.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Values in memory at a time, if they are enough for a block.
    pub(super) piece: usize,
    /// Positions of a block.
    pub(super) block: usize,
    /// Weights of a panel at most, but for its least rows.
    pub(super) panel: usize,
    /// Least rows of a panel.
    pub(super) least: usize,
    /// Panels that are added up by themselves.
    pub(super) chunk: usize,
    /// How far logits may be above the peak.
    pub(super) slack: f32,
}

impl Default for Cut {
    fn default() -> Self {
        Self {
            piece: 5 << 23,
            block: 192,
            panel: 3 << 15,
            least: 48,
            chunk: 8,
            slack: 40.0,
        }
    }
}

impl Cut {
    /// Values from one token to the next: an odd number of lines, so that a column of them does
    /// not fall into a few places of the cache.
    fn stride(&self) -> usize {
        16 * (self.block.div_ceil(16) | 1)
    }

    /// Positions that are worked on at a time.
    fn positions(&self, size: usize) -> usize {
        self.block * (self.piece / (self.stride() * size)).max(1)
    }

    /// Rows of the head in a panel.
    fn panel_rows(&self, width: usize) -> usize {
        (self.panel / width.max(1) / self.least * self.least).max(self.least)
    }

    fn chunk_rows(&self, width: usize) -> usize {
        self.chunk * self.panel_rows(width)
    }
}

/// The head with its weights in host memory, a row for each token.
pub(super) struct Head<'a> {
    param: &'a Param<Tensor<2>>,
    weights: Weights,
    width: usize,
    size: usize,
}

enum Weights {
    /// As the parameter has them.
    Rows(Values),
    /// Its columns, and the gradient of these.
    Columns(Vec<f32>, Option<Vec<f32>>),
}

impl<'a> Head<'a> {
    pub(super) fn read(decoder: &'a Decoder) -> Result<Self, TrainError> {
        let own = decoder.lm_head.as_ref().map(|head| &head.weight);
        let param = own.unwrap_or(&decoder.embed_tokens.weight);
        let values = Values::of(param)?;
        let [rows, columns] = param.val().dims();
        let (weights, size, width) = match own {
            None => (Weights::Rows(values), rows, columns),
            Some(_) => {
                let turned = transposed(&values, columns);
                (Weights::Columns(turned, None), columns, rows)
            }
        };
        Ok(Self {
            param,
            weights,
            width,
            size,
        })
    }

    /// `[size, width]`
    fn rows(&self) -> &[f32] {
        match &self.weights {
            Weights::Rows(values) => values,
            Weights::Columns(values, _) => values,
        }
    }

    /// Of one token.
    fn row(&self, id: u32) -> &[f32] {
        &self.rows()[id as usize * self.width..][..self.width]
    }

    /// The loss, and the gradient of the stream below the head, `[trained, width]`. The head's
    /// own waits for [`finish`](Self::finish) or is added to the sums.
    pub(super) fn loss(
        &mut self,
        hidden: &[f32],
        batch: &Batch,
        workspace: &mut Workspace,
        sums: &mut Sums,
    ) -> (f64, Buffer) {
        let Workspace {
            exponentials,
            cut,
            memory,
            ..
        } = workspace;
        let width = self.width;
        let piece = cut.positions(self.size);
        let mut below = memory.take(hidden.len());
        let mut total = 0.0;
        let pieces = (hidden.chunks(piece * width))
            .zip(below.chunks_mut(piece * width))
            .zip(batch.goals.chunks(piece));
        for ((x, below), goals) in pieces {
            let blocks = part::blocks(self, cut, (x, goals), exponentials, memory);
            let positions = positions(self, cut, goals, &blocks, below);
            total += positions.iter().map(|position| position.loss).sum::<f64>();
            if self.param.is_require_grad() {
                self.add_weights(cut, &blocks, &positions, sums);
            }
        }
        (total, below)
    }

    fn add_weights(
        &mut self,
        cut: &Cut,
        blocks: &[part::Block<'_>],
        positions: &[Position],
        sums: &mut Sums,
    ) {
        let (sum, put) = match &mut self.weights {
            Weights::Rows(_) => sums.of(self.param),
            Weights::Columns(_, Some(sum)) => (&mut sum[..], Put::Onto),
            Weights::Columns(values, sum) => {
                let sum = sum.insert(vec![0.0; values.len()]);
                (&mut sum[..], Put::Over)
            }
        };
        weights::add(sum, put, self.width, cut, blocks, positions);
    }

    /// Adds what waited.
    pub(super) fn finish(self, sums: &mut Sums) {
        let Weights::Columns(_, Some(gradient)) = self.weights else {
            return;
        };
        let (sum, put) = sums.of(self.param);
        let gradient = transposed(&gradient, self.width);
        match put {
            Put::Over => sum.copy_from_slice(&gradient),
            Put::Onto => sum.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g),
        }
    }
}
