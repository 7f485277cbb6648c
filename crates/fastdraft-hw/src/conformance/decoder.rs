//! The small decoder on a device.

use burn::tensor::activation::{log_softmax, silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::oracle::{EPSILON, GOALS, HEAD, HEADS, HIDDEN, Parameters, SHAPES};

/// Numbers of a parameter or a result, row by row.
pub(super) fn host(tensor: Tensor<2>) -> Vec<f64> {
    let data = tensor.into_data().convert::<f32>();
    data.iter::<f32>().map(f64::from).collect()
}

pub(super) fn matrix(values: &[f64], shape: [usize; 2], device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn ids(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
    let shape = [values.len()];
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn load(p: &Parameters, device: &Device) -> Vec<Tensor<2>> {
    p.iter()
        .zip(SHAPES)
        .map(|(values, shape)| matrix(values, shape, device))
        .collect()
}

fn norm(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    let scale = (x.clone() * x.clone()).mean_dim(1).add_scalar(EPSILON);
    x / scale.sqrt() * weight.clone()
}

/// Keys and values of the tokens so far.
#[derive(Default)]
pub(super) struct Cache(Option<(Tensor<2>, Tensor<2>)>);

/// Logits `[inputs, vocabulary]` of inputs that follow what `cache` holds.
pub(super) fn logits(p: &[Tensor<2>], inputs: &[usize], cache: &mut Cache) -> Tensor<2> {
    let device = p[0].device();
    let rows = inputs.len();
    let mut x = p[0].clone().select(0, ids(inputs, &device));
    let h = norm(x.clone(), &p[1]);
    let q = h.clone().matmul(p[2].clone());
    let (mut k, mut v) = (h.clone().matmul(p[3].clone()), h.matmul(p[4].clone()));
    if let Some((keys, values)) = cache.0.take() {
        k = Tensor::cat(vec![keys, k], 0);
        v = Tensor::cat(vec![values, v], 0);
    }
    cache.0 = Some((k.clone(), v.clone()));
    let span = k.dims()[0];
    let mask = mask(rows, span, &device);
    let heads = (0..HEADS)
        .map(|head| {
            let columns = head * HEAD..(head + 1) * HEAD;
            let q = q.clone().slice([0..rows, columns.clone()]);
            let k = k.clone().slice([0..span, columns.clone()]);
            let v = v.clone().slice([0..span, columns]);
            let scores = q.matmul(k.transpose()).div_scalar((HEAD as f64).sqrt());
            softmax(scores + mask.clone(), 1).matmul(v)
        })
        .collect();
    x = x + Tensor::cat(heads, 1).matmul(p[5].clone());
    let h = norm(x.clone(), &p[6]);
    let gate = silu(h.clone().matmul(p[7].clone()));
    x = x + (gate * h.matmul(p[8].clone())).matmul(p[9].clone());
    norm(x, &p[10]).matmul(p[11].clone())
}

/// 0 where a row may look, far below where it may not; the last row sees all.
fn mask(rows: usize, span: usize, device: &Device) -> Tensor<2> {
    let before = span - rows;
    let values: Vec<f64> = (0..rows)
        .flat_map(|row| (0..span).map(move |at| if at > before + row { -1e9 } else { 0.0 }))
        .collect();
    matrix(&values, [rows, span], device)
}

/// Mean cross-entropy of the goals.
pub(super) fn loss(logits: Tensor<2>) -> Tensor<1> {
    let goals = ids(&GOALS, &logits.device()).reshape([GOALS.len(), 1]);
    log_softmax(logits, 1).gather(1, goals).mean().neg()
}

/// Width that a cached key has; the checks use it to see that a cache was kept.
pub(super) fn cached(cache: &Cache) -> [usize; 2] {
    cache
        .0
        .as_ref()
        .map_or([0, HIDDEN], |(keys, _)| keys.dims())
}
