//! Tensors of libtorch on the processor.
#![allow(deprecated)] // Burn 0.22 is the last release with libtorch, hence the version pin.

use std::{ops::Deref, slice};

use burn::{
    backend::{LibTorch, libtorch::TchTensor},
    tensor::{DType, Device, Tensor},
};

use crate::error::HwError;

/// Contiguous float32 values.
pub(super) struct Values(TchTensor);

/// Whether libtorch has values in this machine's memory, as float32. Where there are none its
/// pointer may be null, which no slice can be made of.
pub(super) fn has<const D: usize>(tensor: &Tensor<D>) -> bool {
    tensor.device() == Device::libtorch()
        && tensor.dtype() == DType::F32
        && tensor.shape().num_elements() > 0
}

impl Values {
    pub(super) fn of<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        if !has(&tensor) {
            return None;
        }
        let tensor = tensor.try_into_primitive::<LibTorch>().ok()?;
        tensor.tensor.is_contiguous().then_some(Self(tensor))
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `has` found float32 on the processor, and they are contiguous; the tensor
        // keeps them, and is updated only where nobody else has it.
        unsafe { slice::from_raw_parts(self.0.tensor.data_ptr().cast(), self.0.tensor.numel()) }
    }
}

/// In place where nobody else has the values, else on a copy of them.
pub(super) fn update<const D: usize>(
    tensor: Tensor<D>,
    work: impl FnOnce(&mut [f32]),
) -> Result<Tensor<D>, HwError> {
    let mut tensor =
        (tensor.try_into_primitive::<LibTorch>()).map_err(|error| HwError::Values {
            reason: format!("{error:?}"),
        })?;
    if !tensor.can_mut() || !tensor.tensor.is_contiguous() {
        tensor = TchTensor::new(tensor.tensor.contiguous().copy());
    }
    // SAFETY: as of `Values`; nobody else has them.
    work(unsafe {
        slice::from_raw_parts_mut(tensor.tensor.data_ptr().cast(), tensor.tensor.numel())
    });
    Ok(Tensor::from_primitive::<LibTorch>(tensor))
}
