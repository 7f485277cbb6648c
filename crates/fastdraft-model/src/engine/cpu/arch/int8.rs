//! Eight-bit weights with a scale for every 64 or 32 columns, times sixteen-bit activations.
//!
//! Activations of language models have outliers that eight bits flatten; sixteen bits keep them
//! and cost the same number of instructions on AVX2, because the sums need no sign trick.

use std::ops::Range;

use half::f16;

use super::{
    aligned::Aligned,
    isa::{Isa, on},
};

/// Rows of a group. One is enough: its products feed up to eight independent sums.
pub(crate) const GROUP: usize = 1;
/// Columns of a line.
pub(crate) const STEP: usize = 64;
/// Columns of a block of a GGUF file.
const BLOCK: usize = 32;
/// Bytes of such a block: a half-precision scale and its values.
const BLOCK_BYTES: usize = 2 + BLOCK;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; STEP]);

/// Columns that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// A line.
    Step,
    /// A block of a GGUF file, half a line.
    Block,
}

/// `[rows, columns]` as one line for every 64 columns of a row, and one or two scales for each
/// line. Missing columns are zero.
#[derive(Debug)]
pub(crate) struct PackedInt8 {
    lines: Vec<Line>,
    scales: Vec<f32>,
    run: Run,
    rows: usize,
    columns: usize,
}

impl PackedInt8 {
    /// Zeros, to be filled.
    pub(crate) fn zeros(rows: usize, columns: usize, run: Run) -> Self {
        let lines = rows * columns.div_ceil(STEP);
        let mut packed = Self {
            lines: vec![Line([0; STEP]); lines],
            scales: Vec::new(),
            run,
            rows,
            columns,
        };
        packed.scales = vec![0.0; lines * packed.scales_of_a_line()];
        packed
    }

    /// Rounds every run of 64 columns of whole rows to 127 steps of its largest magnitude and
    /// puts them at `first`.
    pub(crate) fn fill(&mut self, first: usize, data: &[f32]) {
        debug_assert_eq!(self.run, Run::Step);
        for (r, row) in data.chunks_exact(self.columns).enumerate() {
            for (step, run) in row.chunks(STEP).enumerate() {
                let largest = run.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let at = self.line(first + r, step);
                self.scales[at] = largest / 127.0;
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                for (slot, value) in self.lines[at].0.iter_mut().zip(run) {
                    *slot = (value * inverse).round() as i8;
                }
            }
        }
    }

    /// Puts whole rows of a file's Q8_0 blocks at `first`, as they are.
    pub(crate) fn fill_blocks(&mut self, first: usize, blocks: &[u8]) {
        debug_assert_eq!(self.run, Run::Block);
        let per_row = self.columns / BLOCK;
        for (i, block) in blocks.as_chunks::<BLOCK_BYTES>().0.iter().enumerate() {
            let (row, column) = (first + i / per_row, i % per_row * BLOCK);
            let at = self.line(row, column / STEP);
            self.scales[at * 2 + column % STEP / BLOCK] =
                f16::from_le_bytes([block[0], block[1]]).to_f32();
            let values = &mut self.lines[at].0[column % STEP..][..BLOCK];
            for (slot, byte) in values.iter_mut().zip(&block[2..]) {
                *slot = *byte as i8;
            }
        }
    }

    pub(crate) fn groups(&self) -> usize {
        self.rows / GROUP
    }

    pub(crate) fn steps(&self) -> usize {
        self.columns.div_ceil(STEP)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * STEP + self.scales.len() * 4
    }

    fn line(&self, row: usize, step: usize) -> usize {
        row * self.steps() + step
    }

    pub(super) fn scales_of_a_line(&self) -> usize {
        match self.run {
            Run::Step => 1,
            Run::Block => 2,
        }
    }

    /// Scale of a column of a line.
    fn scale(&self, line: usize, column: usize) -> f32 {
        let scales = self.scales_of_a_line();
        self.scales[line * scales + column * scales / STEP]
    }

    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        for (step, run) in out.chunks_mut(STEP).enumerate() {
            let at = self.line(row, step);
            for (column, (slot, value)) in run.iter_mut().zip(&self.lines[at].0).enumerate() {
                *slot = f32::from(*value) * self.scale(at, column);
            }
        }
    }

    /// Lines and scales of a row.
    pub(super) fn row(&self, index: usize) -> (*const i8, *const f32) {
        let at = index * self.steps();
        (
            self.lines[at..].as_ptr().cast(),
            self.scales[at * self.scales_of_a_line()..].as_ptr(),
        )
    }

    /// Scale, weights and the token's values of each run of a row.
    pub(super) fn runs<'a>(
        &'a self,
        row: usize,
        token: &'a [i16],
    ) -> impl Iterator<Item = (f32, &'a [i8], &'a [i16])> {
        let size = STEP / self.scales_of_a_line();
        let start = self.line(row, 0);
        (self.lines[start..start + self.steps()].iter())
            .flat_map(move |line| line.0.chunks(size))
            .zip(token.chunks(size))
            .enumerate()
            .map(move |(run, (weights, values))| {
                let scale = self.scales[start * self.scales_of_a_line() + run];
                (scale, weights, values)
            })
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
        let rows = groups.len() * GROUP;
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
