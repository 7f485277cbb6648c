//! From a row of logits to the distribution that is sampled.

use alloc::vec::Vec;

use crate::distribution::{Distribution, Entry, Scratch};
use crate::math::exp_nonpositive;
use crate::{TokenId, TransformError, truncation};

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
        out.clear();
        self.validate()?;
        let mut scratch = out.take_scratch();
        let result = load(logits, token_ids, &mut scratch.entries)
            .and_then(|()| self.shape(history, &mut scratch));
        if result.is_ok() {
            out.set_weights(&scratch.entries);
        }
        out.put_scratch(scratch);
        result
    }

    /// Takes logits in ascending token order to weights in ascending token order.
    fn shape(&self, history: &[TokenId], scratch: &mut Scratch) -> Result<(), TransformError> {
        let Scratch { entries, tokens } = scratch;
        self.penalise(history, entries, tokens);
        for &(token, bias) in &self.logit_bias {
            if let Some(entry) = find(entries, token) {
                entry.value += f64::from(bias);
            }
        }
        if let Some(allowed) = &self.allowed {
            tokens.clear();
            tokens.extend_from_slice(allowed);
            tokens.sort_unstable();
            let mut permitted = tokens.iter().copied().peekable();
            entries.retain(|e| {
                while permitted.next_if(|&t| t < e.token).is_some() {}
                permitted.peek() == Some(&e.token)
            });
        }
        let mut best: Option<Entry> = None;
        for &entry in entries.iter() {
            if entry.value.is_nan() || entry.value == f64::INFINITY {
                return Err(TransformError::InvalidLogit {
                    token: entry.token,
                    value: entry.value as f32,
                });
            }
            if best.is_none_or(|b| entry.value > b.value) {
                best = Some(entry);
            }
        }
        let best = best
            .filter(|b| b.value > f64::NEG_INFINITY)
            .ok_or(TransformError::NoSupport)?;
        if self.is_greedy() {
            entries.clear();
            entries.push(Entry {
                token: best.token,
                value: 1.0,
            });
            return Ok(());
        }
        for entry in entries.iter_mut() {
            entry.value = exp_nonpositive((entry.value - best.value) / self.temperature);
        }
        entries.retain(|e| e.value > 0.0);
        self.truncate(entries);
        Ok(())
    }

    fn truncate(&self, entries: &mut Vec<Entry>) {
        if let Some(k) = self.top_k {
            truncation::top_k(entries, k);
        }
        if let Some(p) = self.top_p {
            truncation::top_p(entries, p);
        }
        if let Some(p) = self.min_p {
            truncation::min_p(entries, p);
        }
        if !entries.is_sorted_by_key(|e| e.token) {
            entries.sort_unstable_by_key(|e| e.token);
        }
    }

    fn penalise(&self, history: &[TokenId], entries: &mut [Entry], tokens: &mut Vec<TokenId>) {
        let off = self.repetition_penalty == 1.0
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0;
        if off {
            return;
        }
        tokens.clear();
        tokens.extend_from_slice(history);
        tokens.sort_unstable();
        for run in tokens.chunk_by(|a, b| a == b) {
            let Some(entry) = run.first().and_then(|&token| find(entries, token)) else {
                continue;
            };
            if entry.value > 0.0 {
                entry.value /= self.repetition_penalty;
            } else {
                entry.value *= self.repetition_penalty;
            }
            entry.value -= self.presence_penalty + self.frequency_penalty * run.len() as f64;
        }
    }
}

/// Reads logits into `entries` in ascending token order, leaving out −∞.
fn load(
    logits: &[f32],
    token_ids: Option<&[TokenId]>,
    entries: &mut Vec<Entry>,
) -> Result<(), TransformError> {
    entries.clear();
    let mut push = |token: TokenId, value: f32| {
        if value.is_nan() || value == f32::INFINITY {
            return Err(TransformError::InvalidLogit { token, value });
        }
        entries.push(Entry {
            token,
            value: f64::from(value),
        });
        Ok(())
    };
    match token_ids {
        None => {
            for (token, &value) in (0..=TokenId::MAX).zip(logits) {
                push(token, value)?;
            }
        }
        Some(ids) => {
            if ids.len() != logits.len() {
                return Err(TransformError::LengthMismatch {
                    logits: logits.len(),
                    token_ids: ids.len(),
                });
            }
            for (&token, &value) in ids.iter().zip(logits) {
                push(token, value)?;
            }
            if !entries.is_sorted_by_key(|e| e.token) {
                entries.sort_unstable_by_key(|e| e.token);
            }
            for pair in entries.windows(2) {
                if let [a, b] = pair
                    && a.token == b.token
                {
                    return Err(TransformError::DuplicateToken { token: a.token });
                }
            }
        }
    }
    Ok(())
}

fn find(entries: &mut [Entry], token: TokenId) -> Option<&mut Entry> {
    let index = token as usize;
    let index = if entries.get(index).is_some_and(|e| e.token == token) {
        index
    } else {
        entries.binary_search_by_key(&token, |e| e.token).ok()?
    };
    entries.get_mut(index)
}
