//! Applications with the official client libraries, scraped by the real binary: what they count is asked for by PromQL, and
//! ends when they do.
#![allow(clippy::disallowed_methods, reason = "a test of processes waits, and reads the clock")]

mod started;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use started::{Weir, script};
use xtask::clients;
use xtask::rig::writer::now_ms;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// An application that serves its metrics, and does more of what it counts when it is told to.
struct App {
    child: Child,
    told: ChildStdin,
    says: BufReader<ChildStdout>,
    address: String,
}

impl App {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let told = child.stdin.take().expect("a pipe");
        let says = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut app = Self { child, told, says, address: String::new() };
        app.address = format!("127.0.0.1:{}", app.line());
        app
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// One round more.
    fn work(&mut self) {
        writeln!(self.told).expect("it listens");
        self.line();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.end();
    }
}

/// A page that is served as client_golang serves it; `{count}` in it is how often it was asked for.
struct Recorded {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Recorded {
    fn serve(page: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
        let address = listener.local_addr().expect("one");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let server = std::thread::spawn(move || {
            for (count, stream) in listener.incoming().enumerate() {
                let mut stream = stream.expect("a client");
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let reader = BufReader::new(stream.try_clone().expect("a second end"));
                let request = reader.lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                assert!(request.count() > 0, "somebody asks");
                let body = page.replace("{count}", &count.to_string());
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8; \
                    escaping=underscores\r\nConnection: close\r\n";
                // Who asked may be gone.
                let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        Self { address, stop, server: Some(server) }
    }

    fn end(&mut self) {
        let Some(server) = self.server.take() else { return };
        self.stop.store(true, Ordering::SeqCst);
        let woken = std::net::TcpStream::connect(self.address).and_then(|mut stream| stream.read(&mut [0]));
        drop(woken);
        server.join().expect("it served");
    }
}

/// Weir that scrapes an address every second as the job `app`, in Prometheus' own words.
fn scraping(address: &str) -> Weir {
    Weir::start(&format!(
        "scrape_configs:\n  - job_name: app\n    scrape_interval: 1s\n    static_configs:\n      - targets: ['{address}']\n"
    ))
}

fn now_s() -> i64 {
    now_ms() / 1000
}

/// Asks until the answer is right.
#[track_caller]
fn wait_for(weir: &Weir, expression: &str, is_right: impl Fn(&[String]) -> bool) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let found = weir.query(expression, now_s() + 1);
        if is_right(&found) {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{expression}: {found:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[track_caller]
fn wait_for_value(weir: &Weir, expression: &str, wanted: f64) {
    wait_for(weir, expression, |found| numbers(found) == [wanted]);
}

/// The values of series.
fn numbers(found: &[String]) -> Vec<f64> {
    found.iter().map(|row| row.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a value")).collect()
}

#[track_caller]
fn value(weir: &Weir, expression: &str) -> f64 {
    let found = weir.query(expression, now_s() + 1);
    *numbers(&found).first().unwrap_or_else(|| panic!("{expression} selects nothing"))
}

#[track_caller]
fn assert_near(weir: &Weir, expression: &str, wanted: f64) {
    let found = value(weir, expression);
    assert!((found - wanted).abs() < 1e-9, "{expression}: {found}, not {wanted}");
}

/// What holds of every target that was scraped at least twice.
fn assert_reported(weir: &Weir) {
    assert_near(weir, "up", 1.0);
    assert_near(weir, "count(scrape_duration_seconds > 0)", 1.0);
    assert!(value(weir, "scrape_samples_scraped") >= 5.0);
    assert_near(weir, "scrape_samples_post_metric_relabeling - scrape_samples_scraped", 0.0);
    assert!(value(weir, "max_over_time(scrape_series_added[5m])") >= 5.0);
}

/// What both sample applications count, in a round each: five requests, two waits, one size.
fn assert_counted(weir: &Weir, app: &mut App) {
    wait_for_value(weir, "sum(myapp_requests_total)", 5.0);
    assert_near(weir, "myapp_jobs", 1.0);
    app.work();
    wait_for_value(weir, "sum(myapp_requests_total)", 10.0);
    assert_near(weir, "myapp_jobs", 2.0);
    assert!(value(weir, "sum(rate(myapp_requests_total[1m]))") > 0.0);
    assert_near(weir, "myapp_request_duration_seconds_count", 4.0);
    assert_near(weir, "myapp_request_duration_seconds_sum", 0.64);
    assert_near(weir, "myapp_request_size_bytes_sum / myapp_request_size_bytes_count", 512.0);
    assert_reported(weir);
}

/// The application is gone, and so are its series, though what they were is still there.
fn assert_ended(weir: &Weir) {
    wait_for_value(weir, "up", 0.0);
    wait_for(weir, "{__name__=~\"myapp_.+\"}", <[String]>::is_empty);
    assert_near(weir, "max_over_time(myapp_jobs[5m])", 2.0);
    assert_near(weir, "scrape_samples_scraped", 0.0);
}

#[test]
fn e2e_scrape_of_an_application_in_python() {
    let package = match clients::python("prometheus-client==0.26.0") {
        Ok(package) => package,
        Err(why) => return xtask::test::skipped("e2e_scrape_of_an_application_in_python", &why),
    };
    let mut app = App::start(Command::new("python3").arg(script("scrape/app.py")).env("PYTHONPATH", package));
    let weir = scraping(&app.address);
    assert_counted(&weir, &mut app);
    let labels = format!("endpoint=/api,instance={},job=app,method=GET", app.address);
    let found = weir.query("myapp_requests_total", now_s() + 1);
    assert_eq!(found, [format!("myapp_requests_total{{{labels}}} 10")]);
    // Half of the waits are in the bucket from 0.01 to 0.025.
    assert_near(&weir, "histogram_quantile(0.5, myapp_request_duration_seconds_bucket)", 0.025);
    let rate = "histogram_quantile(1, rate(myapp_request_duration_seconds_bucket[1m]))";
    assert_near(&weir, rate, 0.5);
    // It answers OpenMetrics when it is asked as Prometheus asks, and says there when its counters began.
    assert_eq!(weir.query("{__name__=~\".+_created\"}", now_s() + 1), [""; 0]);
    let said = weir.data("/api/v1/metadata?metric=myapp_requests");
    assert_eq!(said["myapp_requests"][0]["type"], "counter", "{said}");
    app.end();
    assert_ended(&weir);
}

#[test]
fn e2e_scrape_of_an_application_in_node() {
    let folder = match clients::node("prom-client@15.1.3") {
        Ok(folder) => folder,
        Err(why) => return xtask::test::skipped("e2e_scrape_of_an_application_in_node", &why),
    };
    let mut app = App::start(Command::new("node").arg(script("scrape/app.js")).arg(folder));
    let weir = scraping(&app.address);
    assert_counted(&weir, &mut app);
    assert_near(&weir, "histogram_quantile(0.5, myapp_request_duration_seconds_bucket)", 0.1);
    assert_near(&weir, "myapp_request_size_bytes{quantile=\"0.5\"}", 512.0);
    assert_near(&weir, "myapp_request_size_bytes{quantile=\"1.0\"}", 512.0);
    // It writes `Nan`.
    assert!(value(&weir, "myapp_nothing").is_nan());
    assert!(value(&weir, "process_cpu_seconds_total") > 0.0);
    app.end();
    assert_ended(&weir);
}

#[test]
fn e2e_scrape_of_what_a_program_in_go_answers() {
    let page = include_str!("scrape/client_golang.txt");
    let mut app = Recorded::serve(page);
    let weir = scraping(&app.address.to_string());
    wait_for(&weir, "promhttp_metric_handler_requests_total{code=\"200\"} >= 2", |found| found.len() == 1);
    assert!(value(&weir, "rate(promhttp_metric_handler_requests_total{code=\"200\"}[1m])") > 0.0);
    assert_near(&weir, "go_goroutines", 31.0);
    assert_near(&weir, "go_gc_duration_seconds{quantile=\"1.0\"}", 0.002_442_435);
    assert_near(&weir, "go_gc_duration_seconds_count", 4.0);
    assert!(
        value(&weir, "prometheus_engine_query_duration_seconds{slice=\"result_sort\",quantile=\"0.9\"}")
            .is_nan()
    );
    let quantile =
        "histogram_quantile(0.9, prometheus_http_request_duration_seconds_bucket{handler=\"/api/v1/query\"})";
    assert_near(&weir, quantile, 0.09);
    let buckets = "count(prometheus_http_request_duration_seconds_bucket{le=~\".+[.].+|[+]Inf\"})";
    assert_near(&weir, buckets, value(&weir, "count(prometheus_http_request_duration_seconds_bucket)"));
    assert_reported(&weir);
    app.end();
    wait_for_value(&weir, "up", 0.0);
    wait_for(&weir, "{__name__=~\"go_.+\"}", <[String]>::is_empty);
}
