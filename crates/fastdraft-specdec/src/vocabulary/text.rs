//! The preflight that reads the tokens.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Vocabulary, VocabularyVerdict};
use crate::TokenId;

/// A vocabulary whose tokens can be read.
pub trait TokenText {
    /// Length of a logits row, padding rows included.
    fn size(&self) -> usize;

    /// The bytes of `token`; `None` for a padding row or beyond the last.
    fn text(&self, token: TokenId) -> Option<&[u8]>;

    /// Special tokens by role, such as `eos`, in any order.
    fn specials(&self) -> &[(String, TokenId)];
}

/// Tokens in id order: the vocabulary of any tokenizer, ready for [`preflight_text`].
///
/// ```
/// use fastdraft_specdec::{TokenTable, TokenText};
/// let table = TokenTable::new(4, ["a", "b", "</s>"]).with_special("eos", 2);
/// assert_eq!(table.text(1), Some(&b"b"[..]));
/// assert_eq!(table.text(3), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenTable {
    size: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    specials: Vec<(String, TokenId)>,
}

impl TokenTable {
    /// A vocabulary of `size` rows, the first of which are `tokens`; what is left is padding.
    pub fn new<T: AsRef<[u8]>>(size: usize, tokens: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self {
            size,
            ..Self::default()
        };
        for token in tokens {
            table.bytes.extend_from_slice(token.as_ref());
            table.ends.push(table.bytes.len());
        }
        table.size = table.size.max(table.ends.len());
        table
    }

    /// Names the token with a `role`.
    #[must_use]
    pub fn with_special(mut self, role: &str, token: TokenId) -> Self {
        self.specials.push((role.into(), token));
        self
    }
}

impl TokenText for TokenTable {
    fn size(&self) -> usize {
        self.size
    }

    fn text(&self, token: TokenId) -> Option<&[u8]> {
        let index = token as usize;
        let end = *self.ends.get(index)?;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    fn specials(&self) -> &[(String, TokenId)] {
        &self.specials
    }
}

fn tokens<V: TokenText + ?Sized>(vocabulary: &V) -> impl Iterator<Item = (TokenId, &[u8])> {
    let rows = TokenId::try_from(vocabulary.size()).unwrap_or(TokenId::MAX);
    (0..rows).filter_map(|token| Some((token, vocabulary.text(token)?)))
}

fn by_text<V: TokenText + ?Sized>(vocabulary: &V) -> BTreeMap<&[u8], TokenId> {
    let mut known = BTreeMap::new();
    for (token, text) in tokens(vocabulary) {
        // Of two tokens with one text the lower id counts.
        known.entry(text).or_insert(token);
    }
    known
}

/// Pairs of the draft's and the target's id for each text that both have, by the draft's id.
///
/// What [`TokenIntersection::new`](crate::TokenIntersection::new) takes, and, as its second halves,
/// the ids for [`Transform::apply_subset`](crate::Transform::apply_subset).
///
/// ```
/// use fastdraft_specdec::{TokenTable, shared_tokens};
/// let target = TokenTable::new(3, ["a", "b", "c"]);
/// let draft = TokenTable::new(2, ["c", "x"]);
/// assert_eq!(shared_tokens(&target, &draft), [(0, 2)]);
/// ```
#[must_use]
pub fn shared_tokens<T, D>(target: &T, draft: &D) -> Vec<(TokenId, TokenId)>
where
    T: TokenText + ?Sized,
    D: TokenText + ?Sized,
{
    let known = by_text(target);
    // A text counts once, so that no target id occurs twice.
    let mut pairs: Vec<(TokenId, TokenId)> = by_text(draft)
        .into_iter()
        .filter_map(|(text, token)| Some((token, *known.get(text)?)))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// Compares a draft's vocabulary with the target's token by token, before a session.
///
/// Reads both vocabularies once. Special tokens are compared where all else agrees; a difference in
/// them does not touch losslessness, but a prompt or stop made with the draft's would be another.
///
/// ```
/// use fastdraft_specdec::{Remedy, TokenTable, preflight_text};
/// let target = TokenTable::new(4, ["a", "b", "c"]);
/// let verdict = preflight_text(&target, &TokenTable::new(2, ["c", "a"]));
/// assert_eq!(verdict.remedy(), Remedy::SampleSubset);
/// ```
#[must_use]
pub fn preflight_text<T, D>(target: &T, draft: &D) -> VocabularyVerdict
where
    T: TokenText + ?Sized,
    D: TokenText + ?Sized,
{
    let rows = (target.size(), draft.size());
    let same = tokens(target).eq(tokens(draft));
    if same && let Some(verdict) = specials(target, draft) {
        return verdict;
    }
    if same && rows.0 == rows.1 {
        return VocabularyVerdict::Identical;
    }
    if same {
        return VocabularyVerdict::PaddedRowsDiffer {
            target: rows.0,
            draft: rows.1,
        };
    }
    let count = (tokens(target).count(), tokens(draft).count());
    let known = by_text(target);
    let shared = tokens(draft)
        .filter(|(_, text)| known.contains_key(text))
        .count();
    if shared == count.1 && shared > 0 && count.1 < count.0 {
        return VocabularyVerdict::DraftIsSubset {
            target: count.0,
            draft: count.1,
        };
    }
    let shared = Some(shared);
    if rows.0 == rows.1 {
        return VocabularyVerdict::DifferentTokens {
            shared,
            rows: rows.0,
        };
    }
    let summary =
        |rows, texts: &mut dyn Iterator<Item = &[u8]>| Vocabulary::from_tokens(rows, texts);
    VocabularyVerdict::Unrelated {
        shared,
        target: summary(rows.0, &mut tokens(target).map(|t| t.1)),
        draft: summary(rows.1, &mut tokens(draft).map(|t| t.1)),
    }
}

/// The first role whose token differs.
fn specials<T, D>(target: &T, draft: &D) -> Option<VocabularyVerdict>
where
    T: TokenText + ?Sized,
    D: TokenText + ?Sized,
{
    let find = |list: &[(String, TokenId)], role: &str| {
        list.iter().find(|entry| entry.0 == role).map(|e| e.1)
    };
    let mut roles = target.specials().iter().chain(draft.specials());
    roles.find_map(|(role, _)| {
        let (t, d) = (find(target.specials(), role), find(draft.specials(), role));
        (t != d).then(|| VocabularyVerdict::SpecialIdsDiffer {
            role: role.clone(),
            target: t,
            draft: d,
        })
    })
}
