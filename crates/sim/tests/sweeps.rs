//! One life, cut at every single change of the disk, and every operation of it made to fail in turn, once and from
//! then on: not a sample of moments but all of them.

use sim::files::{Failure, Fault, Op};
use sim::world::{live_cut_after, live_with_fault};

/// A life that within thirty steps flushes eleven times, merges once, is closed and opened five times, makes two snapshots
/// and deletes them, deletes series twice, and takes ten log lines.
const SEED: u64 = 3666;

#[test]
fn the_power_may_go_at_any_change() {
    let mut cuts = 0;
    loop {
        let tally =
            live_cut_after(SEED, cuts).unwrap_or_else(|error| panic!("cut after {cuts} changes: {error:#}"));
        if tally.power_cuts == 0 {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 100, "only {cuts} changes");
}

/// Makes each operation of a kind fail in turn; returns how many there were.
fn sweep(op: Op, failure: Failure, forever: bool) -> u64 {
    for skip in 0.. {
        let fault = Fault::new(op, failure).after(skip);
        let fault = if forever { fault.forever() } else { fault };
        let tally = live_with_fault(SEED, fault).unwrap_or_else(|error| {
            panic!("{op:?} {skip} fails with {failure:?}, forever {forever}: {error:#}")
        });
        if tally.faults == 0 {
            return skip;
        }
    }
    unreachable!("a life has an end")
}

#[test]
fn any_operation_may_fail_once() {
    // Locks are the server's.
    for op in Op::ALL.into_iter().filter(|op| *op != Op::Lock) {
        assert!(sweep(op, Failure::Io, false) > 0, "{op:?}");
    }
    assert!(sweep(Op::Sync, Failure::LostPages, false) > 20);
    assert!(sweep(Op::Write, Failure::NoSpace, false) > 20);
}

#[test]
fn any_operation_may_fail_from_then_on() {
    for op in [Op::Create, Op::Write, Op::Rename, Op::SyncDir] {
        assert!(sweep(op, Failure::NoSpace, true) > 2, "{op:?}");
    }
    assert!(sweep(Op::Sync, Failure::LostPages, true) > 20);
}
