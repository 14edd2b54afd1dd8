//! The simulated disk is worth something only if it catches a program that forgets a sync. Here is a log of a few
//! lines that can be told to forget each of them: told to, it must lose acknowledged records; else it never may.

use std::io;
use std::path::Path;

use env::Files;
use sim::files::{Failure, Fault, Op, SimFiles, is_crash};
use sim::random::Rng;

#[derive(Clone, Copy, Debug)]
struct Habits {
    syncs_data: bool,
    syncs_directory: bool,
    syncs_before_rename: bool,
    trusts_a_second_sync: bool,
}

const CAREFUL: Habits = Habits {
    syncs_data: true,
    syncs_directory: true,
    syncs_before_rename: true,
    trusts_a_second_sync: false,
};

const RECORDS_PER_FILE: usize = 3;

/// Appends numbered records until something fails or all are in; returns how many were acknowledged. Every third
/// record begins a new file, and `head` is replaced to name it.
fn write(disk: &SimFiles, habits: Habits, records: usize) -> (usize, io::Result<()>) {
    let mut acknowledged = 0;
    let result = (|| {
        disk.create_dir(Path::new("log"))?;
        disk.sync_dir(Path::new(""))?;
        let mut file = None;
        for record in 0..records {
            if record % RECORDS_PER_FILE == 0 {
                let segment = record / RECORDS_PER_FILE;
                file = Some(disk.create(Path::new(&format!("log/{segment}")))?);
                replace_head(disk, segment, habits)?;
            }
            let open = file.as_ref().expect("opened for the first record");
            let offset = (record % RECORDS_PER_FILE) * 3000;
            open.write_at(&[record as u8 + 1; 3000], offset as u64)?;
            if habits.syncs_data {
                let first = open.sync_data();
                if habits.trusts_a_second_sync { first.or_else(|_| open.sync_data())? } else { first? }
            }
            if habits.syncs_directory {
                disk.sync_dir(Path::new("log"))?;
            }
            acknowledged = record + 1;
        }
        Ok(())
    })();
    (acknowledged, result)
}

fn replace_head(disk: &SimFiles, segment: usize, habits: Habits) -> io::Result<()> {
    let file = disk.create(Path::new("log/head.tmp"))?;
    file.write_at(format!("{segment:04}").as_bytes(), 0)?;
    if habits.syncs_before_rename {
        file.sync_data()?;
    }
    disk.rename(Path::new("log/head.tmp"), Path::new("log/head"))?;
    if habits.syncs_directory {
        disk.sync_dir(Path::new("log"))?;
    }
    Ok(())
}

/// How many records a restart finds, counted up to the first that is missing or not exact.
fn read(disk: &SimFiles) -> usize {
    let Ok(head) = env::read_all(disk, Path::new("log/head")) else { return 0 };
    let Ok(last) = String::from_utf8_lossy(&head).parse::<usize>() else { return 0 };
    let mut found = 0;
    for segment in 0..=last {
        let bytes = env::read_all(disk, Path::new(&format!("log/{segment}"))).unwrap_or_default();
        for record in bytes.chunks(3000) {
            if record != &[found as u8 + 1; 3000][..] {
                return found;
            }
            found += 1;
        }
    }
    found
}

/// In how many of `seeds` lives, each cut at a random change, an acknowledged record is lost.
fn losses(habits: Habits, seeds: u64) -> usize {
    (0..seeds)
        .filter(|seed| {
            let disk = SimFiles::new(*seed);
            disk.crash_after(Rng::new(*seed).below(60));
            let (acknowledged, result) = write(&disk, habits, 10);
            if let Err(error) = result {
                assert!(is_crash(&error), "seed {seed}: {error}");
            }
            disk.crash();
            read(&disk) < acknowledged
        })
        .count()
}

#[test]
fn a_careful_log_loses_nothing() {
    assert_eq!(losses(CAREFUL, 3000), 0);
}

#[test]
fn a_log_that_forgets_a_sync_is_caught() {
    let forgets_data = Habits { syncs_data: false, ..CAREFUL };
    let forgets_directory = Habits { syncs_directory: false, ..CAREFUL };
    let renames_too_early = Habits { syncs_before_rename: false, ..CAREFUL };
    for habits in [forgets_data, forgets_directory, renames_too_early] {
        let lost = losses(habits, 500);
        assert!(lost > 25, "only {lost} of 500 lives lost something with {habits:?}");
    }
}

#[test]
fn a_log_that_syncs_again_after_a_failed_sync_is_caught() {
    let lost = |habits: Habits| {
        (0..300u64)
            .filter(|seed| {
                let disk = SimFiles::new(*seed);
                disk.plan(Fault::new(Op::Sync, Failure::LostPages).after(Rng::new(*seed).below(12)));
                let (acknowledged, _) = write(&disk, habits, 10);
                disk.crash();
                read(&disk) < acknowledged
            })
            .count()
    };
    assert_eq!(lost(CAREFUL), 0);
    let disk = SimFiles::new(1);
    disk.plan(Fault::new(Op::Sync, Failure::LostPages).on("log/0"));
    let _ = write(&disk, Habits { trusts_a_second_sync: true, ..CAREFUL }, 1);
    assert_eq!(disk.poisoned_syncs(), 1);
    assert!(lost(Habits { trusts_a_second_sync: true, ..CAREFUL }) > 30);
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    let disk = SimFiles::new(1);
    let careless = Habits { syncs_data: false, syncs_directory: false, ..CAREFUL };
    let (acknowledged, _) = write(&disk, careless, 10);
    let handle = disk.open(Path::new("log/0")).unwrap();
    disk.kill();
    assert_eq!(read(&disk), acknowledged);
    assert!(is_crash(&handle.length().unwrap_err()), "handles of a dead process are dead");
}

#[test]
fn a_full_disk_refuses_and_takes_again() {
    let disk = SimFiles::new(1);
    disk.set_capacity(5000);
    let file = disk.create(Path::new("a")).unwrap();
    file.allocate(4000).unwrap();
    let full = file.write_at(&[1; 3000], 3000).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.length().unwrap(), 5000, "as much as fits is written");
    assert_eq!(
        disk.create(Path::new("b")).unwrap().allocate(1).unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
    file.write_at(&[2; 5000], 0).unwrap();
    assert_eq!(disk.space(Path::new("a")).unwrap().free, 0);
    disk.set_capacity(1 << 20);
    file.write_at(&[1; 3000], 3000).unwrap();
    disk.set_files_max(2);
    assert_eq!(disk.create(Path::new("c")).err().unwrap().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn failures_strike_where_and_as_often_as_planned() {
    let disk = SimFiles::new(1);
    let (a, b) = (disk.create(Path::new("a")).unwrap(), disk.create(Path::new("b")).unwrap());
    disk.plan(Fault::new(Op::Sync, Failure::Io).on("b").after(1));
    disk.plan(Fault::new(Op::Rename, Failure::NoSpace).forever());
    let syncs: Vec<bool> = (0..4).flat_map(|_| [a.sync_data().is_ok(), b.sync_data().is_ok()]).collect();
    assert_eq!(syncs, [true, true, true, false, true, true, true, true]);
    for _ in 0..3 {
        assert!(disk.rename(Path::new("a"), Path::new("c")).is_err());
    }
    assert_eq!((disk.failures(), disk.count(Op::Sync)), (4, 8));
    disk.heal();
    disk.rename(Path::new("a"), Path::new("c")).unwrap();
}

#[test]
fn a_lock_is_held_until_it_is_dropped_or_its_process_dies() {
    let disk = SimFiles::new(1);
    let path = Path::new("lock");
    let held = disk.lock(path).unwrap();
    assert!(disk.lock(path).is_err());
    drop(held);
    let _held = disk.lock(path).unwrap();
    disk.crash();
    let again = disk.lock(path).unwrap();
    drop(_held);
    assert!(disk.lock(path).is_err(), "the dead process' lock frees nothing");
    drop(again);
}

#[test]
fn the_same_seed_is_the_same_life() {
    let life = |seed| {
        let disk = SimFiles::new(seed);
        disk.crash_after(40);
        let _ = write(&disk, Habits { syncs_data: false, ..CAREFUL }, 10);
        disk.crash();
        disk.paths().into_iter().map(|path| (disk.content(&path).unwrap(), path)).collect::<Vec<_>>()
    };
    assert_eq!(life(5), life(5));
    assert!((0..20).any(|seed| life(seed) != life(5)));
}
