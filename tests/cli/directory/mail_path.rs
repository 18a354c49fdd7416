//! The mail path never uses the network. Fetched directories cost nothing where none were fetched.

use super::vendor::{VENDOR, home, keygen, list, publish, refresh, source, stamped};
use crate::support::{ALICE, letter, traced};
use std::fs;
use std::os::unix::net::UnixDatagram;

#[test]
fn a_message_that_names_a_thousand_vendors_opens_no_connection() {
    // Threats 19 and 20.
    let home = home();
    publish(&home, &["a"], &[]);
    let socket = home.file("log");
    let _log = UnixDatagram::bind(&socket).unwrap();
    home.configure(&format!("addresses = [\"{ALICE}\"]\nsyslog = \"{}\"", socket.display()));
    let sources = source("https://127.0.0.1:9/", "") + &source("dns", "") + &source("/nonexistent", "");
    list(&home, &format!("resolver = \"127.0.0.1:9\"\n{sources}"));
    refresh(&home, None).exits(69);
    let mut fields = String::new();
    for number in 0..1000 {
        let vendor = match number % 4 {
            0 => "127.0.0.1".to_owned(),
            1 => "169.254.169.254".to_owned(),
            2 => "localhost".to_owned(),
            _ => format!("v{number}.example"),
        };
        let footer =
            data_encoding::BASE64URL_NOPAD.encode(format!("{{\"iss\":\"{vendor}\",\"kid\":\"k{number}\"}}").as_bytes());
        let body = data_encoding::BASE64URL_NOPAD.encode(&[7; 200]);
        fields.push_str(&format!("Digital-Stamp: v4.public.{body}.{footer}\n"));
    }
    let hostile = [fields.as_bytes(), &letter("thousand")].concat();
    let good = stamped(&home, "a");
    let unknown_key = {
        keygen(&home, VENDOR, "z");
        stamped(&home, "z")
    };
    for (message, verdict) in
        [(&hostile, "unverified unknown-vendor"), (&good, "first-class paid"), (&unknown_key, "unverified unknown-key")]
    {
        let (run, calls) = traced(home.command().arg("classify"), "network", message);
        run.says(verdict);
        // Syslog, and the search for a daemon: both on this machine.
        let sockets: Vec<&str> = calls.lines().filter(|line| line.contains("socket(")).collect();
        assert!(!sockets.is_empty() && sockets.iter().all(|socket| socket.contains("AF_UNIX")), "{calls}");
        assert!(sockets.iter().filter(|socket| socket.contains("SOCK_DGRAM")).count() == 1, "{calls}");
        assert!(!calls.contains("AF_INET"), "{calls}");
    }
}

#[test]
fn the_list_of_sources_is_not_read_and_a_message_without_a_stamp_reads_no_directory() {
    let home = home();
    publish(&home, &["a"], &[]);
    list(&home, "this is not TOML");
    let good = stamped(&home, "a");
    let (run, calls) = traced(home.command().arg("classify"), "%file", &good);
    run.says("first-class paid");
    assert!(calls.contains("vendors") && !calls.contains("sources.toml"), "{calls}");
    // Where nothing was fetched: one look for the folder, and nothing else.
    let looks: Vec<&str> = calls.lines().filter(|line| line.contains("mailstamp/directories")).collect();
    assert!(looks.len() == 1 && looks[0].contains("ENOENT"), "{looks:?}");
    let (run, calls) = traced(home.command().arg("classify"), "%file", &letter("plain"));
    run.says("unstamped no-stamp");
    assert!(!calls.contains("/vendors") && !calls.contains("/directories"), "{calls}");
    assert!(home.run(["config", "check"], b"").exits(78).stderr.contains("sources.toml"));
}

#[test]
fn a_cache_that_was_changed_by_others_never_lets_mail_through() {
    let home = home();
    keygen(&home, VENDOR, "b");
    publish(&home, &["a", "b"], &[]);
    list(&home, &source(home.file("public/.well-known/digital-stamp").to_str().unwrap(), ""));
    refresh(&home, None).exits(0);
    let message = stamped(&home, "b");
    let record = home.state().join(format!("directories/{VENDOR}.json"));
    let text = fs::read_to_string(&record).unwrap();
    let (before, after) = text.split_once("v4.public.").unwrap();
    let mut rest: Vec<char> = after.chars().collect();
    rest[20] = if rest[20] == 'A' { 'B' } else { 'A' };
    fs::write(&record, format!("{before}v4.public.{}", rest.iter().collect::<String>())).unwrap();
    // Only its publisher is unknown now, since the record may have revoked any of its keys.
    home.classify(&message).exits(13).says("unverified unknown-vendor");
    assert!(home.run(["doctor"], b"").exits(78).text().contains(&format!("{VENDOR}.json: its signature is invalid")));
    fs::write(&record, "{").unwrap();
    home.classify(&message).exits(13).says("unverified unknown-vendor");
    assert!(home.run(["doctor"], b"").exits(78).text().contains(&format!("{VENDOR}.json: not a directory document")));
    // What holds no stamp is judged all the same.
    home.classify(&letter("plain")).exits(11);
    fs::remove_file(&record).unwrap();
    assert_eq!(home.classify(&message).exits(13).text(), "unverified unknown-key\n");
}
