//! The worker's program.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::TrainError;

const FILES: [(&str, &str); 19] = [
    ("answer.py", include_str!("worker/answer.py")),
    ("batch.py", include_str!("worker/batch.py")),
    ("channel.py", include_str!("worker/channel.py")),
    ("checkpoint.py", include_str!("worker/checkpoint.py")),
    ("data.py", include_str!("worker/data.py")),
    ("decode.py", include_str!("worker/decode.py")),
    ("devices.py", include_str!("worker/devices.py")),
    ("loss.py", include_str!("worker/loss.py")),
    ("main.py", include_str!("worker/main.py")),
    ("model.py", include_str!("worker/model.py")),
    ("optimizer.py", include_str!("worker/optimizer.py")),
    ("order.py", include_str!("worker/order.py")),
    ("preflight.py", include_str!("worker/preflight.py")),
    ("sampling.py", include_str!("worker/sampling.py")),
    ("shards.py", include_str!("worker/shards.py")),
    ("slots.py", include_str!("worker/slots.py")),
    ("stage.py", include_str!("worker/stage.py")),
    ("taught.py", include_str!("worker/taught.py")),
    ("teacher.py", include_str!("worker/teacher.py")),
];

/// Writes the program below `folder`; returns where it is.
///
/// # Errors
/// [`TrainError::Io`].
pub(super) fn write(folder: &Path) -> Result<PathBuf, TrainError> {
    let folder = folder.join("worker");
    fs::create_dir_all(&folder).map_err(|source| io(&folder, source))?;
    for (name, text) in FILES {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| io(&path, source))?;
    }
    Ok(folder)
}

pub(super) fn io(path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_worker_travels() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/torch/worker");
        let mut names: Vec<String> = (fs::read_dir(source).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".py"))
            .collect();
        names.sort();
        assert_eq!(names, FILES.map(|(name, _)| name));
    }
}
