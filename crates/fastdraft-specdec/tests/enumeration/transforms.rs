//! The transforms whose law is enumerated.

use fastdraft_specdec::Transform;

/// Every part of a transform alone and some together, sampled and greedy.
pub fn transforms() -> Vec<Transform> {
    let base = Transform::temperature(0.8);
    vec![
        Transform::default(),
        Transform::greedy(),
        Transform::temperature(0.3),
        Transform {
            top_k: Some(2),
            ..base.clone()
        },
        Transform {
            top_p: Some(0.8),
            ..base.clone()
        },
        Transform {
            min_p: Some(0.2),
            ..base.clone()
        },
        Transform {
            repetition_penalty: 1.3,
            ..base.clone()
        },
        Transform {
            presence_penalty: 0.4,
            ..base.clone()
        },
        Transform {
            frequency_penalty: 0.2,
            ..base.clone()
        },
        Transform {
            logit_bias: vec![(1, 1.5), (0, f32::NEG_INFINITY)],
            ..base.clone()
        },
        Transform {
            allowed: Some(vec![2, 1]),
            ..base.clone()
        },
        Transform {
            top_k: Some(3),
            top_p: Some(0.95),
            min_p: Some(0.05),
            repetition_penalty: 1.3,
            presence_penalty: 0.5,
            frequency_penalty: 0.2,
            ..base
        },
        Transform {
            repetition_penalty: 1.3,
            frequency_penalty: 0.9,
            logit_bias: vec![(2, 1.0)],
            ..Transform::greedy()
        },
        Transform {
            allowed: Some(vec![1, 0]),
            top_p: Some(0.5),
            ..Transform::greedy()
        },
    ]
}
