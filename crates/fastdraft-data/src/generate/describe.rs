//! The data card of an answers file.

use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Generation, Summary};
use crate::DataError;
use crate::card::{
    DataCard, DatasetCounts, DatasetKind, FileDigest, SourceCard, TokenizerCard, card_path,
};
use crate::source::{Prompt, rows};

/// What is counted of a row; of the ids only how many there are.
#[derive(Deserialize)]
struct Lengths {
    prompt_ids: Vec<IgnoredAny>,
    answer_ids: Vec<IgnoredAny>,
}

impl Generation<'_> {
    pub(super) fn write_card(
        &self,
        prompts: &[Prompt],
        summary: &Summary,
        answers: &Path,
    ) -> Result<(), DataError> {
        let mut counts = DatasetCounts::default();
        for row in rows::<Lengths>(answers)? {
            let row = row?;
            counts.documents += 1;
            counts.tokens += (row.prompt_ids.len() + row.answer_ids.len()) as u64;
            counts.trained += row.answer_ids.len() as u64;
        }
        counts.rows = counts.documents;
        let mut provenance = self.provenance.clone();
        if provenance.sources.is_empty() {
            provenance.sources.push(prompts_card(prompts)?);
        }
        for sampling in &self.settings {
            let seed = sampling.seed.map_or("none".into(), |seed| seed.to_string());
            provenance.notes.push(format!(
                "setting {}: {} to {} tokens, seed {seed}",
                sampling.label(),
                sampling.min_tokens,
                sampling.max_tokens
            ));
        }
        provenance.notes.push(format!("last run: {summary}"));
        let tokenizer = self.tokenizer;
        let tokenizer = TokenizerCard::new(tokenizer.fingerprint(), tokenizer.vocabulary_size());
        let files = vec![FileDigest::of_file(answers)?];
        DataCard::new(DatasetKind::Answers, provenance, tokenizer, counts, files)
            .write(&card_path(answers))
    }
}

/// The prompts as JSON Lines, whether or not they come from such a file.
fn prompts_card(prompts: &[Prompt]) -> Result<SourceCard, DataError> {
    let mut bytes = Vec::new();
    for (index, prompt) in prompts.iter().enumerate() {
        serde_json::to_writer(&mut bytes, prompt).map_err(|error| DataError::Serialize {
            path: "prompts".into(),
            row: index + 1,
            reason: error.to_string(),
        })?;
        bytes.push(b'\n');
    }
    Ok(SourceCard {
        name: "prompts, as JSON Lines".into(),
        licence: None,
        files: vec![FileDigest::of_bytes("prompts", &bytes)],
        documents: prompts.len() as u64,
        tokens: 0,
    })
}
