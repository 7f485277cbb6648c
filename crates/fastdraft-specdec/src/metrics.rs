//! What a generation cost and how well the draft did.

use alloc::vec::Vec;

/// Counts of a generation, with the rates that follow from them.
///
/// When a stop ends the output inside a block, the drafted tokens behind it count in `discarded`
/// alone.
///
/// ```
/// use fastdraft_specdec::Metrics;
/// let mut metrics = Metrics::default();
/// metrics.record(3, 2, 3, 0);
/// metrics.record(3, 0, 1, 0);
/// assert_eq!(metrics.acceptance_rate(), Some(2.0 / 6.0));
/// assert_eq!(metrics.block_efficiency(), Some(2.0));
/// assert_eq!(metrics.conditional_acceptance(1), Some(1.0));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Metrics {
    /// Drafted tokens that were judged.
    pub drafted: u64,
    /// Drafted tokens that were accepted.
    pub accepted: u64,
    /// Forward passes of the target.
    pub target_passes: u64,
    /// Tokens emitted, accepted ones and the target's own.
    pub emitted: u64,
    /// Drafted tokens left out of account because a stop came before them.
    pub discarded: u64,
    /// For each position in a block, how often a token was drafted and how often accepted there.
    pub draft_position: Vec<(u64, u64)>,
    /// For each position, how often a token was drafted there with all before it accepted.
    pub draft_reached: Vec<u64>,
}

impl Metrics {
    /// Adds a target pass that judged `drafted` tokens, accepted the first `accepted` of them,
    /// emitted `emitted` tokens and left `discarded` drafted ones out of account.
    pub fn record(&mut self, drafted: usize, accepted: usize, emitted: usize, discarded: usize) {
        self.drafted += drafted as u64;
        self.accepted += accepted as u64;
        self.target_passes += 1;
        self.emitted += emitted as u64;
        self.discarded += discarded as u64;
        self.widen(drafted);
        for (position, (count, reached)) in self
            .draft_position
            .iter_mut()
            .zip(&mut self.draft_reached)
            .enumerate()
            .take(drafted)
        {
            count.0 += 1;
            count.1 += u64::from(position < accepted);
            *reached += u64::from(position <= accepted);
        }
    }

    /// Acceptance rate, accepted / drafted: the AR of FastDraft (arXiv 2411.11055).
    ///
    /// `None` when nothing was drafted.
    ///
    /// ```
    /// let mut metrics = fastdraft_specdec::Metrics::default();
    /// metrics.record(4, 3, 4, 0);
    /// assert_eq!(metrics.acceptance_rate(), Some(0.75));
    /// ```
    #[must_use]
    pub fn acceptance_rate(&self) -> Option<f64> {
        ratio(self.accepted, self.drafted)
    }

    /// How often position `position` was accepted once all positions before it were: the
    /// conditional acceptance α of that position (arXiv 2211.17192 takes it as constant, β).
    ///
    /// `None` when that position was never reached.
    ///
    /// ```
    /// let mut metrics = fastdraft_specdec::Metrics::default();
    /// metrics.record(2, 2, 3, 0); // both accepted
    /// metrics.record(2, 1, 2, 0); // the second rejected
    /// metrics.record(2, 0, 1, 0); // the first rejected, the second never reached
    /// assert_eq!(metrics.conditional_acceptance(0), Some(2.0 / 3.0));
    /// assert_eq!(metrics.conditional_acceptance(1), Some(1.0 / 2.0));
    /// ```
    #[must_use]
    pub fn conditional_acceptance(&self, position: usize) -> Option<f64> {
        let (_, accepted) = *self.draft_position.get(position)?;
        ratio(accepted, *self.draft_reached.get(position)?)
    }

    /// Block efficiency τ, emitted / target passes: tokens per target pass, the target's own
    /// included (arXiv 2411.11055; the expected count of arXiv 2211.17192, equation 1).
    ///
    /// At a fixed γ with no block cut short, τ = 1 + γ · acceptance rate. `None` before any pass.
    ///
    /// ```
    /// let mut metrics = fastdraft_specdec::Metrics::default();
    /// metrics.record(3, 3, 4, 0);
    /// metrics.record(3, 1, 2, 0);
    /// assert_eq!(metrics.block_efficiency(), Some(3.0));
    /// ```
    #[must_use]
    pub fn block_efficiency(&self) -> Option<f64> {
        ratio(self.emitted, self.target_passes)
    }

    /// Memory-bound speed-up, τ / (cγ + 1), for a draft whose pass moves `c` times the bytes of the
    /// target's (arXiv 2411.11055).
    ///
    /// `None` before any pass.
    ///
    /// ```
    /// let mut metrics = fastdraft_specdec::Metrics::default();
    /// metrics.record(3, 2, 3, 0);
    /// // Three tokens a pass, for a draft of a tenth of the target's size.
    /// assert_eq!(metrics.mbsu(0.1, 3), Some(3.0 / 1.3));
    /// ```
    #[must_use]
    pub fn mbsu(&self, c: f64, gamma: usize) -> Option<f64> {
        Some(self.block_efficiency()? / (c * gamma as f64 + 1.0))
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.drafted += other.drafted;
        self.accepted += other.accepted;
        self.target_passes += other.target_passes;
        self.emitted += other.emitted;
        self.discarded += other.discarded;
        self.widen(other.draft_position.len().max(other.draft_reached.len()));
        for (mine, theirs) in self.draft_position.iter_mut().zip(&other.draft_position) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
        for (mine, theirs) in self.draft_reached.iter_mut().zip(&other.draft_reached) {
            *mine += theirs;
        }
    }

    fn widen(&mut self, positions: usize) {
        let positions = positions
            .max(self.draft_position.len())
            .max(self.draft_reached.len());
        self.draft_position.resize(positions, (0, 0));
        self.draft_reached.resize(positions, 0);
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
