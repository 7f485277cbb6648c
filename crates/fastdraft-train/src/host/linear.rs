//! Parameters as host memory, and sums of their gradients.

use std::collections::BTreeMap;

use burn::{
    module::{Param, ParamId},
    nn::{self, RmsNorm},
    optim::GradientsParams,
    tensor::{Device, Tensor, TensorData},
};

use super::{
    matrix::{Put, View, multiply},
    memory::{Buffer, Memory},
    values::Values,
};
use crate::error::TrainError;

/// Gradients of a step, added up over its micro-batches.
pub(crate) struct Sums {
    memory: Memory,
    all: BTreeMap<ParamId, (Vec<usize>, Vec<f32>)>,
}

impl Sums {
    pub(crate) fn new(memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            all: BTreeMap::new(),
        }
    }

    /// The sum of a parameter, and whether the next product replaces it or is added.
    pub(crate) fn of<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> (&mut [f32], Put) {
        let shape = param.val().dims();
        let mut put = Put::Onto;
        let (_, sum) = self.all.entry(param.id).or_insert_with(|| {
            put = Put::Over;
            let count = shape.iter().product();
            (shape.to_vec(), self.memory.vector(count))
        });
        (sum, put)
    }

    /// The sum of a parameter, to be added to.
    pub(super) fn onto<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> &mut [f32] {
        let (sum, put) = self.of(param);
        if put == Put::Over {
            sum.fill(0.0);
        }
        sum
    }

    /// Adds the gradient of a vector, if it is trained.
    pub(super) fn add(&mut self, param: &Param<Tensor<1>>, gradient: &[f32]) {
        if !param.is_require_grad() {
            return;
        }
        for (sum, value) in self.onto(param).iter_mut().zip(gradient) {
            *sum += value;
        }
    }

    /// The sums as tensors of a device.
    pub(crate) fn into_gradients(self, device: &Device) -> GradientsParams {
        let mut gradients = GradientsParams::new();
        for (id, (shape, values)) in self.all {
            let matrix = shape.len() == 2;
            let data = TensorData::new(values, shape);
            if matrix {
                gradients.register::<2>(id, Tensor::from_data(data, device));
            } else {
                gradients.register::<1>(id, Tensor::from_data(data, device));
            }
        }
        gradients
    }
}

/// A norm whose weight is in host memory.
pub(super) struct Norm<'a> {
    pub(super) gamma: Values,
    pub(super) epsilon: f64,
    pub(super) param: &'a Param<Tensor<1>>,
}

impl<'a> Norm<'a> {
    pub(super) fn read(norm: &'a RmsNorm) -> Result<Self, TrainError> {
        Ok(Self {
            gamma: Values::of(&norm.gamma)?,
            epsilon: norm.epsilon,
            param: &norm.gamma,
        })
    }
}

/// A projection whose weights are in host memory.
pub(super) struct Linear<'a> {
    weight: Values,
    bias: Option<Values>,
    pub(super) input: usize,
    pub(super) output: usize,
    layer: &'a nn::Linear,
    memory: &'a Memory,
}

impl<'a> Linear<'a> {
    pub(super) fn read(layer: &'a nn::Linear, memory: &'a Memory) -> Result<Self, TrainError> {
        let [input, output] = layer.weight.val().dims();
        Ok(Self {
            weight: Values::of(&layer.weight)?,
            bias: layer.bias.as_ref().map(Values::of).transpose()?,
            input,
            output,
            layer,
            memory,
        })
    }

    fn matrix(&self) -> View<'_> {
        View::new(&self.weight, self.input, self.output)
    }

    /// `[rows, input]` to `[rows, output]`.
    pub(super) fn forward(&self, x: &[f32]) -> Buffer {
        let mut y = self.memory.take(x.len() / self.input * self.output);
        self.put(x, &mut y, Put::Over);
        y
    }

    /// Adds the output to `y`.
    pub(super) fn forward_onto(&self, x: &[f32], y: &mut [f32]) {
        self.put(x, y, Put::Onto);
    }

    fn put(&self, x: &[f32], y: &mut [f32], put: Put) {
        let rows = x.len() / self.input;
        multiply(y, put, View::new(x, rows, self.input), self.matrix());
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.output) {
                for (value, bias) in row.iter_mut().zip(&**bias) {
                    *value += bias;
                }
            }
        }
    }

    /// Adds the gradients of weight and bias, from the input and the output's gradient.
    pub(super) fn backward(&self, x: &[f32], dy: &[f32], sums: &mut Sums) {
        let rows = x.len() / self.input;
        if self.layer.weight.is_require_grad() {
            let (sum, put) = sums.of(&self.layer.weight);
            let dy = View::new(dy, rows, self.output);
            multiply(sum, put, View::new(x, rows, self.input).t(), dy);
        }
        if let Some(bias) = &self.layer.bias {
            let mut sum = vec![0.0; self.output];
            for row in dy.chunks_exact(self.output) {
                for (sum, value) in sum.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums.add(bias, &sum);
        }
    }

    /// The input's gradient, into or onto `dx`.
    pub(super) fn below(&self, dy: &[f32], dx: &mut [f32], put: Put) {
        let rows = dy.len() / self.output;
        multiply(dx, put, View::new(dy, rows, self.output), self.matrix().t());
    }
}
