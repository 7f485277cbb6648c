//! Stored blocks into float32, with the operations and their order of the reference.

use half::{bf16, f16};

use super::{kquants, tensor::TensorType};

/// Every whole block of `bytes`.
pub(super) fn dequantize(kind: TensorType, bytes: &[u8]) -> Vec<f32> {
    match kind {
        TensorType::F32 => blocks(kind, bytes, |b: &[u8; 4], out| {
            out[0] = f32::from_le_bytes(*b)
        }),
        TensorType::F16 => blocks(kind, bytes, |b: &[u8; 2], out| out[0] = float(b[0], b[1])),
        TensorType::BF16 => blocks(kind, bytes, |b: &[u8; 2], out| {
            out[0] = bf16::from_le_bytes(*b).to_f32()
        }),
        TensorType::Q4_0 => blocks(kind, bytes, q4_0),
        TensorType::Q4_1 => blocks(kind, bytes, q4_1),
        TensorType::Q5_0 => blocks(kind, bytes, q5_0),
        TensorType::Q5_1 => blocks(kind, bytes, q5_1),
        TensorType::Q8_0 => blocks(kind, bytes, q8_0),
        TensorType::Q4_K => blocks(kind, bytes, kquants::q4_k),
        TensorType::Q5_K => blocks(kind, bytes, kquants::q5_k),
        TensorType::Q6_K => blocks(kind, bytes, kquants::q6_k),
    }
}

fn blocks<const N: usize>(
    kind: TensorType,
    bytes: &[u8],
    decode: impl Fn(&[u8; N], &mut [f32]),
) -> Vec<f32> {
    debug_assert_eq!(N, kind.block_bytes());
    let (blocks, _) = bytes.as_chunks::<N>();
    let mut out = vec![0.0; blocks.len() * kind.block_len()];
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(kind.block_len())) {
        decode(block, out);
    }
    out
}

pub(super) fn float(low: u8, high: u8) -> f32 {
    f16::from_le_bytes([low, high]).to_f32()
}

fn q4_0(block: &[u8; 18], out: &mut [f32]) {
    let scale = float(block[0], block[1]);
    let (low, high) = out.split_at_mut(16);
    for ((&byte, low), high) in block[2..].iter().zip(low).zip(high) {
        *low = scale * f32::from((byte & 0xf) as i8 - 8);
        *high = scale * f32::from((byte >> 4) as i8 - 8);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32]) {
    let (scale, minimum) = (float(block[0], block[1]), float(block[2], block[3]));
    let (low, high) = out.split_at_mut(16);
    for ((&byte, low), high) in block[4..].iter().zip(low).zip(high) {
        *low = scale * f32::from(byte & 0xf) + minimum;
        *high = scale * f32::from(byte >> 4) + minimum;
    }
}

/// The 32 values of a block whose fifth bits are in `fifth`.
fn five_bits(fifth: &[u8], nibbles: &[u8]) -> [u8; 32] {
    let fifth = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    std::array::from_fn(|i| {
        let byte = nibbles[i % 16];
        let low = if i < 16 { byte & 0xf } else { byte >> 4 };
        low | (((fifth >> i) & 1) as u8) << 4
    })
}

fn q5_0(block: &[u8; 22], out: &mut [f32]) {
    let scale = float(block[0], block[1]);
    for (out, value) in out.iter_mut().zip(five_bits(&block[2..6], &block[6..])) {
        *out = scale * f32::from(value as i8 - 16);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32]) {
    let (scale, minimum) = (float(block[0], block[1]), float(block[2], block[3]));
    for (out, value) in out.iter_mut().zip(five_bits(&block[4..8], &block[8..])) {
        *out = scale * f32::from(value) + minimum;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32]) {
    let scale = float(block[0], block[1]);
    for (out, &byte) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(byte as i8) * scale;
    }
}
