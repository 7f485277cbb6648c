//! Product names by PCI id.
//!
//! Habana ids are those of the kernel driver `habanalabs`, in tree and as Intel packages it (HL-288
//! and HL-338 are PCIe cards). Names of Intel GPUs are those of `pci.ids` and of Intel's
//! compute-runtime; NPU ids are those of the kernel driver `intel_vpu`. Names of NVIDIA GPUs are those
//! of `pci.ids`.

/// Vendor id of Intel.
pub(super) const INTEL: u16 = 0x8086;
/// Vendor id of Habana Labs, the maker of Gaudi.
pub(super) const HABANA: u16 = 0x1da3;

/// Vendor id of NVIDIA.
pub(super) const NVIDIA: u16 = 0x10de;

/// A Gaudi card by its device id: name and HBM in GiB, where the product has one size.
pub(super) fn gaudi(device: u16) -> Option<(&'static str, Option<u64>)> {
    match device {
        0x1000 | 0x1001 | 0x1010 | 0x1011 => Some(("Habana Gaudi", Some(32))),
        0x1020 => Some(("Intel Gaudi 2", Some(96))),
        0x1021 => Some(("Intel Gaudi 2 PCIe (HL-288)", Some(96))),
        0x1060 => Some(("Intel Gaudi 3", Some(128))),
        0x1063 => Some(("Intel Gaudi 3 PCIe (HL-338)", Some(128))),
        0x1061 | 0x1062 => Some(("Intel Gaudi 3, single die", None)),
        _ => None,
    }
}

/// An Intel GPU by its device id: name, and memory of its own in GiB where it is known and the product
/// has one size.
pub(super) fn intel_gpu(device: u16) -> Option<(&'static str, Option<u64>)> {
    Some(match device {
        0x0bd5 | 0x0bd6 => ("Intel Data Center GPU Max 1550", None),
        0x0bd7 | 0x0bd8 => ("Intel Data Center GPU Max 1350", None),
        0x0bd9..=0x0bdb => ("Intel Data Center GPU Max 1100", None),
        0x5690 => ("Intel Arc A770M", Some(16)),
        0x5691 => ("Intel Arc A730M", None),
        0x5692 => ("Intel Arc A550M", Some(8)),
        0x5693 => ("Intel Arc A370M", None),
        0x5694 => ("Intel Arc A350M", None),
        // Sold with 8 GB and with 16 GB.
        0x56a0 => ("Intel Arc A770", None),
        0x56a1 => ("Intel Arc A750", Some(8)),
        0x56a2 => ("Intel Arc A580", Some(8)),
        0x56a5 => ("Intel Arc A380", Some(6)),
        0x56a6 => ("Intel Arc A310", None),
        0x56b0 => ("Intel Arc Pro A30M", None),
        0x56b1 => ("Intel Arc Pro A40/A50", None),
        0x56c0 => ("Intel Data Center GPU Flex 170", None),
        0x56c1 => ("Intel Data Center GPU Flex 140", None),
        0x64a0 => ("Intel Arc Graphics 130V/140V (Lunar Lake)", None),
        0x6420 | 0x64b0 => ("Intel Graphics (Lunar Lake)", None),
        0x7d40 | 0x7d45 => ("Intel Graphics (Meteor Lake)", None),
        0x7d55 | 0x7dd5 => ("Intel Arc Graphics (Meteor Lake)", None),
        0x7d41 | 0x7d67 => ("Intel Graphics (Arrow Lake)", None),
        0x7d51 | 0x7dd1 => ("Intel Arc Graphics (Arrow Lake)", None),
        0xe20b => ("Intel Arc B580", Some(12)),
        0xe20c => ("Intel Arc B570", Some(10)),
        _ => return None,
    })
}

/// An NVIDIA GPU by its device id: name, and memory in GiB.
pub(super) fn nvidia_gpu(device: u16) -> Option<(&'static str, Option<u64>)> {
    Some(match device {
        0x20b0 => ("NVIDIA A100 SXM4 40GB", Some(40)),
        0x20b2 => ("NVIDIA A100 SXM4 80GB", Some(80)),
        0x20f1 => ("NVIDIA A100 PCIe 40GB", Some(40)),
        0x20b5 => ("NVIDIA A100 PCIe 80GB", Some(80)),
        0x2330 => ("NVIDIA H100 SXM5 80GB", Some(80)),
        0x2331 => ("NVIDIA H100 PCIe", Some(80)),
        0x2684 => ("NVIDIA GeForce RTX 4090", Some(24)),
        _ => return None,
    })
}

/// An Intel NPU by its device id.
pub(super) fn intel_npu(device: u16) -> Option<&'static str> {
    Some(match device {
        0x643e => "Intel NPU (Lunar Lake)",
        0x7d1d => "Intel NPU (Meteor Lake)",
        0xad1d => "Intel NPU (Arrow Lake)",
        0xb03e => "Intel NPU (Panther Lake)",
        0xfd3e => "Intel NPU (Wildcat Lake)",
        _ => return None,
    })
}
