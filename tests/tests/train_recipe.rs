//! The recipes that ship, and what is said about wrong ones.

use std::path::{Path, PathBuf};

use fastdraft_train::{
    TrainError,
    loss::Loss,
    recipe::{BudgetSpec, Recipe},
    stage::{Budget, Precision, TeacherLogits},
};

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../recipes")
        .join(name)
}

#[test]
fn shipped_recipes_are_valid_and_survive_toml() {
    for (name, stages) in [
        ("smollm2-cpu.toml", &["PT", "CP", "FT"][..]),
        ("smollm2-draft.toml", &["FT", "FT-TVD"]),
        ("smollm2-gpu.toml", &["FT"]),
        ("phi-3-mini-50m.toml", &["PT", "CP", "FT"]),
        ("llama-3.1-8b-150m.toml", &["PT", "CP", "FT"]),
    ] {
        let recipe = Recipe::load(&shipped(name)).unwrap();
        let again = Recipe::parse(&recipe.to_toml().unwrap()).unwrap();
        assert_eq!(again, recipe, "{name}");
        let valid = recipe.validate().unwrap();
        let configs = valid.stage_configs();
        let names: Vec<&str> = configs.iter().map(|config| config.name.as_str()).collect();
        assert_eq!(names, stages);
    }
}

#[test]
fn the_papers_tokens_and_this_repositorys_files() {
    let paper = Recipe::load(&shipped("llama-3.1-8b-150m.toml")).unwrap();
    let configs = paper.validate().unwrap().stage_configs();
    assert_eq!(configs[0].budget, Budget::Tokens(5_000_000_000));
    assert_eq!(configs[1].budget, Budget::Tokens(7_500_000_000));
    let here = Recipe::load(&shipped("smollm2-cpu.toml")).unwrap();
    assert_eq!(here.stages[2].loss, Loss::TotalVariation);
    let documents = here.stages.iter().flat_map(|s| &s.sources);
    for path in documents.filter_map(|source| source.documents.as_ref()) {
        assert!(path.exists(), "{}", path.display());
    }
    for path in &here.evaluation.unwrap().prompts {
        assert!(path.exists(), "{}", path.display());
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_path() {
    let mut recipe = Recipe::load(&shipped("smollm2-cpu.toml")).unwrap();
    recipe.sequence_length = 1;
    recipe.draft.layers = 4;
    recipe.stages[0].budget = BudgetSpec::Steps(0);
    recipe.stages[0].learning_rate = f64::NAN;
    recipe.stages[1].name = "PT".into();
    recipe.stages[0].accumulation = 0;
    recipe.stages[1].accumulation = usize::MAX;
    recipe.stages[1].sources[1].weight = 0;
    recipe.stages[1].loss = Loss::TotalVariation;
    recipe.stages[0].teacher_logits = TeacherLogits::Live;
    let problems = recipe.validate().unwrap_err();
    let paths: Vec<&str> = problems.0.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "sequence_length",
            "draft.layers",
            "stage[0].budget",
            "stage[0].accumulation",
            "stage[0].learning_rate",
            "stage[0].teacher_logits",
            "stage[1].name",
            "stage[1].accumulation",
            "stage[1].sources[0]",
            "stage[1].sources[1].weight",
            "stage[1].sources[1]",
        ]
    );
}

#[test]
fn an_unknown_key_names_its_line() {
    let error = Recipe::parse("target = \"x\"\nsequence_lenght = 3\n").unwrap_err();
    assert!(matches!(error, TrainError::RecipeSyntax { .. }));
    assert!(error.to_string().contains("sequence_lenght"), "{error}");
}

#[test]
fn accumulation_checkpointing_and_precision_are_keys_of_a_stage() {
    let mut recipe = Recipe::load(&shipped("smollm2-cpu.toml")).unwrap();
    let plain = recipe.to_toml().unwrap();
    for key in [
        "accumulation",
        "gradient_checkpointing",
        "precision",
        "teacher_logits",
    ] {
        assert!(!plain.contains(key), "{key} would refuse older checkpoints");
    }
    recipe.stages[0].accumulation = 4;
    recipe.stages[0].gradient_checkpointing = true;
    recipe.stages[0].precision = Precision::Bfloat16;
    let text = recipe.to_toml().unwrap();
    assert!(
        text.contains("accumulation = 4\ngradient_checkpointing = true\nprecision = \"bf16\""),
        "{text}"
    );
    let rows = recipe.stages[0].batch * 4;
    let configs = Recipe::parse(&text)
        .unwrap()
        .validate()
        .unwrap()
        .stage_configs();
    assert_eq!((configs[0].rows(), configs[1].accumulation), (rows, 1));
    assert_eq!(configs[0].precision, Precision::Bfloat16);
    assert!(configs[0].gradient_checkpointing && !configs[1].gradient_checkpointing);
}

#[test]
fn a_live_teacher_teaches_with_any_text() {
    let mut recipe = Recipe::load(&shipped("smollm2-cpu.toml")).unwrap();
    recipe.stages[0].loss = Loss::Kl;
    let path = |recipe: &Recipe| recipe.clone().validate().unwrap_err().0[0].path.clone();
    assert_eq!(path(&recipe), "stage[0].sources[0]");
    recipe.stages[0].teacher_logits = TeacherLogits::Live;
    let text = recipe.to_toml().unwrap();
    assert!(text.contains("teacher_logits = \"live\""), "{text}");
    let recipe = Recipe::parse(&text).unwrap().validate().unwrap();
    let configs = recipe.stage_configs();
    let live: Vec<_> = configs.iter().map(|stage| stage.teacher_logits).collect();
    assert_eq!(
        live,
        [
            TeacherLogits::Live,
            TeacherLogits::Recorded,
            TeacherLogits::Recorded
        ]
    );
}
