//! Product names by PCI id.

/// Vendor id of Intel.
pub(super) const INTEL: u16 = 0x8086;
/// Vendor id of Habana Labs, the maker of Gaudi.
pub(super) const HABANA: u16 = 0x1da3;

/// A Gaudi card by its device id: name and HBM in GiB, where the product has one size.
pub(super) fn gaudi(device: u16) -> Option<(&'static str, Option<u64>)> {
    match device {
        0x1000 | 0x1001 | 0x1010 | 0x1011 => Some(("Habana Gaudi", Some(32))),
        0x1020 => Some(("Intel Gaudi 2", Some(96))),
        0x1021 => Some(("Intel Gaudi 2D", Some(96))),
        0x1060 => Some(("Intel Gaudi 3", Some(128))),
        0x1063 => Some(("Intel Gaudi 3 PCIe", Some(128))),
        0x1061 | 0x1062 => Some(("Intel Gaudi 3, single die", None)),
        _ => None,
    }
}

/// An Intel GPU by its device id.
pub(super) fn intel_gpu(device: u16) -> Option<&'static str> {
    Some(match device {
        0x0bd5 => "Intel Data Center GPU Max 1550",
        0x0bda => "Intel Data Center GPU Max 1100",
        0x56a0 => "Intel Arc A770",
        0x56a1 => "Intel Arc A750",
        0x56a2 => "Intel Arc A580",
        0x56a5 => "Intel Arc A380",
        0x56a6 => "Intel Arc A310",
        0x56c0 => "Intel Data Center GPU Flex 170",
        0x56c1 => "Intel Data Center GPU Flex 140",
        0x64a0 => "Intel Arc Graphics 130V/140V (Lunar Lake)",
        0x7d45 | 0x7d55 => "Intel Arc Graphics (Meteor Lake)",
        0x7d51 => "Intel Arc Graphics (Arrow Lake)",
        0xe20b => "Intel Arc B580",
        0xe20c => "Intel Arc B570",
        _ => return None,
    })
}

/// An Intel NPU by its device id.
pub(super) fn intel_npu(device: u16) -> Option<&'static str> {
    Some(match device {
        0x643e => "Intel NPU (Lunar Lake)",
        0x7d1d => "Intel NPU (Meteor Lake)",
        0xad1d => "Intel NPU (Arrow Lake)",
        _ => return None,
    })
}
