//! A target and a draft with what they need to speak text.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use fastdraft_data::{
    chat::{ChatTemplate, Message},
    tokenizer::{BpeVocabulary, SentencePieceVocabulary, Tokenizer},
};
use fastdraft_model::{
    Checkpoint, DecoderConfig,
    draft::blocks,
    engine::cpu::{CpuEngine, CpuModel, WeightFormat},
    export::{self, hf::TokenizerFiles},
    import,
};
use fastdraft_specdec::RecentContext;

use crate::error::TrainError;

/// A model with its tokenizer and chat template.
pub struct TargetModel {
    /// The model, laid out for decoding.
    pub model: Arc<CpuModel>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its chat template, when it has one.
    pub chat: Option<ChatTemplate>,
    path: PathBuf,
}

impl TargetModel {
    /// Loads a GGUF file, or a Hugging Face directory with a tokenizer.json.
    ///
    /// # Errors
    /// [`TrainError::Model`] or [`TrainError::Data`] naming the file and what is wrong with it.
    pub fn load(path: &Path, format: WeightFormat) -> Result<Self, TrainError> {
        let (tokenizer, template) = tokenizer(path)?;
        let model = Arc::new(CpuModel::load(path, format)?);
        let config = model.config();
        if tokenizer.vocabulary_size() > config.vocabulary_size {
            return Err(TrainError::Vocabulary {
                reason: format!(
                    "the tokenizer has {} tokens, the model {}; this is another model's tokenizer",
                    tokenizer.vocabulary_size(),
                    config.vocabulary_size
                ),
            });
        }
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
        let chat = match template {
            Some(source) => Some(ChatTemplate::new(
                &source,
                token(config.bos_id).as_deref(),
                token(config.eos_ids.first().copied()).as_deref(),
            )?),
            None => None,
        };
        Ok(Self {
            model,
            tokenizer,
            chat,
            path: path.to_owned(),
        })
    }

    /// Shape and constants.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        self.model.config()
    }

    /// The weights as float32, read again from where the model came from: for a draft that starts
    /// from them. Four bytes a weight, so nothing keeps them longer than it needs them.
    ///
    /// # Errors
    /// [`TrainError::Model`] when the files are no longer what they were.
    pub fn checkpoint(&self) -> Result<Checkpoint, TrainError> {
        Ok(import::load(&self.path)?)
    }

    /// An engine with room for `capacity` tokens.
    #[must_use]
    pub fn engine(&self, capacity: usize) -> CpuEngine {
        CpuEngine::new(
            Arc::clone(&self.model),
            capacity,
            self.tokenizer.fingerprint(),
        )
    }

    /// Token ids of a prompt: through the chat template as a user's turn, or `raw`.
    ///
    /// # Errors
    /// [`TrainError::Data`] when the template rejects the prompt.
    pub fn encode(&self, prompt: &str, raw: bool) -> Result<Vec<u32>, TrainError> {
        match &self.chat {
            Some(chat) if !raw => {
                Ok(chat.encode(&self.tokenizer, &[Message::user(prompt)], true)?)
            }
            _ => Ok(self.tokenizer.encode(prompt, false)?),
        }
    }
}

/// The tokenizer of a GGUF file or of a model directory, and its chat template if it has one.
///
/// A GGUF file needs no tensors for it.
///
/// # Errors
/// [`TrainError::Model`] and [`TrainError::Data`] when it has none, or one that cannot be read.
pub fn tokenizer(path: &Path) -> Result<(Tokenizer, Option<String>), TrainError> {
    if path.is_dir() {
        let template = chat_template(path);
        return Ok((Tokenizer::from_file(path)?, template));
    }
    let file = import::gguf::GgufFile::open(path)?;
    let gguf = file.tokenizer()?;
    if gguf.model == "llama" {
        let vocabulary = SentencePieceVocabulary {
            strip_after_special: file
                .string("general.architecture")?
                .is_some_and(|name| name == "phi3"),
            tokens: gguf.tokens,
            scores: gguf.scores,
            token_types: gguf.token_types,
            bos_id: gguf.bos_id,
            eos_id: gguf.eos_id,
            unknown_id: gguf.unknown_id,
            add_bos: gguf.add_bos,
            add_space_prefix: gguf.add_space_prefix,
        };
        return Ok((
            Tokenizer::from_sentence_piece(&vocabulary)?,
            gguf.chat_template,
        ));
    }
    let vocabulary = BpeVocabulary {
        tokens: gguf.tokens,
        merges: gguf.merges,
        token_types: gguf.token_types,
        pre: gguf.pre,
        bos_id: gguf.bos_id,
        eos_id: gguf.eos_id,
        unknown_id: gguf.unknown_id,
        add_bos: gguf.add_bos,
    };
    Ok((Tokenizer::from_bpe(&vocabulary)?, gguf.chat_template))
}

/// The template of a Hugging Face directory: `chat_template.jinja`, or the key of that name in
/// tokenizer_config.json.
fn chat_template(dir: &Path) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(dir.join("chat_template.jinja")) {
        return Some(text);
    }
    let text = std::fs::read_to_string(dir.join("tokenizer_config.json")).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    value.get("chat_template")?.as_str().map(str::to_owned)
}

/// A draft, checked against its target.
pub struct DraftModel {
    /// The model, laid out for decoding.
    pub model: Arc<CpuModel>,
    fingerprint: u64,
    recent: usize,
}

impl DraftModel {
    /// Loads a draft, see [`load_draft`].
    ///
    /// # Errors
    /// As there.
    pub fn load(
        path: &Path,
        format: WeightFormat,
        target: &TargetModel,
    ) -> Result<Self, TrainError> {
        let file = blocks_file(path);
        if is_blocks(&file) {
            return Self::from_checkpoint(&load_draft(path, target)?, format, target);
        }
        speaks(path, tokenizer(path)?.0.fingerprint(), target)?;
        Self::for_target(CpuModel::load(path, format)?, target)
    }

    /// A draft that was trained for this target in this process.
    ///
    /// # Errors
    /// [`TrainError::Vocabulary`] when the sizes differ.
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        format: WeightFormat,
        target: &TargetModel,
    ) -> Result<Self, TrainError> {
        Self::for_target(CpuModel::new(checkpoint, format)?, target)
    }

    fn for_target(model: CpuModel, target: &TargetModel) -> Result<Self, TrainError> {
        let (draft, wanted) = (
            model.config().vocabulary_size,
            target.config().vocabulary_size,
        );
        if draft != wanted {
            return Err(TrainError::Vocabulary {
                reason: format!("the draft has {draft} tokens, the target {wanted}"),
            });
        }
        Ok(Self {
            model: Arc::new(model),
            fingerprint: target.tokenizer.fingerprint(),
            recent: usize::MAX,
        })
    }

    /// Has its engines read only the last `tokens` of a long context, see [`RecentContext`].
    #[must_use]
    pub fn with_recent(self, tokens: usize) -> Self {
        Self {
            recent: tokens,
            ..self
        }
    }

    /// An engine with room for `capacity` tokens.
    #[must_use]
    pub fn engine(&self, capacity: usize) -> RecentContext<CpuEngine> {
        let engine = CpuEngine::new(Arc::clone(&self.model), capacity, self.fingerprint);
        RecentContext::new(engine, self.recent)
    }

    /// Bytes of weights a draft pass reads, as a fraction of the target's: the `c` of MBSU when
    /// passes are memory bound. In one format for both it is the share of parameters.
    #[must_use]
    pub fn cost_ratio(&self, target: &TargetModel) -> f64 {
        self.model.bytes_per_pass() as f64 / target.model.bytes_per_pass() as f64
    }
}

/// Name of the file in a draft directory that shares embedding and head with the target.
pub const BLOCKS: &str = "draft.safetensors";

/// Reads a draft and checks that it speaks the target's tokens: a Hugging Face directory, a GGUF
/// file, or a file of [`blocks`] or a directory with one named [`BLOCKS`].
///
/// # Errors
/// [`TrainError::Vocabulary`] when sizes or tokens differ, [`TrainError::Model`] or
/// [`TrainError::Data`] naming the file and what is wrong with it.
pub fn load_draft(path: &Path, target: &TargetModel) -> Result<Checkpoint, TrainError> {
    let file = blocks_file(path);
    if is_blocks(&file) {
        let loaded = blocks::load(&file, &target.checkpoint()?)?;
        speaks(path, loaded.tokenizer, target)?;
        return Ok(loaded.draft);
    }
    speaks(path, tokenizer(path)?.0.fingerprint(), target)?;
    Ok(import::load(path)?)
}

/// The file of blocks in a directory that has one, else the path itself.
fn blocks_file(path: &Path) -> PathBuf {
    let inside = path.join(BLOCKS);
    if inside.is_file() {
        inside
    } else {
        path.to_owned()
    }
}

fn is_blocks(file: &Path) -> bool {
    file.is_file() && (file.extension()).is_some_and(|ending| ending == "safetensors")
}

/// Whether a draft made for the tokenizer with that fingerprint speaks the target's tokens.
fn speaks(path: &Path, found: u64, target: &TargetModel) -> Result<(), TrainError> {
    let wanted = target.tokenizer.fingerprint();
    if found == wanted {
        return Ok(());
    }
    Err(TrainError::Vocabulary {
        reason: format!(
            "{} was made for a tokenizer with fingerprint {found:016x}, the target has \
             {wanted:016x} ({} tokens); train a draft for this target",
            path.display(),
            target.tokenizer.vocabulary_size()
        ),
    })
}

/// Writes a draft as a Hugging Face directory with the target's tokenizer beside it. The
/// directory appears whole or not at all.
///
/// # Errors
/// [`TrainError::Io`] when `dir` cannot be written.
pub fn save_draft(
    dir: &Path,
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
) -> Result<(), TrainError> {
    let parent = dir
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let io = |source| TrainError::Io {
        path: parent.to_owned(),
        source,
    };
    std::fs::create_dir_all(parent).map_err(io)?;
    let staging = tempfile::tempdir_in(parent).map_err(io)?;
    let path = staging.path().join("tokenizer.json");
    tokenizer.save(&path)?;
    let mut files = TokenizerFiles::new();
    files.insert("tokenizer.json", std::fs::read(&path).map_err(io)?)?;
    Ok(export::hf::save_with(dir, checkpoint, &files)?)
}
