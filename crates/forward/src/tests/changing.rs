//! Outputs that come, go and cannot be started.

use std::net::TcpListener;
use std::time::Duration;

use super::{INSTANCE, PATIENCE, World, now_ms, settings};
use crate::settings::Settings;
use crate::status::Status;
use crate::{Outputs, cursor};

fn start(world: &World, list: Vec<Settings>) -> Outputs {
    let context = world.context();
    let (env, runtime) = (context.env, context.runtime);
    Outputs::start(env, context.data_dir, context.store, runtime, INSTANCE, context.name_of, list).unwrap()
}

/// Waits until `enough` holds of how the outputs are.
fn wait(outputs: &Outputs, enough: impl Fn(&[Status]) -> bool) -> Vec<Status> {
    let clock = env::Env::real().clock;
    let began = clock.monotonic();
    loop {
        let status = outputs.status();
        if enough(&status) {
            return status;
        }
        assert!(clock.monotonic() - began < PATIENCE, "waited in vain: {status:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_reload_and_whoever_asks_wait_for_no_receiver() {
    let world = World::new();
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut first = settings("a");
    first.timeout = Duration::from_secs(3600);
    first.url = outbound::Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let outputs = start(&world, vec![first.clone()]);
    world.push(&[("m", now_ms(), 1.0)]);
    let (_connection, _) = silent.accept().unwrap();
    // The same name before another receiver, and one more.
    let second = Settings { timeout: Duration::from_secs(3), ..first.clone() };
    outputs.apply(vec![second.clone(), settings("b")]);
    // The one that is new is there, and the one that changes is still the first: nobody waited for its end.
    let names: Vec<String> = outputs.status().into_iter().map(|status| status.name).collect();
    assert_eq!(names, ["a", "b"]);
    outputs.apply(vec![settings("b")]);
    assert_eq!(outputs.status().len(), 2);
    wait(&outputs, |status| status.len() == 1);
    assert_eq!(cursor::names(&*world.context().env.files, world.directory.path()).unwrap(), ["b"]);
    outputs.stop();
    assert!(outputs.status().is_empty());
}

#[test]
fn one_that_cannot_be_started_is_shown_and_tried_again() {
    let world = World::new();
    let directory = world.directory.path().join("forward");
    std::fs::write(&directory, b"no directory").unwrap();
    let outputs = start(&world, vec![settings("a")]);
    let status = outputs.status();
    assert!(status[0].is_failing && status[0].last_error.starts_with("cannot be started: "), "{status:?}");
    std::fs::remove_file(&directory).unwrap();
    wait(&outputs, |status| status.first().is_some_and(|status| !status.is_failing));
    outputs.stop();
    assert!(directory.join("a.cursor").exists());
}
