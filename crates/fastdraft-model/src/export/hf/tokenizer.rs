//! The tokenizer that travels with a model.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use serde_json::{Map, Value, json};

use crate::{error::ModelError, import::gguf::GgufTokenizer};

/// What transformers looks for.
const NAMES: [&str; 9] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
];
/// The largest published ones are below 40 MiB.
const MAX_BYTES: u64 = 256 << 20;

/// Files of a tokenizer, carried as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerFiles {
    files: BTreeMap<&'static str, Vec<u8>>,
}

impl TokenizerFiles {
    /// No file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tokenizer files of a model directory, those that are there.
    ///
    /// # Errors
    /// [`ModelError::Io`], and [`ModelError::Corrupt`] for a file beyond 256 MiB.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        let mut found = Self::new();
        for name in NAMES {
            let path = dir.join(name);
            if !path.exists() {
                continue;
            }
            let mut bytes = Vec::new();
            File::open(&path)
                .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
                .map_err(|source| ModelError::io(&path, source))?;
            if bytes.len() as u64 > MAX_BYTES {
                return Err(ModelError::Corrupt {
                    path,
                    format: "tokenizer",
                    reason: format!("longer than {MAX_BYTES} bytes"),
                });
            }
            found.files.insert(name, bytes);
        }
        Ok(found)
    }

    /// Adds or replaces a file.
    ///
    /// # Errors
    /// [`ModelError::InvalidConfig`] for a name that transformers does not look for.
    pub fn insert(&mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Result<(), ModelError> {
        let Some(&name) = NAMES.iter().find(|known| **known == name) else {
            return Err(ModelError::InvalidConfig {
                reason: format!(
                    "`{name}` is no file of a tokenizer; those are {}",
                    NAMES.join(", ")
                ),
            });
        };
        self.files.insert(name, bytes.into());
        Ok(())
    }

    /// Adds `tokenizer_config.json`, chat template included, and `special_tokens_map.json` of the
    /// tokenizer of a GGUF file, where they are not here. `tokenizer.json` is for a crate that
    /// knows tokenizers.
    pub fn describe(&mut self, tokenizer: &GgufTokenizer) {
        let mut special = Map::new();
        for (key, id) in [
            ("bos_token", tokenizer.bos_id),
            ("eos_token", tokenizer.eos_id),
            ("unk_token", tokenizer.unknown_id),
        ] {
            let token = id.and_then(|id| tokenizer.tokens.get(id as usize));
            if let Some(token) = token {
                special.insert(key.to_owned(), json!(token));
            }
        }
        let mut config = special.clone();
        config.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        config.insert("clean_up_tokenization_spaces".into(), json!(false));
        if let Some(template) = &tokenizer.chat_template {
            config.insert("chat_template".into(), json!(template));
        }
        for (name, object) in [
            ("special_tokens_map.json", special),
            ("tokenizer_config.json", config),
        ] {
            let text = format!("{:#}\n", Value::Object(object));
            self.files.entry(name).or_insert_with(|| text.into_bytes());
        }
    }

    /// Names and contents.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_tokenizer_files_are_taken() {
        let mut files = TokenizerFiles::new();
        for name in ["config.json", "../tokenizer.json", "model.safetensors"] {
            let error = files.insert(name, "").unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        files.insert("tokenizer.json", "{}").unwrap();
        let found: Vec<_> = files.iter().collect();
        assert_eq!(found, [("tokenizer.json", b"{}".as_slice())]);
    }

    #[test]
    fn files_of_a_directory_are_found() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["tokenizer.json", "chat_template.jinja", "config.json"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let files = TokenizerFiles::read(dir.path()).unwrap();
        let names: Vec<_> = files.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["chat_template.jinja", "tokenizer.json"]);
    }

    #[test]
    fn a_gguf_tokenizer_is_described() {
        let tokenizer = GgufTokenizer {
            tokens: vec!["<s>".into(), "</s>".into()],
            merges: Vec::new(),
            token_types: vec![3, 3],
            pre: "default".into(),
            bos_id: Some(0),
            eos_id: Some(1),
            unknown_id: None,
            add_bos: true,
            chat_template: Some("{{ x }}".into()),
            ..GgufTokenizer::default()
        };
        let mut files = TokenizerFiles::new();
        files.describe(&tokenizer);
        let config = &files.files["tokenizer_config.json"];
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["eos_token"], "</s>");
        assert_eq!(config["chat_template"], "{{ x }}");
        assert!(config.get("unk_token").is_none());
    }
}
