//! Eight-bit weights with a scale for every 64 columns, times sixteen-bit activations.
//!
//! Activations of language models have outliers that eight bits flatten; sixteen bits keep them
//! and cost the same number of instructions on AVX2, because the sums need no sign trick.

use std::ops::Range;

use super::{LANES, aligned::Aligned, scalar};

/// Rows of a group. One is enough: its products feed up to eight independent sums.
pub(crate) const GROUP: usize = 1;
/// Columns that share a scale.
pub(crate) const STEP: usize = 64;

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([i8; STEP]);

/// `[rows, columns]` as one line for every 64 columns of a row, and a scale for each line. Missing
/// columns are zero.
#[derive(Debug)]
pub(crate) struct PackedInt8 {
    lines: Vec<Line>,
    scales: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl PackedInt8 {
    /// Rounds every run of 64 columns to 127 steps of its largest magnitude.
    pub(crate) fn new(data: &[f32], columns: usize) -> Self {
        let rows = data.len() / columns;
        let mut packed = Self {
            lines: Vec::new(),
            scales: Vec::new(),
            rows,
            columns,
        };
        let lines = rows * packed.steps();
        packed.lines.resize(lines, Line([0; STEP]));
        packed.scales.resize(lines, 0.0);
        for (r, row) in data.chunks_exact(columns).enumerate() {
            for (step, run) in row.chunks(STEP).enumerate() {
                let largest = run.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                let at = packed.line(r, step);
                packed.scales[at] = largest / 127.0;
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                for (slot, value) in packed.lines[at].0.iter_mut().zip(run) {
                    *slot = (value * inverse).round() as i8;
                }
            }
        }
        packed
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

    pub(crate) fn read_row(&self, row: usize, out: &mut [f32]) {
        for (step, run) in out.chunks_mut(STEP).enumerate() {
            let at = self.line(row, step);
            for (slot, value) in run.iter_mut().zip(&self.lines[at].0) {
                *slot = f32::from(*value) * self.scales[at];
            }
        }
    }

    /// Lines and scales of a row.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn row(&self, index: usize) -> (*const i8, *const f32) {
        let at = index * self.steps();
        (self.lines[at..].as_ptr().cast(), self.scales[at..].as_ptr())
    }

    /// `y[r * t + i] = Σ_j w[r, j] · x[i, j]` for the rows of `groups`, counted from the first.
    pub(crate) fn multiply(&self, groups: Range<usize>, x: &Activations, y: &mut [f32]) {
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
        #[cfg(target_arch = "x86_64")]
        if super::has_avx2() {
            // SAFETY: the features are there and the extents were just checked.
            unsafe { super::avx2_int8::multiply(self, groups, x, y) };
            return;
        }
        self.multiply_scalar(groups, x, y);
    }

    /// The oracle, in the order of the vector kernels.
    pub(super) fn multiply_scalar(&self, groups: Range<usize>, x: &Activations, y: &mut [f32]) {
        let t = x.scales.len();
        let width = self.steps() * STEP;
        for (r, out) in (groups.start * GROUP..self.rows).zip(y.chunks_exact_mut(t)) {
            for ((token, scale), value) in x.values.chunks_exact(width).zip(&x.scales).zip(out) {
                let mut lanes = [0.0f32; LANES];
                for (step, run) in token.chunks_exact(STEP).enumerate() {
                    let at = self.line(r, step);
                    let mut sums = [0i32; LANES];
                    for (j, (w, v)) in self.lines[at].0.iter().zip(run).enumerate() {
                        sums[j % 16 / 2] += i32::from(*w) * i32::from(*v);
                    }
                    for (lane, sum) in lanes.iter_mut().zip(sums) {
                        *lane = (sum as f32).mul_add(self.scales[at], *lane);
                    }
                }
                *value = scalar::sum_lanes(lanes) * scale;
            }
        }
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
