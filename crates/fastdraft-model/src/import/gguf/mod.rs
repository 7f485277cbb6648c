//! GGUF files, versions 2 and 3.

mod config;
mod dequant;
mod header;
mod kquants;
pub(crate) mod llama;
pub(crate) mod names;
mod reader;
pub(crate) mod rope;
mod stream;
mod tensor;
mod tokenizer;
mod value;

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;

use self::header::Header;
pub(crate) use self::stream::Stream;
pub use self::{
    tensor::{TensorInfo, TensorType},
    tokenizer::GgufTokenizer,
    value::{Array, Value},
};
use crate::{checkpoint::Checkpoint, error::ModelError, import};

/// First bytes of every GGUF file.
pub(crate) const MAGIC: &[u8] = b"GGUF";
const FORMAT: &str = "GGUF";

/// A mapped GGUF file whose header has been checked against the file's length.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl GgufFile {
    /// Maps a file and checks its header: counts, strings, and where each tensor lies.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Corrupt`] for anything outside the file, overlapping or
    /// contradictory, and [`ModelError::Unsupported`] for another version or tensor type.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let map = import::map(path)?;
        let header = Header::parse(path, &map)?;
        Ok(Self {
            path: path.to_owned(),
            map,
            header,
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The metadata value of that key.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(key)
    }

    /// Keys of the metadata, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.header.metadata.keys().map(String::as_str)
    }

    /// An unsigned integer of the metadata, whatever width it is stored in.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, ModelError> {
        self.typed(key, "an unsigned integer", Value::as_u64)
    }

    /// A number of the metadata.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else.
    pub fn float(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A flag of the metadata.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    /// A string of the metadata.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else.
    pub fn string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", Value::as_str)
    }

    /// A list of strings of the metadata.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else, or not UTF-8.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>, ModelError> {
        let array = self.typed(key, "an array", Value::as_array)?;
        array
            .map(|array| array.strings(&self.path, key, &self.map))
            .transpose()
    }

    /// A list of unsigned integers of the metadata.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else, or an element is negative or
    /// too large.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<u32>>, ModelError> {
        let array = self.typed(key, "an array", Value::as_array)?;
        array
            .map(|array| array.integers(&self.path, key, &self.map))
            .transpose()
    }

    /// A list of numbers of the metadata.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the value is something else.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, ModelError> {
        let array = self.typed(key, "an array", Value::as_array)?;
        array
            .map(|array| array.floats(&self.path, key, &self.map))
            .transpose()
    }

    /// Every tensor, in the order of the header.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header
            .tensors
            .iter()
            .find(|tensor| tensor.name == name)
    }

    /// Elements of a tensor of this file as float32, row-major.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when the tensor does not lie inside this file.
    pub fn dequantize(&self, tensor: &TensorInfo) -> Result<Vec<f32>, ModelError> {
        let bytes = self.bytes(tensor, tensor.range.clone())?;
        Ok(dequant::dequantize(tensor.kind, bytes))
    }

    /// Some bytes of a tensor.
    fn bytes(&self, tensor: &TensorInfo, range: Range<usize>) -> Result<&[u8], ModelError> {
        self.map
            .get(range)
            .filter(|_| tensor.range.end <= self.map.len())
            .ok_or_else(|| {
                corrupt(
                    &self.path,
                    format!("tensor `{}` lies outside the file", tensor.name),
                )
            })
    }

    /// The tokenizer that travels with the model.
    ///
    /// # Errors
    /// [`ModelError::Corrupt`] when it is missing or its parts contradict each other.
    pub fn tokenizer(&self) -> Result<GgufTokenizer, ModelError> {
        tokenizer::read(self)
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        kind: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        self.metadata(key)
            .map(|value| {
                convert(value).ok_or_else(|| {
                    corrupt(&self.path, format!("`{key}` is {value:?}, must be {kind}"))
                })
            })
            .transpose()
    }
}

/// The model in a GGUF file, in float32 and in the layout of Hugging Face.
///
/// # Errors
/// Those of [`GgufFile::open`]; [`ModelError::Unsupported`] for an architecture or rope scaling
/// outside this crate; [`ModelError::MissingTensor`], [`ModelError::UnexpectedTensor`] or
/// [`ModelError::ShapeMismatch`] when the tensors are not those of the metadata.
pub fn load(path: &Path) -> Result<Checkpoint, ModelError> {
    llama::load(&GgufFile::open(path)?)
}

fn corrupt(path: &Path, reason: String) -> ModelError {
    ModelError::Corrupt {
        path: path.to_owned(),
        format: FORMAT,
        reason,
    }
}

fn unsupported(path: &Path, what: &'static str, value: String) -> ModelError {
    ModelError::Unsupported {
        path: path.to_owned(),
        what,
        value,
    }
}
