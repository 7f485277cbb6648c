//! Blocks of 256 with scales of their own for every 16 or 32 elements.

use super::dequant::float;

/// Scales and minima of the eight groups, 6 bits each: the first four in the low bits of their
/// bytes, the upper bits and the last four bytes making up the others.
fn scales_and_minima(packed: &[u8]) -> [(f32, f32); 8] {
    std::array::from_fn(|group| {
        let (scale, minimum) = if group < 4 {
            (packed[group] & 0x3f, packed[group + 4] & 0x3f)
        } else {
            let shared = packed[group + 4];
            (
                (shared & 0xf) | ((packed[group - 4] >> 2) & 0x30),
                (shared >> 4) | ((packed[group] >> 2) & 0x30),
            )
        };
        (f32::from(scale), f32::from(minimum))
    })
}

/// Four bits of element `i` of group `group`: even groups are in the low halves of 32 bytes, the
/// odd one after them in the high halves.
fn nibble(values: &[u8], group: usize, i: usize) -> u8 {
    (values[group / 2 * 32 + i] >> (group % 2 * 4)) & 0xf
}

fn decode(head: &[u8], out: &mut [f32], value: impl Fn(usize, usize) -> u8) {
    let (scale, minimum) = (float(head[0], head[1]), float(head[2], head[3]));
    let groups = scales_and_minima(&head[4..16]);
    for (group, (out, (s, m))) in out.chunks_exact_mut(32).zip(groups).enumerate() {
        let (scale, minimum) = (scale * s, minimum * m);
        for (i, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(value(group, i)) - minimum;
        }
    }
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32]) {
    let (head, values) = block.split_at(16);
    decode(head, out, |group, i| nibble(values, group, i));
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32]) {
    let (head, rest) = block.split_at(16);
    let (fifth, values) = rest.split_at(32);
    decode(head, out, |group, i| {
        nibble(values, group, i) | ((fifth[i] >> group) & 1) << 4
    });
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, scale) = rest.split_at(16);
    let scale = float(scale[0], scale[1]);
    for (index, out) in out.iter_mut().enumerate() {
        // Each half of 128 has 64 bytes of low and 32 bytes of high bits.
        let (half, i) = (index / 128, index % 128);
        let nibble = (low[half * 64 + i % 64] >> (i / 64 * 4)) & 0xf;
        let pair = (high[half * 32 + i % 32] >> (i / 32 * 2)) & 3;
        let value = (nibble | pair << 4) as i8 - 32;
        *out = scale * f32::from(scales[index / 16] as i8) * f32::from(value);
    }
}
