//! Typical acceptance keeps what is typical and reports misuse.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastdraft_specdec::{
    Distribution, Proposal, SeededUniform, TypicalAcceptance, VerifyError, verify_typical,
};

#[test]
fn typical_tokens_are_kept_up_to_the_first_that_is_not() {
    let rule = TypicalAcceptance {
        epsilon: 0.2,
        delta: 0.5,
    };
    let sure = Distribution::dense(vec![0.9, 0.1]).unwrap();
    let flat = Distribution::dense(vec![0.25; 4]).unwrap();
    let mut rng = SeededUniform::new(1);
    for (tokens, accepted) in [([0, 3, 0], 3), ([0, 3, 1], 2), ([1, 3, 0], 0)] {
        let mut proposal = Proposal::new();
        tokens.iter().for_each(|&t| proposal.push_certain(t));
        let rows = [&sure, &flat, &sure, &flat].map(Clone::clone);
        let verdict = verify_typical(rule, &proposal, &rows, &mut rng)
            .unwrap()
            .accept();
        assert_eq!((verdict.accepted, verdict.bonus), (accepted, accepted == 3));
        let short = verify_typical(rule, &proposal, &rows[..2], &mut rng);
        assert_eq!(
            short,
            Err(VerifyError::LengthMismatch {
                proposed: 3,
                rows: 2
            })
        );
    }
}
