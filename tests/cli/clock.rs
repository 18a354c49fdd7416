//! A clock that was ahead once: what it wrote is not imported.

use crate::support::Home;
use mailstamp::time::UnixTime;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed())
}

#[test]
fn an_import_takes_no_mark_and_no_time_that_lies_after_now() {
    let home = Home::new();
    let (id, at, hour) = ("ab".repeat(16), now().0 + 2 * DAY, now().0 / 3_600 + 26);
    let first = r#"{"row":"purged-through","hour":1}"#;
    for row in [
        format!(r#"{{"row":"purged-through","hour":{hour}}}"#),
        r#"{"row":"purged-through","hour":4294967290}"#.to_owned(),
        format!(r#"{{"row":"used","hour":9,"stamp":"{id}","fingerprint":"{id}","first_seen":{at},"times":0}}"#),
        format!(r#"{{"row":"sent","message":"{id}","at":{at}}}"#),
        format!(r#"{{"row":"reply","kind":"challenge","sender":"b@y.example","at":{at}}}"#),
        format!(r#"{{"row":"replies","hour":{hour},"count":1}}"#),
        format!(r#"{{"row":"correspondent","address":"b@y.example","first":1,"last":2,"forgotten":{at}}}"#),
        format!(r#"{{"row":"standing","vendor":"v","serial":"s","standing":{{"revoked":{at}}}}}"#),
    ] {
        let run = home.run(["import"], format!("{first}\n{row}\n").as_bytes()).exits(65);
        assert!(run.stderr.contains("line 2: time after now: "), "{row}: {}", run.stderr);
    }
    assert_eq!(home.run(["export"], b"").exits(0).text(), format!("{first}\n"));
    // Ends may lie after now, and clocks differ by a day.
    let (hour, soon) = (now().0 / 3_600 + 9_000, now().0 + DAY / 2);
    let row =
        format!(r#"{{"row":"used","hour":{hour},"stamp":"{id}","fingerprint":"{id}","first_seen":{soon},"times":0}}"#);
    home.run(["import"], format!("{row}\n").as_bytes()).exits(0);
}
