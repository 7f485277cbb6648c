//! What stays as it is.

use serde::Serialize;

/// Matrices that are not trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Freeze {
    /// The embedding.
    pub embedding: bool,
    /// The head. One that began as rows of a frozen embedding stays so, see
    /// [`whole`](fastdraft_model::draft::whole).
    pub head: bool,
}

impl Freeze {
    /// All is trained.
    pub const NONE: Self = Self {
        embedding: false,
        head: false,
    };
    /// All but the embedding is trained.
    pub const EMBEDDING: Self = Self {
        embedding: true,
        head: false,
    };
    /// The blocks and the last norm are trained.
    pub const VOCABULARY: Self = Self {
        embedding: true,
        head: true,
    };
}
