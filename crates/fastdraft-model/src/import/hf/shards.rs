//! The safetensors files of a directory, mapped.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Component, Path, PathBuf},
};

use memmap2::Mmap;
use safetensors::{SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::{config::unsupported, json};
use crate::{error::ModelError, import};

const FORMAT: &str = "safetensors";
/// Weights as programs, which are not run here.
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// Every tensor of a directory, by name; no data is read.
pub(super) struct Shards {
    files: Vec<(PathBuf, Mmap)>,
    /// File and position, so that the header of each file is parsed once.
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    file: usize,
    dtype: safetensors::Dtype,
    shape: Vec<usize>,
    range: std::ops::Range<usize>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl Shards {
    /// Maps `model.safetensors`, or else the files `model.safetensors.index.json` names.
    pub(super) fn open(dir: &Path) -> Result<Self, ModelError> {
        let index_path = dir.join("model.safetensors.index.json");
        let mut shards = Self {
            files: Vec::new(),
            entries: BTreeMap::new(),
        };
        let single = dir.join("model.safetensors");
        if single.exists() || !index_path.exists() {
            if !single.exists()
                && let Some(name) = PICKLED.iter().find(|name| dir.join(name).exists())
            {
                let value = format!("{name}; save the model as safetensors");
                return Err(unsupported(dir, "weights", value));
            }
            shards.add(single)?;
            return Ok(shards);
        }
        let index: Index = json::read(&index_path, "safetensors index", json::INDEX_BYTES)?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        for name in &names {
            // A name with a folder in it could reach any file of the machine.
            let mut components = Path::new(name).components();
            if !matches!(
                (components.next(), components.next()),
                (Some(Component::Normal(_)), None)
            ) {
                return Err(ModelError::Corrupt {
                    path: index_path,
                    format: "safetensors index",
                    reason: format!("`{name}` is not a file name"),
                });
            }
            shards.add(dir.join(name))?;
        }
        let names: Vec<&String> = names.into_iter().collect();
        for (tensor, file) in &index.weight_map {
            match shards.entries.get(tensor) {
                Some(entry) if names[entry.file] == file => {}
                _ => {
                    return Err(ModelError::MissingTensor {
                        name: tensor.clone(),
                    });
                }
            }
        }
        Ok(shards)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), ModelError> {
        let map = import::map(&path)?;
        let corrupt = |reason: String| ModelError::Corrupt {
            path: path.clone(),
            format: FORMAT,
            reason,
        };
        let file = self.files.len();
        let parsed = SafeTensors::deserialize(&map).map_err(|error| corrupt(error.to_string()))?;
        let base = map.as_ptr() as usize;
        for (name, view) in parsed.iter() {
            let start = view.data().as_ptr() as usize - base;
            let entry = Entry {
                file,
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                range: start..start + view.data().len(),
            };
            if self.entries.insert(name.to_owned(), entry).is_some() {
                return Err(corrupt(format!("tensor `{name}` is in another file too")));
            }
        }
        drop(parsed);
        self.files.push((path, map));
        Ok(())
    }

    /// Takes the pages of a tensor out of this process's memory.
    pub(super) fn release(&self, name: &str) {
        if let Some(entry) = self.entries.get(name) {
            import::release(&self.files[entry.file].1, &entry.range);
        }
    }

    /// Names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The tensor of that name and the file it is in.
    pub(super) fn tensor(&self, name: &str) -> Result<(&Path, TensorView<'_>), ModelError> {
        let entry = self
            .entries
            .get(name)
            .ok_or_else(|| ModelError::MissingTensor {
                name: name.to_owned(),
            })?;
        let (path, map) = &self.files[entry.file];
        let view = TensorView::new(entry.dtype, entry.shape.clone(), &map[entry.range.clone()])
            .map_err(|error| ModelError::Corrupt {
                path: path.clone(),
                format: FORMAT,
                reason: format!("tensor `{name}`: {error}"),
            })?;
        Ok((path, view))
    }
}
