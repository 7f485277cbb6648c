//! Drafts by name: a model, or a lookup that needs none.

use std::path::Path;

use fastdraft_model::{
    ModelError,
    engine::cpu::{CpuEngine, WeightFormat},
};
use fastdraft_specdec::{
    Draft, Interpolated, InterpolatedError, PromptLookup, Proposal, RecentContext, Sampler,
    SuffixLookup, TokenId,
};

use crate::{
    error::TrainError,
    target::{DraftModel, TargetModel},
};

/// Gives a fresh draft to every generation.
///
/// ```
/// use fastdraft_specdec::PromptLookup;
/// use fastdraft_train::{AnyDraft, DraftSource};
/// let draft: &dyn DraftSource<Draft = _> = &AnyDraft::PromptLookup;
/// let _engine = draft.draft(256);
/// ```
pub trait DraftSource {
    /// The draft of one sequence.
    type Draft: Draft;

    /// A draft with room for `capacity` tokens.
    fn draft(&self, capacity: usize) -> Self::Draft;

    /// Cost of a draft token as a fraction of a target pass: the `c` of MBSU when passes are
    /// memory bound.
    fn cost_ratio(&self, target: &TargetModel) -> f64;
}

impl DraftSource for DraftModel {
    type Draft = RecentContext<CpuEngine>;

    fn draft(&self, capacity: usize) -> Self::Draft {
        self.engine(capacity)
    }

    fn cost_ratio(&self, target: &TargetModel) -> f64 {
        Self::cost_ratio(self, target)
    }
}

/// A draft that was chosen at run time.
#[non_exhaustive]
pub enum AnyDraft {
    /// A model.
    Model(DraftModel),
    /// What followed the last occurrence of the context's ending n-gram.
    PromptLookup,
    /// What followed the longest ending that occurred before.
    SuffixLookup,
    /// The model interpolated with the suffix lookup.
    WithLookup(DraftModel),
}

/// Before the path of a model that is to be interpolated with the suffix lookup.
pub const WITH_LOOKUP: &str = "suffix-lookup+";

impl AnyDraft {
    /// What stands for drafts without a model.
    pub const NAMES: [&str; 2] = ["prompt-lookup", "suffix-lookup"];

    /// The draft without a model of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "prompt-lookup" => Some(Self::PromptLookup),
            "suffix-lookup" => Some(Self::SuffixLookup),
            _ => None,
        }
    }

    /// Loads a draft, see [`DraftModel::load`]; after [`WITH_LOOKUP`] it becomes
    /// [`WithLookup`](Self::WithLookup).
    ///
    /// # Errors
    /// [`TrainError::Vocabulary`] when sizes or tokens differ from the target's.
    pub fn load(
        path: &Path,
        format: WeightFormat,
        target: &TargetModel,
    ) -> Result<Self, TrainError> {
        let after = path
            .to_str()
            .and_then(|path| path.strip_prefix(WITH_LOOKUP));
        match after {
            Some(path) => DraftModel::load(Path::new(path), format, target).map(Self::WithLookup),
            None => DraftModel::load(path, format, target).map(Self::Model),
        }
    }

    /// A model reads only the end of a long context, see [`DraftModel::with_recent`]; a lookup reads
    /// all of it.
    #[must_use]
    pub fn with_recent(self, tokens: usize) -> Self {
        match self {
            Self::Model(model) => Self::Model(model.with_recent(tokens)),
            Self::WithLookup(model) => Self::WithLookup(model.with_recent(tokens)),
            lookup => lookup,
        }
    }
}

impl DraftSource for AnyDraft {
    type Draft = AnyDraftEngine;

    fn draft(&self, capacity: usize) -> AnyDraftEngine {
        match self {
            Self::Model(model) => AnyDraftEngine::Model(Box::new(model.engine(capacity))),
            Self::PromptLookup => AnyDraftEngine::PromptLookup(PromptLookup::default()),
            Self::SuffixLookup => AnyDraftEngine::SuffixLookup(SuffixLookup::default()),
            Self::WithLookup(model) => {
                AnyDraftEngine::WithLookup(Box::new(Interpolated::new(model.engine(capacity))))
            }
        }
    }

    fn cost_ratio(&self, target: &TargetModel) -> f64 {
        match self {
            // As if the model had drafted every token.
            Self::Model(model) | Self::WithLookup(model) => model.cost_ratio(target),
            Self::PromptLookup | Self::SuffixLookup => 0.0,
        }
    }
}

/// One sequence of an [`AnyDraft`].
pub enum AnyDraftEngine {
    /// A model.
    Model(Box<RecentContext<CpuEngine>>),
    /// An n-gram lookup.
    PromptLookup(PromptLookup),
    /// A suffix automaton.
    SuffixLookup(SuffixLookup),
    /// A model interpolated with a suffix automaton.
    WithLookup(Box<Interpolated<RecentContext<CpuEngine>>>),
}

fn of_model(error: InterpolatedError<ModelError>) -> ModelError {
    match error {
        InterpolatedError::Draft(error) => error,
        error => ModelError::Sampling {
            reason: error.to_string(),
        },
    }
}

impl Draft for AnyDraftEngine {
    type Error = ModelError;

    fn propose(
        &mut self,
        context: &[TokenId],
        gamma: usize,
        sampler: &mut Sampler<'_>,
        out: &mut Proposal,
    ) -> Result<(), ModelError> {
        match self {
            Self::Model(engine) => engine.propose(context, gamma, sampler, out),
            Self::PromptLookup(lookup) => {
                let Ok(()) = lookup.propose(context, gamma, sampler, out);
                Ok(())
            }
            Self::SuffixLookup(lookup) => {
                let Ok(()) = lookup.propose(context, gamma, sampler, out);
                Ok(())
            }
            Self::WithLookup(both) => both.propose(context, gamma, sampler, out).map_err(of_model),
        }
    }

    fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        match self {
            Self::Model(engine) => Draft::truncate(&mut **engine, len),
            Self::PromptLookup(lookup) => {
                let Ok(()) = lookup.truncate(len);
                Ok(())
            }
            Self::SuffixLookup(lookup) => {
                let Ok(()) = lookup.truncate(len);
                Ok(())
            }
            Self::WithLookup(both) => both.truncate(len).map_err(of_model),
        }
    }
}
