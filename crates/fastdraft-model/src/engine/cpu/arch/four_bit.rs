//! Four-bit weights of GGUF blocks, times eight-bit activations.
//!
//! A run of 32 columns of a row is `d · q + m` with `q` in 0..=15, as Q4_1 has it; Q4_0 is the case
//! `m = -8 d`. Tokens are rounded to 127 steps of the largest magnitude of each run, so that the
//! product of two runs is `d · s · Σ q x + m · s · Σ x`, whose sums are exact integers.

use std::ops::Range;

use half::f16;

use super::{
    aligned::Aligned,
    arena::{Arena, Pages, Plain},
    isa::{Isa, on},
};

/// Rows of a group, one for each lane of the sums.
pub(crate) const GROUP: usize = 8;
/// Columns of a run.
pub(crate) const RUN: usize = 32;
/// Columns that lie together: a lane of a byte product.
const QUAD: usize = 4;
/// Bytes of a run of every row of a group.
pub(super) const RUN_BYTES: usize = GROUP * RUN / 2;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: numbers.
unsafe impl Plain for Line {}

/// Whether a file's blocks have a minimum of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Minimum {
    /// `-8 d`: Q4_0.
    Symmetric,
    /// Stored beside the scale: Q4_1.
    Stored,
}

impl Minimum {
    /// Bytes of a block in a file.
    pub(crate) fn block_bytes(self) -> usize {
        match self {
            Self::Symmetric => 2 + RUN / 2,
            Self::Stored => 4 + RUN / 2,
        }
    }

    /// Scales and minima of a run of every row of a group.
    fn scales_of_a_run(self) -> usize {
        match self {
            Self::Symmetric => GROUP,
            Self::Stored => 2 * GROUP,
        }
    }
}

/// `[rows, columns]` as groups of eight rows, each group as runs of 32 columns. A run is four
/// half lines; half line `c` has for every row the columns `4c..4c + 4` in the low halves of four
/// bytes, and the columns `16 + 4c..` in the high ones. Missing rows are zero.
#[derive(Debug)]
pub(crate) struct PackedFourBit {
    lines: Pages<Line>,
    /// For every group and run, eight scales and then, where stored, eight minima.
    scales: Pages<f16>,
    minimum: Minimum,
    rows: usize,
    columns: usize,
}

impl PackedFourBit {
    /// Zeros, to be filled; `columns` is a multiple of 32.
    pub(crate) fn zeros(rows: usize, columns: usize, minimum: Minimum, memory: &Arena) -> Self {
        assert!(
            columns.is_multiple_of(RUN),
            "{columns} columns in blocks of 32"
        );
        let runs = rows.div_ceil(GROUP) * (columns / RUN);
        Self {
            lines: memory.zeros(runs * RUN_BYTES / 64),
            scales: memory.zeros(runs * minimum.scales_of_a_run()),
            minimum,
            rows,
            columns,
        }
    }

    /// Rounds whole rows to the nearest of sixteen steps between the least and the largest value of
    /// every run, whose scale and minimum are then fitted to what was rounded, and puts them at
    /// `first`. Minima are stored.
    pub(crate) fn fill_rounded(&mut self, first: usize, data: &[f32]) {
        debug_assert_eq!(self.minimum, Minimum::Stored);
        for (r, row) in data.chunks_exact(self.columns).enumerate() {
            for (run, values) in row.as_chunks::<RUN>().0.iter().enumerate() {
                let (steps, scale, minimum) = fit(values);
                let at = self.scale(first + r, run);
                self.scales[at] = scale;
                self.scales[at + GROUP] = minimum;
                let (low, high) = steps.split_at(RUN / 2);
                for (column, (low, high)) in low.iter().zip(high).enumerate() {
                    let at = self.byte(first + r, run, column);
                    self.lines[at / 64].0[at % 64] = low | (high << 4);
                }
            }
        }
    }

    /// Puts whole rows of a file's blocks at `first`.
    pub(crate) fn fill(&mut self, first: usize, blocks: &[u8]) {
        let (size, runs) = (self.minimum.block_bytes(), self.runs());
        for (i, block) in blocks.chunks_exact(size).enumerate() {
            let (row, run) = (first + i / runs, i % runs);
            let (head, nibbles) = block.split_at(size - RUN / 2);
            let at = self.scale(row, run);
            for (part, bytes) in head.as_chunks::<2>().0.iter().enumerate() {
                self.scales[at + part * GROUP] = f16::from_le_bytes(*bytes);
            }
            for (column, byte) in nibbles.iter().enumerate() {
                let at = self.byte(row, run, column);
                self.lines[at / 64].0[at % 64] = *byte;
            }
        }
    }

    pub(crate) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * 64 + self.scales.len() * 2
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn runs(&self) -> usize {
        self.columns / RUN
    }

    pub(super) fn minimum(&self) -> Minimum {
        self.minimum
    }

    pub(super) fn scales_of_a_run(&self) -> usize {
        self.minimum.scales_of_a_run()
    }

    /// Where the scale of a row's run lies; its minimum lies `GROUP` further.
    fn scale(&self, row: usize, run: usize) -> usize {
        (row / GROUP * self.runs() + run) * self.scales_of_a_run() + row % GROUP
    }

    /// Where columns `column` and `column + 16` of a row's run lie.
    fn byte(&self, row: usize, run: usize, column: usize) -> usize {
        (row / GROUP * self.runs() + run) * RUN_BYTES
            + (column / QUAD * GROUP + row % GROUP) * QUAD
            + column % QUAD
    }

    /// Scale and minimum of a row's run.
    pub(super) fn constants(&self, row: usize, run: usize) -> (f32, f32) {
        let at = self.scale(row, run);
        let scale = self.scales[at].to_f32();
        let minimum = match self.minimum {
            Minimum::Symmetric => scale * -8.0,
            Minimum::Stored => self.scales[at + GROUP].to_f32(),
        };
        (scale, minimum)
    }

    pub(super) fn value(&self, row: usize, run: usize, column: usize) -> u8 {
        let at = self.byte(row, run, column % 16);
        let byte = self.lines[at / 64].0[at % 64];
        if column < 16 { byte & 15 } else { byte >> 4 }
    }

    /// The file's own values: `[columns]`.
    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        for (run, out) in out.chunks_exact_mut(RUN).enumerate() {
            let (scale, minimum) = self.constants(row, run);
            for (column, slot) in out.iter_mut().enumerate() {
                *slot = f32::from(self.value(row, run, column)) * scale + minimum;
            }
        }
    }

    /// Bytes and scales of a group.
    pub(super) fn group(&self, index: usize) -> (*const u8, *const f16) {
        let run = index * self.runs();
        (
            self.lines[run * RUN_BYTES / 64..].as_ptr().cast(),
            self.scales[run * self.scales_of_a_run()..].as_ptr(),
        )
    }

    /// `y[i * rows + r] = Σ_j w[r, j] · x[i, j]` for the rows of `groups`, counted from the first.
    pub(crate) fn multiply(&self, groups: Range<usize>, x: &Runs, y: &mut [f32]) {
        self.multiply_on(Isa::best(), groups, x, y);
    }

    pub(super) fn multiply_on(&self, isa: Isa, groups: Range<usize>, x: &Runs, y: &mut [f32]) {
        let t = x.values.len() / self.columns;
        let rows = (groups.end * GROUP).min(self.rows) - groups.start * GROUP;
        assert!(
            groups.end <= self.groups()
                && x.values.len() == t * self.columns
                && x.scales.len() == t * self.runs()
                && x.sums.len() == t * self.runs()
                && y.len() == rows * t,
            "kernel shapes: groups {groups:?} of {}, t {t}, y {}",
            self.groups(),
            y.len()
        );
        on!(isa, multiply_four_bit(self, groups, x, y));
    }
}

/// Steps below sixteen, and the scale and minimum that bring them nearest to `values` (least squares).
fn fit(values: &[f32; RUN]) -> ([u8; RUN], f16, f16) {
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = (largest - least) / 15.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let steps = values.map(|value| ((value - least) * inverse).round().min(15.0) as u8);
    let (mut q, mut qq, mut v, mut qv) = (0.0, 0.0, 0.0, 0.0);
    for (step, value) in steps.iter().zip(values) {
        let (step, value) = (f64::from(*step), f64::from(*value));
        q += step;
        qq += step * step;
        v += value;
        qv += step * value;
    }
    let n = RUN as f64;
    let spread = n * qq - q * q;
    let scale = if spread > 0.0 {
        (n * qv - q * v) / spread
    } else {
        0.0
    };
    (
        steps,
        f16::from_f64(scale),
        f16::from_f64((v - scale * q) / n),
    )
}

/// Tokens rounded to eight bits, one scale for every run of 32 columns.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// `[t, columns]`
    pub(super) values: Aligned<i8>,
    /// `[t, runs]`
    pub(super) scales: Vec<f32>,
    /// Sum of a run's rounded values: `[t, runs]`.
    pub(super) sums: Vec<f32>,
}

impl Runs {
    /// Rounds every run of `x` `[t, columns]` to 127 steps of its largest magnitude.
    pub(crate) fn quantize(&mut self, x: &[f32]) {
        self.values.resize(x.len());
        self.scales.resize(x.len() / RUN, 0.0);
        self.sums.resize(x.len() / RUN, 0.0);
        super::round_to_8_bits(x, &mut self.values, &mut self.scales, &mut self.sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(values: &[f32]) -> Vec<f32> {
        let mut packed =
            PackedFourBit::zeros(values.len() / 64, 64, Minimum::Stored, &Arena::default());
        packed.fill_rounded(0, values);
        let mut out = vec![0.0; values.len()];
        for (row, out) in out.chunks_exact_mut(64).enumerate() {
            packed.read_row(row, out);
        }
        out
    }

    #[test]
    fn values_on_a_grid_stay() {
        let values: Vec<f32> = (0..64 * 9)
            .map(|i| ((i * 7 + i / 64) % 16) as f32 * 0.125 - 0.5)
            .collect();
        assert_eq!(rounded(&values), values);
        assert_eq!(rounded(&[-0.75; 128]), [-0.75; 128]);
    }

    #[test]
    fn the_fit_is_better_than_the_grid_between_the_ends() {
        let values: Vec<f32> = (0..64 * 20)
            .map(|i| (i as f32 * 1.7).sin().powi(3))
            .collect();
        let error = |found: &[f32]| -> f32 {
            (found.iter().zip(&values))
                .map(|(a, b)| (a - b).powi(2))
                .sum()
        };
        let ends: Vec<f32> = (values.as_chunks::<RUN>().0.iter())
            .flat_map(|run| {
                let least = run.iter().copied().fold(f32::INFINITY, f32::min);
                let step = (run.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least) / 15.0;
                run.map(|value| ((value - least) / step).round() * step + least)
            })
            .collect();
        let found = rounded(&values);
        assert!(
            error(&found) < 0.99 * error(&ends),
            "{} {}",
            error(&found),
            error(&ends)
        );
        let worst = found.iter().zip(&values).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f32::max) < 2.0 / 15.0);
    }
}
