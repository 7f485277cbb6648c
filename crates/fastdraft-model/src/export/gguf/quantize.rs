//! Float32 into stored blocks, with the operations of the reference.

use half::{bf16, f16};

use crate::import::gguf::TensorType;

/// Whole blocks of `data`; formats that are only read come out as float32.
pub(super) fn quantize(kind: TensorType, data: &[f32]) -> Vec<u8> {
    match kind {
        TensorType::F16 => (data.iter())
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect(),
        TensorType::BF16 => (data.iter())
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect(),
        TensorType::Q8_0 => (data.chunks_exact(TensorType::Q8_0.block_len()))
            .flat_map(q8_0)
            .collect(),
        TensorType::Q4_0 => (data.chunks_exact(TensorType::Q4_0.block_len()))
            .flat_map(q4_0)
            .collect(),
        _ => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

fn q8_0(block: &[f32]) -> impl Iterator<Item = u8> {
    let largest = block
        .iter()
        .fold(0.0_f32, |max, value| max.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let values = (block.iter()).map(move |value| (value * inverse).round() as i8 as u8);
    f16::from_f32(scale).to_le_bytes().into_iter().chain(values)
}

/// The value of largest size becomes -8, so that its side has no rounding.
fn q4_0(block: &[f32]) -> Vec<u8> {
    let largest = block.iter().fold(
        0.0_f32,
        |max, value| {
            if value.abs() > max.abs() { *value } else { max }
        },
    );
    let scale = largest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let step = |value: f32| ((value * inverse + 8.5) as u8).min(15);
    let (low, high) = block.split_at(block.len() / 2);
    let pairs = low.iter().zip(high);
    let mut bytes = f16::from_f32(scale).to_le_bytes().to_vec();
    bytes.extend(pairs.map(|(low, high)| step(*low) | (step(*high) << 4)));
    bytes
}
