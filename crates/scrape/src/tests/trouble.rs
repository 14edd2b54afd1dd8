//! Pages, stores and queues that give trouble, and what is remembered through it.

use super::*;

#[tokio::test(start_paused = true)]
async fn more_targets_than_may_be_all_fail() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\n");
    let mut limited = order(&rig.pages, &rig.kept, &rig.clock, terms(), Vec::new());
    limited.target_limit = 1;
    rig.commands.send(Command::Change(limited)).await.unwrap();
    rig.targets(&["a", "b"]).await;
    rig.scrape().await;
    let errors: Vec<_> = rig.shown.list().active.iter().map(|life| life.last().error).collect();
    assert!(
        errors.contains(&"target_limit exceeded (number of targets: 2, limit: 1)".to_owned()),
        "{errors:?}"
    );
    assert_eq!(rig.pages.asked.lock().unwrap().len(), 0);
}

/// A field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    [&field, bytes].concat()
}

#[tokio::test(start_paused = true)]
async fn a_page_whose_texts_would_be_huge_fails_before_they_are_made() {
    let label = field(1, &[field(1, b"a"), field(2, &[b'x'; 1000])].concat());
    let page = |buckets: usize| {
        let metric = field(4, &[label.clone(), field(7, &field(3, b"").repeat(buckets))].concat());
        field(0, &[field(1, b"h"), vec![3 << 3, 4], metric].concat())[1..].to_vec()
    };
    let rig = Rig::start(terms(), Vec::new());
    let media =
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    rig.answer("a", media, page(20_000));
    rig.targets(&["a"]).await;
    rig.scrape().await;
    let taken = rig.taken();
    assert!(taken.contains(&"up 0".to_owned()) && taken.len() == 4, "{taken:?}");
    let count = taken.iter().find_map(|line| line.strip_prefix("scrape_samples_scraped ")).unwrap();
    assert!(count.parse::<u32>().unwrap() < 5000, "nothing behind it is read: {count}");
    let error = rig.shown.list().active[0].last().error;
    assert!(error.starts_with("the page would be longer than "), "{error}");
    rig.answer("a", media, page(10));
    rig.scrape().await;
    assert!(rig.taken().contains(&"up 1".to_owned()));
    rig.page("a", &format!("x{{a=\"{}\"}} 1\n", "y".repeat(1 << 20)));
    rig.scrape().await;
    let error = rig.shown.list().active[0].last().error;
    assert_eq!(error, "the labels of a series take 1048583 bytes, at most 1048576 are read");
}

#[tokio::test(start_paused = true)]
async fn a_large_page_waits_for_its_turn_to_be_read() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", &format!("# {}\nx 1\n", "-".repeat(70_000)));
    rig.kept.crowded.store(3, Ordering::Relaxed);
    rig.targets(&["a"]).await;
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 1"], report(1, 1, 1, 1)));
    assert_eq!(rig.pages.asked.lock().unwrap().len(), 1, "it is not fetched again");
}

#[tokio::test(start_paused = true)]
async fn what_did_not_become_durable_is_not_remembered() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "# TYPE x gauge\nx 1\ny 2\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    rig.kept.failing.store(1, Ordering::Relaxed);
    rig.page("a", "# TYPE x gauge\nx 1\n");
    rig.scrape().await;
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x 1", "y stale"], report(1, 1, 1, 0)));
    assert_eq!(*rig.kept.metadata.lock().unwrap(), ["x gauge", "x gauge"]);
    // The same of markers that a failed scrape writes.
    rig.kept.failing.store(1, Ordering::Relaxed);
    rig.down("a");
    rig.scrape().await;
    rig.scrape().await;
    assert_eq!(sorted(rig.taken()), with(&["x stale"], report(0, 0, 0, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_scrape_under_way_over_a_change_of_rules_is_remembered() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\ny 2\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    *rig.pages.takes.lock().unwrap() = INTERVAL / 2;
    let asked = rig.pages.asked.lock().unwrap().len();
    while rig.pages.asked.lock().unwrap().len() == asked {
        sleep(Duration::from_millis(100)).await;
    }
    let rename = Parts { target_label: "env".into(), replacement: "two".into(), ..Parts::default() };
    rig.page("a", "x 1\ny 2\nz 3\n");
    rig.change(terms(), vec![rename]).await;
    rig.scrape().await;
    rig.taken();
    rig.scrape().await;
    let ends: Vec<_> = rig.taken().into_iter().filter(|line| line.ends_with("stale")).collect();
    assert_eq!(ends, ["x stale", "y stale", "z stale"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_target_is_told_though_the_store_is_full() {
    let rig = Rig::start(terms(), Vec::new());
    rig.page("a", "x 1\n");
    rig.targets(&["a"]).await;
    rig.scrape().await;
    rig.taken();
    rig.kept.full.store(2, Ordering::Relaxed);
    rig.targets(&[]).await;
    sleep(INTERVAL * 3).await;
    assert!(rig.taken().contains(&"x stale".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_exemplar_without_a_time_is_stored_once() {
    let rig = Rig::start(terms(), Vec::new());
    let media = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let page = |c: u8, y: &str| {
        let text =
            format!("# TYPE c counter\nc_total 1 # {{t=\"a\"}} {c}\n# TYPE d counter\nd_total 1{y}\n# EOF\n");
        text.into_bytes()
    };
    rig.targets(&["a"]).await;
    for (page, wanted) in [
        (page(1, ""), &[1.0][..]),
        (page(1, ""), &[]),
        (page(2, " # {t=\"b\"} 7"), &[2.0, 7.0]),
        (page(2, " # {t=\"b\"} 7"), &[]),
        (page(2, " # {t=\"b\"} 8 1700000000"), &[8.0]),
        (page(3, " # {t=\"b\"} 8 1700000000"), &[3.0, 8.0]),
    ] {
        rig.answer("a", media, page);
        rig.scrape().await;
        assert_eq!(std::mem::take(&mut *rig.kept.exemplars.lock().unwrap()), wanted);
    }
}
