//! Measurements on disk, one file a machine.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Measurement, fingerprint, measure};
use crate::error::HwError;
use crate::probe::probe;

/// `$FASTDRAFT_CACHE`, else `$XDG_CACHE_HOME/fastdraft`, else `~/.cache/fastdraft`; `None` when all
/// three variables are unset.
#[must_use]
pub fn cache_directory() -> Option<PathBuf> {
    let path = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    path("FASTDRAFT_CACHE")
        .or_else(|| Some(path("XDG_CACHE_HOME")?.join("fastdraft")))
        .or_else(|| Some(path("HOME")?.join(".cache/fastdraft")))
}

/// This machine's measurement: from `directory`, or measured now and stored there.
///
/// # Errors
///
/// [`HwError::Measurement`] when measuring fails, [`HwError::File`] when the result cannot be read
/// or written.
pub fn cached(directory: &Path) -> Result<Measurement, HwError> {
    if let Some(found) = load(directory)? {
        return Ok(found);
    }
    let measurement = measure()?;
    store(directory, &measurement)?;
    Ok(measurement)
}

/// This machine's measurement, if `directory` has it. A file of another machine or version counts
/// as none.
///
/// # Errors
///
/// [`HwError::File`] when the file is there but cannot be read as a measurement.
pub fn load(directory: &Path) -> Result<Option<Measurement>, HwError> {
    let expected = fingerprint(&probe(Path::new("/")), "gemm");
    let path = file(directory, &expected);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(&path, &error)),
    };
    let found: Measurement = serde_json::from_str(&text).map_err(|error| at(&path, &error))?;
    Ok((found.fingerprint == expected).then_some(found))
}

/// Writes a measurement below `directory`; the file appears complete or not at all.
///
/// # Errors
///
/// [`HwError::File`] when the directory cannot be written.
pub fn store(directory: &Path, measurement: &Measurement) -> Result<PathBuf, HwError> {
    let path = file(directory, &measurement.fingerprint);
    let text = serde_json::to_string_pretty(measurement).map_err(|error| at(&path, &error))?;
    fs::create_dir_all(directory).map_err(|error| at(directory, &error))?;
    let mut draft =
        tempfile::NamedTempFile::new_in(directory).map_err(|error| at(&path, &error))?;
    draft
        .write_all(text.as_bytes())
        .map_err(|error| at(&path, &error))?;
    draft.persist(&path).map_err(|error| at(&path, &error))?;
    Ok(path)
}

fn file(directory: &Path, fingerprint: &str) -> PathBuf {
    directory.join(format!("measure-{fingerprint}.json"))
}

fn at(path: &Path, error: &impl ToString) -> HwError {
    HwError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{CpuGemm, Effort, GemmSize, PassShape, measure_with};
    use super::*;

    fn quick() -> Measurement {
        let shape = |layers, width| PassShape { layers, width };
        let effort = Effort {
            gemm: vec![GemmSize::square(32)],
            shapes: vec![shape(1, 16), shape(2, 16), shape(1, 32)],
            tokens: vec![1, 3],
            time: Duration::from_millis(1),
        };
        measure_with(&mut CpuGemm::new(), "gemm", &effort).unwrap()
    }

    #[test]
    fn a_measurement_survives_the_disk_and_a_damaged_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("new");
        assert_eq!(load(&below).unwrap(), None);
        let measured = quick();
        assert!(measured.best_gemm_rate() > 0.0 && measured.launch_overhead > 0.0);
        assert_eq!(measured.passes.len(), 6);
        let path = store(&below, &measured).unwrap();
        let back = load(&below).unwrap().unwrap();
        assert_eq!(back.fingerprint, measured.fingerprint);
        let (a, b) = (&back.passes, &measured.passes);
        for (a, b) in a.iter().zip(b) {
            assert_eq!((a.shape, a.tokens), (b.shape, b.tokens));
            assert!((a.seconds / b.seconds - 1.0).abs() < 1e-12);
        }
        assert_eq!(cached(&below).unwrap(), back, "nothing is measured again");

        let other = Measurement {
            fingerprint: "0".to_owned(),
            ..measured
        };
        fs::write(&path, serde_json::to_string(&other).unwrap()).unwrap();
        assert_eq!(load(&below).unwrap(), None, "another machine's");
        fs::write(&path, "{").unwrap();
        let error = load(&below).unwrap_err().to_string();
        assert!(error.contains("measure-"), "{error}");
    }
}
