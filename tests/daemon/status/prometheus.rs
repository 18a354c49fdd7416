//! A real Prometheus (Debian's prometheus must be installed) with the files of rules/: it reads the numbers, has an
//! answer to every question of the dashboard, and notices when the process is gone. Left out: Grafana, which draws the
//! answers, and promtool's check of metrics, which knows an older format than ours.

use super::dashboard::{members, read};
use super::process::{Process, home_with_directory};
use crate::support::http;
use crate::support::programs::{Port, eventually_or, program, recipe};
use crate::support::{ALICE, Run, letter, run, stamped};
use serde_json::Value;
use std::cell::RefCell;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running Prometheus, in a folder of its own.
struct Prometheus {
    folder: tempfile::TempDir,
    child: Child,
}

impl Prometheus {
    /// Of the files in rules/, but for the address of the process and the pace.
    fn asking(metrics: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let edits = [("127.0.0.1:9465", &*metrics.to_string()), ("scrape_interval: 30s", "scrape_interval: 1s")];
        let config = recipe("prometheus-mailstamp.yml", &edits);
        let config = config + "\nglobal: {evaluation_interval: 1s, scrape_timeout: 1s}\n";
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let alerts = "prometheus-mailstamp-alerts.yml";
        fs::write(folder.path().join(alerts), recipe(alerts, &[])).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(program("prometheus", "prometheus"));
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:0"]);
        let child = command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Self { folder, child: child.unwrap() }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Where it answers. It listens before it can: until then it says 503.
    fn address(&self) -> SocketAddr {
        let said =
            || self.log().lines().find_map(|line| line.split_once("msg=\"Listening on\" address=")?.1.parse().ok());
        let address = eventually_or("Prometheus listens", said, || self.log());
        let ready = || (http::ask(address, "GET", "/-/ready", &[], b"").unwrap().status == 200).then_some(());
        eventually_or("Prometheus is ready", ready, || self.log());
        address
    }

    /// The numbers that answer a question; an error in the question is a panic.
    fn ask(&self, address: SocketAddr, question: &str) -> Vec<f64> {
        let query: String = question.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={query}");
        let answer = http::ask(address, "GET", &path, &[], b"").unwrap();
        let answer = answer.is(200).json();
        assert_eq!(answer["status"], "success", "{question}: {answer}");
        let results = answer["data"]["result"].as_array().unwrap();
        results.iter().map(|result| result["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

fn promtool(arguments: &[&str]) -> Run {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    run(Command::new(program("promtool", "prometheus")).args(arguments).current_dir(root), b"")
}

#[test]
fn the_files_for_prometheus_are_sound_and_each_alert_comes_when_it_should() {
    promtool(&["check", "config", "rules/prometheus-mailstamp.yml"]).exits(0);
    let said = promtool(&["test", "rules", "fixtures/prometheus/alerts.yml"]);
    assert_eq!(said.code, 0, "{} {}", said.text(), said.stderr);
    let alerts = |text: &str, word: &str| text.matches(word).count();
    let expected = alerts(&read("rules/prometheus-mailstamp-alerts.yml"), "- alert: ");
    assert_eq!(alerts(&read("fixtures/prometheus/alerts.yml"), "- alertname: "), expected);
}

#[test]
fn a_real_prometheus_has_an_answer_to_every_question_of_the_dashboard() {
    let home = home_with_directory();
    // The second process must get the port of the first.
    let port = Port::reserve();
    let metrics = SocketAddr::from(([127, 0, 0, 1], port.number()));
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), config.replace("127.0.0.1:0", &metrics.to_string())).unwrap();
    let process = Process::begin(&home);
    let prometheus = Prometheus::asking(metrics);
    let address = prometheus.address();
    let known = || (prometheus.ask(address, "mailstamp_build_info") == [1.0]).then_some(());
    eventually_or("it asks", known, || prometheus.log());
    // The dashboard marks when one began anew.
    drop(process);
    let process = Process::begin(&home);

    let dashboard: Value = serde_json::from_str(&read("rules/grafana-mailstamp.json")).unwrap();
    let mut questions = Vec::new();
    members(&dashboard, "expr", &mut questions);
    // As Grafana asks when everything is chosen.
    let everything = [("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "20s")];
    let asked = |question: &&Value| {
        everything.iter().fold(question.as_str().unwrap().to_owned(), |text, (name, value)| text.replace(name, value))
    };
    let questions: Vec<String> = questions.iter().map(asked).collect();
    assert!(questions.len() >= 20 && questions.iter().all(|question| !question.contains('$')), "{questions:#?}");

    let (mut round, named) = (0, ["--config", home.config().to_str().unwrap(), "classify"].map(str::to_owned));
    // What was answered once need not be answered at the same time as all else: what a chart shows may pass.
    let silent: RefCell<Vec<&String>> = RefCell::new(questions.iter().collect());
    let all_answered = || {
        // One of each kind that a chart tells apart; the last is judged elsewhere, and asks for the log only.
        round += 1;
        home.classify(&letter(&format!("plain{round}"))).exits(11);
        let stamp = home.mint(ALICE, &format!("s{round}"));
        home.classify(&stamped(&stamp, &letter(&format!("first{round}")))).exits(0);
        home.classify(&stamped(&stamp, &letter(&format!("other{round}")))).exits(21);
        let stamp = home.mint(ALICE, &format!("t{round}"));
        run(home.command().args(&named), &stamped(&stamp, &letter(&format!("asked{round}")))).exits(0);
        silent.borrow_mut().retain(|question| {
            let answers = prometheus.ask(address, question);
            answers.is_empty() || answers.iter().any(|answer| !answer.is_finite())
        });
        silent.borrow().is_empty().then_some(round)
    };
    let still = || format!("{:#?}\n{}", silent.borrow(), prometheus.log());
    let rounds = eventually_or("every question has an answer", all_answered, still);
    // What it has stored is what happened.
    let total = "sum(mailstamp_messages_total)";
    let judged = f64::from(3 * rounds);
    let first_class = "sum(mailstamp_messages_total{class=\"first-class\"})";
    // Until it has read them all, and while a slow machine kept it from reading, it says otherwise.
    for (question, number) in [(total, judged), (first_class, f64::from(rounds))] {
        let stored = || (prometheus.ask(address, question) == [number]).then_some(());
        eventually_or(question, stored, || format!("{:?}, not {number}", prometheus.ask(address, question)));
    }

    drop(process);
    let away = "ALERTS{alertname=\"MailstampAway\",alertstate=\"pending\"}";
    eventually_or("it is missed", || (prometheus.ask(address, away) == [1.0]).then_some(()), || prometheus.log());
}
