//! The fuzz targets over seeded random bytes, for about two seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod drive;

use std::time::{Duration, Instant};

use fastdraft_specdec::SeededUniform;

#[test]
fn random_bytes_never_panic() {
    let begin = Instant::now();
    let mut rounds = 0u64;
    while begin.elapsed() < Duration::from_secs(2) {
        let mut rng = SeededUniform::new(rounds);
        let length = (rng.next_u64() % 400) as usize;
        let data: Vec<u8> = (0..length).map(|_| rng.next_u64() as u8).collect();
        drive::transform(&data);
        drive::verification(&data);
        drive::generation(&data);
        rounds += 1;
    }
    println!("{rounds} rounds");
    assert!(rounds > 100, "{rounds}");
}
