//! One part: a JSON Lines file, and the probabilities beside it.

use std::path::{Path, PathBuf};

use fastdraft_data::answers::{read_answers, write_answers};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::io;
use crate::{error::TrainError, generate::TaughtAnswer, teacher::SparseDistributions};

const IDS: &str = "ids";
const PROBABILITIES: &str = "probabilities";

fn file(folder: &Path, number: usize, ending: &str) -> PathBuf {
    folder.join(format!("answers-{number:05}.{ending}"))
}

/// The text is written last, so where it is the part is whole.
pub(super) fn exists(folder: &Path, number: usize) -> bool {
    file(folder, number, "jsonl").exists()
}

pub(super) fn write(
    folder: &Path,
    number: usize,
    answers: impl Iterator<Item = TaughtAnswer>,
) -> Result<(), TrainError> {
    let answers: Vec<TaughtAnswer> = answers.collect();
    let k = answers.first().map_or(0, |answer| answer.teacher.k());
    if k > 0 {
        let mut all = SparseDistributions::new(k);
        for answer in &answers {
            all.append(&answer.teacher)?;
        }
        write_teacher(&file(folder, number, "safetensors"), &all)?;
    }
    let texts = answers.iter().map(|answer| &answer.answer);
    Ok(write_answers(file(folder, number, "jsonl"), texts)?)
}

pub(super) fn read(
    folder: &Path,
    number: usize,
    k: usize,
) -> Result<Vec<TaughtAnswer>, TrainError> {
    let answers = read_answers(file(folder, number, "jsonl"))?;
    if answers.is_empty() {
        return Ok(Vec::new());
    }
    let path = file(folder, number, "safetensors");
    let all = if k > 0 {
        read_teacher(&path, k)?
    } else {
        SparseDistributions::new(0)
    };
    let tokens: usize = answers.iter().map(|answer| answer.answer_ids.len()).sum();
    if k > 0 && tokens != all.positions() {
        return Err(TrainError::Teacher {
            reason: format!(
                "{}: {} positions for {tokens} answer tokens",
                path.display(),
                all.positions()
            ),
        });
    }
    let mut at = 0;
    let taught = answers.into_iter().map(|answer| {
        let from = at;
        at += answer.answer_ids.len();
        TaughtAnswer {
            answer,
            teacher: all.span(from, at),
        }
    });
    Ok(taught.collect())
}

fn write_teacher(path: &Path, all: &SparseDistributions) -> Result<(), TrainError> {
    let wrong = |error: safetensors::SafeTensorError| io(path, std::io::Error::other(error));
    let (ids, probabilities) = all.columns();
    let ids: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let probabilities: Vec<u8> = (probabilities.iter())
        .flat_map(|probability| probability.to_le_bytes())
        .collect();
    let shape = vec![all.positions(), all.k()];
    let views = [
        (
            IDS,
            TensorView::new(Dtype::U32, shape.clone(), &ids).map_err(wrong)?,
        ),
        (
            PROBABILITIES,
            TensorView::new(Dtype::F32, shape, &probabilities).map_err(wrong)?,
        ),
    ];
    let temporary = path.with_extension("tmp");
    safetensors::serialize_to_file(views, None, &temporary).map_err(wrong)?;
    std::fs::rename(&temporary, path).map_err(|error| io(path, error))
}

fn read_teacher(path: &Path, k: usize) -> Result<SparseDistributions, TrainError> {
    let bytes = std::fs::read(path).map_err(|error| io(path, error))?;
    let wrong = |error: safetensors::SafeTensorError| io(path, std::io::Error::other(error));
    let tensors = SafeTensors::deserialize(&bytes).map_err(wrong)?;
    let tensor = |name, dtype| {
        let view = tensors.tensor(name).map_err(wrong)?;
        if view.dtype() != dtype || view.shape().len() != 2 || view.shape()[1] != k {
            return Err(TrainError::Teacher {
                reason: format!(
                    "{}: {name} is {:?} {:?}, expected {dtype:?} [positions, {k}]",
                    path.display(),
                    view.dtype(),
                    view.shape()
                ),
            });
        }
        Ok(view)
    };
    let (ids, _) = tensor(IDS, Dtype::U32)?.data().as_chunks::<4>();
    let (probabilities, _) = tensor(PROBABILITIES, Dtype::F32)?.data().as_chunks::<4>();
    SparseDistributions::from_parts(
        k,
        ids.iter().map(|id| u32::from_le_bytes(*id)).collect(),
        (probabilities.iter())
            .map(|value| f32::from_le_bytes(*value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use fastdraft_data::answers::Answer;

    use super::*;

    fn answer(ids: &[u32], k: usize) -> TaughtAnswer {
        let mut teacher = SparseDistributions::new(k);
        for id in ids {
            teacher.push_logits(&[0.0, 1.0, *id as f32]);
        }
        TaughtAnswer {
            answer: Answer {
                id: format!("{ids:?}"),
                prompt: "p".into(),
                answer: "a".into(),
                prompt_ids: vec![1],
                answer_ids: ids.to_vec(),
                temperature: 0.6,
            },
            teacher,
        }
    }

    #[test]
    fn round_trips() {
        let folder = tempfile::tempdir().unwrap();
        for k in [0, 2] {
            let all = vec![answer(&[1, 2, 3], k), answer(&[4], k)];
            write(folder.path(), 3, all.clone().into_iter()).unwrap();
            assert!(exists(folder.path(), 3) && !exists(folder.path(), 2));
            assert_eq!(read(folder.path(), 3, k).unwrap(), all);
            write(folder.path(), 4, std::iter::empty()).unwrap();
            assert_eq!(read(folder.path(), 4, k).unwrap(), []);
        }
    }

    #[test]
    fn probabilities_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 0, [answer(&[1, 2], 2)].into_iter()).unwrap();
        write(folder.path(), 1, [answer(&[1], 2)].into_iter()).unwrap();
        assert!(matches!(
            read(folder.path(), 0, 3),
            Err(TrainError::Teacher { .. })
        ));
        let (from, to) = (
            file(folder.path(), 1, "safetensors"),
            file(folder.path(), 0, "safetensors"),
        );
        std::fs::copy(from, &to).unwrap();
        assert!(matches!(
            read(folder.path(), 0, 2),
            Err(TrainError::Teacher { .. })
        ));
        std::fs::write(&to, b"not safetensors").unwrap();
        assert!(matches!(
            read(folder.path(), 0, 2),
            Err(TrainError::Io { .. })
        ));
    }
}
