//! Parameters in host memory.

use std::ops::Deref;

use burn::{module::Param, tensor::Tensor};
use fastdraft_hw::HostValues;

use crate::{error::TrainError, optim::host};

/// The values of a tensor, row after row. While they are kept, an update of the tensor copies it.
pub(crate) enum Values {
    /// The tensor's own memory.
    Shared(HostValues),
    /// Of a device that is not the processor, or with gaps.
    Copied(Vec<f32>),
}

impl Values {
    /// The values of a parameter.
    ///
    /// # Errors
    /// [`TrainError::Tensor`] when they are not float32 values.
    pub(crate) fn of<const D: usize>(param: &Param<Tensor<D>>) -> Result<Self, TrainError> {
        match Self::shared(param) {
            Some(shared) => Ok(shared),
            None => copied(param.val().without_autodiff()).map(Self::Copied),
        }
    }

    /// The values of a parameter where they need no copy.
    pub(super) fn shared<const D: usize>(param: &Param<Tensor<D>>) -> Option<Self> {
        HostValues::of(param.val()).map(Self::Shared)
    }
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Shared(values) => values,
            Self::Copied(values) => values,
        }
    }
}

/// The values of a tensor, in memory of their own.
///
/// # Errors
/// As [`Values::of`].
pub(super) fn copied<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, TrainError> {
    (host::data(tensor)?.try_into_vec()).map_err(|error| TrainError::Tensor {
        reason: format!("{error:?}"),
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn values_are_shared_unless_they_lie_apart() {
        let device = Device::flex();
        let matrix = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
        let plain = Values::of(&Param::from_tensor(matrix.clone())).unwrap();
        assert!(matches!(plain, Values::Shared(_)));
        assert_eq!(*plain, [1.0, 2.0, 3.0, 4.0]);
        let turned = Values::of(&Param::from_tensor(matrix.transpose())).unwrap();
        assert_eq!(*turned, [1.0, 3.0, 2.0, 4.0]);
    }
}
