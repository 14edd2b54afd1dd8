//! Weir as an agent: it scrapes and receives, sends everything on and keeps nothing, and what it had acknowledged when it was
//! killed arrives.
#![allow(clippy::disallowed_methods, reason = "a test of processes reads the clock")]

mod forward;
mod started;

use forward::{Weir, push, wait};
use xtask::load::http::free_address;
use xtask::load::pages;
use xtask::rig::writer::now_ms;

const TARGETS: usize = 3;
const SERIES: usize = 4;

#[test]
fn e2e_an_agent_scrapes_receives_sends_on_and_keeps_nothing() {
    let port = free_address().expect("an address").port();
    std::thread::spawn(move || pages::serve(port, SERIES));
    let targets: Vec<_> = (0..TARGETS).map(|number| format!("'{}'", pages::target(number, port))).collect();
    let mut receiver = Weir::start("auth: off\nself_monitoring:\n  interval: 0s\n");
    let mut agent = Weir::start(&format!(
        "auth: off\nself_monitoring:\n  interval: 0s\ntenants:\n  default:\n    store: none\nscrape_configs:\n  - job_name: my_app\n    \
         scrape_interval: 1s\n    static_configs:\n      - targets: [{}]\nremote_write:\n  - url: http://{}/api/v1/push\n    \
         name: there\n    queue_config:\n      batch_send_deadline: 50ms\n      min_backoff: 10ms\n      max_backoff: 200ms\n",
        targets.join(", "),
        receiver.address(),
    ));
    wait("pages arrive", || {
        let found = receiver.values("default", "count(load_requests_total)");
        let up = receiver.values("default", "sum(up{job=\"my_app\"})");
        let wanted = (vec![(TARGETS * SERIES) as f64], vec![TARGETS as f64]);
        if (&found, &up) == (&wanted.0, &wanted.1) { Ok(()) } else { Err(format!("{found:?} {up:?}")) }
    });
    // Nobody takes it, and the agent is killed twice with it.
    receiver.process.kill().expect("it dies");
    let at = now_ms();
    push(agent.address(), "default", &format!("acknowledged 1 {at}\n"));
    agent.kill_and_start();
    push(agent.address(), "default", &format!("acknowledged 2 {}\n", at + 1));
    agent.kill_and_start();
    let kept = agent.get("/api/v1/query?query=acknowledged", "default").text();
    assert!(
        kept.contains("\"result\":[]") && kept.contains("nothing that this tenant sends is kept"),
        "{kept}"
    );
    receiver.process = receiver.home.start().expect("the receiver starts again");
    wait("what was acknowledged arrives", || {
        let path = "count_over_time(acknowledged[5m])";
        let found = receiver.values("default", path);
        if found == [2.0] { Ok(()) } else { Err(format!("{found:?} {}", agent.output("there"))) }
    });
    assert_eq!(receiver.values("default", "sum_over_time(acknowledged[5m])"), [3.0]);
    // What is told of families goes along.
    let told = receiver.get("/api/v1/metadata?metric=load_requests_total", "default").text();
    assert!(told.contains("\"type\":\"counter\""), "{told}");
}
