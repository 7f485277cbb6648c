//! The log of steps.

use std::{fs::File, io::Write, path::Path};

use fastdraft_train::stage::StageConfig;

/// Opens the log without lines of steps that come again: the run had gone on after its last
/// checkpoint. `stages` are those begun, the last one after `step` steps.
pub fn open(path: &Path, stages: &[StageConfig], step: usize) -> std::io::Result<File> {
    let mut kept = String::new();
    if step > 0 || stages.len() > 1 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let stage = stages.iter().position(|s| value["stage"] == *s.name);
            let again = stage == Some(stages.len() - 1)
                && value["step"].as_u64().is_none_or(|done| done > step as u64);
            if stage.is_some() && !again {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    let mut file = File::create(path)?;
    file.write_all(kept.as_bytes())?;
    Ok(file)
}
