//! Eight-bit weights with a scale for every 64 or 32 columns, times sixteen-bit activations.
//!
//! Activations of language models have outliers that eight bits flatten; sixteen bits keep them
//! and cost the same number of instructions on AVX2, because the sums need no sign trick.

use std::ops::Range;

use half::f16;

use super::{
    aligned::Aligned,
    arena::{Arena, Pages, Plain},
    isa::{Isa, on},
};

/// Rows of a group: a lane of two registers of sums for each.
pub(crate) const GROUP: usize = 16;
/// Columns of a step.
pub(crate) const STEP: usize = 64;
/// Columns that lie together: a lane of a product.
pub(super) const PAIR: usize = 2;
/// Bytes of a pair of columns of every row of a group.
pub(super) const PAIR_BYTES: usize = GROUP * PAIR;
/// Bytes of a step of every row of a group.
pub(super) const STEP_BYTES: usize = GROUP * STEP;
/// Columns of a block of a GGUF file.
const BLOCK: usize = 32;
/// Bytes of such a block: a half-precision scale and its values.
const BLOCK_BYTES: usize = 2 + BLOCK;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; 64]);

// SAFETY: numbers.
unsafe impl Plain for Line {}

/// Columns that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// A step.
    Step,
    /// A block of a GGUF file, half a step.
    Block,
}

impl Run {
    /// Runs of a step.
    fn of_a_step(self) -> usize {
        match self {
            Self::Step => 1,
            Self::Block => 2,
        }
    }
}

/// `[rows, columns]` as groups of sixteen rows, each group as steps of 64 columns. A step is 32
/// half lines, half line `p` with the columns `2p` and `2p + 1` of one row after the other. Missing
/// rows and columns are zero.
#[derive(Debug)]
pub(crate) struct PackedInt8 {
    lines: Pages<Line>,
    /// Sixteen for every group and run.
    scales: Pages<f32>,
    run: Run,
    rows: usize,
    columns: usize,
}

impl PackedInt8 {
    /// Zeros, to be filled.
    pub(crate) fn zeros(rows: usize, columns: usize, run: Run, memory: &Arena) -> Self {
        let steps = rows.div_ceil(GROUP) * columns.div_ceil(STEP);
        Self {
            lines: memory.zeros(steps * STEP_BYTES / 64),
            scales: memory.zeros(steps * run.of_a_step() * GROUP),
            run,
            rows,
            columns,
        }
    }

    /// Rounds every run of 64 columns of whole rows to 127 steps of its largest magnitude and
    /// puts them at `first`.
    pub(crate) fn fill(&mut self, first: usize, data: &[f32]) {
        debug_assert_eq!(self.run, Run::Step);
        for (r, row) in data.chunks_exact(self.columns).enumerate() {
            for (step, run) in row.chunks(STEP).enumerate() {
                let largest = run.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                self.set_scale(first + r, step, largest / 127.0);
                for (column, value) in run.iter().enumerate() {
                    let rounded = (value * inverse).round() as i8;
                    self.set_value(first + r, step * STEP + column, rounded);
                }
            }
        }
    }

    /// Puts whole rows of a file's Q8_0 blocks at `first`, as they are.
    pub(crate) fn fill_blocks(&mut self, first: usize, blocks: &[u8]) {
        debug_assert_eq!(self.run, Run::Block);
        let per_row = self.columns / BLOCK;
        for (i, block) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().enumerate() {
            let (row, run) = (first + i / per_row, i % per_row);
            let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
            self.set_scale(row, run, scale);
            for (column, byte) in block[2..].iter().enumerate() {
                self.set_value(row, run * BLOCK + column, *byte as i8);
            }
        }
    }

    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn steps(&self) -> usize {
        self.columns.div_ceil(STEP)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * 64 + self.scales.len() * 4
    }

    pub(super) fn runs_of_a_step(&self) -> usize {
        self.run.of_a_step()
    }

    /// Columns that share a scale.
    pub(super) fn run(&self) -> usize {
        STEP / self.runs_of_a_step()
    }

    /// Where the scale of a row's run lies.
    fn scale_at(&self, row: usize, run: usize) -> usize {
        (row / GROUP * self.steps() * self.runs_of_a_step() + run) * GROUP + row % GROUP
    }

    /// Where a row's column lies.
    fn value_at(&self, row: usize, column: usize) -> usize {
        row / GROUP * self.steps() * STEP_BYTES
            + column / PAIR * PAIR_BYTES
            + row % GROUP * PAIR
            + column % PAIR
    }

    fn set_scale(&mut self, row: usize, run: usize, scale: f32) {
        let at = self.scale_at(row, run);
        self.scales[at] = scale;
    }

    fn set_value(&mut self, row: usize, column: usize, value: i8) {
        let at = self.value_at(row, column);
        self.lines[at / 64].0[at % 64] = value;
    }

    pub(super) fn scale(&self, row: usize, run: usize) -> f32 {
        self.scales[self.scale_at(row, run)]
    }

    pub(super) fn value(&self, row: usize, column: usize) -> i8 {
        let at = self.value_at(row, column);
        self.lines[at / 64].0[at % 64]
    }

    /// The row as it is multiplied: `[columns]`.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        for (run, out) in out.chunks_mut(self.run()).enumerate() {
            let scale = self.scale(row, run);
            for (column, slot) in out.iter_mut().enumerate() {
                *slot = f32::from(self.value(row, run * self.run() + column)) * scale;
            }
        }
    }

    /// Values and scales of a group.
    pub(super) fn group(&self, index: usize) -> (*const i8, *const f32) {
        let step = index * self.steps();
        (
            self.lines[step * STEP_BYTES / 64..].as_ptr().cast(),
            self.scales[step * self.runs_of_a_step() * GROUP..].as_ptr(),
        )
    }

    /// `y[i * rows + r] = Σ_j w[r, j] · x[i, j]` for the rows of `groups`, counted from the first.
    pub(crate) fn multiply(&self, groups: Range<usize>, x: &Activations, y: &mut [f32]) {
        self.multiply_on(Isa::best(), groups, x, y);
    }

    pub(super) fn multiply_on(
        &self,
        isa: Isa,
        groups: Range<usize>,
        x: &Activations,
        y: &mut [f32],
    ) {
        let t = x.scales.len();
        let rows = (groups.end * GROUP).min(self.rows) - groups.start * GROUP;
        assert!(
            groups.end <= self.groups()
                && x.values.len() == t * self.steps() * STEP
                && y.len() == rows * t,
            "kernel shapes: groups {groups:?} of {}, t {t}, y {}",
            self.groups(),
            y.len()
        );
        on!(isa, multiply_int8(self, groups, x, y));
    }
}

/// Tokens rounded to sixteen bits, one scale each.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    pub(super) values: Aligned<i16>,
    pub(super) scales: Vec<f32>,
}

impl Activations {
    /// Rounds each row of `x` `[t, columns]` to 32,767 steps of its largest magnitude.
    pub(crate) fn quantize(&mut self, x: &[f32], columns: usize) {
        let width = columns.next_multiple_of(STEP);
        self.scales.clear();
        self.values.resize(x.len() / columns * width);
        for (row, values) in x
            .chunks_exact(columns)
            .zip(self.values.chunks_exact_mut(width))
        {
            let (values, padding) = values.split_at_mut(columns);
            padding.fill(0);
            self.scales.push(super::round_to_16_bits(row, values));
        }
    }
}
