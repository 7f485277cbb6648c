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
pub(crate) mod limits;
pub(crate) mod partial;
pub(crate) mod tensors;

use std::{fs::File, io::Read, ops::Range, path::Path};

use memmap2::Mmap;

use crate::{checkpoint::Checkpoint, error::ModelError};

/// The model at `path`: a Hugging Face directory, or a GGUF file, recognised by its first bytes.
///
/// # Errors
/// [`ModelError::Unsupported`] when the file is neither, else those of [`hf::load`] and
/// [`gguf::load`].
pub fn load(path: &Path) -> Result<Checkpoint, ModelError> {
    if is_gguf(path)? {
        gguf::load(path)
    } else {
        hf::load(path)
    }
}

/// Whether `path` is a GGUF file; if not, it is a directory.
fn is_gguf(path: &Path) -> Result<bool, ModelError> {
    let metadata = std::fs::metadata(path).map_err(|source| ModelError::io(path, source))?;
    if metadata.is_dir() {
        return Ok(false);
    }
    let mut magic = Vec::with_capacity(4);
    File::open(path)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(|source| ModelError::io(path, source))?;
    if magic == gguf::MAGIC {
        return Ok(true);
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

/// Takes pages that have been read out of this process's memory; the file still has them.
fn release(map: &Mmap, range: &Range<usize>) {
    #[cfg(unix)]
    if !range.is_empty() && range.end <= map.len() {
        // SAFETY: a read-only map of a file has the same bytes when its pages are read again. A
        // refusal costs memory, not correctness.
        let _ = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
        };
    }
}
