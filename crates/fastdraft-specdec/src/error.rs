//! What can go wrong.

use core::error::Error;
use core::fmt;

use crate::TokenId;

/// Why numbers are not a distribution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DistributionError {
    /// Tokens and probabilities differ in number.
    LengthMismatch {
        /// Number of tokens.
        tokens: usize,
        /// Number of probabilities.
        probabilities: usize,
    },
    /// A token id is not above the one before it.
    NotAscending {
        /// That token.
        token: TokenId,
    },
    /// A probability is negative or not finite.
    InvalidProbability {
        /// Its token.
        token: TokenId,
        /// Its value.
        probability: f64,
    },
    /// The probabilities do not sum to 1.
    NotNormalised {
        /// Their sum.
        sum: f64,
    },
    /// There are more tokens than ids.
    TooManyTokens {
        /// Number of tokens.
        tokens: usize,
    },
}

impl fmt::Display for DistributionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthMismatch {
                tokens,
                probabilities,
            } => write!(f, "{tokens} tokens but {probabilities} probabilities"),
            Self::NotAscending { token } => {
                write!(f, "token {token} is not above the token before it")
            }
            Self::InvalidProbability { token, probability } => {
                write!(f, "token {token} has probability {probability}")
            }
            Self::NotNormalised { sum } => write!(f, "the probabilities sum to {sum}, not to 1"),
            Self::TooManyTokens { tokens } => {
                write!(f, "{tokens} tokens are more than token ids can name")
            }
        }
    }
}

impl Error for DistributionError {}

/// Why logits could not be turned into a distribution.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TransformError {
    /// A parameter is out of its range.
    InvalidParameter {
        /// The field of [`Transform`](crate::Transform).
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A logit bias is NaN or positive infinity.
    InvalidBias {
        /// Its token.
        token: TokenId,
        /// Its value.
        bias: f32,
    },
    /// A logit is NaN or positive infinity.
    InvalidLogit {
        /// Its token.
        token: TokenId,
        /// Its value.
        value: f32,
    },
    /// Logits and token ids differ in number.
    LengthMismatch {
        /// Number of logits.
        logits: usize,
        /// Number of token ids.
        token_ids: usize,
    },
    /// A token id occurs twice.
    DuplicateToken {
        /// That token.
        token: TokenId,
    },
    /// No token is left: the row is empty, all −∞, or has no allowed token.
    NoSupport,
    /// A random number is outside `[0, 1)`.
    UniformOutOfRange {
        /// Its value.
        value: f64,
    },
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidParameter { name, value } => write!(f, "{name} cannot be {value}"),
            Self::InvalidBias { token, bias } => {
                write!(f, "the logit bias of token {token} cannot be {bias}")
            }
            Self::InvalidLogit { token, value } => {
                write!(f, "the logit of token {token} is {value}")
            }
            Self::LengthMismatch { logits, token_ids } => {
                write!(f, "{logits} logits but {token_ids} token ids")
            }
            Self::DuplicateToken { token } => write!(f, "token {token} is listed twice"),
            Self::NoSupport => write!(f, "no token is left to sample"),
            Self::UniformOutOfRange { value } => {
                write!(f, "the random number {value} is outside [0, 1)")
            }
        }
    }
}

impl Error for TransformError {}

/// Why a proposal could not be verified.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is not one target distribution more than proposed tokens.
    LengthMismatch {
        /// Number of proposed tokens.
        proposed: usize,
        /// Number of target distributions.
        rows: usize,
    },
    /// A proposed token has probability 0 in the distribution it is said to come from.
    ZeroDraftProbability {
        /// Position in the proposal.
        position: usize,
        /// That token.
        token: TokenId,
    },
    /// A target distribution has no tokens.
    EmptyDistribution {
        /// Its index.
        row: usize,
    },
    /// A random number is outside `[0, 1)`.
    UniformOutOfRange {
        /// Its value.
        value: f64,
    },
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthMismatch { proposed, rows } => write!(
                f,
                "{proposed} proposed tokens need {} target rows, not {rows}",
                proposed.saturating_add(1)
            ),
            Self::ZeroDraftProbability { position, token } => write!(
                f,
                "token {token} at position {position} has probability 0 in its own draft distribution"
            ),
            Self::EmptyDistribution { row } => write!(f, "target distribution {row} is empty"),
            Self::UniformOutOfRange { value } => {
                write!(f, "the random number {value} is outside [0, 1)")
            }
        }
    }
}

impl Error for VerifyError {}

/// Why rows of logits could not be verified.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RowError {
    /// A row that was reached could not be turned into a distribution.
    Transform(TransformError),
    /// The proposal could not be verified.
    Verify(VerifyError),
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transform(error) => write!(f, "{error}"),
            Self::Verify(error) => write!(f, "{error}"),
        }
    }
}

impl Error for RowError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Transform(error) => Some(error),
            Self::Verify(error) => Some(error),
        }
    }
}

impl From<VerifyError> for RowError {
    fn from(error: VerifyError) -> Self {
        Self::Verify(error)
    }
}

/// Why a generation failed; `D` and `T` are the draft's and the target's errors.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GenerateError<D, T> {
    /// The prompt has no tokens.
    EmptyPrompt,
    /// A prompt token is outside the target's vocabulary.
    PromptToken {
        /// Position in the prompt.
        position: usize,
        /// That token.
        token: TokenId,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// A stop sequence has no tokens.
    EmptyStopSequence {
        /// Its index.
        index: usize,
    },
    /// The draft failed.
    Draft(D),
    /// The target failed.
    Target(T),
    /// The draft proposed more tokens than it was asked for.
    ProposalTooLong {
        /// Tokens asked for.
        asked: usize,
        /// Tokens proposed.
        proposed: usize,
    },
    /// The draft proposed a token outside the target's vocabulary.
    ProposedToken {
        /// Position in the proposal.
        position: usize,
        /// That token.
        token: TokenId,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The target returned logits of the wrong shape.
    RowShape {
        /// Expected rows and row length.
        expected: (usize, usize),
        /// Returned rows and row length.
        actual: (usize, usize),
    },
    /// The settings or a target row could not be turned into a distribution.
    Transform(TransformError),
    /// The proposal could not be verified.
    Verify(VerifyError),
}

impl<D: fmt::Display, T: fmt::Display> fmt::Display for GenerateError<D, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyPrompt => write!(f, "the prompt has no tokens"),
            Self::PromptToken {
                position,
                token,
                vocabulary,
            } => write!(
                f,
                "prompt token {token} at position {position} is outside the target's {vocabulary} tokens"
            ),
            Self::EmptyStopSequence { index } => write!(f, "stop sequence {index} is empty"),
            Self::Draft(error) => write!(f, "draft: {error}"),
            Self::Target(error) => write!(f, "target: {error}"),
            Self::ProposalTooLong { asked, proposed } => {
                write!(
                    f,
                    "the draft proposed {proposed} tokens when asked for {asked}"
                )
            }
            Self::ProposedToken {
                position,
                token,
                vocabulary,
            } => write!(
                f,
                "proposed token {token} at position {position} is outside the target's {vocabulary} tokens"
            ),
            Self::RowShape { expected, actual } => write!(
                f,
                "the target returned logits of shape {actual:?}, expected {expected:?}"
            ),
            Self::Transform(error) => write!(f, "{error}"),
            Self::Verify(error) => write!(f, "{error}"),
        }
    }
}

impl<D: Error + 'static, T: Error + 'static> Error for GenerateError<D, T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Draft(error) => Some(error),
            Self::Target(error) => Some(error),
            Self::Transform(error) => Some(error),
            Self::Verify(error) => Some(error),
            _ => None,
        }
    }
}

impl<D, T> From<TransformError> for GenerateError<D, T> {
    fn from(error: TransformError) -> Self {
        Self::Transform(error)
    }
}

impl<D, T> From<VerifyError> for GenerateError<D, T> {
    fn from(error: VerifyError) -> Self {
        Self::Verify(error)
    }
}

impl<D, T> From<RowError> for GenerateError<D, T> {
    fn from(error: RowError) -> Self {
        match error {
            RowError::Transform(error) => Self::Transform(error),
            RowError::Verify(error) => Self::Verify(error),
        }
    }
}
