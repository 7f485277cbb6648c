//! Tensors as slices of host memory.

use burn::tensor::{Tensor, TensorData};

use crate::error::TrainError;

/// A tensor's values; nothing is copied when nobody else holds it and the device is the host.
pub(crate) fn data<const D: usize>(tensor: Tensor<D>) -> Result<TensorData, TrainError> {
    tensor.try_into_data().map_err(|error| TrainError::Tensor {
        reason: error.to_string(),
    })
}

/// The values of float32 data.
pub(crate) fn slice(data: &mut TensorData) -> Result<&mut [f32], TrainError> {
    data.as_mut_slice::<f32>()
        .map_err(|error| TrainError::Tensor {
            reason: format!("{error:?}"),
        })
}
