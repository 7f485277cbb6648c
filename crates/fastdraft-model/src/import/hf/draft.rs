//! The maps of a trimmed head.

use safetensors::Dtype;

use super::{config::unsupported, shards::Shards};
use crate::{checkpoint::DraftVocabulary, error::ModelError, import::limits};

pub(super) const NAMES: [&str; 2] = ["d2t", "t2d"];

/// Reads `d2t` (target id minus row) and checks it against `t2d` (mask of the target ids), which
/// some drafts leave out.
pub(super) fn read(
    head_size: usize,
    vocabulary_size: usize,
    shards: &Shards,
) -> Result<DraftVocabulary, ModelError> {
    let offsets = data(shards, "d2t", &[Dtype::I64], head_size)?;
    let ids = offsets
        .as_chunks::<8>()
        .0
        .iter()
        .enumerate()
        .map(|(row, bytes)| {
            let offset = i64::from_le_bytes(*bytes);
            (row as i64)
                .checked_add(offset)
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| limits::invalid(format!("d2t[{row}] is {offset}")))
        })
        .collect::<Result<Vec<u32>, ModelError>>()?;
    let draft = DraftVocabulary::new(ids, vocabulary_size)?;
    if !shards.names().any(|name| name == "t2d") {
        return Ok(draft);
    }
    let mask = data(shards, "t2d", &[Dtype::BOOL, Dtype::U8], vocabulary_size)?;
    let rows = draft.rows(vocabulary_size);
    match mask
        .iter()
        .zip(&rows)
        .position(|(&flag, row)| (flag != 0) != row.is_some())
    {
        Some(id) => Err(limits::invalid(format!(
            "t2d[{id}] is {}, d2t gives token {id} the row {:?}",
            mask[id], rows[id]
        ))),
        None => Ok(draft),
    }
}

fn data<'a>(
    shards: &'a Shards,
    name: &str,
    dtypes: &[Dtype],
    len: usize,
) -> Result<&'a [u8], ModelError> {
    let (path, view) = shards.tensor(name)?;
    if view.shape() != [len] {
        return Err(ModelError::ShapeMismatch {
            name: name.to_owned(),
            expected: vec![len],
            found: view.shape().to_vec(),
        });
    }
    if !dtypes.contains(&view.dtype()) {
        return Err(unsupported(
            path,
            "tensor type",
            format!("{:?} of `{name}`", view.dtype()),
        ));
    }
    Ok(view.data())
}
