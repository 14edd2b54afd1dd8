//! The fuzz target's body over inputs of a seed: see `wal::exercise`.

use sim::files::SimFiles;
use sim::random::Rng;
use wal::exercise::exercise;

#[test]
fn whatever_lies_in_a_segment_what_was_written_whole_comes_back() {
    for seed in 0..4000 {
        let mut rng = Rng::new(seed);
        let length = rng.index(300);
        let input = rng.tries(length);
        let outcome = std::panic::catch_unwind(|| exercise(&SimFiles::new(0), &input));
        assert!(outcome.is_ok(), "seed {seed} breaks it: {input:02x?}");
    }
}
