//! From tokens to text and back.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::TokenId;

/// Turns tokens into bytes and bytes into tokens.
///
/// The bytes may begin and end inside a character. A tokenizer that reads whole characters only
/// leaves such an end out: what it leaves out is not proposed, nothing else.
pub trait Tokenizer {
    /// What can go wrong in the tokenizer.
    type Error: core::error::Error;

    /// Appends the bytes of `tokens` to `out`; special tokens too, by their text or by nothing.
    ///
    /// # Errors
    /// When a token is unknown; the generation ends with that error.
    fn decode(&self, tokens: &[TokenId], out: &mut Vec<u8>) -> Result<(), Self::Error>;

    /// Appends the tokens of `text` to `out`, without adding special ones.
    ///
    /// # Errors
    /// When the tokenizer fails; the generation ends with that error.
    fn encode(&self, text: &[u8], out: &mut Vec<TokenId>) -> Result<(), Self::Error>;
}

impl<T: Tokenizer + ?Sized> Tokenizer for &T {
    type Error = T::Error;

    fn decode(&self, tokens: &[TokenId], out: &mut Vec<u8>) -> Result<(), Self::Error> {
        (**self).decode(tokens, out)
    }

    fn encode(&self, text: &[u8], out: &mut Vec<TokenId>) -> Result<(), Self::Error> {
        (**self).encode(text, out)
    }
}

impl<T: Tokenizer + ?Sized> Tokenizer for Box<T> {
    type Error = T::Error;

    fn decode(&self, tokens: &[TokenId], out: &mut Vec<u8>) -> Result<(), Self::Error> {
        (**self).decode(tokens, out)
    }

    fn encode(&self, text: &[u8], out: &mut Vec<TokenId>) -> Result<(), Self::Error> {
        (**self).encode(text, out)
    }
}
