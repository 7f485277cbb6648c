//! Small hashes whose values are part of file formats and of reproducible runs.

/// 64-bit FNV-1a.
#[derive(Clone, Copy)]
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) const fn finish(self) -> u64 {
        self.0
    }
}

/// The SplitMix64 finalizer.
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A permutation of `0..size`, chosen by `key`, evaluated at `index` without a table.
///
/// A Feistel network over the next even power of two, walked until it lands inside.
pub(crate) const fn permute(index: u64, size: u64, key: u64) -> u64 {
    if size < 2 {
        return 0;
    }
    let bits = u64::BITS - (size - 1).leading_zeros();
    let half = bits.div_ceil(2);
    let low = (1u64 << half) - 1;
    let mut value = index;
    loop {
        let (mut left, mut right) = (value >> half, value & low);
        let mut round = 0;
        while round < 4 {
            let next = left ^ (mix(right ^ mix(key.wrapping_add(round))) & low);
            left = right;
            right = next;
            round += 1;
        }
        value = (left << half) | right;
        if value < size {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_known_values() {
        let mut hash = Fnv::new();
        assert_eq!(hash.finish(), 0xcbf2_9ce4_8422_2325);
        hash.write(b"a");
        assert_eq!(hash.finish(), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn permutes_every_small_size() {
        for size in 1..70 {
            let mut seen: Vec<u64> = (0..size).map(|i| permute(i, size, 9)).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..size).collect::<Vec<_>>());
        }
    }
}
