//! Which accelerators the machine has.

mod cpu;
mod names;
mod pci;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use cpu::{CpuDetails, SimdLevel};

/// The kind of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// An Intel display device, integrated or discrete.
    IntelGpu,
    /// An Intel neural processing unit: seen, but nothing here runs on it.
    IntelNpu,
    /// An NVIDIA display device or 3D controller.
    NvidiaGpu,
    /// A Habana Gaudi card of generation 1, 2 or 3.
    Gaudi,
    /// A Habana card of another generation: seen, but nothing here runs on it.
    Habana,
}

/// What can run on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Runtime {
    /// Burn's own CPU backend, in process.
    Flex,
    /// Burn on PyTorch's C++ library, in process.
    LibTorch,
    /// Burn on wgpu, in process.
    Wgpu,
    /// A PyTorch program started beside this one, for training and for answers.
    TorchWorker,
    /// An OpenAI-compatible server, for generation.
    Endpoint,
}

impl Runtime {
    /// Whether `open` of this build can use the runtime.
    #[must_use]
    pub fn opens_here(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::LibTorch => cfg!(feature = "tch"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::TorchWorker | Self::Endpoint => false,
        }
    }
}

/// Who says how much memory a device has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MemorySource {
    /// The operating system, of main memory.
    System,
    /// The kernel driver.
    Driver,
    /// The product's data sheet, by PCI id.
    DataSheet,
}

/// One device that the machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its product name, or its PCI ids when the product is not in the table.
    pub name: String,
    /// PCI vendor id.
    pub vendor_id: Option<u16>,
    /// PCI device id.
    pub device_id: Option<u16>,
    /// PCI address, `0000:03:00.0`.
    pub address: Option<String>,
    /// Memory of its own: main memory of a CPU, HBM of Gaudi. `None` for a GPU that shares main
    /// memory, and for a product of several sizes whose driver is silent.
    pub memory_bytes: Option<u64>,
    /// Who says so.
    pub memory_source: Option<MemorySource>,
    /// What can run on it, empty when nothing can.
    pub runtimes: Vec<Runtime>,
    /// Kernel driver bound to it.
    pub driver: Option<String>,
    /// Version of that driver, or the kernel release when the driver has no version of its own.
    pub driver_version: Option<String>,
    /// Firmware version, where the driver reports it.
    pub firmware_version: Option<String>,
    /// Device node below `/dev/accel`, `accel0`.
    pub accel_node: Option<String>,
    /// NUMA node it is attached to.
    pub numa_node: Option<u32>,
    /// Cores and vector units of a CPU.
    pub cpu: Option<CpuDetails>,
}

impl DeviceInfo {
    /// Whether anything can run on the device.
    #[must_use]
    pub fn is_supported(&self) -> bool {
        !self.runtimes.is_empty()
    }
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(bytes) = self.memory_bytes {
            write!(f, ", {:.1} GiB", bytes as f64 / f64::from(1_u32 << 30))?;
        }
        if let Some(driver) = &self.driver {
            write!(f, ", driver {driver}")?;
        }
        if let Some(version) = &self.driver_version {
            write!(f, " {version}")?;
        }
        if !self.is_supported() {
            f.write_str(" (seen, unsupported)")?;
        }
        Ok(())
    }
}

/// Lists the CPU, then every accelerator in PCI order, as `proc` and `sys` below `root` show them.
///
/// Core count and vector units are those of the running machine when `root` is `/`; below another
/// root, both are read from `proc/cpuinfo`. A file that is absent or unreadable leaves
/// its field `None`: a bare virtual machine lists its CPU alone.
#[must_use]
pub fn probe(root: &Path) -> Vec<DeviceInfo> {
    let mut devices = vec![cpu::probe(root)];
    devices.extend(pci::probe(root));
    devices
}

/// The trimmed text of a file, `None` when it is absent or empty.
fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
