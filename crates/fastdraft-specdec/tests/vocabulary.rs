//! Every verdict of the preflight that reads tokens, and what it advises.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastdraft_specdec::{
    Remedy, SeededUniform, TokenTable, Transform, Uniform, VocabularyVerdict as Verdict,
    preflight_text, shared_tokens,
};

fn table(size: usize, tokens: &[&str]) -> TokenTable {
    TokenTable::new(size, tokens).with_special("eos", 1)
}

#[test]
fn every_verdict_is_told_apart() {
    let target = table(6, &["a", "</s>", "b", "c"]);
    let judge = |draft: &TokenTable| preflight_text(&target, draft);
    assert_eq!(judge(&target), Verdict::Identical);
    assert_eq!(judge(&target).remedy(), Remedy::None);

    let padded = |draft| Verdict::PaddedRowsDiffer { target: 6, draft };
    let more = judge(&table(8, &["a", "</s>", "b", "c"]));
    let less = judge(&table(4, &["a", "</s>", "b", "c"]));
    assert_eq!((&more, more.remedy()), (&padded(8), Remedy::CutRows));
    assert_eq!((&less, less.remedy()), (&padded(4), Remedy::SampleSubset));
    assert!(more.is_compatible() && less.is_compatible());

    let subset = judge(&table(3, &["b", "</s>", "a"]));
    assert_eq!(
        subset,
        Verdict::DraftIsSubset {
            target: 4,
            draft: 3
        }
    );
    assert_eq!(subset.remedy(), Remedy::SampleSubset);
    assert!(!subset.is_compatible());

    let other = judge(&table(6, &["a", "</s>", "b", "x"]));
    assert_eq!(
        other,
        Verdict::DifferentTokens {
            shared: Some(3),
            rows: 6
        }
    );
    assert_eq!(other.remedy(), Remedy::Translate);
    // The same tokens in another order are another vocabulary.
    let moved = judge(&table(6, &["</s>", "a", "b", "c"]));
    assert_eq!(
        moved,
        Verdict::DifferentTokens {
            shared: Some(4),
            rows: 6
        }
    );

    let eos = TokenTable::new(6, ["a", "</s>", "b", "c"]).with_special("eos", 3);
    let expected = Verdict::SpecialIdsDiffer {
        role: "eos".into(),
        target: Some(1),
        draft: Some(3),
    };
    assert_eq!(judge(&eos), expected);
    assert_eq!(judge(&eos).remedy(), Remedy::TargetSpecials);
    let missing = TokenTable::new(6, ["a", "</s>", "b", "c"]);
    assert!(matches!(
        judge(&missing),
        Verdict::SpecialIdsDiffer { draft: None, .. }
    ));

    let unrelated = judge(&table(9, &["x", "y"]));
    assert!(matches!(
        unrelated,
        Verdict::Unrelated {
            shared: Some(0),
            ..
        }
    ));
    assert_eq!(unrelated.remedy(), Remedy::OtherDraft);
    assert!(unrelated.to_string().ends_with(unrelated.advice()));
}

#[test]
fn shared_tokens_agree_with_a_search() {
    let mut rng = SeededUniform::new(4);
    for _ in 0..if cfg!(miri) { 3 } else { 200 } {
        let mut make = || -> Vec<String> {
            let count = 1 + (rng.next_u64() % 12) as usize;
            // Texts repeat, as byte fallbacks do in real vocabularies.
            (0..count)
                .map(|_| format!("{}", rng.next_u64() % 9))
                .collect()
        };
        let (target, draft) = (make(), make());
        let pairs = shared_tokens(&TokenTable::new(0, &target), &TokenTable::new(0, &draft));
        for (d, text) in draft.iter().enumerate() {
            let first = draft.iter().position(|t| t == text) == Some(d);
            let found = target.iter().position(|t| t == text).filter(|_| first);
            let expected = found.map(|t| (d as u32, t as u32));
            let got = pairs.iter().copied().find(|p| p.0 == d as u32);
            assert_eq!(got, expected, "{target:?} {draft:?}");
        }
        let ids: Vec<u32> = pairs.iter().map(|p| p.1).collect();
        let logits: Vec<f32> = ids.iter().map(|_| rng.uniform() as f32).collect();
        let mut out = fastdraft_specdec::Distribution::new();
        let applied = Transform::default().apply_subset(&logits, &ids, &[], &mut out);
        assert_eq!(applied.is_ok(), !ids.is_empty());
    }
}
