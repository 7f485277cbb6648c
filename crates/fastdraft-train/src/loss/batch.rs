//! Rows of a step as what the losses need, on the host.

use super::Loss;
use crate::teacher::SparseDistributions;

/// One row: token ids and the positions that are trained.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// `[seq + 1]`
    pub ids: &'a [u32],
    /// `[seq + 1]`; `mask[i]` says whether predicting `ids[i]` counts.
    pub mask: &'a [bool],
    /// The target's probabilities, and which of them belongs to the first masked token.
    pub teacher: Option<(&'a SparseDistributions, usize)>,
}

/// What one position is trained towards. Ids are rows of the head.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Goal {
    /// The token that was written.
    pub(super) label: u32,
    /// Weight of the cross-entropy; 0 when the head lacks the label.
    pub(super) label_weight: f32,
    /// Tokens the target found probable, and their shares, which sum to 1.
    pub(super) tokens: Vec<(u32, f32)>,
    /// Weight of the KL divergence.
    pub(super) kl_weight: f32,
    /// Weight of the total variation distance.
    pub(super) tvd_weight: f32,
}

impl Goal {
    /// A token whose logit is likely to be among the high ones.
    pub(super) fn likely(&self) -> u32 {
        match self.tokens.first() {
            Some((id, _)) if self.label_weight <= 0.0 => *id,
            _ => self.label,
        }
    }
}

/// A batch ready for a loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[rows · seq]`
    pub(super) inputs: Vec<i64>,
    pub(super) rows: usize,
    pub(super) seq: usize,
    /// Of the inputs, those that are trained, ascending.
    pub(super) positions: Vec<i64>,
    pub(super) goals: Vec<Goal>,
}

impl Batch {
    /// Collects the trained positions; `None` when there is none.
    ///
    /// `head_rows[id]` is the row of a trimmed head for a target token. All rows must have the
    /// same length, at least 2.
    #[must_use]
    pub fn new(rows: &[Row<'_>], head_rows: Option<&[Option<u32>]>, loss: Loss) -> Option<Self> {
        let head_row = |id: u32| match head_rows {
            Some(map) => map.get(id as usize).copied().flatten(),
            None => Some(id),
        };
        let seq = rows.first()?.ids.len().checked_sub(1)?;
        let [ce, kl, tvd] = loss.weights();
        let mut batch = Self {
            inputs: Vec::with_capacity(rows.len() * seq),
            rows: rows.len(),
            seq,
            positions: Vec::new(),
            goals: Vec::new(),
        };
        let (mut labels, mut masses) = (0.0f32, 0.0f32);
        for (b, row) in rows.iter().enumerate() {
            let inputs = row.ids.iter().take(seq);
            batch.inputs.extend(inputs.map(|id| i64::from(*id)));
            let mut seen = 0;
            for (s, (id, trained)) in row.ids.iter().zip(row.mask).enumerate() {
                if !trained {
                    continue;
                }
                let thoughts = row.teacher.and_then(|(all, first)| all.at(first + seen));
                seen += 1;
                // The first token of a row has no input that predicts it.
                let Some(input) = s.checked_sub(1) else {
                    continue;
                };
                let mut goal = Goal::default();
                if let (true, Some(label)) = (ce > 0.0, head_row(*id)) {
                    (goal.label, goal.label_weight) = (label, 1.0);
                }
                if let (true, Some((ids, shares))) = (loss.needs_teacher(), thoughts) {
                    let tokens = ids.iter().zip(shares).filter(|(_, share)| **share > 0.0);
                    goal.tokens = tokens
                        .filter_map(|(id, share)| Some((head_row(*id)?, *share)))
                        .collect();
                }
                let mass: f32 = goal.tokens.iter().map(|(_, share)| share).sum();
                if goal.label_weight + mass <= 0.0 {
                    continue;
                }
                goal.tokens.iter_mut().for_each(|(_, share)| *share /= mass);
                (goal.kl_weight, goal.tvd_weight) = (kl * mass, tvd * mass);
                labels += goal.label_weight;
                masses += mass;
                batch.positions.push((b * seq + input) as i64);
                batch.goals.push(goal);
            }
        }
        for goal in &mut batch.goals {
            goal.label_weight *= ce / labels.max(1.0);
            goal.kl_weight /= masses.max(f32::MIN_POSITIVE);
            goal.tvd_weight /= masses.max(f32::MIN_POSITIVE);
        }
        (!batch.goals.is_empty() && seq > 0).then_some(batch)
    }

    /// Parts of `rows` rows, in order, without those that train nothing. The weights of positions
    /// stay those of the whole: losses and gradients of the parts add up to its own.
    pub(crate) fn split(self, rows: usize) -> Vec<Self> {
        if rows == 0 || rows >= self.rows {
            return vec![self];
        }
        let Self {
            inputs,
            positions,
            goals,
            seq,
            ..
        } = self;
        let (mut goals, mut begun) = (goals.into_iter(), 0);
        let mut parts = Vec::new();
        for (number, inputs) in inputs.chunks(rows * seq).enumerate() {
            let first = (number * rows * seq) as i64;
            let end = first + inputs.len() as i64;
            let ended = positions.partition_point(|position| *position < end);
            let positions: Vec<i64> = (positions[begun..ended].iter())
                .map(|position| position - first)
                .collect();
            begun = ended;
            if !positions.is_empty() {
                parts.push(Self {
                    inputs: inputs.to_vec(),
                    rows: inputs.len() / seq,
                    seq,
                    goals: goals.by_ref().take(positions.len()).collect(),
                    positions,
                });
            }
        }
        parts
    }

    /// The token that was written at each trained position, as a row of the head; `None` where
    /// the head lacks it or the loss has no cross-entropy.
    pub fn labels(&self) -> impl Iterator<Item = Option<u32>> + '_ {
        (self.goals.iter()).map(|goal| (goal.label_weight > 0.0).then_some(goal.label))
    }

    /// The target's probabilities at each trained position, as rows of the head with shares that
    /// sum to 1; empty where none were recorded or the loss needs none.
    pub fn taught(&self) -> impl Iterator<Item = &[(u32, f32)]> + '_ {
        self.goals.iter().map(|goal| goal.tokens.as_slice())
    }

    /// Number of trained positions.
    #[must_use]
    pub fn trained(&self) -> usize {
        self.positions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_outside_a_trimmed_head_do_not_count() {
        let mut head = vec![None; 40];
        (head[5], head[9]) = (Some(0), Some(1));
        let row = |ids| Row {
            ids,
            mask: &[true; 4],
            teacher: None,
        };
        let batch = Batch::new(&[row(&[1, 5, 13, 9])], Some(&head), Loss::CrossEntropy).unwrap();
        assert_eq!(batch.positions, [0, 2]);
        let labels: Vec<(u32, f32)> = (batch.goals.iter())
            .map(|goal| (goal.label, goal.label_weight))
            .collect();
        assert_eq!(labels, [(0, 0.5), (1, 0.5)]);
        assert!(Batch::new(&[row(&[1, 2, 3, 4])], Some(&head), Loss::CrossEntropy).is_none());
    }

    #[test]
    fn mass_outside_the_head_is_left_out_and_weighs_less() {
        let mut head = vec![None; 4];
        (head[1], head[2]) = (Some(0), Some(1));
        let mut teacher = SparseDistributions::new(2);
        // Probabilities 0.6 and 0.3, then 0.5 for a token that the head lacks.
        teacher.push_logits(&[0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln(), -90.0]);
        teacher.push_logits(&[0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln(), -90.0]);
        let row = Row {
            ids: &[3, 1, 0],
            mask: &[false, true, true],
            teacher: Some((&teacher, 0)),
        };
        let batch = Batch::new(&[row], Some(&head), Loss::Kl).unwrap();
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} {b}");
        assert_eq!(batch.trained(), 2);
        near(batch.goals[0].tokens[0].1, 2.0 / 3.0);
        near(batch.goals[0].kl_weight, 0.9 / 1.2);
        assert_eq!(batch.goals[1].tokens, [(0, 1.0)]);
        near(batch.goals[1].kl_weight, 0.3 / 1.2);
        assert_eq!(batch.goals[1].label_weight, 0.0);
    }
}
