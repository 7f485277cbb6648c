//! What tells one machine from another.

use crate::probe::{DeviceInfo, DeviceKind};

/// Sixteen hexadecimal digits over the processor's name, cores, vector units, NUMA nodes and memory
/// to the gibibyte, the runtime's name and the version of this crate.
///
/// A hash (FNV-1a), not a secret: it says when a cached measurement is another machine's.
#[must_use]
pub fn fingerprint(devices: &[DeviceInfo], runtime: &str) -> String {
    let mut text = format!("{}|{runtime}", env!("CARGO_PKG_VERSION"));
    for info in devices.iter().filter(|info| info.kind == DeviceKind::Cpu) {
        let gibibytes = info.memory_bytes.map(|bytes| bytes >> 30);
        text.push_str(&format!("|{}|{gibibytes:?}|{:?}", info.name, info.cpu));
    }
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::probe::probe;

    #[test]
    fn another_machine_or_runtime_has_another_fingerprint() {
        let here = probe(Path::new("/"));
        let mut other = here.clone();
        other[0].name.push('!');
        assert_eq!(fingerprint(&here, "gemm"), fingerprint(&here, "gemm"));
        assert_ne!(fingerprint(&here, "gemm"), fingerprint(&other, "gemm"));
        assert_ne!(fingerprint(&here, "gemm"), fingerprint(&here, "torch"));
    }
}
