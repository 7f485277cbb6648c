//! A training run in one TOML file.
//!
//! ```
//! use fastdraft_train::recipe::Recipe;
//!
//! let text = r#"
//!     target = "smollm2-135m-instruct"
//!     sequence_length = 128
//!     [draft]
//!     blocks = [0, 1, 29]
//!     vocabulary = 8192
//!     [[stage]]
//!     name = "PT"
//!     budget = { steps = 100 }
//!     batch = 0
//!     learning_rate = 1e-3
//!     sources = [{ documents = "text.jsonl.gz", weight = 0 }]
//! "#;
//! let problems = Recipe::parse(text)?.validate().unwrap_err();
//! assert_eq!(problems.to_string().lines().count(), 2);
//! # Ok::<(), fastdraft_train::TrainError>(())
//! ```

mod schema;
mod validate;

pub use schema::{
    AnswersSource, BudgetSpec, DraftSpec, EvaluationSpec, Recipe, SourceSpec, StageSpec,
};
pub use validate::{Problem, Problems, ValidRecipe};
