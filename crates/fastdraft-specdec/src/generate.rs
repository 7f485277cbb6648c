//! The loop as one call.

use core::convert::Infallible;
use core::ops::ControlFlow;

use crate::{
    Draft, Emitted, GenerateError, Generation, NoDraft, Session, SessionConfig, Target, TokenId,
};

/// Generates after `prompt` what the target alone would, with `draft` proposing tokens.
///
/// At temperature 0 the output equals [`generate_plain`]'s, otherwise it follows the same
/// distribution. Each step drafts min(γ, r − 1) tokens when r are still wanted, so the last step may
/// draft none. A stop inside an accepted block ends the output there: what comes behind it is
/// neither emitted nor counted. Both models are truncated to length 0 first, then after each step to
/// the tokens that both have seen and that were kept: the context less the target's last token.
///
/// `on_tokens` receives the tokens of each step; returning [`ControlFlow::Break`] ends the
/// generation after that step.
///
/// # Errors
/// When the prompt is empty or has a token outside the vocabulary, a setting is out of range, a
/// model fails or breaks its contract, or a target row is not usable. Tokens already passed to
/// `on_tokens` remain valid.
pub fn generate<D: Draft, T: Target>(
    draft: &mut D,
    target: &mut T,
    prompt: &[TokenId],
    config: &SessionConfig,
    mut on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<D::Error, T::Error>> {
    let mut session = Session::new(draft, target, prompt, config)?;
    while let Some(step) = session.advance()? {
        if on_tokens(step).is_break() {
            session.cancel();
        }
    }
    Ok(session.finish())
}

/// Generates after `prompt` one token per target pass, through the same loop without a draft.
///
/// # Errors
/// As [`generate`].
pub fn generate_plain<T: Target>(
    target: &mut T,
    prompt: &[TokenId],
    config: &SessionConfig,
    on_tokens: impl FnMut(Emitted<'_>) -> ControlFlow<()>,
) -> Result<Generation, GenerateError<Infallible, T::Error>> {
    generate(&mut NoDraft, target, prompt, config, on_tokens)
}
