//! What a forecast of the gain rests on without proof.

use super::Question;
use crate::plan::unproven;

pub(super) fn of(question: &Question) -> Vec<String> {
    let mut list = Vec::new();
    let profile = &question.run_on.profile;
    if profile.id != question.train_on.profile.id {
        for (name, figure) in profile.figures() {
            // Decoding is forecast without the efficiency of training.
            if name == "efficiency" {
                continue;
            }
            let text = unproven(name, figure).map(|text| format!("{}: {text}", profile.name));
            list.extend(text);
        }
    }
    list.push(format!(
        "an AR of {:.3} at γ = {} for a draft with {:.1}M parameters in its blocks is assumed, and \
         {:+.3} in the chance of a token for every doubling of them",
        question.acceptance_rate,
        question.gamma,
        question.reference.block_parameters() as f64 / 1e6,
        question.per_doubling
    ));
    list
}
