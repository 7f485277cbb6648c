//! Trees check how they are built and how deep they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::ControlFlow;

use fastdraft_specdec::mock::{MockTarget, Table};
use fastdraft_specdec::tree::{ByPath, TreeDraft, TreeProposal, TreeTarget, generate_tree};
use fastdraft_specdec::{
    Distribution, GenerateError, Sampler, SessionConfig, TokenId, TransformError,
};

#[test]
fn trees_check_their_parts() {
    let mut tree = TreeProposal::new();
    assert_eq!(tree.push(Some(0), 1, &Distribution::one_hot(1)), None);
    let a = tree.push(None, 1, &Distribution::one_hot(1));
    let b = tree.push(a, 2, &Distribution::one_hot(2));
    assert_eq!(tree.push(None, 1, &Distribution::one_hot(1)), a);
    assert_eq!((tree.parents(), tree.depth()), (&[None, Some(0)][..], 2));
    assert_eq!(tree.ancestry(1).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(
        (b, tree.child(a, 2), tree.child(None, 2)),
        (Some(1), Some(1), None)
    );
    assert_eq!(tree.draws(None).count(), 2);

    /// Goes deeper than it may.
    struct Deep;
    impl TreeDraft for Deep {
        type Error = TransformError;
        fn propose_tree(
            &mut self,
            _: &[TokenId],
            gamma: usize,
            _: &mut Sampler<'_>,
            out: &mut TreeProposal,
        ) -> Result<(), TransformError> {
            (0..=gamma).fold(None, |at, _| out.push(at, 1, &Distribution::one_hot(1)));
            Ok(())
        }
        fn truncate(&mut self, _: usize) -> Result<(), TransformError> {
            Ok(())
        }
    }
    let mut target = ByPath::new(MockTarget::new(Table::new(4, 1, 1)));
    assert_eq!(target.vocabulary().size, 4);
    let config = SessionConfig::default();
    let got = generate_tree(&mut Deep, &mut target, &[1], &config, |_| {
        ControlFlow::Continue(())
    });
    assert_eq!(
        got.unwrap_err(),
        GenerateError::ProposalTooLong {
            asked: 3,
            proposed: 4
        }
    );
}
