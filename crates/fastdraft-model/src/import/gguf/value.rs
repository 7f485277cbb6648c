//! Metadata values.

use std::{ops::Range, path::Path};

use super::{corrupt, reader::Reader};
use crate::error::ModelError;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An unsigned integer of 8 to 64 bits.
    Unsigned(u64),
    /// A signed integer of 8 to 64 bits.
    Signed(i64),
    /// A float of 32 or 64 bits.
    Float(f64),
    /// A flag.
    Bool(bool),
    /// A string.
    String(String),
    /// A list, left in the file.
    Array(Array),
}

/// A list in the file: read on demand, so that a header costs no more memory than it has bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    kind: u32,
    len: usize,
    range: Range<usize>,
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Bytes that the length of a string takes.
const STRING_HEAD: usize = 8;

impl Value {
    /// The value as an unsigned integer.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Unsigned(value) => Some(value),
            Self::Signed(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// The value as a float.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Float(value) => Some(value),
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(value as f64),
            _ => None,
        }
    }

    /// The value as a flag.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// The value as a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(value) => Some(value),
            _ => None,
        }
    }

    /// The value as a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(value) => Some(value),
            _ => None,
        }
    }

    /// The next value: its type, then itself.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, ModelError> {
        let kind = reader.u32()?;
        match kind {
            STRING => Ok(Self::String(reader.string()?.to_owned())),
            ARRAY => Array::read(reader).map(Self::Array),
            _ => Self::scalar(reader, kind),
        }
    }

    fn scalar(reader: &mut Reader<'_>, kind: u32) -> Result<Self, ModelError> {
        let bytes = reader.take(scalar_size(reader, kind)?)?;
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(word);
        // Narrow integers are sign-extended by moving them to the top and back.
        let unused = 64 - 8 * bytes.len() as u32;
        let signed = ((bits << unused) as i64) >> unused;
        Ok(match kind {
            1 | 3 | 5 | 11 => Self::Signed(signed),
            6 => Self::Float(f64::from(f32::from_bits(bits as u32))),
            12 => Self::Float(f64::from_bits(bits)),
            7 => match bits {
                0 => Self::Bool(false),
                1 => Self::Bool(true),
                other => return Err(reader.error(format!("a boolean is {other}"))),
            },
            _ => Self::Unsigned(bits),
        })
    }
}

fn scalar_size(reader: &Reader<'_>, kind: u32) -> Result<usize, ModelError> {
    match kind {
        0 | 1 | 7 => Ok(1),
        2 | 3 => Ok(2),
        4..=6 => Ok(4),
        10..=12 => Ok(8),
        _ => Err(reader.error(format!("metadata type {kind} is unknown"))),
    }
}

impl Array {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ModelError> {
        let kind = reader.u32()?;
        if kind == ARRAY {
            return Err(reader.error("an array of arrays".into()));
        }
        if kind != STRING {
            let size = scalar_size(reader, kind)?;
            let len = reader.count("array elements", size)?;
            return Ok(Self {
                kind,
                len,
                range: reader.skip(len * size)?,
            });
        }
        let len = reader.count("strings", STRING_HEAD)?;
        let start = reader.position();
        for _ in 0..len {
            reader.raw_string()?;
        }
        Ok(Self {
            kind,
            len,
            range: start..reader.position(),
        })
    }

    pub(super) fn strings(
        &self,
        path: &Path,
        key: &str,
        file: &[u8],
    ) -> Result<Vec<String>, ModelError> {
        if self.kind != STRING {
            return Err(self.wrong_kind(path, key, "strings"));
        }
        let mut reader = self.reader(path, file)?;
        (0..self.len)
            .map(|index| {
                let bytes = reader.raw_string()?;
                let text = std::str::from_utf8(bytes)
                    .map_err(|error| corrupt(path, format!("`{key}`[{index}]: {error}")))?;
                Ok(text.to_owned())
            })
            .collect()
    }

    pub(super) fn integers(
        &self,
        path: &Path,
        key: &str,
        file: &[u8],
    ) -> Result<Vec<u32>, ModelError> {
        if self.kind == STRING {
            return Err(self.wrong_kind(path, key, "integers"));
        }
        let mut reader = self.reader(path, file)?;
        (0..self.len)
            .map(|index| {
                let value = Value::scalar(&mut reader, self.kind)?;
                value
                    .as_u64()
                    .and_then(|value| u32::try_from(value).ok())
                    .ok_or_else(|| corrupt(path, format!("`{key}`[{index}] is {value:?}")))
            })
            .collect()
    }

    pub(super) fn floats(
        &self,
        path: &Path,
        key: &str,
        file: &[u8],
    ) -> Result<Vec<f32>, ModelError> {
        if self.kind == STRING {
            return Err(self.wrong_kind(path, key, "numbers"));
        }
        let mut reader = self.reader(path, file)?;
        (0..self.len)
            .map(|index| {
                let value = Value::scalar(&mut reader, self.kind)?;
                value
                    .as_f64()
                    .map(|value| value as f32)
                    .ok_or_else(|| corrupt(path, format!("`{key}`[{index}] is {value:?}")))
            })
            .collect()
    }

    fn reader<'a>(&self, path: &'a Path, file: &'a [u8]) -> Result<Reader<'a>, ModelError> {
        let bytes = file
            .get(self.range.clone())
            .ok_or_else(|| corrupt(path, format!("an array lies at {:?}", self.range)))?;
        Ok(Reader::new(path, bytes))
    }

    fn wrong_kind(&self, path: &Path, key: &str, wanted: &str) -> ModelError {
        corrupt(
            path,
            format!(
                "`{key}` is an array of type {}, must be of {wanted}",
                self.kind
            ),
        )
    }
}
