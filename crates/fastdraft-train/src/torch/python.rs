//! Whether an interpreter can run the worker.

use std::{path::Path, process::Command};

use serde::Deserialize;

use super::{TorchDevice, failure};
use crate::error::TrainError;

/// The oldest torch whose AdamW and collectives the worker uses.
const OLDEST: (u32, u32) = (2, 4);

#[derive(Debug, Deserialize)]
struct Found {
    python: String,
    torch: Option<String>,
    missing: Vec<String>,
    problem: Option<String>,
}

/// Asks `python` for what the worker needs; `worker` is the folder of its program.
///
/// # Errors
/// [`TrainError::Python`] with what is missing.
pub(super) fn check(python: &Path, worker: &Path, device: TorchDevice) -> Result<(), TrainError> {
    let error = |reason: String| TrainError::Python {
        python: python.to_owned(),
        reason,
    };
    let output = Command::new(python)
        .arg(worker.join("preflight.py"))
        .arg(device.name())
        .output()
        .map_err(|source| error(format!("cannot be started: {source}")))?;
    let found: Found = serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = failure::last_lines(&said, 5);
        error(format!("{}; it said: {said}", output.status))
    })?;
    problem(&found).map_or(Ok(()), |reason| Err(error(reason)))
}

fn problem(found: &Found) -> Option<String> {
    if !found.missing.is_empty() {
        return Some(format!(
            "Python {} lacks {}; `pip install torch numpy safetensors`, or give another interpreter",
            found.python,
            found.missing.join(", ")
        ));
    }
    let version = found.torch.clone().unwrap_or_default();
    let mut numbers = version.split(['.', '+']).map(|part| part.parse().ok());
    let parsed: Option<(u32, u32)> = numbers.next().flatten().zip(numbers.next().flatten());
    if parsed.is_none_or(|parsed| parsed < OLDEST) {
        return Some(format!(
            "torch {version}, at least {}.{} is needed",
            OLDEST.0, OLDEST.1
        ));
    }
    found.problem.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(torch: &str) -> Found {
        Found {
            python: "3.11.2".into(),
            torch: Some(torch.into()),
            missing: Vec::new(),
            problem: None,
        }
    }

    #[test]
    fn versions_are_numbers_not_text() {
        for right in ["2.4.0", "2.10.1+cpu", "3.0"] {
            assert_eq!(problem(&found(right)), None, "{right}");
        }
        for wrong in ["2.3.1", "1.13.0+cu117", "", "two"] {
            let reason = problem(&found(wrong)).unwrap();
            assert!(reason.contains("at least 2.4"), "{reason}");
        }
    }

    #[test]
    fn an_interpreter_that_is_not_there() {
        let error = check(
            Path::new("/nowhere/python"),
            Path::new("."),
            TorchDevice::Cpu,
        )
        .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("/nowhere/python"), "{message}");
        assert!(message.contains("cannot be started"), "{message}");
    }
}
