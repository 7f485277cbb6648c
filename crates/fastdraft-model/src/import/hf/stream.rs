//! The tensors of a directory one at a time.

use std::{collections::BTreeMap, path::Path};

use super::{draft, read_config, shards::Shards, weights};
use crate::{
    checkpoint::DraftVocabulary,
    config::{DecoderConfig, Family},
    error::ModelError,
    import::{
        fused, partial,
        tensors::{Tensors, pieces},
    },
};

/// A directory whose tensors have been checked against its configuration.
pub(crate) struct Stream {
    shards: Shards,
    config: DecoderConfig,
    draft_vocabulary: Option<DraftVocabulary>,
    /// The tensor that has the rows of a fused projection's part, and the first of them.
    parts: BTreeMap<String, (String, usize)>,
}

impl Stream {
    pub(crate) fn open(dir: &Path) -> Result<Self, ModelError> {
        let (config, trimmed) = read_config(dir)?;
        let shards = Shards::open(dir)?;
        weights::plan(&config, trimmed, &shards)?;
        let draft_vocabulary = if trimmed {
            Some(draft::read(
                config.head_size,
                config.vocabulary_size,
                &shards,
            )?)
        } else {
            None
        };
        let mut parts = BTreeMap::new();
        if config.family == Family::Phi3 {
            for (whole, names) in fused::groups(&config) {
                let mut first = 0;
                for (name, rows) in names {
                    parts.insert(name, (whole.clone(), first));
                    first += rows;
                }
            }
        }
        Ok(Self {
            shards,
            config,
            draft_vocabulary,
            parts,
        })
    }
}

impl Tensors for Stream {
    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn draft_vocabulary(&self) -> Option<&DraftVocabulary> {
        self.draft_vocabulary.as_ref()
    }

    fn floats(
        &self,
        name: &str,
        shape: &[usize],
        each: &mut dyn FnMut(&[f32]),
    ) -> Result<(), ModelError> {
        let (stored, first) = match self.parts.get(name) {
            Some((whole, first)) => (whole.as_str(), *first),
            None => (name, 0),
        };
        let (rows, columns) = match *shape {
            [rows, columns] => (rows, columns),
            _ => (1, shape.iter().product()),
        };
        let read = |rows: std::ops::Range<usize>| {
            weights::elements(
                &self.shards,
                stored,
                rows.start * columns..rows.end * columns,
            )
        };
        if partial::moves(&self.config, name) {
            let data = read(first..first + rows)?;
            each(&partial::paired(&self.config, name, &data, shape[0]).unwrap_or(data));
        } else {
            for piece in pieces(rows, columns) {
                each(&read(first + piece.start..first + piece.end)?);
            }
        }
        self.shards.release(stored);
        Ok(())
    }
}
