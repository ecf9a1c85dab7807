//! Runs the shop as its users do: the program itself, its output, its exit status.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rusqlite::Connection;

fn shop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shop")).args(arguments).output().unwrap()
}

/// How long a run waits until all orders are settled: as long as that takes on a machine with other things to do.
const PATIENCE: [&str; 2] = ["--patience", "300"];

/// A run into this directory.
fn run(arguments: &[&str], out: &str) -> Output {
    shop(&[arguments, &PATIENCE, &["--out", out]].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one sentence of a command that could not start.
fn sentence(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

#[test]
fn a_small_shop_survives_kills_and_the_audit_sees_every_tampering() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let out = dir.to_str().unwrap();
    let run = run(&["--count", "60", "--rate", "30", "--kills", "2"], out);
    let text = stdout(&run);
    assert_eq!(run.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(text.contains("The audit is clean"), "{text}");
    assert_eq!(text.matches("SIGKILL").count(), 2, "{text}");
    let report = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(report.contains("The audit is clean") && report.matches("<svg").count() == 4);

    let tampered = |store: &str, sql: &str, check: &str| {
        let copy = temp.path().join(check.replace(' ', "-"));
        copy_stores(&dir, &copy);
        let changed = Connection::open(copy.join(store)).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
        let audit = shop(&["audit", "--dir", copy.to_str().unwrap()]);
        let text = stdout(&audit);
        assert_eq!(audit.status.code(), Some(1), "{text}");
        let failed = text.lines().find(|line| line.starts_with("The audit FAILED")).unwrap_or_default();
        assert!(failed.contains(check), "{failed}");
    };
    let charged_twice = "INSERT INTO ledger (order_id, customer, cents, kind)
        SELECT order_id, customer, cents, kind FROM ledger WHERE kind = 'charge' LIMIT 1";
    tampered("payments.db", charged_twice, "charged once");
    tampered("payments.db", "UPDATE account SET balance = balance + 1 WHERE rowid = 1", "money conserved");
    let leaked = "UPDATE reservation SET state = 'held' WHERE id = (SELECT min(id) FROM reservation)";
    tampered("inventory.db", leaked, "no open reservation");
    tampered("inventory.db", "UPDATE stock SET available = available + 1 WHERE rowid = 1", "stock conserved");
    let shipped_twice = "INSERT INTO shipment (order_id, customer, sku, qty)
        SELECT order_id, customer, sku, qty FROM shipment LIMIT 1";
    tampered("shipping.db", shipped_twice, "shipped once");
    let forgotten = "DELETE FROM log_event WHERE stream = (SELECT stream FROM log_event ORDER BY position LIMIT 1)";
    tampered("orders.db", forgotten, "none lost");
    tampered("checkouts.db", forgotten, "sagas agree");

    let lost = temp.path().join("lost");
    copy_stores(&dir, &lost);
    let accepted = fs::read_to_string(lost.join("accepted.jsonl")).unwrap();
    let phantom = r#"{"order_id":"phantom","millis":1.0,"attempts":1}"#;
    fs::write(lost.join("accepted.jsonl"), format!("{accepted}{phantom}\n")).unwrap();
    let audit = shop(&["audit", "--dir", lost.to_str().unwrap()]);
    assert_eq!(audit.status.code(), Some(1));
    assert!(stdout(&audit).contains("phantom was accepted and is not there"), "{}", stdout(&audit));
    assert!(stdout(&audit).contains("The audit FAILED: none lost."), "{}", stdout(&audit));
}

#[test]
fn a_shop_whose_database_is_killed_twice_is_clean_and_can_be_audited_again_without_it() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, script) = (temp.path().join("run"), temp.path().join("faults.toml"));
    let kill = |at: f64| format!("[[kill]]\nservice = \"postgres\"\nat = {at}\ndown = 0.3\n");
    fs::write(&script, format!("[payments]\nfail = 0.2\nafter_effect = 0.5\n{}{}", kill(0.7), kill(2.0))).unwrap();
    let (out, script) = (dir.to_str().unwrap(), script.to_str().unwrap());
    let run = run(&["--store", "postgres", "--count", "90", "--rate", "30", "--faults", script], out);
    let text = stdout(&run);
    assert_eq!(run.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(text.matches("SIGKILL postgres").count(), 2, "{text}");
    assert!(text.contains("The audit is clean"), "{text}");
    let again = shop(&["audit", "--dir", out]);
    assert_eq!(again.status.code(), Some(0), "{}", stdout(&again));
    let verdict = |text: &str| text.lines().filter(|line| line.contains(" ok ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(verdict(&stdout(&again)), verdict(&text));
}

#[test]
fn over_a_bus_every_customer_is_told_once_whoever_is_killed_and_the_audit_sees_who_was_not() {
    let temp = tempfile::tempdir().unwrap();
    let (dir, script) = (temp.path().join("run"), temp.path().join("faults.toml"));
    let kill = |who: &str, at: f64| format!("[[kill]]\nservice = \"{who}\"\nat = {at}\ndown = 0.3\n");
    let kills = kill("nats", 0.8) + &kill("shipping", 1.4) + &kill("orders", 2.0) + &kill("nats", 2.4);
    fs::write(&script, kills).unwrap();
    let (out, script) = (dir.to_str().unwrap(), script.to_str().unwrap());
    let run = run(&["--bus", "nats", "--count", "90", "--rate", "30", "--faults", script], out);
    let text = stdout(&run);
    assert_eq!(run.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(text.matches("SIGKILL nats").count(), 2, "{text}");
    assert!(text.contains("ok     told once"), "{text}");
    let twice = "INSERT INTO notice (order_id) SELECT order_id FROM notice LIMIT 1";
    assert_eq!(Connection::open(dir.join("shipping.db")).unwrap().execute(twice, []).unwrap(), 1);
    let audit = shop(&["audit", "--dir", out]);
    assert!(stdout(&audit).contains("The audit FAILED: told once."), "{}", stdout(&audit));
}

fn copy_stores(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn bad_lines_are_reported_and_the_other_orders_go_on() {
    let temp = tempfile::tempdir().unwrap();
    let orders = temp.path().join("orders.jsonl");
    let good = r#"{"order_id":"a","customer":"c","items":[{"sku":"tea","qty":1,"cents":250}]}"#;
    let none = r#"{"order_id":"b","customer":"c","items":[{"sku":"tea","qty":0,"cents":250}]}"#;
    fs::write(&orders, format!("{good}\n{none}\nnot json\n{}\n", good.replace("\"a\"", "\"d\""))).unwrap();
    let (orders, out) = (orders.to_str().unwrap(), temp.path().join("run"));
    let run = run(&["--orders", orders, "--kills", "0"], out.to_str().unwrap());
    let text = stdout(&run);
    assert_eq!(run.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&run.stderr));
    assert!(text.contains(&format!("{orders}:2: qty of tea is 0, it must be 1 to 1000")), "{text}");
    assert!(text.contains(&format!("{orders}:3: expected ident, at column 2")), "{text}");
    assert!(text.contains("orders   2 completed"), "{text}");
}

#[test]
fn what_keeps_a_run_from_starting_is_one_sentence_and_status_2() {
    let temp = tempfile::tempdir().unwrap();
    let path = |name: &str| temp.path().join(name).to_str().unwrap().to_owned();

    let missing = sentence(&shop(&["--orders", &path("none.jsonl")]));
    assert_eq!(missing, format!("shop: cannot read orders from {}: no such file or directory.", path("none.jsonl")));

    fs::write(path("empty.jsonl"), "\n").unwrap();
    let empty = sentence(&shop(&["--orders", &path("empty.jsonl")]));
    assert_eq!(empty, format!("shop: cannot use orders from {}: it is empty.", path("empty.jsonl")));

    fs::write(path("faults.toml"), "[payments]\nfail = 2.0\n").unwrap();
    let faults = sentence(&shop(&["--faults", &path("faults.toml")]));
    assert!(faults.ends_with("faults.toml: payments.fail is 2, it must be 0 to 1."), "{faults}");

    // A directory below a file can be written by nobody, not even by root.
    fs::write(path("file"), "").unwrap();
    let unwritable = sentence(&shop(&["--out", &path("file/run")]));
    assert_eq!(unwritable, format!("shop: cannot write to {}: not a directory.", path("file/run")));

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = sentence(&shop(&["--port", &port, "--out", &path("busy")]));
    assert!(busy.starts_with(&format!("shop: cannot listen on 127.0.0.1:{port}: address already in use")), "{busy}");
    assert!(!Path::new(&path("busy")).exists(), "nothing is left behind");

    let listen = format!("127.0.0.1:{port}");
    let busy = sentence(&shop(&["payments", "--dir", &path(""), "--listen", &listen]));
    assert_eq!(busy, format!("shop: cannot listen on {listen}: address already in use."));

    let nothing = sentence(&shop(&["audit", "--dir", &path("nowhere")]));
    assert!(nothing.starts_with("shop: cannot read"), "{nothing}");
}

/// A run in progress that has accepted its first orders, and its output from there on.
fn under_way(dir: &Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["--count", "5000", "--rate", "25", "--kills", "0", "--out", dir.to_str().unwrap()])
        .args(PATIENCE)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let accepting = |line: &String| line.contains(" accepted ") && !line.contains(" accepted 0 ");
    assert!(lines.by_ref().any(|line| accepting(&line)), "the run ended before it accepted an order");
    (child, lines)
}

#[test]
fn an_interrupted_run_settles_what_it_accepted_and_audits_it() {
    let temp = tempfile::tempdir().unwrap();
    let (mut child, lines) = under_way(&temp.path().join("run"));
    // There is no safe call to send a signal; the program that does it is on every Unix.
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let text = lines.collect::<Vec<_>>().join("\n");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{text}");
    assert!(text.contains("interrupted: no more orders"), "{text}");
    assert!(text.contains("The audit is clean"), "{text}");
}

#[test]
fn no_service_outlives_a_killed_runner() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("run");
    let (mut child, _lines) = under_way(&dir);
    let connections: Vec<_> = ["gateway", "orders", "inventory", "payments", "shipping"]
        .map(|service| {
            let list = fs::read_to_string(dir.join("endpoints").join(format!("{service}.json"))).unwrap();
            let list: serde_json::Value = serde_json::from_str(&list).unwrap();
            let connection = TcpStream::connect(list["endpoints"][0]["address"].as_str().unwrap()).unwrap();
            connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            (service, connection)
        })
        .into();
    child.kill().unwrap();
    child.wait().unwrap();
    for (service, mut connection) in connections {
        // An idle connection ends with the process that serves it, and with nothing else.
        let end = connection.read(&mut [0; 1]);
        let ended = match &end {
            Ok(read) => *read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        assert!(ended, "{service}: {end:?}");
    }
}

/// A request whose caller has no time left is not worked on, and one whose caller names no step of a saga is refused:
/// what the layers of HTTP carry is what the services go by.
#[test]
fn a_service_goes_by_the_context_its_callers_send() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
        .args(["payments", "--dir", temp.path().to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.find_map(|line| line.strip_prefix("ready ").map(str::to_owned)).unwrap();
    let status = |headers: &str| {
        let body = r#"{"order_id":"o-1","customer":"nobody","cents":5}"#;
        let mut connection = TcpStream::connect(&address).unwrap();
        let request = format!(
            "POST /charge HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let step = "idempotency-key: checkout/o-1/charge/do\r\nresilience-fencing-token: 3\r\n";
    assert_eq!(status("idempotency-key: checkout/o-1/charge/do\r\n"), "400", "nobody's saga");
    assert_eq!(status(&format!("{step}resilience-timeout-ms: 0\r\n")), "504", "too late");
    assert_eq!(status(&format!("{step}resilience-timeout-ms: 60000\r\n")), "409", "there is no such customer");
    let zombie = step.replace(": 3", ": 2");
    assert_eq!(status(&zombie), "412", "a saga's former owner");
    child.kill().unwrap();
    child.wait().unwrap();
}
