//! The fuzz targets' bodies over inputs of a seed: see `tsdb::exercise`.

use std::panic::catch_unwind;

use env::Env;
use sim::random::Rng;
use tsdb::exercise;

/// Runs the inputs of so many seeds.
fn run(seeds: u64, body: fn(&Env, &[u8]), input: impl Fn(&mut Rng) -> Vec<u8>) {
    for seed in 0..seeds {
        let input = input(&mut Rng::new(seed));
        let outcome = catch_unwind(|| body(&sim::env(0), &input));
        assert!(outcome.is_ok(), "seed {seed} breaks it: {input:02x?}");
    }
}

/// Bytes as they come behind `head`.
fn noise(rng: &mut Rng, mut head: Vec<u8>) -> Vec<u8> {
    // Short ones come further.
    let length = 4 << rng.below(8);
    head.extend(rng.tries(length));
    head
}

/// What describes something whole, changed here and there.
fn changed(rng: &mut Rng, whole: &[u8]) -> Vec<u8> {
    let mut input = whole.to_vec();
    rng.change(&mut input);
    input
}

#[test]
fn whatever_lies_in_the_log_is_replayed_or_refused() {
    // Two series, samples of both, one record of each other kind, in two frames and segments.
    let whole = [
        &[1, 0, 1, 5, 1, 1, 2, 6][..],
        &[3, 3, 0, 0xb8, 0x17, 9, 1, 0xb8, 0x17, 0x81, 2, 0, 0xd0, 0x0f, 0],
        &[5, 5, 0, 5, 0, 0, 5, 1, 0, 5, 2, 0, 5, 3, 0, 5, 4, 0, 0x80],
        &[4, 1, 1, 7, 0, 1, b'a', 0, 2, b'b', b'c', 3, 1, 1, 0, 0, 0],
    ]
    .concat();
    run(2500, exercise::replay, |rng| match rng.below(3) {
        0 => noise(rng, Vec::new()),
        _ => changed(rng, &whole),
    });
}

#[test]
fn whatever_lies_among_the_log_lines_is_read_or_named() {
    // Two records: a stream with a label and two lines, one with a field; a stream without labels.
    let lines =
        [&[1, 6, 0, 1, b'a', 0, 1, b'b'][..], &[10, 1, 1, b'n', 1, b'v', 3, b'o', b'n', b'e'], &[3, 0, 0]];
    let lines = lines.concat();
    let whole = [&[2, lines.len() as u8][..], &lines, &[3, 6, 2, 0, 5, 0, 1, b'x'][..]].concat();
    run(2500, exercise::lines, |rng| match rng.below(3) {
        0 => noise(rng, Vec::new()),
        _ => changed(rng, &whole),
    });
}

#[test]
fn whatever_lies_in_a_block_is_answered_or_named() {
    let whole = exercise::whole_blocks();
    run(2500, exercise::block, |rng| match rng.below(8) {
        head @ ..4 => noise(rng, vec![head as u8]),
        seed => changed(rng, &whole[seed as usize - 4]),
    });
}

#[test]
fn whatever_stands_in_a_small_file_the_store_opens() {
    run(4000, exercise::small_file, |rng| {
        let mut head = vec![rng.next_u64() as u8, 1 + rng.below(2) as u8];
        if head[0] & 0x40 == 0 {
            return noise(rng, head);
        }
        // Changes of the file that is there, mostly of what stands at its beginning.
        for _ in 0..=rng.below(3) {
            let place = if rng.chance(3, 4) { 40 } else { 128 };
            head.extend([1 + rng.below(5) as u8, rng.below(place) as u8, rng.next_u64() as u8]);
        }
        head
    });
}
