//! Sums of gradients.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};

struct Add<'a> {
    into: &'a mut GradientsParams,
    from: GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(more) = self.from.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.into.remove::<D>(param.id) {
            Some(sum) => sum + more,
            None => more,
        };
        self.into.register(param.id, sum);
    }
}

/// Adds the gradients of a module's parameters to others of them.
pub(crate) fn add<M: Module>(module: &M, into: &mut GradientsParams, from: GradientsParams) {
    module.visit(&mut Add { into, from });
}
