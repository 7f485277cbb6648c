//! What a recipe trains on, and the draft it begins with.

use std::{path::Path, rc::Rc, sync::atomic::AtomicBool};

use fastdraft_data::{
    PackedTokens, Packer, frequency,
    source::{documents, read_prompts},
};
use fastdraft_model::{
    Checkpoint, DecoderConfig, DraftVocabulary,
    draft::{init, slice},
};
use fastdraft_train::{
    TargetModel, TrainError,
    answers::{AnswerRows, AnswersFolder, pack},
    generate::{GenerateConfig, Place, Question},
    progress::Progress,
    recipe::{AnswersSource, SourceSpec, ValidRecipe},
    stage::{Precision, Source},
    target::load_draft,
};

/// Rows of one source.
pub enum Rows {
    Text(PackedTokens),
    Answers(AnswerRows),
}

impl Rows {
    /// The rows with their weight in the mixture.
    pub fn source(&self, weight: u32) -> Source<'_> {
        match self {
            Self::Text(rows) => (rows, weight).into(),
            Self::Answers(rows) => rows.source(weight),
        }
    }

    fn packed(&self) -> &PackedTokens {
        match self {
            Self::Text(rows) => rows,
            Self::Answers(rows) => rows.packed(),
        }
    }
}

/// Rows of all sources of all stages, each source read once; `None` when `stop` became true before they were there.
/// Answers that the target has to write go below `out`, where the next run finds them.
pub fn stages(
    recipe: &ValidRecipe,
    target: &TargetModel,
    out: &Path,
    place: &Place,
    stop: &AtomicBool,
) -> Result<Option<Vec<Vec<Rc<Rows>>>>, TrainError> {
    let mut all = Vec::new();
    let mut read: Vec<(SourceSpec, Rc<Rows>)> = Vec::new();
    for stage in &recipe.stages {
        let mut rows = Vec::new();
        for (i, source) in stage.sources.iter().enumerate() {
            let folder = out.join("answers").join(format!("{}-{i}", stage.name));
            let same = |spec: &SourceSpec| {
                let weighed = SourceSpec {
                    weight: source.weight,
                    ..spec.clone()
                };
                // Answers of each stage have a folder of their own.
                source.answers.is_none() && weighed == *source
            };
            if let Some((_, found)) = read.iter().find(|(spec, _)| same(spec)) {
                rows.push(Rc::clone(found));
                continue;
            }
            let Some(found) = source_rows(source, recipe, target, &folder, place, stop)? else {
                return Ok(None);
            };
            let found = Rc::new(found);
            read.push((source.clone(), Rc::clone(&found)));
            rows.push(found);
        }
        all.push(rows);
    }
    Ok(Some(all))
}

fn source_rows(
    source: &SourceSpec,
    recipe: &ValidRecipe,
    target: &TargetModel,
    folder: &Path,
    place: &Place,
    stop: &AtomicBool,
) -> Result<Option<Rows>, TrainError> {
    let end = target.config().eos_ids.first().copied().unwrap_or(0);
    let mut packer = Packer::new(recipe.sequence_length, end);
    if let Some(path) = &source.documents {
        for document in documents(path, &source.field)? {
            packer.push_document(&target.tokenizer.encode(&document?.text, false)?);
        }
        return Ok(Some(Rows::Text(packer.finish()?)));
    }
    let folder = match (&source.answers, &source.answered) {
        (Some(spec), _) => {
            let folder = AnswersFolder::new(folder);
            if !answer(spec, recipe.seed, target, &folder, place, stop)? {
                return Ok(None);
            }
            folder
        }
        (None, Some(path)) => AnswersFolder::new(path),
        (None, None) => {
            return Err(TrainError::Empty {
                what: "a source of the recipe".into(),
            });
        }
    };
    let rows = pack(&folder.read()?, recipe.sequence_length, end)?;
    Ok(Some(Rows::Answers(rows)))
}

fn answer(
    spec: &AnswersSource,
    seed: u64,
    target: &TargetModel,
    folder: &AnswersFolder,
    place: &Place,
    stop: &AtomicBool,
) -> Result<bool, TrainError> {
    let mut questions = Vec::new();
    let temperatures = spec.temperatures.iter().cycle();
    for (prompt, temperature) in read_prompts(&spec.prompts)?.into_iter().zip(temperatures) {
        questions.push(Question {
            ids: target.encode(&prompt.prompt, spec.raw)?,
            id: prompt.id,
            prompt: prompt.prompt,
            temperature: *temperature,
        });
    }
    let config = GenerateConfig {
        max_new_tokens: spec.max_new_tokens,
        batch: spec.batch,
        limit: None,
        seed,
        top_k: spec.top_k,
        place: place.clone(),
        precision: Precision::default(),
    };
    let mut progress = Progress::start("answers of the target");
    let done = folder.complete(target, &questions, &config, &mut progress, stop)?;
    progress.finish(&folder.path().display().to_string());
    Ok(done)
}

/// The draft before the first stage.
pub fn draft(
    recipe: &ValidRecipe,
    stages: &[Vec<Rc<Rows>>],
    target: &TargetModel,
) -> Result<Checkpoint, TrainError> {
    let (spec, size) = (&recipe.draft, target.config().vocabulary_size);
    if let Some(path) = &spec.from {
        return load_draft(path, target);
    }
    let kept = if spec.vocabulary == 0 {
        None
    } else {
        let special: Vec<u32> = (0..size as u32)
            .filter(|id| target.tokenizer.is_special(*id))
            .collect();
        let rows = stages.iter().flatten();
        let ids = rows.flat_map(|rows| rows.packed().ids.iter().copied());
        let top = frequency::top_n(ids, spec.vocabulary, &special);
        Some(DraftVocabulary::new(top, size)?)
    };
    if spec.width > 0 {
        let (weights, blocks) = (target.checkpoint()?, &spec.blocks);
        return Ok(slice::from_target(&weights, blocks, spec.width, kept)?);
    }
    if !spec.blocks.is_empty() {
        return Ok(init::from_target(
            &target.checkpoint()?,
            &spec.blocks,
            kept,
        )?);
    }
    let config = DecoderConfig {
        intermediate_size: spec.intermediate_size,
        heads: spec.heads,
        kv_heads: spec.heads,
        head_dim: spec.hidden_size / spec.heads.max(1),
        bos_id: target.config().bos_id,
        eos_ids: target.config().eos_ids.clone(),
        ..DecoderConfig::llama(size, spec.hidden_size, spec.layers)
    };
    Ok(init::random(config, kept, recipe.seed)?)
}
