//! Tensors of the processor as slices, without a copy, whatever the runtime.

use std::ops::Deref;

use burn::tensor::Tensor;

use crate::error::HwError;

#[cfg(feature = "tch")]
mod libtorch;

/// Float32 values of a tensor in this machine's memory, row after row. While they are kept, an
/// update of the tensor copies it.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fastdraft_hw::HostValues;
///
/// let tensor = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &Device::flex());
/// let values = HostValues::of(tensor).expect("contiguous, on the processor");
/// assert_eq!(*values, [1.0, 2.0, 3.0, 4.0]);
/// ```
pub struct HostValues(Kind);

enum Kind {
    #[cfg(feature = "flex")]
    Flex(burn::backend::flex::FlexTensor),
    #[cfg(feature = "tch")]
    LibTorch(libtorch::Values),
}

impl HostValues {
    /// The values of a tensor; `None` where another device has them, where they have gaps or
    /// another order, or are no float32.
    #[must_use]
    pub fn of<const D: usize>(tensor: Tensor<D>) -> Option<Self> {
        let tensor = tensor.without_autodiff();
        #[cfg(feature = "flex")]
        if let Ok(flex) = tensor.clone().try_into_primitive::<burn::backend::Flex>() {
            return (flex.as_slice::<f32>().is_some()).then_some(Self(Kind::Flex(flex)));
        }
        #[cfg(feature = "tch")]
        if let Some(values) = libtorch::Values::of(tensor) {
            return Some(Self(Kind::LibTorch(values)));
        }
        None
    }
}

impl Deref for HostValues {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            #[cfg(feature = "flex")]
            Kind::Flex(tensor) => tensor.as_slice().unwrap_or_default(),
            #[cfg(feature = "tch")]
            Kind::LibTorch(values) => values,
        }
    }
}

/// Changes the values of a tensor by `work`, which gets them row after row. Nothing is copied
/// where the tensor is the only one that has them and this machine's memory holds them.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use fastdraft_hw::values::update;
///
/// let tensor = Tensor::<1>::from_floats([1.0, 2.0], &Device::flex());
/// let tensor = update(tensor, |values| values[1] = 5.0)?;
/// assert_eq!(tensor.into_data().try_to_vec::<f32>().unwrap(), [1.0, 5.0]);
/// # Ok::<(), fastdraft_hw::HwError>(())
/// ```
///
/// # Errors
/// [`HwError::Values`] when the device does not hand its values over, or they are no float32.
pub fn update<const D: usize>(
    tensor: Tensor<D>,
    work: impl FnOnce(&mut [f32]),
) -> Result<Tensor<D>, HwError> {
    let device = tensor.device();
    let tensor = tensor.without_autodiff();
    #[cfg(feature = "tch")]
    if libtorch::has(&tensor) {
        let updated = libtorch::update(tensor, work)?;
        return Ok(if device.is_autodiff() {
            updated.autodiff()
        } else {
            updated
        });
    }
    let mut data = (tensor.try_into_data()).map_err(|error| HwError::Values {
        reason: error.to_string(),
    })?;
    let values = data.as_mut_slice::<f32>();
    work(values.map_err(|error| HwError::Values {
        reason: format!("{error:?}"),
    })?);
    Ok(Tensor::from_data(data, &device))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use super::*;

    fn devices() -> Vec<Device> {
        ["cpu", "cpu:libtorch"]
            .iter()
            .filter_map(|name| crate::open(&name.parse().unwrap()).ok())
            .collect()
    }

    #[test]
    fn values_are_shared_unless_they_lie_apart() {
        for device in devices() {
            let matrix = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
            assert_eq!(
                *HostValues::of(matrix.clone()).unwrap(),
                [1.0, 2.0, 3.0, 4.0]
            );
            let turned = HostValues::of(matrix.clone().transpose());
            assert!(turned.is_none_or(|values| *values == [1.0, 3.0, 2.0, 4.0]));
            let column = HostValues::of(matrix.narrow(1, 1, 1));
            assert!(column.is_none_or(|values| *values == [2.0, 4.0]));
        }
    }

    #[test]
    fn updates_reach_one_tensor_alone() {
        for device in devices() {
            for device in [device.clone(), device.autodiff()] {
                let first = Tensor::<1>::from_floats([1.0, 2.0], &device);
                let second = update(first.clone(), |values| values[0] = 7.0).unwrap();
                let third = update(second, |values| values[1] = 8.0).unwrap();
                assert_eq!(third.is_autodiff(), device.is_autodiff());
                let of = |tensor: Tensor<1>| tensor.into_data().try_to_vec::<f32>().unwrap();
                assert_eq!((of(first), of(third)), (vec![1.0, 2.0], vec![7.0, 8.0]));
            }
        }
    }
}
