//! A thousand seeded lives of the whole store, in every test run. More by hand: `cargo run -p sim -- --seeds 0..100000`.

use sim::world::{Tally, live};

/// Lives of one test; each test is run by a process of its own. So many that the rarest thing happens in some of them.
const LIVES: u64 = 500;

fn run(first: u64) {
    let mut tally = Tally::default();
    for seed in first..first + LIVES {
        match std::panic::catch_unwind(|| live(seed)) {
            Ok(Ok(life)) => tally.add(&life),
            Ok(Err(error)) => panic!("seed {seed}: {error:#}\nagain: cargo run -p sim -- --seed {seed}"),
            Err(_) => panic!("seed {seed} panicked\nagain: cargo run -p sim -- --seed {seed}"),
        }
    }
    // A simulation in which something never happens says nothing about it.
    for (name, count) in tally.rows() {
        assert!(count > 0, "no {name} in {LIVES} lives from seed {first}: {tally}");
    }
}

#[test]
fn lives_0_to_499() {
    run(0);
}

#[test]
fn lives_500_to_999() {
    run(500);
}
