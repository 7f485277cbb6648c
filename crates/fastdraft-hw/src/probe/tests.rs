//! Probing on fixture trees of whole machines.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::{DeviceInfo, DeviceKind, MemorySource, Runtime, SimdLevel, probe};

struct Machine(TempDir);

impl Machine {
    fn new(model: &str, flags: &str, cores: usize, memory_kib: u64) -> Self {
        let machine = Self(TempDir::new().unwrap());
        let cpuinfo: String = (0..cores)
            .map(|i| format!("processor\t: {i}\nmodel name\t: {model}\nflags\t\t: {flags}\n\n"))
            .collect();
        machine.file("proc/cpuinfo", &cpuinfo);
        machine.file(
            "proc/meminfo",
            &format!("MemTotal:    {memory_kib} kB\nMemFree: 1 kB\n"),
        );
        machine.file("proc/sys/kernel/osrelease", "6.11.0\n");
        machine
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn pci(&self, address: &str, vendor: u16, device: u16, class: u32, driver: Option<&str>) {
        let directory = format!("sys/bus/pci/devices/{address}");
        self.file(&format!("{directory}/vendor"), &format!("{vendor:#06x}\n"));
        self.file(&format!("{directory}/device"), &format!("{device:#06x}\n"));
        self.file(&format!("{directory}/class"), &format!("{class:#08x}\n"));
        if let Some(driver) = driver {
            let target = format!("../../../../bus/pci/drivers/{driver}");
            self.link(&format!("{directory}/driver"), &target);
        }
    }

    fn probe(&self) -> Vec<DeviceInfo> {
        probe(self.0.path())
    }
}

fn kinds(devices: &[DeviceInfo]) -> Vec<DeviceKind> {
    devices.iter().map(|device| device.kind).collect()
}

#[test]
fn core_ultra_laptop() {
    let machine = Machine::new(
        "Intel(R) Core(TM) Ultra 7 258V",
        "sse4_2 fma avx2 avx_vnni",
        8,
        32_505_856,
    );
    machine.pci("0000:00:00.0", 0x8086, 0x6400, 0x060000, None);
    machine.pci("0000:00:02.0", 0x8086, 0x64a0, 0x030000, Some("xe"));
    machine.pci("0000:00:0b.0", 0x8086, 0x643e, 0x120000, Some("intel_vpu"));
    machine.pci("0000:01:00.0", 0x144d, 0xa80a, 0x010802, Some("nvme"));
    machine.link("sys/class/accel/accel0/device", "../../../0000:00:0b.0");
    let devices = machine.probe();
    assert_eq!(
        kinds(&devices),
        [DeviceKind::Cpu, DeviceKind::IntelGpu, DeviceKind::IntelNpu]
    );

    let cpu = devices[0].cpu.unwrap();
    assert_eq!((cpu.cores, cpu.numa_nodes), (8, 1));
    assert_eq!(cpu.simd, SimdLevel::Avx2);
    assert_eq!(devices[0].memory_bytes, Some(32_505_856 * 1024));
    assert!(devices[0].name.contains("Ultra 7 258V"));

    let gpu = &devices[1];
    assert_eq!((gpu.vendor_id, gpu.device_id), (Some(0x8086), Some(0x64a0)));
    assert_eq!(gpu.driver.as_deref(), Some("xe"));
    assert_eq!(gpu.driver_version.as_deref(), Some("6.11.0"));
    assert_eq!(
        gpu.memory_bytes, None,
        "an integrated GPU shares main memory"
    );
    assert!(gpu.runtimes.contains(&Runtime::Wgpu));

    let npu = &devices[2];
    assert!(!npu.is_supported());
    assert_eq!(npu.accel_node.as_deref(), Some("accel0"));
    assert!(npu.to_string().contains("unsupported"), "{npu}");
}

#[test]
fn arc_desktop() {
    let machine = Machine::new(
        "AMD Ryzen 9 7950X",
        "fma avx2 avx512f avx512bw avx512_bf16",
        32,
        65_536_000,
    );
    machine.pci("0000:03:00.0", 0x8086, 0xe20b, 0x030000, Some("xe"));
    machine.pci("0000:0a:00.0", 0x8086, 0x56a0, 0x030000, Some("i915"));
    machine.pci("0000:0b:00.0", 0x8086, 0x56a0, 0x030000, Some("xe"));
    machine.pci("0000:0d:00.0", 0x8086, 0xe20c, 0x030000, Some("xe"));
    machine.pci("0000:0c:00.0", 0x1002, 0x164e, 0x030000, Some("amdgpu"));
    let tile = "sys/bus/pci/devices/0000:03:00.0/tile0/physical_vram_size_bytes";
    machine.file(tile, "12884901888\n");
    let card = "sys/bus/pci/devices/0000:0a:00.0/drm/card1/lmem_total_bytes";
    machine.file(card, "17179869184\n");
    let devices = machine.probe();
    assert_eq!(devices[0].cpu.unwrap().simd, SimdLevel::Avx512Bf16);
    let gpus = &devices[1..];
    assert!(gpus.iter().all(|gpu| gpu.kind == DeviceKind::IntelGpu));
    assert_eq!(devices[1].name, "Intel Arc B580");
    assert_eq!(devices[1].memory_bytes, Some(12 << 30));
    assert_eq!(devices[1].memory_source, Some(MemorySource::Driver));
    assert_eq!(devices[2].name, "Intel Arc A770");
    assert_eq!(devices[2].memory_bytes, Some(16 << 30));
    assert_eq!(
        devices[2].to_string(),
        "Intel Arc A770, 16.0 GiB, driver i915 6.11.0"
    );
    // Where the driver is silent, the product speaks, unless it comes in two sizes.
    assert_eq!(devices[3].memory_bytes, None);
    assert_eq!(devices[4].name, "Intel Arc B570");
    assert_eq!(devices[4].memory_bytes, Some(10 << 30));
    assert_eq!(devices[4].memory_source, Some(MemorySource::DataSheet));
    assert_eq!(devices.len(), 5, "the GPU of another vendor is not listed");
}

#[test]
fn eight_gaudi_2_server() {
    let machine = Machine::new(
        "Intel(R) Xeon(R) Platinum 8380",
        "fma avx2 avx512f avx512bw",
        160,
        1_056_000_000,
    );
    machine.file("sys/devices/system/node/node0/cpulist", "0-79");
    machine.file("sys/devices/system/node/node1/cpulist", "80-159");
    machine.file("sys/devices/system/node/possible", "0-1");
    machine.file("sys/module/habanalabs/version", "1.20.0-bd87f71\n");
    // The driver numbers its nodes in an order of its own.
    for (node, bus) in [0xb3, 0x33, 0x9a, 0xb4, 0x34, 0x4d, 0x9b, 0x4e_u8]
        .iter()
        .enumerate()
    {
        let address = format!("0000:{bus:02x}:00.0");
        machine.pci(&address, 0x1da3, 0x1020, 0x120000, Some("habanalabs"));
        let numa = format!("sys/bus/pci/devices/{address}/numa_node");
        machine.file(&numa, if *bus < 0x80 { "0\n" } else { "1\n" });
        let firmware = format!("sys/bus/pci/devices/{address}/fw_os_ver");
        machine.file(&firmware, "hl-gaudi2-1.20.0-fw-58.0.0\n");
        machine.file(
            &format!("sys/class/accel/accel{node}/device/pci_addr"),
            &address,
        );
    }
    let devices = machine.probe();
    assert_eq!(devices.len(), 9);
    assert_eq!(devices[0].cpu.unwrap().numa_nodes, 2);
    let cards = &devices[1..];
    assert!(cards.iter().all(|card| card.kind == DeviceKind::Gaudi));
    assert!(cards.iter().all(|card| card.memory_bytes == Some(96 << 30)));
    assert!(
        cards
            .iter()
            .all(|card| card.runtimes == [Runtime::TorchWorker, Runtime::Endpoint])
    );
    assert!(
        cards
            .iter()
            .all(|card| !card.runtimes.iter().any(|runtime| runtime.opens_here()))
    );
    assert_eq!(devices[0].cpu.unwrap().simd, SimdLevel::Avx512);
    let nodes: Vec<_> = cards.iter().map(|card| card.numa_node).collect();
    assert_eq!(nodes[..4], [Some(0); 4]);
    assert_eq!(nodes[4..], [Some(1); 4]);
    assert_eq!(cards[0].address.as_deref(), Some("0000:33:00.0"));
    assert_eq!(cards[0].accel_node.as_deref(), Some("accel1"));
    assert_eq!(cards[0].driver_version.as_deref(), Some("1.20.0-bd87f71"));
    assert_eq!(
        cards[0].firmware_version.as_deref(),
        Some("hl-gaudi2-1.20.0-fw-58.0.0")
    );
}

#[test]
fn gaudi_generations_and_unknown_habana_cards() {
    let machine = Machine::new("Xeon", "", 1, 1024);
    for (slot, device) in [0x1000, 0x1020, 0x1060, 0x0001_u16].into_iter().enumerate() {
        machine.pci(
            &format!("0000:0{slot}:00.0"),
            0x1da3,
            device,
            0x120000,
            None,
        );
    }
    let names: Vec<String> = machine
        .probe()
        .iter()
        .skip(1)
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        names,
        [
            "Habana Gaudi, 32.0 GiB",
            "Intel Gaudi 2, 96.0 GiB",
            "Intel Gaudi 3, 128.0 GiB",
            "Habana accelerator 1da3:0001 (seen, unsupported)",
        ]
    );
}

#[test]
fn bare_virtual_machine() {
    let machine = Machine::new("AMD EPYC", "sse4_2", 2, 8_000_000);
    machine.pci("0000:00:01.0", 0x1af4, 0x1041, 0x020000, Some("virtio-pci"));
    machine.pci("0000:00:02.0", 0x1234, 0x1111, 0x030000, None);
    machine.file("sys/bus/pci/devices/0000:00:02.0/numa_node", "-1\n");
    machine.file("sys/bus/pci/devices/0000:00:03.0/vendor", "garbage");
    let devices = machine.probe();
    assert_eq!(kinds(&devices), [DeviceKind::Cpu]);
    assert_eq!(devices[0].cpu.unwrap().simd, SimdLevel::Sse42);
}

#[test]
fn a_card_on_no_numa_node_says_none() {
    let machine = Machine::new("Xeon", "", 1, 1024);
    machine.pci("0000:03:00.0", 0x1da3, 0x1020, 0x120000, None);
    machine.file("sys/bus/pci/devices/0000:03:00.0/numa_node", "-1\n");
    assert_eq!(machine.probe()[1].numa_node, None);
}

#[test]
fn flags_of_this_processor_say_what_it_detects() {
    let Ok(cpuinfo) = fs::read_to_string("/proc/cpuinfo") else {
        return;
    };
    let machine = Machine::new("", "", 1, 1024);
    machine.file("proc/cpuinfo", &cpuinfo);
    assert_eq!(
        machine.probe()[0].cpu.unwrap().simd,
        SimdLevel::detect(),
        "{cpuinfo}"
    );
}

#[test]
fn empty_root_still_has_a_processor() {
    let root = TempDir::new().unwrap();
    let devices = probe(root.path());
    assert_eq!(kinds(&devices), [DeviceKind::Cpu]);
    assert_eq!(devices[0].memory_bytes, None);
    assert!(devices[0].cpu.unwrap().cores >= 1);
}

#[test]
fn this_machine_is_probed_and_written_as_json() {
    let devices = probe(Path::new("/"));
    let json = serde_json::to_string(&devices).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<DeviceInfo>>(&json).unwrap(),
        devices
    );
}
