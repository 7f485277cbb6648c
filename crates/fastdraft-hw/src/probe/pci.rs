//! Accelerators on the PCI bus.

use std::path::{Path, PathBuf};

use super::names::{self, HABANA, INTEL, NVIDIA};
use super::{DeviceInfo, DeviceKind, MemorySource, Runtime, read};

const DISPLAY: u32 = 0x03;
const PROCESSING_ACCELERATOR: u32 = 0x12;

pub(super) fn probe(root: &Path) -> Vec<DeviceInfo> {
    let nodes = accel_nodes(root);
    let mut directories = entries(&root.join("sys/bus/pci/devices"));
    directories.sort();
    directories
        .iter()
        .filter_map(|directory| device(root, directory, &nodes))
        .collect()
}

fn device(root: &Path, directory: &Path, nodes: &[AccelNode]) -> Option<DeviceInfo> {
    let address = directory.file_name()?.to_str()?.to_owned();
    let vendor = u16::try_from(hexadecimal(&directory.join("vendor"))?).ok()?;
    let device = u16::try_from(hexadecimal(&directory.join("device"))?).ok()?;
    let class = hexadecimal(&directory.join("class"))? >> 16;
    let unnamed = |what: &str| format!("{what} {vendor:04x}:{device:04x}");
    let (kind, name, memory, runtimes) = match (vendor, class) {
        (INTEL, DISPLAY) => {
            let known = names::intel_gpu(device);
            let driver = video_memory(directory).map(|bytes| (bytes, MemorySource::Driver));
            (
                DeviceKind::IntelGpu,
                known.map_or_else(|| unnamed("Intel GPU"), |(name, _)| name.to_owned()),
                driver.or_else(|| data_sheet(known?.1)),
                vec![Runtime::Wgpu, Runtime::TorchWorker],
            )
        }
        (INTEL, PROCESSING_ACCELERATOR) => (
            DeviceKind::IntelNpu,
            names::intel_npu(device).map_or_else(|| unnamed("Intel NPU"), str::to_owned),
            None,
            Vec::new(),
        ),
        (NVIDIA, DISPLAY) => {
            let known = names::nvidia_gpu(device);
            (
                DeviceKind::NvidiaGpu,
                known.map_or_else(|| unnamed("NVIDIA GPU"), |(name, _)| name.to_owned()),
                known.and_then(|(_, gibibytes)| data_sheet(gibibytes)),
                vec![Runtime::Wgpu, Runtime::TorchWorker],
            )
        }
        (HABANA, _) => match names::gaudi(device) {
            Some((name, gibibytes)) => (
                DeviceKind::Gaudi,
                name.to_owned(),
                data_sheet(gibibytes),
                vec![Runtime::TorchWorker, Runtime::Endpoint],
            ),
            None => (
                DeviceKind::Habana,
                unnamed("Habana accelerator"),
                None,
                Vec::new(),
            ),
        },
        _ => return None,
    };
    let driver = link_name(&directory.join("driver"));
    let driver_version = driver
        .as_deref()
        .and_then(|driver| driver_version(root, driver));
    Some(DeviceInfo {
        kind,
        name,
        vendor_id: Some(vendor),
        device_id: Some(device),
        memory_bytes: memory.map(|(bytes, _)| bytes),
        memory_source: memory.map(|(_, source)| source),
        runtimes,
        driver,
        driver_version,
        firmware_version: read(&directory.join("fw_os_ver")),
        accel_node: nodes
            .iter()
            .find(|node| node.address.as_deref() == Some(address.as_str()))
            .map(|node| node.name.clone()),
        address: Some(address),
        // The kernel writes -1 where there is none.
        numa_node: read(&directory.join("numa_node")).and_then(|node| node.parse().ok()),
        cpu: None,
    })
}

/// An entry of `/sys/class/accel` and the PCI device behind it.
struct AccelNode {
    name: String,
    address: Option<String>,
}

fn accel_nodes(root: &Path) -> Vec<AccelNode> {
    entries(&root.join("sys/class/accel"))
        .iter()
        .filter_map(|entry| {
            let name = entry.file_name()?.to_str()?.to_owned();
            let device = entry.join("device");
            // The Habana driver writes the address; other drivers only link to the PCI device.
            let address = read(&device.join("pci_addr")).or_else(|| link_name(&device));
            Some(AccelNode { name, address })
        })
        .collect()
}

fn data_sheet(gibibytes: Option<u64>) -> Option<(u64, MemorySource)> {
    gibibytes.map(|size| (size << 30, MemorySource::DataSheet))
}

/// Memory on the card as drivers outside the kernel tree report it: every tile of xe, or the one
/// number of i915. The drivers in the tree are silent.
fn video_memory(directory: &Path) -> Option<u64> {
    let tiles = entries(directory)
        .into_iter()
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(is_tile)
        })
        .filter_map(|tile| {
            number(&tile.join("physical_vram_size_bytes"))
                .or_else(|| number(&tile.join("memory/physical_vram_size_bytes")))
        });
    let cards = entries(&directory.join("drm"))
        .into_iter()
        .filter_map(|card| number(&card.join("lmem_total_bytes")));
    let xe: u64 = tiles.fold(0, u64::saturating_add);
    let i915 = number(&directory.join("lmem_total_bytes")).or_else(|| cards.max());
    Some(xe)
        .filter(|&bytes| bytes > 0)
        .or(i915)
        .filter(|&bytes| bytes > 0)
}

fn is_tile(name: &str) -> bool {
    name.strip_prefix("tile")
        .is_some_and(|index| index.parse::<u32>().is_ok())
}

/// In-tree drivers have no version of their own; the kernel's stands for it.
fn driver_version(root: &Path, driver: &str) -> Option<String> {
    read(&root.join("sys/module").join(driver).join("version"))
        .or_else(|| read(&root.join("proc/sys/kernel/osrelease")))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn link_name(link: &Path) -> Option<String> {
    Some(
        std::fs::read_link(link)
            .ok()?
            .file_name()?
            .to_str()?
            .to_owned(),
    )
}

fn hexadecimal(path: &Path) -> Option<u32> {
    u32::from_str_radix(read(path)?.strip_prefix("0x")?, 16).ok()
}

fn number(path: &Path) -> Option<u64> {
    read(path)?.parse().ok()
}
