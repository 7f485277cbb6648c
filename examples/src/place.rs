//! On which engine and device a program works.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fastdraft_hw::{DeviceSpec, HwError, open};
use fastdraft_train::{
    generate::Place,
    torch::{TorchConfig, TorchDevice},
};

/// Engine and device.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Where the draft is trained and the target answers; on `cpu` Burn's engine leaves answers to
    /// the CPU engine.
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// What runs there.
    #[arg(long, value_enum, default_value = "burn")]
    pub engine: EngineKind,
    /// Processes of the torch engine, one for each accelerator.
    #[arg(long, default_value_t = 1)]
    pub ranks: usize,
    /// Interpreter of the torch engine; else that of $FASTDRAFT_PYTHON, else python3.
    #[arg(long)]
    pub python: Option<PathBuf>,
}

/// The engines by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// Burn, in this process.
    Burn,
    /// PyTorch, through torchrun.
    Torch,
}

impl PlaceArgs {
    /// Where the target answers.
    ///
    /// # Errors
    /// As [`open()`].
    pub fn open(&self, fingerprint: u64) -> Result<Place, HwError> {
        Ok(match self.engine {
            EngineKind::Torch => Place::Torch(self.torch(fingerprint)),
            EngineKind::Burn if self.device == DeviceSpec::default() => Place::Cpu,
            EngineKind::Burn => Place::Burn(open(&self.device)?),
        })
    }

    /// Settings of the torch engine; `fingerprint` is that of the vocabulary.
    #[must_use]
    pub fn torch(&self, fingerprint: u64) -> TorchConfig {
        let named = std::env::var_os("FASTDRAFT_PYTHON").map(PathBuf::from);
        let python = self.python.clone().or(named);
        TorchConfig {
            python: python.unwrap_or_else(|| "python3".into()),
            ranks: self.ranks,
            device: TorchDevice::from(&self.device),
            fingerprint,
            ..TorchConfig::default()
        }
    }
}
