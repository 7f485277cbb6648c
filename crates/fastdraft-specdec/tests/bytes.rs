//! The fuzz targets over seeded bytes: a bounded run always, ten million executions on demand.
//!
//! `cargo test --release --test bytes -- --ignored --nocapture` runs the long one; `FUZZ_FIRST` and
//! `FUZZ_COUNT` pick a slice of its seeds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drive;

use std::time::Instant;

use fastdraft_specdec::SeededUniform;

/// Bytes of seed `seed`: noise, or an earlier seed's bytes with a few of them changed, cut or doubled.
fn bytes(seed: u64) -> Vec<u8> {
    let mut rng = SeededUniform::new(seed);
    let kind = rng.next_u64() % 4;
    let mut base = SeededUniform::new(if kind == 0 {
        seed
    } else {
        rng.next_u64() % 1000
    });
    let length = (base.next_u64() % 400) as usize;
    let words = (0..length.div_ceil(8)).flat_map(|_| base.next_u64().to_le_bytes());
    let mut data: Vec<u8> = words.take(length).collect();
    for _ in 0..kind {
        let roll = rng.next_u64();
        let Some(at) = (roll as usize >> 8).checked_rem(data.len()) else {
            break;
        };
        match roll % 6 {
            0 => data.truncate(at),
            1 => data[at] = [0, 0xff, 0x7f, 0x80][(roll >> 40) as usize % 4],
            2 => data[at] ^= 1 << ((roll >> 40) % 8),
            3 => data.extend_from_within(at..),
            4 => drop(data.drain(at..(at + 8).min(data.len()))),
            _ => data[at] = (roll >> 40) as u8,
        }
    }
    data
}

/// Runs on bytes and tells whether they made a valid call.
type FuzzTarget = fn(&[u8]) -> bool;

fn run(first: u64, count: u64) {
    let targets: [(&str, FuzzTarget); 3] = [
        ("transform", drive::transform),
        ("verification", drive::verification),
        ("generation", drive::generation),
    ];
    for (name, target) in targets {
        let begin = Instant::now();
        let mut valid = 0;
        for seed in first..first + count {
            let data = bytes(seed);
            match std::panic::catch_unwind(|| target(&data)) {
                Ok(reached) => valid += u64::from(reached),
                Err(panic) => {
                    println!("{name} fails on seed {seed}: {data:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        println!("{name}: {count} executions, {valid} of them valid calls, {rate:.0}/s");
        assert!(
            valid * 50 > count,
            "{name}: only {valid} of {count} were valid calls"
        );
    }
}

#[test]
fn seeded_bytes_never_panic() {
    run(0, if cfg!(miri) { 25 } else { 30_000 });
}

#[test]
#[ignore = "minutes"]
fn ten_million_executions_never_panic() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |v| v.parse().expect("a number"))
    };
    run(
        number("FUZZ_FIRST", 1 << 32),
        number("FUZZ_COUNT", 10_000_000),
    );
}
