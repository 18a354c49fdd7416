//! Limits of the service: rates, connections, time; and TLS without a proxy.

use crate::support::http::{self, Answer, Connection};
use crate::support::programs::{PATIENCE, eventually};
use crate::support::run;
use crate::support::shop::Shop;
use crate::support::smtp_server::{Mode, SmtpServer};
use mailstamp::ledger::ops;
use mailstamp::os::clock;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;

/// Asks until the answer is 429; each before it is 200.
fn until_refused(ask: impl Fn() -> Answer) -> Vec<Answer> {
    let mut answers = Vec::new();
    eventually("a refusal", || {
        // Many at a time, faster than a rate.
        for _ in 0..50 {
            answers.push(ask());
            if answers.last()?.status == 429 {
                return Some(());
            }
            assert_eq!(answers.last()?.status, 200);
        }
        None
    });
    answers
}

// Threat 22
#[test]
fn who_asks_too_often_is_told_when_to_come_back() {
    let shop = Shop::open(1_000, &["--key-rate", "2", "--address-rate", "2"]);
    // A burst of 4, then 2 a second: a client that asks more often is refused at some point.
    let keyed: Vec<_> = until_refused(|| shop.ask("GET", "/v1/account", &Value::Null));
    let refused = keyed.last().unwrap();
    assert_eq!(refused.json()["problem"], "rate");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait));
    assert!(keyed.len() > 4);
    // Another key is not held up, and neither is a client without a key.
    let (key, _) = shop.ledger().add_api_key(shop.account, "other", mailstamp::os::clock::now()).unwrap();
    let bearer = format!("Bearer {}", key.as_str());
    http::ask(shop.address, "GET", "/v1/account", &[("Authorization", &bearer)], b"").unwrap().is(200);
    let asked = until_refused(|| http::ask(shop.address, "GET", "/v1/prices", &[], b"").unwrap());
    assert!(asked.len() > 12, "a burst of 12");
    // People are told on a page.
    let page = until_refused(|| http::ask(shop.address, "GET", "/", &[], b"").unwrap()).pop().unwrap();
    assert!(page.field("content-type").unwrap().starts_with("text/html") && page.field("retry-after").is_some());
}

#[test]
fn guesses_are_counted_and_a_good_key_is_never_shut_out() {
    let shop = Shop::open(10, &[]);
    let guess = |at: usize| {
        let bearer = format!("Bearer msk_{at}");
        http::ask(shop.address, "GET", "/v1/account", &[("Authorization", &bearer)], b"").unwrap().status
    };
    let statuses: Vec<u16> = (0..100).map(guess).collect();
    // Ten a minute; one more may come meanwhile.
    assert_eq!(statuses[..10], [401; 10]);
    assert!(statuses.contains(&429), "{statuses:?}");
    shop.ask("GET", "/v1/account", &Value::Null).is(200);
}

#[test]
fn a_trusted_proxy_tells_addresses_apart_and_nobody_else_does() {
    for trusted in [true, false] {
        let more: &[&str] = if trusted { &["--trusted-proxy", "127.0.0.1"] } else { &[] };
        let shop = Shop::open(0, &[&["--address-rate", "1"], more].concat());
        let from = |address: &str| {
            // The client can have written everything before the last address.
            let value = format!("198.51.100.1, {address}");
            http::ask(shop.address, "GET", "/v1/prices", &[("X-Forwarded-For", &value)], b"").unwrap().status
        };
        assert!((0..1_000).any(|_| from("203.0.113.1") == 429));
        if trusted {
            assert_eq!(from("203.0.113.2"), 200);
        } else {
            // One token may have come meanwhile.
            assert!((0..1_000).any(|_| from("203.0.113.2") == 429));
        }
    }
}

#[test]
fn slow_clients_hold_up_nobody_and_are_sent_away() {
    let shop = Shop::open(100_000, &["--patience", "2", "--connections-each", "300", "--key-rate", "0"]);
    let open = || {
        let stream = TcpStream::connect(shop.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let mut slow: Vec<TcpStream> = (0..200).map(|_| open()).collect();
    let head = b"POST /v1/stamps HTTP/1.1\r\nHost: shop.test\r\n";
    let (mut round, mut served) = (0, 0);
    eventually("all slow clients are sent away", || {
        // One byte to each, for as long as it is let in. The header never ends.
        let byte = [head[round % head.len()]];
        slow.retain_mut(|stream| match stream.read(&mut [0; 1_024]) {
            Ok(0) => false,
            Err(error) if error.kind() != ErrorKind::WouldBlock => false,
            _ => stream.write(&byte).is_ok(),
        });
        // A machine that stands still for two seconds makes this a slow client, too.
        let bought = Connection::open(shop.address)
            .and_then(|mut it| shop.buy(&mut it, &format!("{round}"), "{\"recipient\":\"r@x.example\"}"));
        served += usize::from(bought.is_ok_and(|answer| answer.status == 200));
        round += 1;
        slow.is_empty().then_some(())
    });
    assert!(round > 1, "they were let in at first");
    assert!(2 * served > round, "{served} of {round} others");
}

#[test]
fn a_body_that_never_comes_ends_with_the_request_s_time() {
    let shop = Shop::open(10, &["--patience", "1"]);
    let mut stream = TcpStream::connect(shop.address).unwrap();
    let head = format!(
        "POST /v1/stamps HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Idempotency-Key: 1\r\nContent-Length: 100\r\n\r\n{{",
        shop.key
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn one_address_has_its_share_of_connections() {
    let shop = Shop::open(0, &["--connections-each", "5"]);
    let mut held: Vec<Connection> = (0..5).map(|_| Connection::open(shop.address).unwrap()).collect();
    for connection in &mut held {
        connection.ask("GET", "/healthz", &[], b"").unwrap().is(200);
    }
    assert!(http::ask(shop.address, "GET", "/healthz", &[], b"").is_err());
    held.pop();
    eventually("a place", || {
        http::ask(shop.address, "GET", "/healthz", &[], b"").ok().filter(|answer| answer.status == 200)
    });
}

// Five addresses with idle connections held all places.
#[test]
fn the_connection_that_was_idle_longest_makes_room() {
    let shop = Shop::open(0, &["--connections", "4", "--patience", "300", "--address-rate", "0"]);
    let ask = |connection: &mut Connection| connection.ask("GET", "/healthz", &[], b"");
    let mut held: Vec<Connection> = (0..4).map(|_| Connection::open(shop.address).unwrap()).collect();
    for connection in &mut held {
        ask(connection).unwrap().is(200);
    }
    // The second has said nothing for longest, once the first is used again. Two more come.
    ask(&mut held[0]).unwrap().is(200);
    let mut new: Vec<Connection> = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(shop.address).unwrap();
        ask(&mut connection).unwrap().is(200);
        new.push(connection);
    }
    assert!(ask(&mut held[1]).is_err() && ask(&mut held[2]).is_err());
    for connection in new.iter_mut().chain(&mut held[..1]) {
        ask(connection).unwrap().is(200);
    }
    // A header that never ends is no request, and holds no place.
    let mut slow: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(shop.address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    }
    for _ in 0..20 {
        ask(&mut Connection::open(shop.address).unwrap()).unwrap().is(200);
    }
}

// Five addresses held all places for thirty seconds with bodies that did not come.
#[test]
fn a_body_that_does_not_come_holds_no_place() {
    let shop = Shop::open(0, &["--connections", "2", "--patience", "300", "--address-rate", "0"]);
    let head = "POST /v1/stamps HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: 1\r\n\
                Content-Length: 100\r\nExpect: 100-continue\r\nAuthorization: Bearer ";
    let head = format!("{head}{}\r\n\r\n", shop.key);
    let mut slow: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(shop.address).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The request is under way when its body is asked for.
        let mut asked = *b"HTTP/1.1 ??? Continue\r\n\r\n";
        stream.read_exact(&mut asked).unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    let mut next = Connection::open(shop.address).unwrap();
    next.ask("GET", "/healthz", &[], b"").unwrap().is(200);
    let mut ended = slow.iter_mut().map(|stream| stream.read(&mut [0; 1]).unwrap_or(0));
    assert_eq!(ended.next(), Some(0), "the first makes room");
}

#[test]
fn an_address_with_all_its_connections_takes_no_place_from_another() {
    let shop = Shop::open(0, &["--connections", "3", "--connections-each", "2", "--patience", "300"]);
    let ask = |connection: &mut Connection| connection.ask("GET", "/healthz", &[], b"");
    let mut other = Connection::open_from([127, 0, 0, 9].into(), shop.address).unwrap();
    ask(&mut other).unwrap().is(200);
    let mut held: Vec<Connection> = (0..2).map(|_| Connection::open(shop.address).unwrap()).collect();
    for connection in &mut held {
        ask(connection).unwrap().is(200);
    }
    // All places are taken, and `other` has waited longest.
    for _ in 0..3 {
        assert!(http::ask(shop.address, "GET", "/healthz", &[], b"").is_err());
    }
    ask(&mut other).unwrap().is(200);
}

#[test]
fn a_request_under_way_keeps_its_place() {
    let smtp = SmtpServer::start(Mode::Silent);
    let shop = Shop::open(0, &["--connections", "1", "--patience", "6", "--smtp", &smtp.address()]);
    thread::scope(|scope| {
        let claimed = scope.spawn(|| shop.ask("POST", "/v1/addresses", &json!({ "address": "a@x.example" })).status);
        eventually("the request", || (smtp.held() == 1).then_some(()));
        // It waits until the answer is given, and takes the place then.
        let mut next = Connection::open(shop.address).unwrap();
        next.ask("GET", "/healthz", &[], b"").unwrap().is(200);
        assert_eq!(claimed.join().unwrap(), 503);
    });
}

// A server that accepts connections and says nothing holds up no other request, and costs no code.
#[test]
fn a_slow_mail_server_holds_up_its_own_requests_only() {
    let smtp = SmtpServer::start(Mode::Silent);
    let mut shop = Shop::open(10, &["--smtp", &smtp.address(), "--address-rate", "0", "--patience", "120"]);
    let claim = |shop: &Shop, to: &str| shop.ask("POST", "/v1/addresses", &json!({ "address": to }));
    thread::scope(|scope| {
        let shop = &shop;
        // Each has an account of its own, since one account may have five codes.
        let keys: Vec<String> = (0..8)
            .map(|at| {
                let open = ops::OpenAccount { name: format!("a{at}"), contact: "x".into(), caps: None };
                let account = shop.ledger().run(open, clock::now()).unwrap().number;
                shop.ledger().add_api_key(account, "x", clock::now()).unwrap().0.to_string()
            })
            .collect();
        for (at, key) in keys.into_iter().enumerate() {
            scope.spawn(move || {
                let body = json!({ "address": format!("a{at}@x{at}.example") }).to_string();
                let key = format!("Bearer {key}");
                let fields = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
                // The service is killed meanwhile.
                let _ = http::ask(shop.address, "POST", "/v1/addresses", &fields, body.as_bytes());
            });
        }
        eventually("eight codes under way", || (smtp.held() == 8).then_some(()));
        let more = claim(shop, "b@x.example").is(429);
        assert_eq!(more.json()["problem"], "rate");
        assert!(more.field("retry-after").is_some());
        for path in ["/healthz", "/v1/prices", "/"] {
            http::ask(shop.address, "GET", path, &[], b"").unwrap().is(200);
        }
        let fields = [("Idempotency-Key", "q")];
        shop.ask_with("POST", "/v1/stamps", &fields, &json!({ "recipient": "b@x.example" })).is(200);
        assert_eq!(smtp.held(), 8);
        shop.signal("-KILL");
    });
    shop.kill_and_restart();
    smtp.set(Mode::Take);
    claim(&shop, "b@x.example").is(202);
}

#[test]
fn a_code_that_was_not_mailed_is_told_and_can_be_had_at_once() {
    let smtp = SmtpServer::start(Mode::Silent);
    // The timeout of an answer is half the patience.
    let shop = Shop::open(0, &["--smtp", &smtp.address(), "--patience", "6"]);
    let claim = |to: &str| shop.ask("POST", "/v1/addresses", &json!({ "address": to }));
    for mode in [Mode::Silent, Mode::Refuse] {
        smtp.set(mode);
        let answer = claim("a@x.example").is(503);
        assert_eq!(answer.json()["problem"], "mail");
        assert!(answer.json()["detail"].as_str().unwrap().contains("does not count"), "{}", answer.text());
        assert!(answer.field("retry-after").is_some());
    }
    let told = format!("mail server {}: a code was not accepted: ", smtp.address());
    assert_eq!(shop.log().matches(&told).count(), 2, "{}", shop.log());
    smtp.set(Mode::Take);
    claim("a@x.example").is(202);
    shop.ask("POST", "/v1/addresses/confirm", &json!({ "address": "a@x.example", "code": smtp.code() })).is(200);
}

/// A certificate authority of one's own, and a certificate for the loopback address.
fn certificates(folder: &Path) {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca \
        -keyout ca.key -out ca.pem && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -subj /CN=shop -keyout key.pem -out shop.csr && printf 'subjectAltName=IP:127.0.0.1' > ext && \
        openssl x509 -req -in shop.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out cert.pem";
    run(Command::new("sh").args(["-ec", script]).current_dir(folder), b"").exits(0);
}

#[test]
fn it_speaks_tls_by_itself_and_takes_a_renewed_certificate() {
    let files = tempfile::tempdir().unwrap();
    certificates(files.path());
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let shop = Shop::open(10, &["--tls-cert", &path("cert.pem"), "--tls-key", &path("key.pem")]);
    let ask = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20", "--cacert", &path("ca.pem")]);
        curl.args(["-H", &format!("Authorization: Bearer {}", shop.key)]);
        curl.arg(format!("https://{}/v1/account", shop.address));
        run(&mut curl, b"")
    };
    let account: Value = serde_json::from_slice(&ask().exits(0).stdout).unwrap();
    assert_eq!(account["balance"], json!(10));
    // A client without TLS gets no answer, and delays no other client.
    assert!(http::ask(shop.address, "GET", "/healthz", &[], b"").is_err());

    fs::remove_file(path("ca.pem")).unwrap();
    certificates(files.path());
    // curl trusts only the new authority now.
    assert_eq!(ask().code, 60);
    shop.signal("-HUP");
    eventually("the new certificate", || (ask().code == 0).then_some(()));
    // A bad certificate is reported, and the good one stays.
    fs::write(path("cert.pem"), "no certificate").unwrap();
    shop.signal("-HUP");
    eventually("the complaint", || shop.log().contains("contains no").then_some(()));
    ask().exits(0);
}

#[test]
fn a_second_shop_over_the_same_ledger_is_told_so() {
    let shop = Shop::open(10, &[]);
    let ledger = shop.folder();
    let home = crate::support::Home::bare();
    let run =
        home.run(["vendor", "serve", "--listen", "127.0.0.1:0", "--ledger", ledger.to_str().unwrap()], b"").exits(75);
    assert!(run.stderr.contains(": already served by another process"), "{}", run.stderr);
}

#[test]
fn a_shop_that_could_sign_nothing_does_not_open() {
    let mut shop = Shop::open(10, &[]);
    shop.signal("-TERM");
    shop.ended();
    let ledger = shop.folder();
    std::fs::remove_file(ledger.join("keys/key-2026q4.json")).unwrap();
    let home = crate::support::Home::bare();
    let run =
        home.run(["vendor", "serve", "--listen", "127.0.0.1:0", "--ledger", ledger.to_str().unwrap()], b"").exits(74);
    assert!(run.stderr.contains("key-2026q4.json"), "{}", run.stderr);
}

// RFC 9112 section 3.2
#[test]
fn a_request_names_its_host_once() {
    let shop = Shop::open(0, &[]);
    let status = |request: &str| {
        let mut stream = TcpStream::connect(shop.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for (version, fields, expected) in [
        ("1.1", "Host: a\r\n", "200"),
        ("1.0", "", "200"),
        ("1.0", "Host: a\r\n", "200"),
        ("1.1", "", "400"),
        ("1.1", "Host: a\r\nHost: a\r\n", "400"),
        ("1.1", "Host: a\r\nhost: b\r\n", "400"),
        ("1.0", "Host: a\r\nHost: a\r\n", "400"),
    ] {
        assert_eq!(status(&format!("GET / HTTP/{version}\r\n{fields}\r\n")), expected, "{version} {fields:?}");
    }
}
