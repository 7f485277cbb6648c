//! The processor.

use std::fmt;
use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use super::{DeviceInfo, DeviceKind, MemorySource, Runtime, read};

/// The widest vector instructions of a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SimdLevel {
    /// None known to this crate.
    Scalar,
    /// 128 bits, ARM.
    Neon,
    /// 128 bits, x86.
    Sse42,
    /// 256 bits with fused multiply-add.
    Avx2,
    /// 512 bits, foundation and byte/word instructions.
    Avx512,
    /// 512 bits with bf16 dot products.
    Avx512Bf16,
}

impl SimdLevel {
    /// The level of the processor that runs this code.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") {
                return if has!("avx512bf16") {
                    Self::Avx512Bf16
                } else {
                    Self::Avx512
                };
            }
            if has!("avx2") && has!("fma") {
                return Self::Avx2;
            }
            if has!("sse4.2") {
                return Self::Sse42;
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Neon;
        }
        Self::Scalar
    }
}

impl SimdLevel {
    /// The level of a processor by the flags that `proc/cpuinfo` lists.
    fn from_flags(flags: &str) -> Self {
        let has = |flag: &str| flags.split_whitespace().any(|word| word == flag);
        if has("avx512f") && has("avx512bw") {
            if has("avx512_bf16") {
                Self::Avx512Bf16
            } else {
                Self::Avx512
            }
        } else if has("avx2") && has("fma") {
            Self::Avx2
        } else if has("sse4_2") {
            Self::Sse42
        } else if has("asimd") {
            Self::Neon
        } else {
            Self::Scalar
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scalar => "scalar",
            Self::Neon => "NEON",
            Self::Sse42 => "SSE4.2",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
            Self::Avx512Bf16 => "AVX-512 bf16",
        })
    }
}

/// What a CPU adds to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CpuDetails {
    /// Logical cores this process may use.
    pub cores: usize,
    /// NUMA nodes, at least one.
    pub numa_nodes: usize,
    /// Vector instructions.
    pub simd: SimdLevel,
}

pub(super) fn probe(root: &Path) -> DeviceInfo {
    let cpuinfo = read(&root.join("proc/cpuinfo")).unwrap_or_default();
    let memory_bytes = memory(root);
    DeviceInfo {
        kind: DeviceKind::Cpu,
        name: field(&cpuinfo, "model name")
            .unwrap_or(std::env::consts::ARCH)
            .to_owned(),
        vendor_id: None,
        device_id: None,
        address: None,
        memory_bytes,
        memory_source: memory_bytes.map(|_| MemorySource::System),
        runtimes: vec![Runtime::Flex, Runtime::LibTorch, Runtime::TorchWorker],
        driver: None,
        driver_version: None,
        firmware_version: None,
        accel_node: None,
        numa_node: None,
        cpu: Some(CpuDetails {
            cores: cores(root, &cpuinfo),
            numa_nodes: numa_nodes(root).max(1),
            simd: simd(root, &cpuinfo),
        }),
    }
}

fn simd(root: &Path, cpuinfo: &str) -> SimdLevel {
    if root == Path::new("/") {
        return SimdLevel::detect();
    }
    let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features"));
    SimdLevel::from_flags(flags.unwrap_or_default())
}

fn cores(root: &Path, cpuinfo: &str) -> usize {
    let usable = || thread::available_parallelism().map_or(1, usize::from);
    if root == Path::new("/") {
        return usable();
    }
    match cpuinfo
        .lines()
        .filter(|line| key(line) == Some("processor"))
        .count()
    {
        0 => usable(),
        cores => cores,
    }
}

fn memory(root: &Path) -> Option<u64> {
    let meminfo = read(&root.join("proc/meminfo"))?;
    let kibibytes: u64 = field(&meminfo, "MemTotal")?
        .strip_suffix(" kB")?
        .trim()
        .parse()
        .ok()?;
    kibibytes.checked_mul(1024)
}

fn numa_nodes(root: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(root.join("sys/devices/system/node")) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node"));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .count()
}

fn key(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key.trim())
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| key(line) == Some(name))?;
    line.split_once(':')
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}
