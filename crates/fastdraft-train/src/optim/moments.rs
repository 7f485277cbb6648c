//! What AdamW remembers of each parameter.

/// Running means of one parameter's gradient and of its square.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// `[elements]`
    pub first: Vec<f32>,
    /// `[elements]`
    pub second: Vec<f32>,
}

impl Moments {
    /// Before the first step.
    #[must_use]
    pub fn zeros(elements: usize) -> Self {
        Self {
            first: vec![0.0; elements],
            second: vec![0.0; elements],
        }
    }
}
