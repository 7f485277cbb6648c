//! What the readers are made to do with bytes nobody vouches for; shared by the fuzz targets and
//! by `tests/hostile.rs`.
//!
//! Every body must return: an error is as good as a model. What a reader allocates is measured by
//! the test.

use std::{fs, path::PathBuf};

use fastdraft_model::import::{self, gguf::GgufFile};

/// A configuration that the fuzz targets of the other files of a directory start from.
#[allow(dead_code)] // Only they do.
pub const CONFIG: &[u8] = br#"{"model_type":"llama","vocab_size":4,"hidden_size":4,
"intermediate_size":4,"num_hidden_layers":1,"num_attention_heads":1,"tie_word_embeddings":true}"#;

/// A directory with a small model, one file of which is replaced.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    /// A GGUF file: header, configuration, tokenizer, every tensor.
    pub fn gguf(&self, data: &[u8]) -> bool {
        self.write("model.gguf", data);
        let path = self.path("model.gguf");
        if let Ok(file) = GgufFile::open(&path) {
            for tensor in file.tensors() {
                // Accepted ranges lie in the file.
                file.dequantize(tensor).unwrap();
            }
            let _ = file.tokenizer();
            for key in file.keys() {
                let _ = (file.strings(key), file.integers(key));
            }
        }
        import::load(&path).is_ok()
    }

    /// The file `name` of a Hugging Face directory whose other files are there already.
    pub fn directory(&self, name: &str, data: &[u8]) -> bool {
        self.write(name, data);
        import::hf::load(self.dir.path()).is_ok()
    }
}
