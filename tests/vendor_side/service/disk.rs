//! A disk that is full for a while: a real one, in a mount namespace that only this test sees.

use crate::support::http::{self, Connection};
use crate::support::shop::Shop;
use crate::support::{MAILSTAMP, run};
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Set for the part that runs where the small disk is.
const INSIDE: &str = "MAILSTAMP_TEST_SMALL_DISK";

#[test]
fn after_a_full_disk_the_service_sells_again_by_itself() {
    if env::var_os(INSIDE).is_some() {
        return fill_and_empty(&env::temp_dir());
    }
    let disk = tempfile::tempdir().unwrap();
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--", "sh", "-ec", "mount -t tmpfs -o size=6m tmpfs \"$TMPDIR\"; exec \"$@\"", "sh"]);
    inside.arg(env::current_exe().unwrap());
    inside.args(["service::disk::after_a_full_disk_the_service_sells_again_by_itself", "--exact", "--nocapture"]);
    let ran = run(inside.env(INSIDE, "1").env("TMPDIR", disk.path()), b"");
    assert_eq!(ran.code, 0, "mounting needs root\n{}\n{}", ran.text(), ran.stderr);
}

fn fill_and_empty(disk: &Path) {
    let shop = Shop::open(100_000, &["--key-rate", "0"]);
    let mut connection = Connection::open(shop.address).unwrap();
    let order = format!("{{\"stamps\":[{}]}}", vec!["{\"recipient\":\"r@x.example\"}"; 100].join(","));
    let mut buy = |key: &str| shop.buy(&mut connection, key, &order).unwrap();
    let health = || http::ask(shop.address, "GET", "/healthz", &[], b"").unwrap().status;
    let command = || {
        let mut vendor = Command::new(MAILSTAMP);
        vendor.args(["vendor", "voucher", "1", "--ledger"]).arg(shop.folder());
        run(&mut vendor, b"")
    };
    let mut sold = 0;
    for round in 0..3 {
        buy(&format!("before-{round}")).is(200);
        let filler = disk.join("filler");
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[0; 4_096]).is_ok() {}
        // There is room in the file itself for a few more.
        let mut kept = 0;
        let failed = loop {
            let key = format!("full-{round}-{kept}");
            match buy(&key).status {
                200 => kept += 1,
                503 => break key,
                other => panic!("{other}"),
            }
        };
        for _ in 0..3 {
            assert_eq!(buy(&failed).status, 503);
        }
        assert_eq!(health(), 503);
        drop(file);
        fs::remove_file(&filler).unwrap();

        // It recovers at once, for programs and for commands; and the failed request was charged once.
        command().exits(0);
        assert_eq!(health(), 200);
        assert_eq!(buy(&failed).is(200).json()["again"], false);
        assert_eq!(buy(&failed).is(200).json()["again"], true);
        sold += 100 * (kept + 2);
        assert_eq!(shop.balance(), 100_000 - sold);
        assert_eq!(shop.audit().stamps, sold);
    }
}
