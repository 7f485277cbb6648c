//! What the target thought of every token it wrote: its most probable tokens, kept sparse.

use fastdraft_data::PackedTokens;

use crate::error::TrainError;

/// The most probable tokens of many positions, at temperature 1 over the whole vocabulary.
///
/// A position takes `8 · k` bytes: 256 for the usual 32 tokens.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SparseDistributions {
    k: usize,
    ids: Vec<u32>,
    probabilities: Vec<f32>,
}

impl SparseDistributions {
    /// No positions yet; `k` tokens each.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            k,
            ..Self::default()
        }
    }

    /// Distributions that were stored, position by position.
    ///
    /// # Shapes
    /// - `ids`, `probabilities`: `[positions · k]`
    ///
    /// # Errors
    /// [`TrainError::Teacher`] when the lengths differ or are no multiple of `k`.
    pub fn from_parts(
        k: usize,
        ids: Vec<u32>,
        probabilities: Vec<f32>,
    ) -> Result<Self, TrainError> {
        if ids.len() != probabilities.len() || k == 0 || !ids.len().is_multiple_of(k) {
            return Err(TrainError::Teacher {
                reason: format!(
                    "{} ids and {} probabilities for positions of {k}",
                    ids.len(),
                    probabilities.len()
                ),
            });
        }
        Ok(Self {
            k,
            ids,
            probabilities,
        })
    }

    /// Positions `from..to`, as far as there are any.
    #[must_use]
    pub fn span(&self, from: usize, to: usize) -> Self {
        let range = from.saturating_mul(self.k)..to.saturating_mul(self.k);
        Self {
            k: self.k,
            ids: self.ids.get(range.clone()).unwrap_or_default().to_vec(),
            probabilities: self.probabilities.get(range).unwrap_or_default().to_vec(),
        }
    }

    /// Tokens of a position.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Number of positions.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.ids.len().checked_div(self.k).unwrap_or(0)
    }

    /// Tokens and probabilities of a position, most probable first; unused places have
    /// probability 0. `None` when it was not recorded.
    ///
    /// # Shapes
    /// - both: `[k]`
    #[must_use]
    pub fn at(&self, position: usize) -> Option<(&[u32], &[f32])> {
        let span = position * self.k..(position + 1) * self.k;
        if span.is_empty() {
            return None;
        }
        Some((self.ids.get(span.clone())?, self.probabilities.get(span)?))
    }

    /// Ids and probabilities of all positions, `[positions, k]` each.
    pub(crate) fn columns(&self) -> (&[u32], &[f32]) {
        (&self.ids, &self.probabilities)
    }

    /// Adds a position from its logits: the softmax over all of them, `k` kept, equal ones by id.
    ///
    /// # Shapes
    /// - `logits`: `[vocabulary]`
    pub fn push_logits(&mut self, logits: &[f32]) {
        if self.k == 0 {
            return;
        }
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0f64;
        let mut kept: Vec<(f32, u32)> = Vec::with_capacity(self.k + 1);
        let mut least = f32::NEG_INFINITY;
        for (id, &logit) in (0u32..).zip(logits) {
            sum += f64::from((logit - highest).exp());
            if kept.len() == self.k && logit <= least {
                continue;
            }
            let at = kept.partition_point(|(other, _)| *other >= logit);
            kept.insert(at, (logit, id));
            kept.truncate(self.k);
            least = kept.last().map_or(least, |(logit, _)| *logit);
        }
        for place in 0..self.k {
            let (id, probability) = kept.get(place).map_or((0, 0.0), |(logit, id)| {
                (*id, (f64::from((logit - highest).exp()) / sum) as f32)
            });
            self.ids.push(id);
            self.probabilities.push(probability);
        }
    }

    /// Adds the positions of another, which must have the same `k`.
    ///
    /// # Errors
    /// [`TrainError::Teacher`] for another `k`.
    pub fn append(&mut self, other: &Self) -> Result<(), TrainError> {
        if other.k != self.k {
            return Err(TrainError::Teacher {
                reason: format!("{} and {} tokens a position", self.k, other.k),
            });
        }
        self.ids.extend_from_slice(&other.ids);
        self.probabilities.extend_from_slice(&other.probabilities);
        Ok(())
    }
}

/// Rows with the target's thoughts about every masked token, in the order of the rows.
#[derive(Debug, Clone)]
pub struct TaughtRows {
    packed: PackedTokens,
    teacher: SparseDistributions,
    // Masked tokens before each row.
    first: Vec<usize>,
}

impl TaughtRows {
    /// Joins rows with the distributions of their masked tokens. Packing keeps the order of
    /// answers, so the n-th masked token of the rows is the n-th recorded one.
    ///
    /// # Errors
    /// [`TrainError::Teacher`] when there are fewer recorded positions than masked tokens.
    pub fn new(packed: PackedTokens, teacher: SparseDistributions) -> Result<Self, TrainError> {
        let mut first = Vec::with_capacity(packed.rows());
        let mut before = 0;
        for row in 0..packed.rows() {
            first.push(before);
            before += packed.row(row).1.iter().filter(|on| **on).count();
        }
        if before > teacher.positions() {
            return Err(TrainError::Teacher {
                reason: format!(
                    "{before} trained tokens, but {} recorded positions",
                    teacher.positions()
                ),
            });
        }
        Ok(Self {
            packed,
            teacher,
            first,
        })
    }

    /// The rows.
    #[must_use]
    pub fn packed(&self) -> &PackedTokens {
        &self.packed
    }

    /// All distributions.
    pub(crate) fn teacher(&self) -> &SparseDistributions {
        &self.teacher
    }

    /// The distribution of the first masked token of each row.
    pub(crate) fn first(&self) -> &[usize] {
        &self.first
    }

    /// The distributions, and which of them belongs to the first masked token of a row.
    #[must_use]
    pub fn row_teacher(&self, row: usize) -> Option<(&SparseDistributions, usize)> {
        Some((&self.teacher, *self.first.get(row)?))
    }
}

#[cfg(test)]
mod tests {
    use fastdraft_data::{MaskedTokens, Packer};

    use super::*;

    #[test]
    fn the_top_of_the_softmax() {
        let logits = [0.0, 2.0, 1.0, 2.0, -1.0];
        let mut sparse = SparseDistributions::new(3);
        sparse.push_logits(&logits);
        let sum: f32 = logits.iter().map(|v| v.exp()).sum();
        let (ids, probabilities) = sparse.at(0).unwrap();
        assert_eq!(ids, [1, 3, 2]);
        for (p, logit) in probabilities.iter().zip([2.0f32, 2.0, 1.0]) {
            assert!((p - logit.exp() / sum).abs() < 1e-6);
        }
        let mut wide = SparseDistributions::new(7);
        wide.push_logits(&logits);
        assert!((wide.at(0).unwrap().1.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(sparse.append(&wide).is_err());
        assert!(SparseDistributions::new(0).at(0).is_none());
    }

    #[test]
    fn masked_tokens_meet_their_positions_in_order() {
        let mut packer = Packer::new(4, 0);
        let mut teacher = SparseDistributions::new(1);
        for (prompt, answer) in [(2, 2), (1, 3), (1, 6)] {
            let answer: Vec<u32> = (10..10 + answer).collect();
            packer.push_masked(&MaskedTokens::from_answer(&vec![1; prompt], &answer).unwrap());
            for id in answer {
                let mut logits = vec![0.0; 20];
                logits[id as usize] = 9.0;
                teacher.push_logits(&logits);
            }
        }
        let rows = TaughtRows::new(packer.finish().unwrap(), teacher).unwrap();
        for row in 0..rows.packed().rows() {
            let (teacher, mut at) = rows.row_teacher(row).unwrap();
            let (ids, mask) = rows.packed().row(row);
            for (id, _) in ids.iter().zip(mask).filter(|(_, on)| **on) {
                assert_eq!(teacher.at(at).unwrap().0, [*id]);
                at += 1;
            }
        }
        let packed = rows.packed().clone();
        assert!(TaughtRows::new(packed, SparseDistributions::new(1)).is_err());
    }
}
