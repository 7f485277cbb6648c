//! GPUs through wgpu.

use std::path::Path;

use burn::tensor::{Device, PciVendor};

use crate::error::HwError;
use crate::probe::{DeviceInfo, DeviceKind, probe};
use crate::spec::DeviceSpec;

/// What differs between the makers of GPUs.
struct Maker {
    name: &'static str,
    vendor: PciVendor,
    kind: DeviceKind,
    hint: &'static str,
}

const INTEL: Maker = Maker {
    name: "Intel",
    vendor: PciVendor::Intel,
    kind: DeviceKind::IntelGpu,
    hint: "install the i915 or xe kernel driver and the Vulkan driver (mesa-vulkan-drivers), and \
           give this process access to /dev/dri/renderD*",
};

const NVIDIA: Maker = Maker {
    name: "NVIDIA",
    vendor: PciVendor::Nvidia,
    kind: DeviceKind::NvidiaGpu,
    hint: "install the NVIDIA driver with its Vulkan part and the Vulkan loader (libvulkan1), and \
           give this process access to /dev/nvidia*",
};

pub(super) fn open(spec: DeviceSpec) -> Result<Device, HwError> {
    let (maker, index) = match spec {
        DeviceSpec::NvidiaGpu(index) => (&NVIDIA, index as usize),
        DeviceSpec::IntelGpu(index) => (&INTEL, index as usize),
        _ => {
            return Err(HwError::NoRuntime {
                spec,
                reason: "it is no GPU".to_owned(),
            });
        }
    };
    let seen = gpus(maker);
    // Looking for adapters opens every one of them, so sysfs is asked first.
    if cfg!(target_os = "linux") && index >= seen.len() {
        return Err(absent(spec, maker, &seen, None));
    }
    let adapters: Vec<_> = Device::enumerate_physical()
        .into_iter()
        .filter(|gpu| gpu.physical.vendor == Some(maker.vendor))
        .collect();
    let address = seen.get(index).and_then(|info| info.address.as_deref());
    let same_card = adapters.iter().position(|gpu| {
        gpu.physical
            .pci_address
            .map(|found| found.to_string())
            .as_deref()
            == address
            && address.is_some()
    });
    // Without addresses the order of the adapters is all there is.
    let addressed = adapters
        .iter()
        .any(|gpu| gpu.physical.pci_address.is_some());
    let position = if addressed { same_card } else { Some(index) };
    position
        .and_then(|position| adapters.get(position))
        .and_then(|gpu| gpu.devices.first().cloned())
        .ok_or_else(|| absent(spec, maker, &seen, Some(adapters.len())))
}

fn gpus(maker: &Maker) -> Vec<DeviceInfo> {
    let mut devices = probe(Path::new("/"));
    devices.retain(|info| info.kind == maker.kind);
    devices
}

fn absent(
    spec: DeviceSpec,
    maker: &Maker,
    seen: &[DeviceInfo],
    adapters: Option<usize>,
) -> HwError {
    let names: Vec<&str> = seen.iter().map(|info| info.name.as_str()).collect();
    let mut probed = format!(
        "/sys/bus/pci/devices lists {} {} display devices [{}]",
        seen.len(),
        maker.name,
        names.join(", ")
    );
    if let Some(adapters) = adapters {
        probed.push_str(&format!(", wgpu lists {adapters} {} adapters", maker.name));
    }
    HwError::Absent {
        spec,
        probed,
        hint: maker.hint.to_owned(),
    }
}
