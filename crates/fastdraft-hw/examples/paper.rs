//! What FastDraft (arXiv 2411.11055) reports, computed from its own rates, sizes and tokens: the MBSU of
//! each draft and task, and the hours of its training on eight Gaudi 2.

use fastdraft_hw::HwError;
use fastdraft_hw::plan::{Budget, Optimizer, PlanInput, StageInput, plan};
use fastdraft_hw::predict::{block_efficiency, mbsu};
use fastdraft_hw::profile::Profile;
use fastdraft_hw::shape::DecoderShape;

const GAMMA: u32 = 3;
const TASKS: [&str; 4] = ["CNN-DM", "TinyStories", "Dolly", "HumanEval"];

/// A draft after some stages: AR at γ = 3 and T = 0.6 on the four tasks.
struct Row {
    name: &'static str,
    draft: f64,
    target: f64,
    rates: [f64; 4],
}

const ROWS: [Row; 4] = [
    phi("Phi-3-mini, 50M, PT", [0.311, 0.277, 0.245, 0.229]),
    phi("Phi-3-mini, 50M, PT → CP", [0.304, 0.287, 0.226, 0.561]),
    phi(
        "Phi-3-mini, 50M, PT → CP → FT",
        [0.369, 0.306, 0.370, 0.562],
    ),
    Row {
        name: "Llama-3.1-8B, 150M, final",
        draft: 150e6,
        target: 8.03e9,
        rates: [0.307, 0.266, 0.334, 0.649],
    },
];

const fn phi(name: &'static str, rates: [f64; 4]) -> Row {
    Row {
        name,
        draft: 50e6,
        target: 3.82e9,
        rates,
    }
}

fn main() -> Result<(), HwError> {
    println!("MBSU (τ) at γ = {GAMMA}, a draft token costing draft / target parameters");
    print!("{:<30} {:>6}", "", "c");
    for task in TASKS {
        print!(" {task:>14}");
    }
    println!();
    for row in &ROWS {
        let cost = row.draft / row.target;
        print!("{:<30} {cost:>6.4}", row.name);
        for rate in row.rates {
            let tau = block_efficiency(rate, GAMMA)?;
            let cell = format!("{:.2} ({tau:.2})", mbsu(rate, GAMMA, cost)?);
            print!(" {cell:>14}");
        }
        println!();
    }

    println!("\nTraining a 50M draft of Phi-3-mini on 8 Gaudi 2");
    for billions in [10.0, 12.5] {
        training(billions)?;
    }
    Ok(())
}

fn training(billions: f64) -> Result<(), HwError> {
    let input = PlanInput {
        draft: DecoderShape::new(32_064, 512, 6, 1408, 8),
        frozen_embedding: false,
        target: None,
        sequence_length: 2048,
        optimizer: Optimizer::AdamW,
        stages: vec![StageInput {
            name: "PT, CP".to_owned(),
            batch: 64,
            accumulation: 1,
            budget: Budget::Tokens((billions * 1e9) as u64),
            answers: None,
            live_teacher: false,
        }],
    };
    let plan = plan(&input.validate()?, &Profile::named("gaudi-2")?, 8)?;
    let stage = &plan.stages[0];
    println!(
        "{billions:>5} billion tokens: {:.2} h at {:.2} million tokens/s, an MFU of {:.1}%; \
         24 h imply an MFU of {:.2}%",
        plan.hours,
        stage.tokens_per_second / 1e6,
        stage.utilization * 100.0,
        plan.utilization_for(24.0) * 100.0
    );
    Ok(())
}
