//! Moments and losses as a safetensors file.

use std::{collections::BTreeMap, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{error::TrainError, optim::Moments, stage::StageState};

const LOSSES: &str = "losses";
const FIRST: &str = "first.";
const SECOND: &str = "second.";

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    }
}

/// # Errors
/// [`TrainError::Io`] naming `path`.
pub(crate) fn write(path: &Path, state: &StageState) -> Result<(), TrainError> {
    let mut all = vec![(LOSSES.to_owned(), bytes(&state.losses))];
    for (name, moments) in state.optimizer.iter().flat_map(|o| o.moments()) {
        all.push((format!("{FIRST}{name}"), bytes(&moments.first)));
        all.push((format!("{SECOND}{name}"), bytes(&moments.second)));
    }
    let mut views = Vec::with_capacity(all.len());
    for (name, data) in &all {
        let view = TensorView::new(Dtype::F32, vec![data.len() / 4], data);
        views.push((name, view.map_err(|error| wrong(path, error))?));
    }
    safetensors::serialize_to_file(views, None, path).map_err(|error| wrong(path, error))
}

/// Losses, and moments by the parameter's path.
///
/// # Errors
/// [`TrainError::Io`] naming `path`.
pub(crate) fn read(path: &Path) -> Result<(Vec<f32>, BTreeMap<String, Moments>), TrainError> {
    let file = std::fs::read(path).map_err(|source| TrainError::Io {
        path: path.to_owned(),
        source,
    })?;
    let tensors = SafeTensors::deserialize(&file).map_err(|error| wrong(path, error))?;
    let (mut losses, mut all) = (Vec::new(), BTreeMap::<String, Moments>::new());
    for (name, view) in tensors.tensors() {
        let values = floats(view.data());
        if let Some(name) = name.strip_prefix(FIRST) {
            all.entry(name.to_owned()).or_default().first = values;
        } else if let Some(name) = name.strip_prefix(SECOND) {
            all.entry(name.to_owned()).or_default().second = values;
        } else if name == LOSSES {
            losses = values;
        }
    }
    Ok((losses, all))
}
