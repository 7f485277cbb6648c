//! From a row of logits to the distribution that is sampled.

use alloc::vec::Vec;

use crate::distribution::{Distribution, Scratch};
use crate::math::UNDERFLOW;
use crate::softmax::{Row, Scale, exponent_below};
use crate::{TokenId, TransformError, adjust, truncation};

/// In a row of at most this many tokens top-p sums the weights in double precision.
const EXACT_BELOW: usize = 4096;
/// How much lighter than certain the tokens below a first floor for top-p are taken to be.
const GUESS: f64 = 16.0;

/// How a row of logits becomes a probability distribution.
///
/// Draft and target must use the same transform with the same history; speculative decoding then
/// follows the transformed target exactly. The steps run in this order: repetition penalty,
/// presence and frequency penalty, logit bias, allowed tokens, temperature, top-k, top-p, min-p,
/// normalisation. Ties go to the lower token id throughout.
///
/// ```
/// use fastdraft_specdec::{Distribution, Transform};
/// let transform = Transform { top_k: Some(2), ..Transform::temperature(0.7) };
/// let mut out = Distribution::new();
/// transform.apply(&[0.0, 2.0, 1.0], &[], &mut out)?;
/// assert_eq!(out.tokens(), &[1, 2]);
/// # Ok::<(), fastdraft_specdec::TransformError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Transform {
    /// Divides the logits; 0 takes the most likely token with certainty.
    pub temperature: f64,
    /// Keeps only this many of the most likely tokens.
    pub top_k: Option<usize>,
    /// Keeps the most likely tokens up to and including the one that brings their mass to this.
    ///
    /// Over more than 4096 tokens the total is known to 1e-6 or better, and so is where the cut lies.
    pub top_p: Option<f64>,
    /// Keeps tokens at least this many times as likely as the most likely one.
    pub min_p: Option<f64>,
    /// For a token in the history, divides a positive logit and multiplies a negative one; 1 is off.
    pub repetition_penalty: f64,
    /// Subtracted once from the logit of a token in the history; 0 is off.
    pub presence_penalty: f64,
    /// Subtracted from a token's logit for each time it occurs in the history; 0 is off.
    pub frequency_penalty: f64,
    /// Added to the logits of these tokens; negative infinity forbids one, repeated ids add up.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Only these tokens may be sampled.
    pub allowed: Option<Vec<TokenId>>,
}

impl Default for Transform {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            allowed: None,
        }
    }
}

impl Transform {
    /// Temperature 0: always the most likely token.
    #[must_use]
    pub fn greedy() -> Self {
        Self::temperature(0.0)
    }

    /// Sampling at `temperature` with nothing else.
    #[must_use]
    pub fn temperature(temperature: f64) -> Self {
        Self {
            temperature,
            ..Self::default()
        }
    }

    /// Whether the transform leaves a single token, that is, temperature is 0.
    #[must_use]
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Checks that every parameter is in its range.
    ///
    /// # Errors
    /// [`TransformError::InvalidParameter`] or [`TransformError::InvalidBias`] for the first that is
    /// not: temperature finite and ≥ 0; top-k ≥ 1; top-p in (0, 1]; min-p in \[0, 1\]; repetition
    /// penalty finite and > 0; other penalties finite; biases finite or negative infinity.
    pub fn validate(&self) -> Result<(), TransformError> {
        let check = |name: &'static str, value: f64, valid: bool| {
            if valid {
                Ok(())
            } else {
                Err(TransformError::InvalidParameter { name, value })
            }
        };
        let t = self.temperature;
        check("temperature", t, t.is_finite() && t >= 0.0)?;
        if let Some(k) = self.top_k {
            check("top_k", k as f64, k > 0)?;
        }
        if let Some(p) = self.top_p {
            check("top_p", p, p > 0.0 && p <= 1.0)?;
        }
        if let Some(p) = self.min_p {
            check("min_p", p, (0.0..=1.0).contains(&p))?;
        }
        let r = self.repetition_penalty;
        check("repetition_penalty", r, r.is_finite() && r > 0.0)?;
        let p = self.presence_penalty;
        check("presence_penalty", p, p.is_finite())?;
        let f = self.frequency_penalty;
        check("frequency_penalty", f, f.is_finite())?;
        for &(token, bias) in &self.logit_bias {
            if !bias.is_finite() && bias != f32::NEG_INFINITY {
                return Err(TransformError::InvalidBias { token, bias });
            }
        }
        Ok(())
    }

    /// Turns `logits`, shape `[vocabulary]`, into the distribution of the token after `history`.
    ///
    /// `history` is the whole context so far, the prompt and drafted tokens included; only the
    /// penalties read it. On error `out` is left empty.
    ///
    /// # Errors
    /// When a parameter is out of range, a logit is NaN or +∞, or no token is left to sample.
    pub fn apply(
        &self,
        logits: &[f32],
        history: &[TokenId],
        out: &mut Distribution,
    ) -> Result<(), TransformError> {
        self.run(logits, None, history, out)
    }

    /// As [`Transform::apply`] for a model that scores only some of the target's tokens.
    ///
    /// `logits[i]` belongs to target token `token_ids[i]`; the ids may be in any order. Every other
    /// token gets probability 0, which keeps a draft with a trimmed vocabulary lossless.
    ///
    /// # Errors
    /// As [`Transform::apply`], and when the lengths differ or an id occurs twice.
    pub fn apply_subset(
        &self,
        logits: &[f32],
        token_ids: &[TokenId],
        history: &[TokenId],
        out: &mut Distribution,
    ) -> Result<(), TransformError> {
        self.run(logits, Some(token_ids), history, out)
    }

    fn run(
        &self,
        logits: &[f32],
        token_ids: Option<&[TokenId]>,
        history: &[TokenId],
        out: &mut Distribution,
    ) -> Result<(), TransformError> {
        let mut scratch = out.take_scratch();
        let result = self.fill(logits, token_ids, history, &mut scratch, out);
        out.put_scratch(scratch);
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn fill(
        &self,
        logits: &[f32],
        token_ids: Option<&[TokenId]>,
        history: &[TokenId],
        scratch: &mut Scratch,
        out: &mut Distribution,
    ) -> Result<(), TransformError> {
        self.validate()?;
        let Scratch {
            candidates,
            pairs,
            row: copy,
            ids,
            tokens,
            blocks,
            maxima,
            weights,
        } = scratch;
        let ascending = token_ids.is_none_or(|ids| ids.is_sorted_by(|a, b| a < b));
        let mut row = Row {
            logits,
            ids: token_ids,
        };
        if let Some(token_ids) = token_ids {
            if token_ids.len() != logits.len() {
                return Err(TransformError::LengthMismatch {
                    logits: logits.len(),
                    token_ids: token_ids.len(),
                });
            }
            if !ascending {
                sort(logits, token_ids, pairs, copy, ids)?;
                row.ids = Some(ids);
            }
        }
        let mut max = if ascending {
            row.scan(blocks)?
        } else {
            Row {
                logits: copy,
                ..row
            }
            .scan(blocks)?
        };
        if adjust::is_needed(self) {
            if ascending {
                copy.clear();
                copy.extend_from_slice(logits);
            }
            adjust::adjust(self, history, copy, row.ids, tokens);
            row.logits = copy;
            max = row.scan(blocks)?;
        } else if !ascending {
            row.logits = copy;
        }
        if max == f32::NEG_INFINITY {
            return Err(TransformError::NoSupport);
        }
        if self.is_greedy() {
            let index = row.position(max, blocks);
            out.set_one_hot(row.token(index.unwrap_or_default()));
            return Ok(());
        }
        let scale = Scale::new(max, self.temperature);
        let size = row.logits.len();
        let top_k = self.top_k.filter(|&k| k < size);
        let top_p = self.top_p.filter(|&p| p < 1.0);
        let min_p = self.min_p.filter(|&p| p > 0.0);
        if top_k.is_none() && top_p.is_none() && min_p.is_none() {
            dense(row, scale, out);
            return Ok(());
        }
        let mut mass = None;
        let floor = if let Some(k) = top_k {
            kth_block(k, blocks, maxima).map_or(UNDERFLOW, |v| scale.exponent(v) - 1e-9)
        } else if let Some(p) = top_p {
            if size > EXACT_BELOW {
                let rough = scale.mass(row.logits, blocks, maxima);
                mass = Some(rough);
                scale.nucleus_floor(p, rough, blocks, maxima, GUESS)
            } else {
                UNDERFLOW
            }
        } else {
            min_p.map_or(UNDERFLOW, exponent_below)
        };
        scale.gather(row, blocks, floor, candidates);
        if let (Some(p), Some(mass)) = (top_p, mass)
            && candidates.total() < p * (1.0 + 1e-9) * mass.most
        {
            let floor = scale.nucleus_floor(p, mass, blocks, maxima, 1.0);
            scale.gather(row, blocks, floor, candidates);
        }
        if let Some(k) = top_k {
            truncation::top_k(candidates, k, weights);
        }
        if let Some(p) = top_p {
            let total = mass.map(|m| m.most);
            let mut cut = truncation::top_p(candidates, p, total, weights);
            if let Some(mass) = mass.filter(|m| m.least < m.most)
                && truncation::top_p(candidates, p, Some(mass.least), weights) != cut
            {
                let exact = scale.refine(row.logits, -1.0, maxima);
                cut = truncation::top_p(candidates, p, Some(exact.most), weights);
            }
            if let Some(cut) = cut {
                cut.keep(candidates);
            }
        }
        if let Some(p) = min_p {
            truncation::min_p(candidates, p);
        }
        out.set_weights(candidates);
        Ok(())
    }
}

/// Gives every token its share of the weights; those whose weight underflows are left out.
fn dense(row: Row<'_>, scale: Scale, out: &mut Distribution) {
    let weights = out.weights_mut(row.logits.len());
    let (total, least) = scale.weigh_all(row.logits, weights);
    let share = 1.0 / total;
    for weight in weights {
        *weight *= share;
    }
    match row.ids {
        None => out.mark_dense(),
        Some(ids) => out.set_tokens(ids),
    }
    if least <= 0.0 {
        out.drop_zeros();
    }
}

/// The `k`-th largest block maximum: at least `k` logits are that large.
fn kth_block(k: usize, blocks: &[f32], maxima: &mut Vec<f32>) -> Option<f32> {
    if k == 0 || k > blocks.len() {
        return None;
    }
    maxima.clear();
    maxima.extend_from_slice(blocks);
    let (_, &mut value, _) = maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    Some(value)
}

/// Copies `logits` and `token_ids` in ascending order of the ids.
fn sort(
    logits: &[f32],
    token_ids: &[TokenId],
    pairs: &mut Vec<(TokenId, f32)>,
    row: &mut Vec<f32>,
    ids: &mut Vec<TokenId>,
) -> Result<(), TransformError> {
    pairs.clear();
    pairs.extend(token_ids.iter().copied().zip(logits.iter().copied()));
    pairs.sort_unstable_by_key(|&(token, _)| token);
    row.clear();
    row.extend(pairs.iter().map(|&(_, logit)| logit));
    ids.clear();
    ids.extend(pairs.iter().map(|&(token, _)| token));
    match ids.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(TransformError::DuplicateToken {
            token: pair.first().copied().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}
