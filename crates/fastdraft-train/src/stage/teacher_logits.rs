//! Where the probabilities of a teacher come from.

use serde::{Deserialize, Serialize};

/// Where the target's probabilities come from that a loss compares the draft with.
///
/// ```
/// use fastdraft_train::stage::TeacherLogits;
/// assert_eq!(serde_json::to_string(&TeacherLogits::Live)?, "\"live\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TeacherLogits {
    /// From the rows: the most probable tokens that were recorded with the target's answers.
    #[default]
    Recorded,
    /// From the target itself, which reads the rows of each step: over all tokens of the draft's
    /// head, for any text. Nothing is stored, and each step takes a pass of the target. The torch
    /// engine has it, the Burn trainer refuses.
    Live,
}

impl TeacherLogits {
    // For serde, which hands over a reference.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
