//! OpenMetrics' own parser cases, where they are at hand: every good one is taken whole; of the bad ones it is printed
//! how many are refused, for this is the lax reader: what breaks only rules between lines is stored.

#![allow(clippy::print_stdout)] // Says that it was skipped, and how lax it is.

use std::path::Path;

use model::Batch;

use super::decode::decode;
use crate::{Received, Request};

/// Lines refused of an exposition.
fn refused(body: &[u8]) -> u64 {
    let request =
        Request { content_type: "application/openmetrics-text; version=1.0.0", ..Request::default() };
    let mut batch = Batch::new(1);
    decode(&Received { body, ..Received::new(request) }, &mut batch)
        .expect("no body is malformed as a whole");
    for index in 0..batch.series.len() {
        batch.with_labels(index, |_| Ok(())).expect("a series that was kept can be read");
    }
    batch.rejections.counts().total()
}

#[test]
fn good_cases_are_taken_and_bad_ones_do_no_harm() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/openmetrics");
    let Ok(cases) = std::fs::read_dir(&folder) else {
        println!("skipped: no OpenMetrics cases beside the repository");
        return;
    };
    let (mut good, mut bad, mut bad_refused) = (0, 0, 0);
    for case in cases {
        let case = case.expect("a readable folder").path();
        let body = std::fs::read(case.join("metrics")).expect("a case has metrics");
        let wanted = std::fs::read_to_string(case.join("test.json")).expect("a case says what is wanted");
        let parses =
            wanted.split_once("\"shouldParse\":").is_some_and(|(_, rest)| rest.trim().starts_with("true"));
        let refused = refused(&body);
        if parses {
            good += 1;
            assert_eq!(refused, 0, "{} is good", case.display());
        } else {
            bad += 1;
            bad_refused += u64::from(refused > 0);
        }
    }
    println!("OpenMetrics: {good} good cases taken, {bad_refused} of {bad} bad ones refused");
    assert!(good >= 44 && bad >= 167, "{good} good and {bad} bad cases");
}
