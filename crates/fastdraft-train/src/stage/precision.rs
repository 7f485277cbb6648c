//! The type of matrix products.

use serde::{Deserialize, Serialize};

/// What matrix products are computed in. Weights, moments, norms and the softmax are float32
/// always.
///
/// ```
/// use fastdraft_train::stage::Precision;
/// assert_eq!(serde_json::to_string(&Precision::Bfloat16)?, "\"bf16\"");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Precision {
    /// float32.
    #[default]
    #[serde(rename = "f32")]
    Float32,
    /// bfloat16, with activations stored as it; the torch engine has it, the Burn trainer refuses.
    #[serde(rename = "bf16")]
    Bfloat16,
}

impl Precision {
    // For serde, which hands over a reference.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What torch's autocast is given; `None` is no autocast.
    pub(crate) fn autocast(self) -> Option<&'static str> {
        match self {
            Self::Float32 => None,
            Self::Bfloat16 => Some("bfloat16"),
        }
    }
}
