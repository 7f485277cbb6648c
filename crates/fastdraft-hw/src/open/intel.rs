//! Intel GPUs through wgpu.

use std::path::Path;

use burn::tensor::{Device, PciVendor};

use crate::error::HwError;
use crate::probe::{DeviceInfo, DeviceKind, probe};
use crate::spec::DeviceSpec;

pub(super) fn open(spec: DeviceSpec, index: u32) -> Result<Device, HwError> {
    let index = index as usize;
    let seen = gpus();
    // Looking for adapters opens every one of them, so sysfs is asked first.
    if cfg!(target_os = "linux") && index >= seen.len() {
        return Err(absent(spec, &seen, None));
    }
    let adapters: Vec<_> = Device::enumerate_physical()
        .into_iter()
        .filter(|gpu| gpu.physical.vendor == Some(PciVendor::Intel))
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
        .ok_or_else(|| absent(spec, &seen, Some(adapters.len())))
}

fn gpus() -> Vec<DeviceInfo> {
    let mut devices = probe(Path::new("/"));
    devices.retain(|info| info.kind == DeviceKind::IntelGpu);
    devices
}

fn absent(spec: DeviceSpec, seen: &[DeviceInfo], adapters: Option<usize>) -> HwError {
    let names: Vec<&str> = seen.iter().map(|info| info.name.as_str()).collect();
    let mut probed = format!(
        "/sys/bus/pci/devices lists {} Intel display devices [{}]",
        seen.len(),
        names.join(", ")
    );
    if let Some(adapters) = adapters {
        probed.push_str(&format!(", wgpu lists {adapters} Intel adapters"));
    }
    HwError::Absent {
        spec,
        probed,
        hint: "install the i915 or xe kernel driver and the Vulkan driver (mesa-vulkan-drivers), \
               and give this process access to /dev/dri/renderD*"
            .to_owned(),
    }
}
