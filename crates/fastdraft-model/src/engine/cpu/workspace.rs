//! Buffers of a pass, kept between passes.

use super::{arch::aligned::Aligned, matrix::Scratch};

/// Scratch memory of a pass. One for each thread that runs passes; after the largest pass no
/// call allocates.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(super) hidden: Vec<f32>,
    pub(super) normed: Aligned<f32>,
    pub(super) qkv: Vec<f32>,
    pub(super) queries: Vec<f32>,
    pub(super) head_out: Vec<f32>,
    pub(super) attended: Aligned<f32>,
    pub(super) gate_up: Vec<f32>,
    pub(super) gated: Aligned<f32>,
    pub(super) scores: Vec<f32>,
    pub(super) scratch: Scratch,
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
    pub(super) selected: Vec<f32>,
}

impl Workspace {
    /// Empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}
