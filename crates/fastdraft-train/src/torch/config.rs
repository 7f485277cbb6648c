//! How the worker is started.

use std::path::PathBuf;

use fastdraft_hw::DeviceSpec;
use serde::Serialize;

/// What the worker computes on, as torch calls it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TorchDevice {
    /// The processor; ranks talk through gloo.
    #[default]
    Cpu,
    /// Intel GPUs; xccl, or ccl before torch 2.8.
    Xpu,
    /// Gaudi; hccl.
    Hpu,
    /// NVIDIA GPUs; nccl.
    Cuda,
}

impl TorchDevice {
    /// The name in torch.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Xpu => "xpu",
            Self::Hpu => "hpu",
            Self::Cuda => "cuda",
        }
    }
}

impl From<&DeviceSpec> for TorchDevice {
    fn from(spec: &DeviceSpec) -> Self {
        match spec {
            DeviceSpec::IntelGpu(_) => Self::Xpu,
            DeviceSpec::Gaudi(_) => Self::Hpu,
            DeviceSpec::NvidiaGpu(_) => Self::Cuda,
            _ => Self::Cpu,
        }
    }
}

/// Machines of a run. This program is on the first one; `torchrun` is started by hand on the
/// others, with the same numbers and the worker's `main.py` on the shared run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// How many, this one included.
    pub count: usize,
    /// Address of this machine as the others see it.
    pub address: String,
    /// A free port on this machine.
    pub port: u16,
}

/// Settings of the worker.
///
/// ```
/// use fastdraft_train::torch::{TorchConfig, TorchDevice};
/// let config = TorchConfig { ranks: 8, device: TorchDevice::Hpu, ..TorchConfig::default() };
/// assert_eq!(config.device.name(), "hpu");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchConfig {
    /// The interpreter that has torch.
    pub python: PathBuf,
    /// Ranks on this machine, one for each accelerator.
    pub ranks: usize,
    /// What the ranks compute on.
    pub device: TorchDevice,
    /// Threads of a rank; `None` shares the cores among the ranks on the CPU.
    pub threads: Option<usize>,
    /// Where stages are handed over, on a file system that all machines share; `None` is a
    /// temporary folder.
    pub folder: Option<PathBuf>,
    /// More machines than this one.
    pub nodes: Option<Nodes>,
    /// Fingerprint of the vocabulary, which the shards of the hand-over carry.
    pub fingerprint: u64,
}

impl Default for TorchConfig {
    fn default() -> Self {
        Self {
            python: "python3".into(),
            ranks: 1,
            device: TorchDevice::default(),
            threads: None,
            folder: None,
            nodes: None,
            fingerprint: 0,
        }
    }
}

impl TorchConfig {
    /// Ranks on all machines.
    pub(super) fn world(&self) -> usize {
        self.ranks * self.nodes.as_ref().map_or(1, |nodes| nodes.count)
    }

    /// Threads of a rank; `None` leaves them to torch.
    pub(super) fn threads(&self) -> Option<usize> {
        let shared = || {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            (self.device == TorchDevice::Cpu).then(|| (cores / self.ranks.max(1)).max(1))
        };
        self.threads.or_else(shared)
    }
}
