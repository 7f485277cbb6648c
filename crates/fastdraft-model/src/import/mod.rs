//! Model files into [`Checkpoint`]s.
//!
//! ```no_run
//! # fn main() -> Result<(), fastdraft_model::ModelError> {
//! let checkpoint = fastdraft_model::import::load("SmolLM2-135M-Instruct.Q4_1.gguf".as_ref())?;
//! println!("{} blocks", checkpoint.config.layers);
//! # Ok(())
//! # }
//! ```

pub(crate) mod fused;
pub mod gguf;
pub mod hf;
pub(crate) mod layout;
mod limits;
pub(crate) mod partial;

use std::{fs::File, io::Read, path::Path};

use memmap2::Mmap;

use crate::{checkpoint::Checkpoint, error::ModelError};

/// The model at `path`: a Hugging Face directory, or a GGUF file, recognised by its first bytes.
///
/// # Errors
/// [`ModelError::Unsupported`] when the file is neither, else those of [`hf::load`] and
/// [`gguf::load`].
pub fn load(path: &Path) -> Result<Checkpoint, ModelError> {
    let metadata = std::fs::metadata(path).map_err(|source| ModelError::io(path, source))?;
    if metadata.is_dir() {
        return hf::load(path);
    }
    let mut magic = Vec::with_capacity(4);
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(|source| ModelError::io(path, source))?;
    if magic == gguf::MAGIC {
        return gguf::load(path);
    }
    Err(ModelError::Unsupported {
        path: path.to_owned(),
        what: "model file",
        value: format!("it starts with {magic:02x?}, a GGUF file starts with \"GGUF\""),
    })
}

fn map(path: &Path) -> Result<Mmap, ModelError> {
    let file = File::open(path).map_err(|source| ModelError::io(path, source))?;
    // SAFETY: the map is read-only; as for every reader of model files, nobody may truncate or
    // rewrite the file while it is being read.
    unsafe { Mmap::map(&file) }.map_err(|source| ModelError::io(path, source))
}
